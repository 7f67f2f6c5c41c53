// SPDX-License-Identifier: MIT OR Apache-2.0
//! DMA_MAP, and what a device can reach through it.

use crate::common::*;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering::SeqCst;
use vfio_user_server::{DmaAccess, DmaError, Limits};

#[test]
fn the_device_reads_and_writes_the_file_from_the_offset_on() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x4000);
    file.write_all_at(b"from the guest", 0x2ff8).unwrap();
    client.request(DMA_MAP, &dma_map(0x1000, 0x10_0000, 0x3000), &[file.as_fd()]).ok();
    let mut handle = server.peer().memory.handle();
    let mut text = [0; 14];
    handle.read(0x10_1ff8, &mut text).unwrap();
    assert_eq!(&text, b"from the guest");
    handle.write(0x10_2ffd, b"end").unwrap();
    file.read_exact_at(&mut text[..3], 0x3ffd).unwrap();
    assert_eq!(&text[..3], b"end");
}

#[test]
fn an_offset_need_not_be_a_multiple_of_a_page_of_the_host() {
    // Such as QEMU's for memory above 640 KiB when pages are huge; and any other number is the client's choice.
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x4000);
    client.request(DMA_MAP, &dma_map(0x123, 0x1000, 0x1000), &[file.as_fd()]).ok();
    server.peer().memory.handle().write(0x1000, b"here").unwrap();
    let mut text = [0; 4];
    file.read_exact_at(&mut text, 0x123).unwrap();
    assert_eq!(&text, b"here");
}

#[test]
fn a_transfer_can_span_maps_but_a_slice_cannot() {
    let server = TestServer::start();
    let mut client = server.client();
    let files = [memory_file(0x1000), memory_file(0x1000)];
    client.request(DMA_MAP, &dma_map(0, 0x1000, 0x1000), &[files[1].as_fd()]).ok();
    client.request(DMA_MAP, &dma_map(0, 0, 0x1000), &[files[0].as_fd()]).ok();
    let mut handle = server.peer().memory.handle();
    handle.write(0xffe, b"both").unwrap();
    let mut back = [0; 4];
    handle.read(0xffe, &mut back).unwrap();
    assert_eq!(&back, b"both");
    assert_eq!(handle.with_slice(0xffe, 4, DmaAccess::Read, |_| ()), Err(DmaError::NotDirect));
    assert_eq!(handle.write(0x1ffe, b"over"), Err(DmaError::NotMapped { address: 0x2000 }));
    handle.read(0x1ffe, &mut back[..2]).unwrap();
    assert_eq!(back[..2], [0; 2], "nothing was written before the hole was found");
}

#[test]
fn a_slice_has_atomics_and_bounds() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x1000);
    client.request(DMA_MAP, &dma_map(0, 0, 0x1000), &[file.as_fd()]).ok();
    let mut handle = server.peer().memory.handle();
    let outcome = handle.with_slice(0x10, 0x20, DmaAccess::Write, |slice| {
        assert_eq!((slice.len(), slice.is_empty()), (0x20, false));
        slice.store_u32(4, 0x0403_0201, SeqCst)?;
        slice.store_u64(8, 9, SeqCst)?;
        assert_eq!(slice.load_u64(8, SeqCst), Ok(9));
        assert_eq!(slice.load_u32(2, SeqCst), Err(DmaError::Misaligned));
        assert_eq!(slice.load_u64(12, SeqCst), Err(DmaError::Misaligned));
        for beyond in [0x1d, 0x20, usize::MAX] {
            assert_eq!(slice.store_u32(beyond, 1, SeqCst), Err(DmaError::OutOfRange));
            assert_eq!(slice.write(beyond, &[0; 4]), Err(DmaError::OutOfRange));
            assert_eq!(slice.read(beyond, &mut [0; 4]), Err(DmaError::OutOfRange));
        }
        slice.write(0x20, &[])
    });
    assert_eq!(outcome, Ok(Ok(())));
    let mut seen = [0; 4];
    file.read_exact_at(&mut seen, 0x14).unwrap();
    assert_eq!(seen, [1, 2, 3, 4]);
    let outcome = handle.with_slice(0, 8, DmaAccess::Read, |slice| slice.store_u32(0, 1, SeqCst));
    assert_eq!(outcome, Ok(Err(DmaError::NotDirect)), "a slice for reading is not written");
}

