// SPDX-License-Identifier: MIT OR Apache-2.0
//! DMA_UNMAP, also while the device is at it.

use crate::common::*;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use vfio_user_server::{DmaAccess, DmaError};

const ALL: u32 = 2;

#[test]
fn the_answer_repeats_the_question_and_the_memory_is_gone() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x2000);
    client.request(DMA_MAP, &dma_map(0, 0x1000, 0x2000), &[file.as_fd()]).ok();
    let mut handle = server.peer().memory.handle();
    handle.write(0x1000, &[1]).unwrap();
    let answer = client.request(DMA_UNMAP, &dma_unmap(0, 0x1000, 0x2000), &[]).ok();
    assert_eq!(answer, dma_unmap(0, 0x1000, 0x2000));
    assert_eq!(handle.write(0x1000, &[1]), Err(DmaError::NotMapped { address: 0x1000 }));
}

#[test]
fn only_what_was_mapped_can_be_unmapped() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x4000);
    client.request(DMA_MAP, &dma_map(0, 0x1000, 0x2000), &[file.as_fd()]).ok();
    client.request(DMA_MAP, &dma_map(0, 0x3000, 0x1000), &[file.as_fd()]).ok();
    for (address, size) in
        [(0x1000, 0x1000), (0x2000, 0x1000), (0x1000, 0x3000), (0, 0x4000), (0x8000, 0x1000)]
    {
        let answer = client.request(DMA_UNMAP, &dma_unmap(0, address, size), &[]);
        assert_eq!(answer.errno(), ENOENT, "{size:#x} at {address:#x}");
    }
    assert_eq!(server.peer().memory.map_count(), 2);
    client.request(DMA_UNMAP, &dma_unmap(0, 0x1000, 0x2000), &[]).ok();
    assert_eq!(client.request(DMA_UNMAP, &dma_unmap(0, 0x1000, 0x2000), &[]).errno(), ENOENT);
}

#[test]
fn everything_can_be_unmapped_at_once() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x1000);
    for page in 0..10 {
        client.request(DMA_MAP, &dma_map(0, page * 0x1000, 0x1000), &[file.as_fd()]).ok();
    }
    assert_eq!(client.request(DMA_UNMAP, &dma_unmap(ALL, 0, 0), &[]).ok(), dma_unmap(ALL, 0, 0));
    assert_eq!(server.peer().memory.map_count(), 0);
    client.request(DMA_UNMAP, &dma_unmap(ALL, 0, 0), &[]).ok();
    client.request(DMA_MAP, &dma_map(0, 0, 0x1000), &[file.as_fd()]).ok();
}

#[test]
fn senseless_requests_are_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x1000);
    client.request(DMA_MAP, &dma_map(0, 0, 0x1000), &[file.as_fd()]).ok();
    for (flags, address, size) in [
        (0, 0, 0),
        (0, 0, 1),
        (0, 1, 0x1000),
        (0, 0x2000, u64::MAX - 0xfff),
        (ALL, 0, 0x1000),
        (ALL, 0x1000, 0),
        (1, 0, 0x1000), // The dirty bitmap.
        (3, 0, 0),
        (4, 0, 0x1000),
        (1 << 31, 0, 0x1000),
    ] {
        let answer = client.request(DMA_UNMAP, &dma_unmap(flags, address, size), &[]);
        assert_eq!(answer.errno(), EINVAL, "flags {flags:#x}, {size:#x} at {address:#x}");
    }
    for size in [0, 8, 23, 25, 32] {
        let mut payload = dma_unmap(0, 0, 0x1000);
        payload.resize(size, 0);
        assert_eq!(client.request(DMA_UNMAP, &payload, &[]).errno(), EINVAL, "{size} bytes");
    }
    let mut payload = dma_unmap(0, 0, 0x1000);
    payload[0] = 23;
    assert_eq!(client.request(DMA_UNMAP, &payload, &[]).errno(), EINVAL, "argsz 23");
    assert_eq!(client.request(DMA_UNMAP, &dma_unmap(0, 0, 0x1000), &[file.as_fd()]).errno(), EINVAL);
    assert_eq!(server.peer().memory.map_count(), 1);
}

