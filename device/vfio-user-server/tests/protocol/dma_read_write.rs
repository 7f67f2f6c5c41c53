// SPDX-License-Identifier: MIT OR Apache-2.0
//! DMA_READ and DMA_WRITE: memory without a descriptor, which the server asks the client for.

use crate::common::*;
use std::time::{Duration, Instant};
use vfio_user_server::{DmaAccess, DmaError, Errno, Limits};

/// A client that shares pages 0 to 3 without a descriptor, for messages of at most 4096 bytes of data.
fn remote_client(server: &TestServer) -> Client {
    let mut client = server.connect();
    client.negotiate(r#"{"capabilities":{"max_data_xfer_size":4096}}"#);
    client.request(DMA_MAP, &dma_map(0, 0, 0x4000), &[]).ok();
    client
}

/// What follows the header of a DMA message: address and count, then data.
fn dma(address: u64, count: u64, data: &[u8]) -> Vec<u8> {
    [&address.to_ne_bytes()[..], &count.to_ne_bytes(), data].concat()
}

/// Answers a message of the server.
fn answer(client: &mut Client, question: &Message, flags: u32, error: u32, payload: &[u8]) {
    let mut bytes = header(question.id, question.command, 16 + payload.len() as u32, flags);
    bytes[12..].copy_from_slice(&error.to_ne_bytes());
    bytes.extend(payload);
    client.send_bytes(&bytes, &[]);
}

#[test]
fn a_read_is_cut_to_what_the_client_takes() {
    let server = TestServer::start();
    let mut client = remote_client(&server);
    let mut handle = server.peer().memory.handle();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut data = vec![0; 5000];
            handle.read(0x100, &mut data).map(|()| data)
        });
        for (address, count, byte) in [(0x100, 4096, 1), (0x1100, 904, 2)] {
            let question = client.receive();
            assert_eq!((question.command, question.flags), (DMA_READ, 0));
            assert_eq!(question.payload, dma(address, count, &[]));
            let data = dma(address, count, &vec![byte; count as usize]);
            answer(&mut client, &question, REPLY, 0, &data);
        }
        let data = reading.join().unwrap().unwrap();
        assert!(data[..4096].iter().all(|&byte| byte == 1) && data[4096..].iter().all(|&byte| byte == 2));
    });
}

#[test]
fn a_write_carries_the_data() {
    let server = TestServer::start();
    let mut client = remote_client(&server);
    let mut handle = server.peer().memory.handle();
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || handle.write(0x3ffc, &[1, 2, 3, 4]));
        let question = client.receive();
        assert_eq!((question.command, question.flags), (DMA_WRITE, 0));
        assert_eq!(question.payload, dma(0x3ffc, 4, &[1, 2, 3, 4]));
        answer(&mut client, &question, REPLY, 0, &dma(0x3ffc, 4, &[]));
        writing.join().unwrap().unwrap();
    });
}

#[test]
fn the_client_is_served_while_a_thread_waits_for_it() {
    let server = TestServer::start();
    let mut client = remote_client(&server);
    let mut handle = server.peer().memory.handle();
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || handle.write(0, &[1]));
        let question = client.receive();
        client.assert_in_step();
        client.request(DMA_UNMAP, &dma_unmap(0, 0, 0x4000), &[]).ok();
        client.request(DMA_MAP, &dma_map(0, 0x10_0000, 0x1000), &[]).ok();
        answer(&mut client, &question, REPLY, 0, &dma(0, 1, &[]));
        writing.join().unwrap().unwrap();
    });
}

#[test]
fn answers_find_their_questions_in_any_order() {
    let server = TestServer::start();
    let mut client = remote_client(&server);
    let memory = server.peer().memory;
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for page in 0..4_u64 {
            let mut handle = memory.handle();
            threads.push(scope.spawn(move || {
                let mut byte = [0];
                handle.read(page * 0x1000, &mut byte).map(|()| u64::from(byte[0]) == page)
            }));
        }
        let mut questions: Vec<_> = (0..4).map(|_| client.receive()).collect();
        questions.reverse();
        for question in questions {
            let address = u64::from_ne_bytes(question.payload[..8].try_into().unwrap());
            answer(&mut client, &question, REPLY, 0, &dma(address, 1, &[(address / 0x1000) as u8]));
        }
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == Ok(true)));
    });
}

