// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads and writes, with registered files and buffers and without.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsRawFd, RawFd};

use io_uring::types::{Fd, Fixed, FsyncFlags};
use io_uring::{IoUring, opcode, squeue};

use super::{submit, submit_sorted};
use crate::Outcome;

const PATH: &str = "/tmp/uring";

fn file() -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).open(PATH)
}

fn read(fd: RawFd, to: &mut [u8], offset: u64) -> squeue::Entry {
    opcode::Read::new(Fd(fd), to.as_mut_ptr(), to.len() as u32).offset(offset).build()
}

fn write(fd: RawFd, from: &[u8], offset: u64) -> squeue::Entry {
    opcode::Write::new(Fd(fd), from.as_ptr(), from.len() as u32).offset(offset).build()
}

pub(super) fn run() -> Outcome {
    files()?;
    vectors()?;
    registered()?;
    mistakes()?;
    Ok(fs::remove_file(PATH)?)
}

fn files() -> Outcome {
    let (mut ring, file) = (IoUring::new(8)?, file()?);
    let fd = file.as_raw_fd();
    println!("write: {:?}", submit(&mut ring, &[write(fd, b"hello, ", 0), write(fd, b"world", 7)], 2)?);
    let mut buffer = [0; 32];
    println!("read: {:?}", submit(&mut ring, &[read(fd, &mut buffer, 7)], 1)?);
    println!("{:?}", buffer.escape_ascii().to_string());
    // The file's own position, which moves.
    for _ in 0..3 {
        let mut part = [0; 5];
        println!("next: {:?} {part:?}", submit(&mut ring, &[read(fd, &mut part, u64::MAX)], 1)?);
    }
    println!("beyond the end: {:?}", submit(&mut ring, &[read(fd, &mut buffer, 1000)], 1)?);
    let sync = [
        opcode::Fsync::new(Fd(fd)).build(),
        opcode::Fsync::new(Fd(fd)).flags(FsyncFlags::DATASYNC).build().user_data(1),
    ];
    println!("sync: {:?}", submit_sorted(&mut ring, &sync, 2)?);
    println!("{:?}", fs::read_to_string(PATH)?);
    let (zero, null) = (File::open("/dev/zero")?, OpenOptions::new().write(true).open("/dev/null")?);
    let entries = [
        read(zero.as_raw_fd(), &mut buffer, 0).user_data(1),
        write(null.as_raw_fd(), &[1; 9], 0).user_data(2),
    ];
    println!("devices: {:?} {}", submit_sorted(&mut ring, &entries, 2)?, buffer == [0; 32]);
    Ok(())
}

fn vectors() -> Outcome {
    let (mut ring, file) = (IoUring::new(8)?, file()?);
    let mut parts = [*b"ab", *b"cd", *b"ef"];
    let vector = |parts: &mut [[u8; 2]]| -> Vec<libc::iovec> {
        let part =
            |part: &mut [u8; 2]| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() };
        parts.iter_mut().map(part).collect()
    };
    let list = vector(&mut parts);
    let out = opcode::Writev::new(Fd(file.as_raw_fd()), list.as_ptr(), 3).offset(2).build();
    println!("writev: {:?}", submit(&mut ring, &[out], 1)?);
    let mut back = [[0; 2]; 5];
    let list = vector(&mut back);
    let entry = opcode::Readv::new(Fd(file.as_raw_fd()), list.as_ptr(), 5).offset(0).build();
    println!(
        "readv: {:?} {:?}",
        submit(&mut ring, &[entry], 1)?,
        back.as_flattened().escape_ascii().to_string()
    );
    let entry = opcode::Readv::new(Fd(file.as_raw_fd()), list.as_ptr(), 1025).offset(0).build();
    println!("too many: {:?}", submit(&mut ring, &[entry], 1)?);
    Ok(())
}

