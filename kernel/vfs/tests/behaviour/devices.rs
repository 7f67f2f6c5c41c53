// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device files, and who opens them.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use exo_core::{
    errno::Errno,
    io_buf::{IoBuf, IoSource},
};
use exo_vfs::{
    FileTable,
    device::{self, Opener, major},
    events::Events,
    file::{File, Io, Stateless},
    inode::{InodeContent, kind},
    mount::{self, Mount},
};
use linux_raw_sys::general as abi;

use crate::support::{
    MEMORY, at, exists, machine, make_directory, make_with, names, open, read, try_open, write,
};

/// A device that counts how often it was opened, and reads as its number.
struct Counter(AtomicU32);

struct Number(u32);

impl File for Number {
    fn read(&self, _io: Io, to: &mut IoBuf<'_>) -> Result<usize, Errno> {
        to.put(&self.0.to_le_bytes())
    }

    fn stateless(&self) -> Option<Stateless> {
        Some(Stateless::Null)
    }
}

impl Opener for Counter {
    fn open(&self, flags: u32) -> Result<Box<dyn File>, Errno> {
        if flags & abi::O_ACCMODE == abi::O_RDWR {
            return Err(Errno::EBUSY);
        }
        Ok(Box::new(Number(self.0.fetch_add(1, Ordering::Relaxed))))
    }
}

fn mount_dev() {
    make_directory("/dev");
    let mount = Mount::new(device::root(), b"dev".to_vec(), 0);
    mount::attach(&mount, at("/dev")).unwrap();
}

#[test]
fn a_driver_announces_a_device_and_withdraws_it() {
    machine(|| {
        mount_dev();
        device::announce("counter", kind::CHARACTER, 0o600, Arc::new(Counter(5.into()))).unwrap();
        assert_eq!(names("/dev"), ["counter"]);
        assert_eq!(at("/dev/counter").metadata().mode, kind::CHARACTER | 0o600);
        let (one, two) = (open("/dev/counter", abi::O_RDONLY), open("/dev/counter", abi::O_RDONLY));
        assert_eq!((read(&one, 4).unwrap(), read(&two, 4).unwrap()), (vec![5, 0, 0, 0], vec![6, 0, 0, 0]));
        assert_eq!(try_open("/dev/counter", abi::O_RDWR).err(), Some(Errno::EBUSY));
        let place = at("/dev/counter");
        device::withdraw("counter");
        assert!(!exists("/dev/counter"));
        assert_eq!(exo_vfs::open::open_path(&place, abi::O_RDONLY).err(), Some(Errno::ENXIO));
        assert_eq!(read(&one, 1).unwrap(), [5], "what is open stays so");
        device::withdraw("counter");
    });
}

#[test]
fn devices_of_a_kind_get_the_lowest_free_number() {
    machine(|| {
        let announce = |name| device::announce(name, kind::BLOCK, 0o600, Arc::new(Counter(0.into())));
        announce("a").unwrap();
        announce("b").unwrap();
        device::announce("c", kind::CHARACTER, 0o600, Arc::new(Counter(0.into()))).unwrap();
        assert_eq!(device::block_number("a"), Some((major::LOCAL, 0)));
        assert_eq!((device::block_number("b"), device::block_number("c")), (Some((major::LOCAL, 1)), None));
        device::withdraw("a");
        announce("d").unwrap();
        assert_eq!(device::block_number("d"), Some((major::LOCAL, 0)));
        for name in ["b", "c", "d"] {
            device::withdraw(name);
        }
    });
}

#[test]
fn a_name_that_a_program_has_removed_is_withdrawn_all_the_same() {
    machine(|| {
        device::announce("a", kind::CHARACTER, 0o600, Arc::new(Counter(0.into()))).unwrap();
        device::root().unlink(b"a", |_| Ok(())).unwrap();
        device::withdraw("a");
        device::announce("a", kind::CHARACTER, 0o600, Arc::new(Counter(0.into()))).unwrap();
        device::withdraw("a");
    });
}