#[test]
fn permissions_are_kept() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x1000);
    client.request(DMA_MAP, &dma_map_with(1, 0, 0x1000, 0x1000), &[file.as_fd()]).ok();
    client.request(DMA_MAP, &dma_map_with(2, 0, 0x2000, 0x1000), &[file.as_fd()]).ok();
    let mut handle = server.peer().memory.handle();
    handle.read(0x1000, &mut [0; 8]).unwrap();
    assert_eq!(handle.write(0x1000, &[0; 8]), Err(DmaError::Forbidden { address: 0x1000 }));
    handle.write(0x2000, &[0; 8]).unwrap();
    assert_eq!(handle.read(0x2000, &mut [0; 8]), Err(DmaError::Forbidden { address: 0x2000 }));
}

#[test]
fn a_file_for_reading_cannot_be_mapped_for_writing() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x1000);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let read_only = File::open(path).unwrap();
    let answer = client.request(DMA_MAP, &dma_map(0, 0, 0x1000), &[read_only.as_fd()]);
    assert_eq!(answer.errno(), 13, "EACCES");
    client.request(DMA_MAP, &dma_map_with(1, 0, 0, 0x1000), &[read_only.as_fd()]).ok();
}

#[test]
fn overlapping_maps_are_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x8000);
    client.request(DMA_MAP, &dma_map(0, 0x2000, 0x2000), &[file.as_fd()]).ok();
    for (address, size) in
        [(0x2000, 0x2000), (0x1000, 0x2000), (0x3000, 0x1000), (0x3000, 0x4000), (0, 0x8000)]
    {
        let answer = client.request(DMA_MAP, &dma_map(0, address, size), &[file.as_fd()]);
        assert_eq!(answer.errno(), EEXIST, "{size:#x} at {address:#x}");
    }
    client.request(DMA_MAP, &dma_map(0, 0x4000, 0x1000), &[file.as_fd()]).ok();
    client.request(DMA_MAP, &dma_map(0, 0x1000, 0x1000), &[file.as_fd()]).ok();
    assert_eq!(server.peer().memory.map_count(), 3);
    assert_eq!(server.counters.snapshot().dma_maps_failed, 5);
}

#[test]
fn senseless_ranges_are_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x2000);
    for (offset, address, size) in [
        (0, 0, 0),
        (0, 0, 1),
        (0, 0, 0x1001),
        (0, 1, 0x1000),
        (0, 0xfff, 0x1000),
        (0, u64::MAX - 0xfff, 0x2000),
        (0, 0x1000, u64::MAX - 0xfff),
        (u64::MAX, 0, 0x1000),
        (i64::MAX as u64, 0, 0x1000),
        (0x1001, 0, 0x1000), // Beyond the end of the file, as are those that follow.
        (0x2000, 0, 0x1000),
        (0, 0, 0x3000),
        (0, 0, 1 << 62),
    ] {
        let answer = client.request(DMA_MAP, &dma_map(offset, address, size), &[file.as_fd()]);
        assert_eq!(answer.errno(), EINVAL, "{size:#x} at {address:#x} from {offset:#x}");
    }
    for flags in [0, 4, 16, 3 | 32, u32::MAX] {
        let answer = client.request(DMA_MAP, &dma_map_with(flags, 0, 0, 0x1000), &[file.as_fd()]);
        assert_eq!(answer.errno(), EINVAL, "flags {flags:#x}");
    }
    assert_eq!(server.peer().memory.map_count(), 0);
}

#[test]
fn the_last_page_of_the_address_space_can_be_mapped() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x1000);
    client.request(DMA_MAP, &dma_map(0, u64::MAX - 0xfff, 0x1000), &[file.as_fd()]).ok();
    let mut handle = server.peer().memory.handle();
    handle.write(u64::MAX, &[1]).unwrap();
    assert_eq!(handle.write(u64::MAX, &[1, 2]), Err(DmaError::OutOfRange));
}

#[test]
fn the_number_of_maps_is_limited() {
    let server = TestServer::with_limits(Limits::default().with_max_dma_maps(3));
    let mut client = server.client();
    let file = memory_file(0x1000);
    for page in 0..3 {
        client.request(DMA_MAP, &dma_map(0, page * 0x1000, 0x1000), &[file.as_fd()]).ok();
    }
    assert_eq!(client.request(DMA_MAP, &dma_map(0, 0x3000, 0x1000), &[file.as_fd()]).errno(), ENOSPC);
    client.request(DMA_UNMAP, &dma_unmap(0, 0x1000, 0x1000), &[]).ok();
    client.request(DMA_MAP, &dma_map(0, 0x3000, 0x1000), &[file.as_fd()]).ok();
}