fn registered() -> Outcome {
    let (mut ring, file) = (IoUring::new(8)?, file()?);
    let mut memory = vec![7_u8; 8192];
    let base = memory.as_mut_ptr();
    let buffers = [
        libc::iovec { iov_base: base.cast(), iov_len: 5000 },
        libc::iovec { iov_base: base.wrapping_add(5000).cast(), iov_len: 3192 },
    ];
    // SAFETY: the memory outlives the ring's use of it: the buffers are taken back below.
    unsafe { ring.submitter().register_buffers(&buffers)? };
    // SAFETY: refused.
    let again = unsafe { ring.submitter().register_buffers(&buffers) };
    println!("again: {:?}", again.map_err(|e| e.raw_os_error()));
    ring.submitter().register_files(&[-1, file.as_raw_fd(), -1])?;
    let out = |length: u32, index: u16| {
        opcode::WriteFixed::new(Fixed(1), base.wrapping_add(100), length, index).offset(10)
    };
    println!("write: {:?}", submit(&mut ring, &[out(4900, 0).build()], 1)?);
    println!("beyond: {:?}", submit(&mut ring, &[out(4901, 0).build()], 1)?);
    println!("another's: {:?}", submit(&mut ring, &[out(10, 1).build()], 1)?);
    println!("none: {:?}", submit(&mut ring, &[out(10, 2).build()], 1)?);
    let back = opcode::ReadFixed::new(Fixed(1), base.wrapping_add(6000), 100, 1).offset(0).build();
    println!("read: {:?}", submit(&mut ring, &[back], 1)?);
    println!("{:?}", memory.get(5995..6015));
    for index in [0, 3, u32::MAX] {
        let entry = opcode::Fsync::new(Fixed(index)).build();
        println!("file {index}: {:?}", submit(&mut ring, &[entry], 1)?);
    }
    println!("update: {:?}", ring.submitter().register_files_update(2, &[file.as_raw_fd()])?);
    println!("file 2: {:?}", submit(&mut ring, &[opcode::Fsync::new(Fixed(2)).build()], 1)?);
    println!(
        "update beyond: {:?}",
        ring.submitter().register_files_update(2, &[-1, -1]).map_err(|e| e.raw_os_error())
    );
    println!(
        "bad file: {:?}",
        ring.submitter().register_files_update(0, &[9999]).map_err(|e| e.raw_os_error())
    );
    ring.submitter().unregister_files()?;
    println!("files again: {:?}", ring.submitter().unregister_files().map_err(|e| e.raw_os_error()));
    ring.submitter().unregister_buffers()?;
    println!("buffers again: {:?}", ring.submitter().unregister_buffers().map_err(|e| e.raw_os_error()));
    Ok(())
}

fn mistakes() -> Outcome {
    let (mut ring, file) = (IoUring::new(8)?, file()?);
    let fd = file.as_raw_fd();
    let mut buffer = [0; 8];
    let folder = File::open("/tmp")?;
    let write_only = OpenOptions::new().write(true).open(PATH)?;
    let nowhere = std::ptr::without_provenance_mut(8);
    file.set_len(100)?;
    for (name, entry) in [
        ("no file", read(9999, &mut buffer, 0)),
        ("negative file", read(-1, &mut buffer, 0)),
        ("a folder", read(folder.as_raw_fd(), &mut buffer, 0)),
        ("write only", read(write_only.as_raw_fd(), &mut buffer, 0)),
        ("bad address", opcode::Read::new(Fd(fd), nowhere, 8).build()),
        ("bad vector", opcode::Readv::new(Fd(fd), nowhere.cast(), 1).build()),
        ("negative offset", read(fd, &mut buffer, u64::MAX - 1)),
        ("unknown flags", opcode::Read::new(Fd(fd), buffer.as_mut_ptr(), 8).rw_flags(1 << 20).build()),
        ("nothing", opcode::Read::new(Fd(fd), buffer.as_mut_ptr(), 0).build()),
    ] {
        println!("{name}: {:?}", submit(&mut ring, &[entry], 1)?);
    }
    Ok(())
}