#[test]
fn an_unmap_waits_for_the_access_under_way_and_for_no_other() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x1000);
    client.request(DMA_MAP, &dma_map(0, 0, 0x1000), &[file.as_fd()]).ok();
    let memory = server.peer().memory;
    let (inside, leave) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let accessing = scope.spawn(|| {
            let mut handle = memory.handle();
            let outcome = handle.with_slice(0, 8, DmaAccess::Write, |slice| {
                inside.store(true, SeqCst);
                while !leave.load(SeqCst) {
                    slice.store_u64(0, 1, SeqCst).unwrap();
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            assert_eq!(outcome, Ok(()), "the memory stays while it is in use");
            handle.write(0, &[1])
        });
        wait_for("the access", || inside.load(SeqCst));
        client.send(DMA_UNMAP, 0, &dma_unmap(0, 0, 0x1000), &[]);
        client.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(
            std::io::Read::read(&mut &client.socket, &mut [0]).is_err(),
            "no answer while it is under way"
        );
        client.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        leave.store(true, SeqCst);
        client.receive().ok();
        assert_eq!(accessing.join().unwrap(), Err(DmaError::NotMapped { address: 0 }));
    });
}

#[test]
fn maps_come_and_go_under_working_threads() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x1_0000);
    let memory = server.peer().memory;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for _ in 0..3 {
            let mut handle = memory.handle();
            workers.push(scope.spawn(|| {
                let (mut moved, mut buffer) = (0_u64, [0; 0x3000]);
                while !stop.load(SeqCst) {
                    for outcome in [handle.write(0x800, &[5; 0x3000]), handle.read(0x800, &mut buffer)] {
                        match outcome {
                            Ok(()) => moved += 1,
                            Err(DmaError::NotMapped { .. }) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                    // A slice of a second map, which comes and goes alone.
                    let _ =
                        handle.with_slice(0x10_0000, 64, DmaAccess::Write, |slice| slice.write(0, &[1; 64]));
                }
                drop(handle);
                moved
            }));
        }
        for round in 0..60 {
            client.request(DMA_MAP, &dma_map(0, 0, 0x1_0000), &[file.as_fd()]).ok();
            client.request(DMA_MAP, &dma_map(0, 0x10_0000, 0x1000), &[file.as_fd()]).ok();
            client.request(DMA_UNMAP, &dma_unmap(0, 0x10_0000, 0x1000), &[]).ok();
            if round % 2 == 0 {
                client.request(DMA_UNMAP, &dma_unmap(0, 0, 0x1_0000), &[]).ok();
            } else {
                client.request(DMA_UNMAP, &dma_unmap(ALL, 0, 0), &[]).ok();
            }
        }
        client.request(DMA_MAP, &dma_map(0, 0, 0x1_0000), &[file.as_fd()]).ok();
        std::thread::sleep(Duration::from_millis(20));
        stop.store(true, SeqCst);
        assert!(workers.into_iter().map(|worker| worker.join().unwrap()).sum::<u64>() > 0);
    });
}

#[test]
fn nothing_is_reachable_after_the_client_has_left() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x1000);
    client.request(DMA_MAP, &dma_map(0, 0, 0x1000), &[file.as_fd()]).ok();
    let memory = server.peer().memory;
    let mut handle = memory.handle();
    handle.write(0, &[1]).unwrap();
    drop(client);
    server.calls_until(&Call::Left);
    wait_for("the maps to go", || memory.map_count() == 0);
    assert!(handle.write(0, &[1]).is_err());
    // The next client's memory is not the last one's handle's.
    let mut client = server.client();
    client.request(DMA_MAP, &dma_map(0, 0, 0x1000), &[file.as_fd()]).ok();
    assert!(handle.write(0, &[1]).is_err());
}