#[test]
fn the_size_of_all_maps_together_is_limited() {
    let server = TestServer::with_limits(Limits::default().with_max_dma_size(0x3000));
    let mut client = server.client();
    let file = memory_file(0x4000);
    client.request(DMA_MAP, &dma_map(0, 0, 0x1000), &[file.as_fd()]).ok();
    let more = dma_map(0, 0x10000, 0x2000);
    assert_eq!(client.request(DMA_MAP, &dma_map(0, 0x10000, 0x3000), &[file.as_fd()]).errno(), ENOSPC);
    client.request(DMA_MAP, &more, &[file.as_fd()]).ok();
    assert_eq!(client.request(DMA_MAP, &dma_map(0, 0x20000, 0x1000), &[file.as_fd()]).errno(), ENOSPC);
    // What only messages reach takes none of the server's addresses.
    client.request(DMA_MAP, &dma_map(0, 0x20000, 1 << 46), &[]).ok();
    client.request(DMA_UNMAP, &dma_unmap(0, 0x10000, 0x2000), &[]).ok();
    client.request(DMA_MAP, &more, &[file.as_fd()]).ok();
}

/// A file that is one large hole costs its owner nothing; the server's addresses are for all clients.
#[test]
fn one_client_cannot_take_all_of_the_servers_addresses() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(1 << 44);
    client.request(DMA_MAP, &dma_map(0, 0, 1 << 44), &[file.as_fd()]).ok();
    for number in 1..16 {
        let request = dma_map(0, number << 44, 1 << 44);
        assert_eq!(client.request(DMA_MAP, &request, &[file.as_fd()]).errno(), ENOSPC);
    }
    let mut handle = server.peer().memory.handle();
    handle.write((1 << 44) - 1, &[1]).unwrap();
}

#[test]
fn wrong_sizes_and_numbers_of_descriptors_are_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x1000);
    for size in [0, 8, 31, 33, 48] {
        let mut payload = dma_map(0, 0, 0x1000);
        payload.resize(size, 0);
        assert_eq!(client.request(DMA_MAP, &payload, &[file.as_fd()]).errno(), EINVAL, "{size} bytes");
    }
    let mut payload = dma_map(0, 0, 0x1000);
    payload[0] = 31;
    assert_eq!(client.request(DMA_MAP, &payload, &[file.as_fd()]).errno(), EINVAL, "argsz 31");
    for count in [2, 3, 16] {
        let fds = vec![file.as_fd(); count];
        assert_eq!(client.request(DMA_MAP, &dma_map(0, 0, 0x1000), &fds).errno(), EINVAL);
    }
    assert_eq!(
        client.request(DMA_MAP, &dma_map(0x1000, 0, 0x1000), &[]).errno(),
        EINVAL,
        "an offset into nothing"
    );
    assert_eq!(server.peer().memory.map_count(), 0);
    client.assert_in_step();
}

#[test]
fn a_descriptor_that_is_not_memory_is_not_mapped_but_asked_for() {
    let server = TestServer::start();
    let mut client = server.client();
    let pipe = std::os::unix::net::UnixStream::pair().unwrap().0;
    let directory = File::open("/").unwrap();
    for (page, fd) in (0..).zip([pipe.as_fd(), directory.as_fd()]) {
        client.request(DMA_MAP, &dma_map(0, page * 0x1000, 0x1000), &[fd]).ok();
        let outcome = server.peer().memory.handle().with_slice(page * 0x1000, 1, DmaAccess::Read, |_| ());
        assert_eq!(outcome, Err(DmaError::NotDirect));
    }
}

#[test]
fn a_file_that_is_cut_short_gives_an_error_and_kills_nobody() {
    let server = TestServer::start();
    let mut client = server.client();
    let (file, other) = (memory_file(0x4000), memory_file(0x1000));
    client.request(DMA_MAP, &dma_map(0, 0, 0x4000), &[file.as_fd()]).ok();
    client.request(DMA_MAP, &dma_map(0, 0x8000, 0x1000), &[other.as_fd()]).ok();
    let mut handle = server.peer().memory.handle();
    handle.write(0x3000, &[1; 16]).unwrap();
    file.set_len(0x1000).unwrap();
    assert_eq!(handle.read(0x3000, &mut [0; 16]), Err(DmaError::Gone { address: 0x3000 }));
    assert_eq!(handle.write(0x2000, &[1; 16]), Err(DmaError::Gone { address: 0x2000 }));
    let ran = handle.with_slice(0, 8, DmaAccess::Write, |slice| slice.store_u64(0, 1, SeqCst));
    assert_eq!(ran, Err(DmaError::Gone { address: 0 }), "the map is dead as a whole");
    handle.write(0x8000, &[1; 16]).unwrap();
    client.assert_in_step();

    // It lives again when it is mapped anew.
    client.request(DMA_UNMAP, &dma_unmap(0, 0, 0x4000), &[]).ok();
    client.request(DMA_MAP, &dma_map(0, 0, 0x1000), &[file.as_fd()]).ok();
    handle.write(0, &[7; 16]).unwrap();
    let mut seen = [0; 16];
    file.read_exact_at(&mut seen, 0).unwrap();
    assert_eq!(seen, [7; 16]);
}

