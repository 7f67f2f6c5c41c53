// SPDX-License-Identifier: GPL-2.0

//! The smallest module that uses all of `chardev`: a scratchpad, without any hardware.
//!
//! ```sh
//! echo hello > /dev/scratchpad
//! cat /dev/scratchpad                        # hello
//! cat /sys/class/scratchpad/scratchpad/used  # 6
//! echo 3 > /sys/class/scratchpad/scratchpad/used
//! cat /dev/scratchpad                        # hel
//! ```

use core::fmt::Write;
use kernel::{
    fs::{
        File,
        Kiocb, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    new_mutex, new_poll_condvar,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        aref::ARef,
        poll::{
            PollCondVar,
            PollTable, //
        },
        Mutex, //
    },
};

#[path = "../mod.rs"]
pub mod chardev;

use chardev::{
    ioctl::{
        Command,
        Dispatch,
        Plain,
        Read, //
    },
    position,
    Attribute,
    AttributeGroups,
    Device,
    FileOperations,
    Options,
    PollEvents,
    Registration,
    SingleNode,
    SysfsBuffer, //
};

/// Size of the pad in bytes.
const SIZE: usize = 4096;

/// Wipes the pad. The letter is that of no other driver in the kernel's list.
const CLEAR: Command<Plain> = Command::io(b'~', 0);
/// Tells how much can be read.
const GET_USED: Command<Read<u32>> = Command::ior(b'~', 1);

struct Example {
    _node: SingleNode<Scratchpad>,
}

impl kernel::Module for Example {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let options = Options {
            attributes: Some(AttributeGroups::of::<(Used, Size, Text)>()),
            ..Options::DEFAULT
        };
        let pad = Scratchpad::new();
        // SAFETY: Dropped with the module.
        let node = unsafe { Registration::single::<Files>(c"scratchpad", options, pad) }?;
        Ok(Self { _node: node })
    }
}

module! {
    type: Example,
    name: "chardev_example",
    authors: ["The Exo authors"],
    description: "Character devices in Rust: a scratchpad",
    license: "GPL",
}

#[pin_data]
struct Scratchpad {
    #[pin]
    text: Mutex<KVec<u8>>,
    /// Notified when the text changes.
    #[pin]
    changed: PollCondVar,
}

impl Scratchpad {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            text <- new_mutex!(KVec::new()),
            changed <- new_poll_condvar!(),
        })
    }

    fn used(&self) -> usize {
        self.text.lock().len()
    }

    /// Returns a copy of the text. Copying it to a program under the lock would let a page fault of
    /// that program keep all others out.
    fn text(&self) -> Result<KVec<u8>> {
        let mut copy = KVec::new();
        copy.extend_from_slice(&self.text.lock(), GFP_KERNEL)?;
        Ok(copy)
    }

    /// Writes `new` at `start`.
    fn write(&self, start: usize, new: &[u8]) -> Result {
        let end = start.checked_add(new.len()).ok_or(EFBIG)?;
        let mut text = self.text.lock();
        if text.len() < end {
            text.resize(end, 0, GFP_KERNEL)?;
        }
        text.get_mut(start..end).ok_or(EIO)?.copy_from_slice(new);
        drop(text);
        self.changed.notify_all();
        Ok(())
    }

    fn truncate(&self, used: usize) -> Result {
        if used > SIZE {
            return Err(EINVAL);
        }
        self.text.lock().resize(used, 0, GFP_KERNEL)?;
        self.changed.notify_all();
        Ok(())
    }
}

struct Files;

#[vtable]
impl FileOperations for Files {
    type Device = Scratchpad;

    /// The node itself.
    type OpenFile = ARef<Device<Scratchpad>>;

    fn open(device: &Device<Scratchpad>, _file: &File) -> Result<Self::OpenFile> {
        Ok(device.into())
    }

    fn read_iter(mut kiocb: Kiocb<'_, Self::OpenFile>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let text = kiocb.file().text()?;
        position::read(iov, kiocb.ki_pos_mut(), &text)
    }

    fn write_iter(
        mut kiocb: Kiocb<'_, Self::OpenFile>,
        iov: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let start = usize::try_from(kiocb.ki_pos())?;
        let room = SIZE.checked_sub(start).filter(|room| *room != 0);
        let mut new = KVec::zeroed(iov.len().min(room.ok_or(ENOSPC)?), GFP_KERNEL)?;
        let copied = iov.copy_from_iter(&mut new);
        if copied == 0 && !new.is_empty() {
            return Err(EFAULT);
        }
        new.truncate(copied);
        kiocb.file().write(start, &new)?;
        *kiocb.ki_pos_mut() = i64::try_from(start + copied)?;
        Ok(copied)
    }

    fn llseek(_pad: &Device<Scratchpad>, file: &File, offset: i64, whence: c_int) -> Result<i64> {
        position::seek(file, offset, whence, i64::try_from(SIZE)?)
    }

    fn poll(pad: &Device<Scratchpad>, file: &File, table: &PollTable<'_>) -> Result<PollEvents> {
        table.register_wait(file, &pad.changed);
        Ok(PollEvents::WRITABLE | PollEvents::READABLE.when(pad.used() > 0))
    }

    fn ioctl(
        pad: &Device<Scratchpad>,
        _file: &File,
        command: u32,
        argument: usize,
    ) -> Result<isize> {
        Dispatch::new(command, argument)
            .plain(CLEAR, || pad.truncate(0))
            .read(GET_USED, || Ok(u32::try_from(pad.used())?))
            .finish()
    }

    fn show_fdinfo(pad: &Device<Scratchpad>, text: &SeqFile, _file: &File) {
        seq_print!(text, "used:\t{}\n", pad.used());
    }
}

struct Used;

#[vtable]
impl Attribute for Used {
    type Device = Scratchpad;

    const NAME: &'static CStr = c"used";

    fn show(pad: &Scratchpad, buffer: &mut SysfsBuffer<'_>) -> Result {
        writeln!(buffer, "{}", pad.used()).map_err(|_| ENOSPC)
    }

    fn store(pad: &Scratchpad, value: &[u8]) -> Result {
        let value = core::str::from_utf8(value).map_err(|_| EINVAL)?;
        pad.truncate(value.parse().map_err(|_| EINVAL)?)
    }
}

struct Size;

#[vtable]
impl Attribute for Size {
    type Device = Scratchpad;

    const NAME: &'static CStr = c"size";

    // No secret: it is a constant in the source.
    const MODE: Option<u16> = Some(0o444);

    fn show(_pad: &Scratchpad, buffer: &mut SysfsBuffer<'_>) -> Result {
        writeln!(buffer, "{SIZE}").map_err(|_| ENOSPC)
    }
}

struct Text;

#[vtable]
impl Attribute for Text {
    type Device = Scratchpad;

    const NAME: &'static CStr = c"text";

    fn show(pad: &Scratchpad, buffer: &mut SysfsBuffer<'_>) -> Result {
        let text = pad.text()?;
        let text = core::str::from_utf8(&text).map_err(|_| EINVAL)?;
        // A full pad does not fit: an attribute is less than a page.
        buffer.write_str(text).map_err(|_| ENOSPC)
    }
}
