// SPDX-License-Identifier: GPL-2.0

//! File operations of a node: `struct file_operations` as a trait.
//!
//! `owner` is set, so a module with an open file stays. A node without [`FileOperations::llseek`]
//! is opened as a stream. 32-bit programs reach [`FileOperations::ioctl`] with their pointers
//! converted unless there is a [`FileOperations::compat_ioctl`].
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    device::Device,
    poll_events::PollEvents, //
};
use core::marker::PhantomData;
use kernel::{
    bindings,
    error::VTABLE_DEFAULT_ERROR,
    fs::{
        file::flags::O_NONBLOCK,
        File,
        Kiocb, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    mm::virt::VmaNew,
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    sync::poll::PollTable,
    types::ForeignOwnable, //
};

/// `FMODE_NOWAIT` of `linux/fs.h`, a macro with a cast, which bindgen leaves out.
const FMODE_NOWAIT: bindings::fmode_t = 1 << 27;

/// `FMODE_LSEEK`. As above.
const FMODE_LSEEK: bindings::fmode_t = 1 << 2;

/// `IOCB_NOWAIT`, which is `RWF_NOWAIT` of `uapi/linux/fs.h`. As above.
const IOCB_NOWAIT: c_int = 0x8;

/// What programs can do with a node. Implement it with `#[vtable]`; what is left out, the kernel
/// answers for itself (`ENOTTY` for an `ioctl()`, `EINVAL` for a `read()` …).
///
/// The methods may sleep, and run at the same time as each other for one and the same file: two
/// threads can share a descriptor.
#[vtable]
pub trait FileOperations: Sized {
    /// The driver's data in the node.
    type Device: Send + Sync + 'static;

    /// What a file keeps while it is open: a [`KBox`], an [`Arc`](kernel::sync::Arc), or `()`.
    type OpenFile: ForeignOwnable + Send + Sync;

    /// Whether reads and writes never sleep for data or for a lock that is held long when
    /// [`may_wait`] says no. Required for `RWF_NOWAIT` and for io_uring to call them inline.
    const SUPPORTS_NOWAIT: bool = false;

    /// `open(2)`. On success the kernel keeps the result until [`FileOperations::release`].
    ///
    /// This can be called for a node that is just being removed; say `ENODEV` then, or let the
    /// methods below do so.
    fn open(device: &Device<Self::Device>, file: &File) -> Result<Self::OpenFile>;

    /// The last `close(2)` of this open file.
    fn release(open_file: Self::OpenFile, _file: &File) {
        drop(open_file);
    }

    /// `read(2)` and its relatives. Returns the number of bytes copied to `iov`.
    fn read_iter(_kiocb: Kiocb<'_, Self::OpenFile>, _iov: &mut IovIterDest<'_>) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `write(2)` and its relatives. Returns the number of bytes taken from `iov`.
    fn write_iter(
        _kiocb: Kiocb<'_, Self::OpenFile>,
        _iov: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `lseek(2)`; [`position::seek`](super::position::seek) does it for a node that has a size.
    /// Returns the new position. Without this method the node is a stream.
    fn llseek(
        _open_file: <Self::OpenFile as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _offset: i64,
        _whence: c_int,
    ) -> Result<i64> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `poll(2)`: registers what to wait for, then returns what can be done now.
    fn poll(
        _open_file: <Self::OpenFile as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _table: &PollTable<'_>,
    ) -> Result<PollEvents> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ioctl(2)`. `argument` is a number or an address in the program, as `command` says.
    fn ioctl(
        _open_file: <Self::OpenFile as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _command: u32,
        _argument: usize,
    ) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ioctl(2)` of a 32-bit program on a 64-bit kernel.
    ///
    /// Only for structures that are laid out differently there. Without it such calls come to
    /// [`FileOperations::ioctl`], with `argument` taken as an address.
    #[cfg(CONFIG_COMPAT)]
    fn compat_ioctl(
        _open_file: <Self::OpenFile as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _command: u32,
        _argument: usize,
    ) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `mmap(2)`.
    fn mmap(
        _open_file: <Self::OpenFile as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _vma: &VmaNew,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Adds lines to `/proc/PID/fdinfo/FD`.
    fn show_fdinfo(
        _open_file: <Self::OpenFile as ForeignOwnable>::Borrowed<'_>,
        _text: &SeqFile,
        _file: &File,
    ) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Returns the kernel's table of operations for `F`.
///
/// Only for the `cdev` of a `Device<F::Device>`: the functions in it rely on that.
pub(super) const fn vtable<F: FileOperations>() -> &'static bindings::file_operations {
    &Vtable::<F>::TABLE
}

/// The functions behind [`FileOperations`].
///
/// What all their safety requirements mean by *a file of `F`*: one that was opened through the
/// `cdev` of a `Device<F::Device>` with [`vtable::<F>()`](vtable), and whose `open` has succeeded,
/// so that its `private_data` came from `F::OpenFile::into_foreign()`.
struct Vtable<F>(PhantomData<F>);

impl<F: FileOperations> Vtable<F> {
    const TABLE: bindings::file_operations = bindings::file_operations {
        owner: this_module::<crate::LocalModule>().as_ptr(),
        open: Some(Self::open),
        release: Some(Self::release),
        read_iter: if F::HAS_READ_ITER {
            Some(Self::read_iter)
        } else {
            None
        },
        write_iter: if F::HAS_WRITE_ITER {
            Some(Self::write_iter)
        } else {
            None
        },
        llseek: if F::HAS_LLSEEK {
            Some(Self::llseek)
        } else {
            Some(no_llseek)
        },
        poll: if F::HAS_POLL { Some(Self::poll) } else { None },
        unlocked_ioctl: if F::HAS_IOCTL {
            Some(Self::ioctl)
        } else {
            None
        },
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: if F::HAS_COMPAT_IOCTL {
            Some(Self::compat_ioctl)
        } else if F::HAS_IOCTL {
            bindings::compat_ptr_ioctl
        } else {
            None
        },
        mmap: if F::HAS_MMAP { Some(Self::mmap) } else { None },
        // sendfile(2) and splice(2), by way of `read_iter` and `write_iter`.
        splice_read: if F::HAS_READ_ITER {
            Some(bindings::copy_splice_read)
        } else {
            None
        },
        splice_write: if F::HAS_WRITE_ITER {
            Some(bindings::iter_file_splice_write)
        } else {
            None
        },
        show_fdinfo: if F::HAS_SHOW_FDINFO {
            Some(Self::show_fdinfo)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// Borrows what [`FileOperations::open`] returned for this file.
    ///
    /// # Safety
    ///
    /// `file` must be a file of `F` (see [`Vtable`]) that stays open for `'a`.
    unsafe fn open_file<'a>(
        file: *mut bindings::file,
    ) -> <F::OpenFile as ForeignOwnable>::Borrowed<'a> {
        // SAFETY: Came from `into_foreign()`, and only `release` takes it back.
        unsafe { F::OpenFile::borrow((*file).private_data) }
    }

    /// # Safety
    ///
    /// `inode` and `file` must be those of a file that is being opened, through the `cdev` of a
    /// `Device<F::Device>`.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The file is being opened, so its mode may be set.
        let failed = unsafe {
            if F::HAS_LLSEEK {
                bindings::generic_file_open(inode, file)
            } else {
                bindings::stream_open(inode, file)
            }
        };
        if failed != 0 {
            return failed;
        }

        // SAFETY: `chrdev_open()` has taken a reference to the `cdev`, which it drops when the file
        // is closed, and stored it in the inode.
        let device = unsafe { Device::from_cdev((*inode).__bindgen_anon_5.i_cdev) };

        // SAFETY: The file stays for the call, and no `fdget_pos()` is active on it.
        match F::open(device, unsafe { File::from_raw_file(file) }) {
            Ok(open_file) => {
                // SAFETY: The private data of a file is the driver's, from `open` to `release`, and
                // its mode may be set while it is being opened.
                unsafe {
                    (*file).private_data = open_file.into_foreign();
                    // For `sendfile(2)`, which refuses what cannot be seeked.
                    if !F::HAS_LLSEEK {
                        (*file).f_mode |= FMODE_LSEEK;
                    }
                    if F::SUPPORTS_NOWAIT {
                        (*file).f_mode |= FMODE_NOWAIT;
                    }
                }
                0
            }
            Err(error) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// `file` must be a file of `F` (see [`Vtable`]) that is being closed.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: Came from `into_foreign()`, and nobody borrows it when the file is closed.
        let open_file = unsafe { F::OpenFile::from_foreign((*file).private_data) };

        // SAFETY: The file stays for the call, and no `fdget_pos()` is active on it.
        F::release(open_file, unsafe { File::from_raw_file(file) });
        0
    }

    /// # Safety
    ///
    /// `kiocb` must be for a file of `F` (see [`Vtable`]), and `iter` valid for writing.
    unsafe extern "C" fn read_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: For a file of `F`, for the duration of the call.
        let kiocb = unsafe { Kiocb::from_raw(kiocb) };

        // SAFETY: Valid for writing by the requirements of this function.
        let iov = unsafe { IovIterDest::from_raw(iter) };

        count_or_errno(F::read_iter(kiocb, iov))
    }

    /// # Safety
    ///
    /// `kiocb` must be for a file of `F` (see [`Vtable`]), and `iter` valid for reading.
    unsafe extern "C" fn write_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: For a file of `F`, for the duration of the call.
        let kiocb = unsafe { Kiocb::from_raw(kiocb) };

        // SAFETY: Valid for reading by the requirements of this function.
        let iov = unsafe { IovIterSource::from_raw(iter) };

        count_or_errno(F::write_iter(kiocb, iov))
    }

    /// # Safety
    ///
    /// `file` must be a file of `F` (see [`Vtable`]).
    unsafe extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        // SAFETY: A file of `F` that stays open for the call.
        let open_file = unsafe { Self::open_file(file) };

        // SAFETY: The file stays for the call. Devices are not read and written under the position
        // lock that `fdget_pos()` takes: that is for regular files.
        let file = unsafe { File::from_raw_file(file) };

        match F::llseek(open_file, file, offset, whence) {
            Ok(position) => position,
            Err(error) => error.to_errno().into(),
        }
    }

    /// # Safety
    ///
    /// `file` must be a file of `F` (see [`Vtable`]), and `table` null or valid.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: A file of `F` that stays open for the call.
        let open_file = unsafe { Self::open_file(file) };
        // SAFETY: The file stays for the call, and no `fdget_pos()` is active on it.
        let file = unsafe { File::from_raw_file(file) };
        // SAFETY: Null or valid, for the duration of the call.
        let table = unsafe { PollTable::from_raw(table) };

        // A poll cannot fail; it can say that the file is of no more use.
        F::poll(open_file, file, &table)
            .unwrap_or(PollEvents::ERROR | PollEvents::HANGUP)
            .as_raw()
    }

    /// # Safety
    ///
    /// `file` must be a file of `F` (see [`Vtable`]).
    unsafe extern "C" fn ioctl(
        file: *mut bindings::file,
        command: c_uint,
        argument: c_ulong,
    ) -> c_long {
        // SAFETY: A file of `F` that stays open for the call.
        let open_file = unsafe { Self::open_file(file) };
        // SAFETY: The file stays for the call, and no `fdget_pos()` is active on it.
        let file = unsafe { File::from_raw_file(file) };

        value_or_errno(F::ioctl(open_file, file, command, argument))
    }

    /// # Safety
    ///
    /// `file` must be a file of `F` (see [`Vtable`]).
    #[cfg(CONFIG_COMPAT)]
    unsafe extern "C" fn compat_ioctl(
        file: *mut bindings::file,
        command: c_uint,
        argument: c_ulong,
    ) -> c_long {
        // SAFETY: A file of `F` that stays open for the call.
        let open_file = unsafe { Self::open_file(file) };
        // SAFETY: The file stays for the call, and no `fdget_pos()` is active on it.
        let file = unsafe { File::from_raw_file(file) };

        value_or_errno(F::compat_ioctl(open_file, file, command, argument))
    }

    /// # Safety
    ///
    /// `file` must be a file of `F` (see [`Vtable`]), and `vma` one that is being set up for it.
    unsafe extern "C" fn mmap(
        file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> c_int {
        // SAFETY: A file of `F` that stays open for the call.
        let open_file = unsafe { Self::open_file(file) };
        // SAFETY: The file stays for the call, and no `fdget_pos()` is active on it.
        let file = unsafe { File::from_raw_file(file) };

        // SAFETY: Being set up by the requirements of this function.
        match F::mmap(open_file, file, unsafe { VmaNew::from_raw(vma) }) {
            Ok(()) => 0,
            Err(error) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// `text` must be valid, and `file` a file of `F` (see [`Vtable`]).
    unsafe extern "C" fn show_fdinfo(text: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: A file of `F` that stays open for the call.
        let open_file = unsafe { Self::open_file(file) };
        // SAFETY: The file stays for the call, and no `fdget_pos()` is active on it.
        let file = unsafe { File::from_raw_file(file) };

        // SAFETY: Valid by the requirements of this function.
        F::show_fdinfo(open_file, unsafe { SeqFile::from_raw(text) }, file);
    }
}

/// What `lseek(2)` does with a stream.
///
/// # Safety
///
/// None; the kernel's type wants it.
unsafe extern "C" fn no_llseek(
    _file: *mut bindings::file,
    _offset: bindings::loff_t,
    _whence: c_int,
) -> bindings::loff_t {
    ESPIPE.to_errno().into()
}

/// How long a read or write may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// For data.
    Data,
    /// For a lock that is held for a moment, but not for data: the program has set `O_NONBLOCK`.
    Lock,
    /// Not at all: `RWF_NOWAIT`, or io_uring submits the request inline.
    Never,
}

/// Tells how long a read or write may wait.
pub fn may_wait<T: ForeignOwnable>(kiocb: &Kiocb<'_, T>) -> Wait {
    // SAFETY: The request and its file stay for as long as the `Kiocb`. A program can change
    // `f_flags` at any time, as a whole.
    let (request_flags, file_flags) = unsafe {
        let kiocb = kiocb.as_raw();
        (
            (*kiocb).ki_flags,
            (&raw const (*(*kiocb).ki_filp).f_flags).read_volatile(),
        )
    };

    if request_flags & IOCB_NOWAIT != 0 {
        Wait::Never
    } else if file_flags & O_NONBLOCK != 0 {
        Wait::Lock
    } else {
        Wait::Data
    }
}

/// Returns a number of bytes as the kernel wants it.
fn count_or_errno(result: Result<usize>) -> isize {
    // CAST: The kernel limits a transfer to less than 2 GiB, and an `errno` fits anywhere.
    match result {
        Ok(count) => count as isize,
        Err(error) => error.to_errno() as isize,
    }
}

/// Returns the value of an `ioctl()` as the kernel wants it.
fn value_or_errno(result: Result<isize>) -> c_long {
    // CAST: `c_long` is as wide as `isize`, and an `errno` fits anywhere.
    match result {
        Ok(value) => value as c_long,
        Err(error) => error.to_errno() as c_long,
    }
}