#[test]
fn refusals_and_nonsense_become_errors() {
    let server = TestServer::start();
    let mut client = remote_client(&server);
    let memory = server.peer().memory;
    let cases: [(u32, u32, Vec<u8>, Errno); 8] = [
        (REPLY | ERROR, 14, vec![], Errno::FAULT),
        (REPLY | ERROR, 0, vec![], Errno::IO),
        (REPLY | ERROR, u32::MAX, vec![], Errno::IO),
        (REPLY, 0, vec![], Errno::PROTO),
        (REPLY, 0, dma(0, 4, &[1, 2, 3]), Errno::PROTO),
        (REPLY, 0, dma(0, 4, &[1, 2, 3, 4, 5]), Errno::PROTO),
        (REPLY, 0, dma(8, 4, &[1, 2, 3, 4]), Errno::PROTO),
        (REPLY, 0, dma(0, u64::MAX, &[1, 2, 3, 4]), Errno::PROTO),
    ];
    for (flags, error, payload, expected) in cases {
        let mut handle = memory.handle();
        std::thread::scope(|scope| {
            let reading = scope.spawn(move || handle.read(0, &mut [0; 4]));
            let question = client.receive();
            answer(&mut client, &question, flags, error, &payload);
            assert_eq!(reading.join().unwrap(), Err(DmaError::Refused(expected)));
        });
    }
    client.assert_in_step();
}

#[test]
fn an_answer_to_another_command_is_none() {
    let server = TestServer::start();
    let mut client = remote_client(&server);
    let mut handle = server.peer().memory.handle();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || handle.read(0, &mut [0; 4]));
        let question = client.receive();
        let wrong = Message { command: DMA_WRITE, payload: vec![], ..question };
        answer(&mut client, &wrong, REPLY, 0, &dma(0, 4, &[0; 4]));
        let wrong = Message { command: DMA_READ, id: wrong.id.wrapping_add(1), ..wrong };
        answer(&mut client, &wrong, REPLY, 0, &dma(0, 4, &[0; 4]));
        let right = Message { id: wrong.id.wrapping_sub(1), ..wrong };
        answer(&mut client, &right, REPLY, 0, &dma(0, 4, &[0; 4]));
        reading.join().unwrap().unwrap();
        answer(&mut client, &right, REPLY, 0, &dma(0, 4, &[0; 4]));
    });
    client.assert_in_step();
    assert_eq!(server.counters.snapshot().stray_replies, 3);
}

#[test]
fn a_thread_does_not_wait_for_ever() {
    let reply = Duration::from_millis(100);
    let server = TestServer::with_limits(Limits::default().with_reply(reply));
    let mut client = remote_client(&server);
    let start = Instant::now();
    assert_eq!(server.peer().memory.handle().read(0, &mut [0; 4]), Err(DmaError::Timeout));
    assert!(start.elapsed() < PATIENCE / 2);
    assert_eq!(client.receive().command, DMA_READ);
    client.assert_in_step();
}

#[test]
fn a_thread_that_waits_learns_that_the_client_has_left() {
    let server = TestServer::start();
    let mut client = remote_client(&server);
    let mut handle = server.peer().memory.handle();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || handle.read(0, &mut [0; 4]));
        client.receive();
        let start = Instant::now();
        drop(client);
        assert_eq!(reading.join().unwrap(), Err(DmaError::Disconnected));
        assert!(start.elapsed() < Duration::from_secs(2));
    });
}

#[test]
fn such_memory_has_no_slices_and_keeps_its_permissions() {
    let server = TestServer::start();
    let mut client = server.client();
    client.request(DMA_MAP, &dma_map_with(1, 0, 0, 0x1000), &[]).ok();
    let mut handle = server.peer().memory.handle();
    assert_eq!(handle.with_slice(0, 4, DmaAccess::Read, |_| ()), Err(DmaError::NotDirect));
    assert_eq!(handle.write(0, &[1]), Err(DmaError::Forbidden { address: 0 }));
    assert_eq!(handle.read(0x1000, &mut [0]), Err(DmaError::NotMapped { address: 0x1000 }));
}

#[test]
fn accesses_that_miss_and_messages_that_fail_are_counted() {
    let server = TestServer::start();
    let mut client = server.client();
    client.request(DMA_MAP, &dma_map(0, 0x1000, 0x1000), &[]).ok();
    let mut handle = server.peer().memory.handle();
    assert!(server.counters.is_connected());
    assert!(handle.read(0x3000, &mut [0; 4]).is_err(), "nothing is there");
    assert!(handle.check(0x1fff, 2, DmaAccess::Write).is_err(), "it passes the end");
    assert_eq!(handle.with_slice(0x1000, 4, DmaAccess::Read, |_| ()), Err(DmaError::NotDirect));
    let counted = server.counters.snapshot();
    assert_eq!((counted.dma_faults, counted.dma_messages, counted.dma_messages_failed), (2, 0, 0));

    let worker = std::thread::spawn(move || handle.write(0x1000, &[1, 2, 3, 4]));
    let request = client.receive();
    client.send_bytes(&[header(request.id, DMA_WRITE, 16, REPLY | ERROR)].concat(), &[]);
    assert!(worker.join().unwrap().is_err());
    let counted = server.counters.snapshot();
    assert_eq!((counted.dma_faults, counted.dma_messages, counted.dma_messages_failed), (2, 1, 1));
    drop(client);
    wait_for("the client to be gone", || !server.counters.is_connected());
}