#[test]
fn a_major_number_is_opened_by_who_registered_it() {
    machine(|| {
        // No other test uses this number.
        device::register(230, |major, minor, flags| {
            if flags & abi::O_ACCMODE == abi::O_RDONLY {
                Ok(Box::new(Number(major * 1000 + minor)))
            } else {
                Err(Errno::EROFS)
            }
        });
        make_with("/device", kind::CHARACTER | 0o600, InodeContent::Device(230, 7)).unwrap();
        make_with("/block", kind::BLOCK | 0o600, InodeContent::Device(230, 7)).unwrap();
        assert_eq!(read(&open("/device", abi::O_RDONLY), 4).unwrap(), 230_007_u32.to_le_bytes());
        assert_eq!(try_open("/device", abi::O_WRONLY).err(), Some(Errno::EROFS));
        assert_eq!(try_open("/block", abi::O_RDONLY).err(), Some(Errno::ENXIO));
        // There are none from the local ones on.
        device::register(1000, |_, _, _| Err(Errno::EIO));
        assert_eq!(device::open(1000, 0, kind::CHARACTER, 0).err(), Some(Errno::ENXIO));
    });
}

#[test]
fn a_device_without_state_is_known_by_its_descriptor() {
    machine(|| {
        mount_dev();
        device::announce("null", kind::CHARACTER, 0o600, Arc::new(Counter(0.into()))).unwrap();
        let table = FileTable::new();
        table.add(open("/dev/null", abi::O_RDONLY), false, 0).unwrap();
        table.add(open("/dev/null", abi::O_WRONLY), false, 0).unwrap();
        assert_eq!((table.stateless(0, false), table.stateless(0, true)), (Some(Stateless::Null), None));
        assert_eq!((table.stateless(1, false), table.stateless(1, true)), (None, Some(Stateless::Null)));
        let copy = table.duplicate(usize::MAX).unwrap();
        table.close(0).unwrap();
        assert_eq!((table.stateless(0, false), copy.stateless(0, false)), (None, Some(Stateless::Null)));
        drop((table, copy));
        device::withdraw("null");
    });
}

/// A file that can do nothing of its own.
struct Nothing;

impl File for Nothing {}

#[test]
fn what_a_file_does_not_offer_has_its_error() {
    let io = Io { offset: 0, no_wait: false, direct: false };
    let file: &dyn File = &Nothing;
    assert_eq!(file.read(io, &mut IoBuf::user(0, 1)), Err(Errno::EINVAL));
    assert_eq!(file.write(io, &mut IoSource::user(0, 1)), Err(Errno::EINVAL));
    assert_eq!(file.append(io, &mut IoSource::user(0, 1)), Err(Errno::EINVAL));
    assert_eq!((file.sync(), file.ioctl(0, 0)), (Err(Errno::EINVAL), Err(Errno::ENOTTY)));
    assert_eq!((file.pages().err(), file.events()), (Some(Errno::ENODEV), Events::IN | Events::OUT));
    assert!(file.queue().is_none() && file.stateless().is_none() && file.sparse_pages().is_none());
    assert!(file.has_end() && !file.has_offset() && !file.writes_anywhere() && !file.holds_files());
    assert!(file.seek_result().is_none() && file.seek(0, 0).is_none());
    assert!(!file.takes_parts(false) && !file.takes_parts(true) && file.splices(false) && file.splices(true));
    assert!(file.downcast::<Nothing>().is_some() && file.downcast::<Number>().is_none());
    assert_eq!(file.kernel_memory(), 0);
}

#[test]
fn a_device_may_refuse_to_be_written() {
    machine(|| {
        mount_dev();
        device::announce("d", kind::CHARACTER, 0o600, Arc::new(Counter(0.into()))).unwrap();
        let file = open("/dev/d", abi::O_WRONLY);
        assert_eq!(write(&file, b"x"), Err(Errno::EINVAL));
        assert_eq!(file.read(&mut IoBuf::user(MEMORY, 1)), Err(Errno::EBADF));
        drop(file);
        device::withdraw("d");
    });
}
