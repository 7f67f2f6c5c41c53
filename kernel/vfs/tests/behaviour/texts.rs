// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files whose content is made when it is read, and settings.

use std::sync::atomic::{AtomicU32, Ordering};

use exo_core::{
    errno::Errno,
    io_buf::{IoBuf, IoSource},
};
use exo_hal::{PAGE_SIZE, mm::frame};
use exo_vfs::{
    dentry::Dentry,
    inode::{Inode, InodeContent, kind},
    open::open_path,
    text::{self, Text},
};
use linux_raw_sys::general as abi;
use parking_lot::Mutex;

use crate::support::{
    MEMORY, MEMORY_SIZE, SHOWN, at, content_of_text, fill, kill_self, machine, make_with, open, read, shared,
    try_open, write,
};

fn make_text(path: &str, generate: impl Fn() -> Result<Text, Errno> + Send + Sync + 'static) {
    make_with(path, kind::REGULAR | 0o444, InodeContent::Text(Box::new(generate))).unwrap();
}

#[test]
fn a_text_is_made_when_it_is_read_from_its_start() {
    machine(|| {
        let count: &AtomicU32 = shared(AtomicU32::new(0));
        make_text("/count", || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            text::collect(|out| writeln!(out, "number {number}"))
        });
        let file = open("/count", abi::O_RDONLY);
        assert_eq!(count.load(Ordering::Relaxed), 0);
        assert_eq!(read(&file, 7).unwrap(), b"number ");
        assert_eq!(read(&file, 7).unwrap(), b"0\n", "it goes on in the same text");
        assert_eq!(read(&file, 7).unwrap(), b"");
        file.seek(0, abi::SEEK_SET).unwrap();
        assert_eq!(read(&file, 99).unwrap(), b"number 1\n");
        file.seek(7, abi::SEEK_SET).unwrap();
        assert_eq!(read(&file, 99).unwrap(), b"2\n", "elsewhere it is a new one");
    });
}

#[test]
fn a_text_that_cannot_be_made_has_its_error() {
    machine(|| {
        make_text("/f", || Err(Errno::ESRCH));
        assert_eq!(read(&open("/f", 0), 1), Err(Errno::ESRCH));
        make_text("/g", || text::collect(|_| Err(std::fmt::Error)));
        assert_eq!(read(&open("/g", 0), 1), Err(Errno::ENOMEM));
    });
}

#[test]
fn a_long_text_is_read_in_any_parts() {
    machine(|| {
        const LINES: usize = 60_000;
        fn write_all(out: &mut dyn std::fmt::Write) -> std::fmt::Result {
            (0..LINES).try_for_each(|line| writeln!(out, "{line:07}"))
        }
        make_with("/f", kind::REGULAR | 0o444, InodeContent::Text(text::written(write_all))).unwrap();
        let file = open("/f", abi::O_RDONLY);
        let mut whole = Vec::new();
        loop {
            let part = read(&file, 70_001).unwrap();
            if part.is_empty() {
                break;
            }
            whole.extend(part);
        }
        assert_eq!(whole.len(), 8 * LINES);
        assert_eq!((&whole[..8], &whole[8 * LINES - 8..]), (&b"0000000\n"[..], &b"0059999\n"[..]));
        let mut bytes = [0; 8];
        assert_eq!(file.read_at(8 * 30_000, &mut IoBuf::kernel(&mut bytes)), Ok(8));
        assert_eq!(&bytes, b"0030000\n");
        kill_self();
        file.set_position(0);
        assert!(file.read(&mut IoBuf::user(MEMORY, 100_000)).unwrap() < 100_000);
    });
}

#[test]
fn a_text_is_as_long_as_it_may_be() {
    machine(|| {
        let line = "x".repeat(1 << 20);
        let collect = |lines: usize| text::collect(|out| (0..lines).try_for_each(|_| out.write_str(&line)));
        assert!(collect(32).is_ok());
        assert_eq!(collect(33).err(), Some(Errno::ENOMEM));
        frame::set_free(3);
        assert_eq!(collect(1).err(), Some(Errno::ENOMEM));
    });
}

#[test]
fn a_bad_address_ends_a_read_with_what_was_done() {
    machine(|| {
        make_text("/f", || Ok(vec![b'x'; 40_000].into()));
        let file = open("/f", abi::O_RDONLY);
        assert_eq!(file.read(&mut IoBuf::user(MEMORY + MEMORY_SIZE, 5)), Err(Errno::EFAULT));
        assert_eq!(file.read(&mut IoBuf::user(MEMORY + MEMORY_SIZE - 20_000, 40_000)), Ok(20_000));
    });
}

#[test]
fn a_setting_takes_what_is_written_or_refuses_it() {
    machine(|| {
        let value: &Mutex<Vec<u8>> = shared(Mutex::new(b"old".to_vec()));
        let generate = Box::new(|| Ok(value.lock().clone().into()));
        let store = Box::new(|new: &[u8]| {
            if new.starts_with(b"bad") {
                return Err(Errno::EINVAL);
            }
            *value.lock() = new.to_vec();
            Ok(())
        });
        make_with("/f", kind::REGULAR | 0o644, InodeContent::Setting(generate, store)).unwrap();
        let file = open("/f", abi::O_RDWR);
        assert_eq!(read(&file, 9).unwrap(), b"old");
        assert_eq!(write(&file, b"new"), Ok(3));
        assert_eq!(write(&file, b"bad"), Err(Errno::EINVAL));
        assert_eq!(content_of_text("/f"), b"new");
        fill(b"long");
        assert_eq!(file.write(&mut IoSource::user(MEMORY, 3 * PAGE_SIZE)), Ok(PAGE_SIZE), "a page at most");
        assert_eq!(file.write(&mut IoSource::user(MEMORY + MEMORY_SIZE, 1)), Err(Errno::EFAULT));
    });
}

#[test]
fn a_text_is_not_written() {
    machine(|| {
        make_text("/f", || Ok(b"text".to_vec().into()));
        let file = open("/f", abi::O_WRONLY);
        assert_eq!(write(&file, b"x"), Err(Errno::EACCES));
        at("/").mount.set_flags(abi::MS_RDONLY).unwrap();
        assert_eq!(try_open("/f", abi::O_WRONLY).err(), Some(Errno::EROFS));
    });
}

#[test]
fn a_text_of_proc_has_no_end() {
    machine(|| {
        let content = InodeContent::Text(Box::new(|| Ok(b"text".to_vec().into())));
        let node = Inode::new(&SHOWN, kind::REGULAR | 0o444, content);
        let file = open_path(&at("/").with(Dentry::nameless(node.clone()).unwrap()), abi::O_RDONLY).unwrap();
        assert_eq!(file.seek(0, abi::SEEK_END), Err(Errno::EINVAL));
        assert_eq!(file.seek(2, abi::SEEK_SET), Ok(2));
        assert_eq!(read(&file, 9).unwrap(), b"xt");
        let content = InodeContent::Text(Box::new(|| Ok(b"text".to_vec().into())));
        make_with("/f", kind::REGULAR | 0o444, content).unwrap();
        assert_eq!(open("/f", 0).seek(0, abi::SEEK_END), Ok(0));
    });
}
