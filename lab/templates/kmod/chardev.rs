// SPDX-License-Identifier: GPL-2.0

//! `/dev/@NAME@0` and `/dev/@NAME@1`: each read gives the next number of that device.

use core::fmt::Write;
use kernel::{
    fs::{
        File,
        Kiocb, //
    },
    iov::IovIterDest,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
    }, //
};

#[path = "chardev/mod.rs"]
pub mod chardev;

use chardev::{
    Attribute,
    AttributeGroups,
    Class,
    Device,
    FileOperations,
    Options,
    Region,
    Registration,
    ReleaseBarrier,
    SysfsBuffer, //
};

/// The name of the class and in `/proc/devices`.
const NAME: &CStr = c"@NAME@";

/// A device.
struct Counter {
    next: Atomic<u64>,
}

impl Counter {
    fn new() -> impl PinInit<Self, Error> {
        try_init!(Self {
            next: Atomic::new(0),
        })
    }

    /// A number that nobody else gets.
    fn take(&self) -> u64 {
        self.next.fetch_add(1, Relaxed)
    }
}

struct CounterFiles;

#[vtable]
impl FileOperations for CounterFiles {
    type Device = Counter;
    type OpenFile = ARef<Device<Counter>>;

    fn open(device: &Device<Counter>, _file: &File) -> Result<Self::OpenFile> {
        Ok(device.into())
    }

    fn read_iter(kiocb: Kiocb<'_, Self::OpenFile>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let mut line = [0; 24];
        let used = write_line(kiocb.file().take(), &mut line)?;
        let copied = iov.copy_to_iter(line.get(..used).ok_or(EIO)?);
        if copied == 0 {
            return Err(EFAULT);
        }
        Ok(copied)
    }
}

/// The number as a line of text; how long it is.
fn write_line(number: u64, line: &mut [u8]) -> Result<usize> {
    let mut text = kernel::str::Formatter::new(line);
    writeln!(text, "{number}").map_err(|_| ENOSPC)?;
    Ok(text.bytes_written())
}

/// `/sys/class/@NAME@/@NAME@0/next`.
struct Next;

#[vtable]
impl Attribute for Next {
    type Device = Counter;

    const NAME: &'static CStr = c"next";

    fn show(counter: &Counter, page: &mut SysfsBuffer<'_>) -> Result {
        writeln!(page, "{}", counter.next.load(Relaxed)).map_err(|_| ENOSPC)
    }
}

struct @TYPE@ {
    _first: Registration<Counter>,
    _second: Registration<Counter>,
    /// Last: waits until the kernel has let go of both.
    _barrier: ReleaseBarrier,
}

impl kernel::Module for @TYPE@ {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // First, so that it comes last if something below fails.
        let barrier = ReleaseBarrier::new();
        let region = Region::new(NAME, 2)?;
        // SAFETY: The devices keep it, and they are dropped with the module.
        let class = unsafe { Class::new(NAME) }?;
        let node = |number: u32| {
            let options = Options {
                attributes: Some(AttributeGroups::of::<(Next,)>()),
                ..Options::DEFAULT
            };
            let minor = region.reserve(number)?;
            // SAFETY: Dropped with the module, the barrier after it.
            unsafe {
                Registration::new::<CounterFiles>(
                    &class,
                    minor,
                    fmt!("@NAME@{number}"),
                    options,
                    Counter::new(),
                )
            }
        };
        Ok(Self {
            _first: node(0)?,
            _second: node(1)?,
            _barrier: barrier,
        })
    }
}

module! {
    type: @TYPE@,
    name: "@NAME@",
    authors: ["You"],
    description: "Counts reads",
    license: "GPL",
}

/// `cargo exo kmod test` runs these in a kernel.
#[kunit_tests(@NAME@)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_up() {
        let counter = Counter {
            next: Atomic::new(0),
        };
        assert_eq!(counter.take(), 0);
        assert_eq!(counter.take(), 1);
    }
}
