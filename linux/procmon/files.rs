// SPDX-License-Identifier: GPL-2.0

//! `/dev/procmon`: what happens at `open(2)`, `read(2)`, `write(2)`, `lseek(2)` and `ioctl(2)`.

use crate::{
    chardev::{
        position,
        Device,
        FileOperations, //
    },
    ioctl,
    monitor::Monitor,
    operations::Operation,
    parameters, //
};
use kernel::{
    fs::{
        File,
        Kiocb, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    sync::aref::ARef, //
};

/// Permissions of the nodes. What they tell is told by `/proc`, too, but not so cheaply; and the
/// message and the filter are one for all. A udev rule can open them to a group.
pub(crate) const NODE_MODE: u16 = 0o600;

/// The file operations of `/dev/procmon`.
pub(crate) struct Files;

#[vtable]
impl FileOperations for Files {
    type Device = Monitor;

    /// The node itself.
    type OpenFile = ARef<Device<Monitor>>;

    fn open(monitor: &Device<Monitor>, _file: &File) -> Result<Self::OpenFile> {
        monitor.operations.count(Operation::Open);
        Ok(monitor.into())
    }

    /// The message from the file's position on.
    fn read_iter(mut kiocb: Kiocb<'_, Self::OpenFile>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let monitor = kiocb.file();
        monitor.operations.count(Operation::Read);

        let start = usize::try_from(kiocb.ki_pos())?;
        monitor.message.with_excerpt(start, iov.len(), |excerpt| {
            position::read_rest(iov, kiocb.ki_pos_mut(), excerpt)
        })
    }

    /// Makes what is written the message, whatever the file's position, which stays where it is.
    ///
    /// One that is too long is refused: were a part of it taken, the program would write the rest
    /// in a second call, and that would be the message.
    fn write_iter(kiocb: Kiocb<'_, Self::OpenFile>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        let monitor = kiocb.file();
        monitor.operations.count(Operation::Write);

        let length = iov.len();
        // CAST: Lossless, `usize` has at least 32 bits.
        if length > parameters::BUFFER_SIZE.get() as usize {
            return Err(EMSGSIZE);
        }
        let mut text = KVVec::zeroed(length, GFP_KERNEL)?;
        if iov.copy_from_iter(&mut text) != length {
            // Half a message is none.
            return Err(EFAULT);
        }
        monitor.message.replace(text)?;
        Ok(length)
    }

    fn llseek(monitor: &Device<Monitor>, file: &File, offset: i64, whence: c_int) -> Result<i64> {
        let end = i64::try_from(monitor.message.length())?;
        position::seek_past_end(file, offset, whence, end)
    }

    fn ioctl(
        monitor: &Device<Monitor>,
        _file: &File,
        command: u32,
        argument: usize,
    ) -> Result<isize> {
        monitor.operations.count(Operation::Ioctl);
        ioctl::native(monitor, command, argument)
    }

    #[cfg(CONFIG_COMPAT)]
    fn compat_ioctl(
        monitor: &Device<Monitor>,
        _file: &File,
        command: u32,
        argument: usize,
    ) -> Result<isize> {
        monitor.operations.count(Operation::Ioctl);
        ioctl::compat(monitor, command, argument)
    }
}
