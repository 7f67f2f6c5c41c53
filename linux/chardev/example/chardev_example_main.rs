// SPDX-License-Identifier: GPL-2.0

//! The smallest module that uses all of `chardev`: a pad to scribble on, without any hardware.
//!
//! ```sh
//! echo hello > /dev/scratchpad
//! cat /dev/scratchpad                             # hello
//! cat /sys/class/chardev_example/scratchpad/used  # 6
//! echo 3 > /sys/class/chardev_example/scratchpad/used
//! cat /dev/scratchpad                             # hel
//! ```
//!
//! The pad is read and written at the file's position like a file of fixed size. `poll(2)` says
//! that it can be read when something is on it. `ioctl(fd, CLEAR)` wipes it.

use core::fmt::Write;
use kernel::{
    bindings,
    fs::{
        File,
        Kiocb, //
    },
    ioctl::_IO,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    new_mutex, new_poll_condvar,
    prelude::*,
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
    position,
    Attribute,
    AttributeGroups,
    Class,
    Device,
    FileOperations,
    Options,
    Region,
    Registration, //
    SysfsBuffer,
};

/// Size of the pad in bytes.
const SIZE: usize = 4096;

/// Wipes the pad; no argument. The type is that of no other driver in the kernel's list.
const CLEAR: u32 = _IO(b'~' as u32, 0);

/// What is on the pad.
#[pin_data]
struct Scratchpad {
    #[pin]
    text: Mutex<Text>,
    /// Notified when there is something to read.
    #[pin]
    readable: PollCondVar,
}

/// # Invariants
///
/// `used` is at most [`SIZE`].
struct Text {
    bytes: [u8; SIZE],
    used: usize,
}

impl Scratchpad {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: Nothing is used.
            text <- new_mutex!(init!(Text {
                // In place: a kernel stack has no room for 4 KiB.
                bytes <- pin_init::init_zeroed(),
                used: 0,
            })),
            readable <- new_poll_condvar!(),
        })
    }

    /// Returns how much can be read.
    fn used(&self) -> usize {
        self.text.lock().used
    }

    /// Sets how much can be read; what is past it is lost.
    fn truncate(&self, used: usize) -> Result {
        if used > SIZE {
            return Err(EINVAL);
        }
        let mut text = self.text.lock();
        // INVARIANT: Checked above.
        text.used = used;
        if let Some(rest) = text.bytes.get_mut(used..) {
            rest.fill(0);
        }
        drop(text);
        self.readable.notify_all();
        Ok(())
    }
}

struct ScratchpadFiles;

#[vtable]
impl FileOperations for ScratchpadFiles {
    type Device = Scratchpad;

    /// The node itself.
    type OpenFile = ARef<Device<Scratchpad>>;

    fn open(device: &Device<Scratchpad>, _file: &File) -> Result<Self::OpenFile> {
        Ok(device.into())
    }

    fn read_iter(mut kiocb: Kiocb<'_, Self::OpenFile>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let pad = kiocb.file();
        let text = pad.text.lock();
        let used = text.bytes.get(..text.used).ok_or(EIO)?;

        position::read(iov, kiocb.ki_pos_mut(), used)
    }

    fn write_iter(
        mut kiocb: Kiocb<'_, Self::OpenFile>,
        iov: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let pad = kiocb.file();
        let mut text = pad.text.lock();
        let written = position::write(iov, kiocb.ki_pos_mut(), &mut text.bytes)?;

        // INVARIANT: The position is inside of `bytes` or at their end.
        text.used = text.used.max(usize::try_from(kiocb.ki_pos())?);
        drop(text);
        pad.readable.notify_all();
        Ok(written)
    }

    fn llseek(_pad: &Device<Scratchpad>, file: &File, offset: i64, whence: c_int) -> Result<i64> {
        position::seek(file, offset, whence, i64::try_from(SIZE)?)
    }

    fn poll(
        pad: &Device<Scratchpad>,
        file: &File,
        table: &PollTable<'_>,
    ) -> Result<bindings::__poll_t> {
        table.register_wait(file, &pad.readable);

        let readable = if pad.used() > 0 {
            bindings::POLLIN | bindings::POLLRDNORM
        } else {
            0
        };
        Ok(readable | bindings::POLLOUT | bindings::POLLWRNORM)
    }

    fn ioctl(
        pad: &Device<Scratchpad>,
        _file: &File,
        command: u32,
        _argument: usize,
    ) -> Result<isize> {
        match command {
            CLEAR => pad.truncate(0).map(|()| 0),
            _ => Err(ENOTTY),
        }
    }
}

struct Used;

#[vtable]
impl Attribute for Used {
    type Device = Scratchpad;

    const NAME: &'static CStr = c"used";

    fn show(pad: &Scratchpad, page: &mut SysfsBuffer<'_>) -> Result {
        writeln!(page, "{}", pad.used()).map_err(|_| ENOSPC)
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

    fn show(_pad: &Scratchpad, page: &mut SysfsBuffer<'_>) -> Result {
        writeln!(page, "{SIZE}").map_err(|_| ENOSPC)
    }
}

struct Example {
    _node: Registration<Scratchpad>,
}

impl kernel::Module for Example {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let region = Region::new(c"chardev_example", 1)?;
        let class = Class::new(c"chardev_example")?;

        Ok(Self {
            _node: Registration::new::<ScratchpadFiles>(
                &class,
                region.reserve(0)?,
                fmt!("scratchpad"),
                Options {
                    attributes: Some(AttributeGroups::of::<(Used, Size)>()),
                    ..Options::DEFAULT
                },
                Scratchpad::new(),
            )?,
        })
    }
}

module! {
    type: Example,
    name: "chardev_example",
    authors: ["The Exo authors"],
    description: "Character devices in safe Rust: a pad to scribble on",
    license: "GPL",
}
