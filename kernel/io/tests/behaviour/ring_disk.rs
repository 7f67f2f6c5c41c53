// SPDX-License-Identifier: MIT OR Apache-2.0
//! io_uring: requests to a disk.

use std::sync::Arc;

use exo_drivers::block::{GenericBlockDevice, Requests};
use exo_fs::disk;
use exo_test_support::{call, programs::*};
use linux_raw_sys::io_uring::*;

use crate::ring::*;

const SECTOR: usize = 512;
const SIZE: usize = 2048 * SECTOR;

/// Runs `test` with the path of a disk, which goes afterwards.
fn with_disk(test: impl FnOnce(String, Arc<GenericBlockDevice>) + Send + 'static) {
    machine(|| {
        let before = names("/dev");
        let memory = Arc::new(GenericBlockDevice::new("ram0", 2048, SECTOR as u32, 1).unwrap());
        let device: Arc<dyn Requests> = memory.clone();
        disk::add(&device).unwrap();
        disk::wait_for_partitions();
        let name = names("/dev").into_iter().find(|name| !before.contains(name)).unwrap();
        test(format!("/dev/{name}"), memory);
        disk::remove(&device);
    });
}

fn at(entry: Entry, offset: usize) -> Entry {
    Entry { offset: offset as u64, ..entry }
}

#[test]
fn whole_sectors_and_pieces_are_where_they_were_written() {
    with_disk(|path, _| {
        let ring = setup(8);
        let fd = open(&path, abi::O_RDWR).unwrap();
        let bytes: Vec<u8> = (0..20_000_u32).map(|i| (i % 253) as u8).collect();
        for (offset, count) in [(0, 512), (8192, 16_384), (5, 20), (1000, 5000), (SIZE - 512, 512)] {
            let written = at(Entry::write(fd, &bytes[..count], 1), offset);
            assert_eq!(ring.run(&[written]), [(1, count as i32)], "{count} at {offset}");
            let to = zeros(count);
            assert_eq!(ring.run(&[at(Entry::read(fd, to, count, 2), offset)]), [(2, count as i32)]);
            assert_eq!(get_bytes(to, count), bytes[..count], "{count} at {offset}");
        }
        let sync = Entry { fd: fd as i32, ..Entry::new(io_uring_op::IORING_OP_FSYNC, 3) };
        assert_eq!(ring.run(&[sync]), [(3, 0)]);
    });
}

#[test]
fn many_may_be_on_their_way() {
    with_disk(|path, _| {
        let ring = setup(32);
        let fd = open(&path, abi::O_RDWR).unwrap();
        let memory = map(32 * 4096).unwrap();
        for round in 0..4_u8 {
            let entries: Vec<Entry> = (0..32)
                .map(|i| {
                    memory::write(memory + 4096 * i, &[round * 32 + i as u8; 4096]);
                    let entry = Entry::read(fd, memory + 4096 * i, 4096, i as u64);
                    at(Entry { code: code(io_uring_op::IORING_OP_WRITE), ..entry }, 4096 * i)
                })
                .collect();
            let mut ended = ring.run(&entries);
            ended.sort_unstable();
            assert_eq!(ended, (0..32).map(|i| (i, 4096)).collect::<Vec<_>>());
        }
        for i in 0..32 {
            let to = zeros(1);
            assert_eq!(call!(abi::__NR_pread64, fd, to, 1, 4096 * i), Ok(1));
            assert_eq!(get::<u8>(to), 96 + i as u8);
        }
    });
}

#[test]
fn registered_buffers_reach_the_disk() {
    with_disk(|path, _| {
        let ring = setup(8);
        let fd = open(&path, abi::O_RDWR).unwrap();
        let buffer = map(16_384).unwrap();
        memory::write(buffer, &[9; 16_384]);
        ring.register(io_uring_register_op::IORING_REGISTER_BUFFERS, put(&[buffer, 16_384]), 1).unwrap();
        let fixed =
            |operation| Entry { code: code(operation), offset: 4096, ..Entry::read(fd, buffer, 16_384, 1) };
        assert_eq!(ring.run(&[fixed(io_uring_op::IORING_OP_WRITE_FIXED)]), [(1, 16_384)]);
        memory::write(buffer, &[0; 16_384]);
        assert_eq!(ring.run(&[fixed(io_uring_op::IORING_OP_READ_FIXED)]), [(1, 16_384)]);
        assert_eq!(get_bytes(buffer, 16_384), [9; 16_384]);
    });
}

#[test]
fn the_end_of_the_disk_is_an_end() {
    with_disk(|path, _| {
        let ring = setup(8);
        let fd = open(&path, abi::O_RDWR).unwrap();
        assert_eq!(ring.run(&[at(Entry::read(fd, zeros(1024), 1024, 1), SIZE - 512)]), [(1, 512)]);
        assert_eq!(ring.run(&[at(Entry::read(fd, zeros(512), 512, 2), SIZE)]), [(2, 0)]);
        assert_eq!(ring.run(&[at(Entry::write(fd, &[1; 512], 3), SIZE)]), [(3, failed(Errno::ENOSPC))]);
    });
}

#[test]
fn links_wait_for_the_disk() {
    with_disk(|path, _| {
        let ring = setup(8);
        let fd = open(&path, abi::O_RDWR).unwrap();
        let to = zeros(512);
        let chain = [at(Entry::write(fd, &[5; 512], 1), 0).with(LINK), at(Entry::read(fd, to, 512, 2), 0)];
        assert_eq!(ring.run(&chain), [(1, 512), (2, 512)]);
        assert_eq!(get_bytes(to, 512), [5; 512]);
    });
}

#[test]
fn a_disk_that_goes_fails_what_is_asked_of_it() {
    with_disk(|path, memory| {
        let ring = setup(8);
        let fd = open(&path, abi::O_RDWR).unwrap();
        memory.remove();
        let ended = ring.run(&[at(Entry::read(fd, zeros(512), 512, 1), 0)]);
        assert!(ended[0].1 < 0, "{ended:?}");
    });
}