#[test]
fn a_file_that_is_cut_short_in_the_middle_of_an_access_gives_an_error() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x2000);
    client.request(DMA_MAP, &dma_map(0, 0, 0x2000), &[file.as_fd()]).ok();
    let outcome = server.peer().memory.handle().with_slice(0, 0x2000, DmaAccess::Write, |slice| {
        slice.write(0x1000, b"old").unwrap();
        file.set_len(0x1000).unwrap();
        let mut seen = [1; 3];
        slice.read(0x1000, &mut seen).unwrap();
        assert_eq!(seen, [0; 3], "zeros stand in for what is gone");
        slice.write(0x1000, b"nowhere").unwrap();
    });
    assert_eq!(outcome, Err(DmaError::Gone { address: 0 }));
    file.set_len(0x2000).unwrap();
    let mut seen = [1; 7];
    file.read_exact_at(&mut seen, 0x1000).unwrap();
    assert_eq!(seen, [0; 7], "what is written after that reaches nobody");
}

/// The line of this process's status.
fn status_kilobytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A host that does not overcommit memory would refuse the whole of it.
#[test]
fn a_file_that_is_cut_short_costs_the_page_that_failed_and_not_the_mapping() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(64 << 30);
    client.request(DMA_MAP, &dma_map(0, 0, 64 << 30), &[file.as_fd()]).ok();
    let before = status_kilobytes("VmData:");
    file.set_len(0).unwrap();
    assert_eq!(
        server.peer().memory.handle().read(0x5000, &mut [0; 16]),
        Err(DmaError::Gone { address: 0x5000 })
    );
    assert!(status_kilobytes("VmData:") < before + (8 << 20), "other tests need less than 8 GiB meanwhile");
}

#[test]
fn guest_memory_is_not_in_core_files() {
    let server = TestServer::start();
    let mut client = server.client();
    let file =
        File::from(rustix::fs::memfd_create("not-to-be-dumped", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
    file.set_len(0x4000).unwrap();
    client.request(DMA_MAP, &dma_map(0, 0, 0x4000), &[file.as_fd()]).ok();
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let ours = maps.split("memfd:not-to-be-dumped").nth(1).expect("it is mapped");
    let flags = ours.lines().find(|line| line.starts_with("VmFlags:")).unwrap();
    assert!(flags.split_whitespace().any(|flag| flag == "dd"), "{flags}");
}

#[test]
fn a_client_may_say_that_the_descriptor_is_to_be_mapped() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x1000);
    client.request(DMA_MAP, &dma_map_with(3 | 4, 0, 0x1000, 0x1000), &[file.as_fd()]).ok();
    server.peer().memory.handle().with_slice(0x1000, 8, DmaAccess::Write, |_| ()).unwrap();
    // Without a descriptor, without an access, or with both ways to the file, it makes no sense.
    for (flags, fds) in [(3 | 4, &[][..]), (3 | 8, &[]), (4, &[file.as_fd()]), (3 | 4 | 8, &[file.as_fd()])] {
        let answer = client.request(DMA_MAP, &dma_map_with(flags, 0, 0x2000, 0x1000), fds);
        assert_eq!(answer.errno(), EINVAL, "flags {flags}");
    }
}

/// It would have to be read and written, on a thread that then waits for as long as the file's owner likes.
#[test]
fn memory_that_can_only_be_reached_by_file_access_is_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x1000);
    let answer = client.request(DMA_MAP, &dma_map_with(3 | 8, 0, 0x1000, 0x1000), &[file.as_fd()]);
    assert_eq!(answer.errno(), EOPNOTSUPP);
    assert_eq!(server.peer().memory.map_count(), 0);
}
