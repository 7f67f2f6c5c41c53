// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for messages of every kind: sizes, pieces, flags, answers, order.

use crate::common::*;
use std::os::fd::AsFd;
use vfio_user_server::Limits;

#[test]
fn a_message_can_come_byte_by_byte() {
    let server = TestServer::start();
    let mut client = server.connect();
    let payload = version(0, 1, "{}");
    client.dribble(&[&header(1, VERSION, 16 + payload.len() as u32, 0)[..], &payload].concat());
    client.receive().ok();
    client.dribble(&[&header(2, GET_INFO, 32, 0)[..], &get_info(16)].concat());
    assert_eq!(client.receive().ok().len(), 16);
    client.assert_in_step();
}

#[test]
fn descriptors_count_for_the_message_that_they_came_with_however_it_is_cut() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(4096);
    let bytes = [&header(1, DMA_MAP, 48, 0)[..], &dma_map(0, 0, 4096)].concat();
    // With the first byte, with a byte of the header, with the payload.
    for cut in [1, 7, 16, 20] {
        client.send_bytes(&bytes[..cut - 1], &[]);
        client.send_bytes(&bytes[cut - 1..cut], &[file.as_fd()]);
        client.send_bytes(&bytes[cut..], &[]);
        client.receive().ok();
        let mut byte = [0];
        server.peer().memory.handle().read(0, &mut byte).unwrap();
        client.request(DMA_UNMAP, &dma_unmap(0, 0, 4096), &[]).ok();
    }
}

#[test]
fn many_messages_can_come_at_once_and_are_answered_in_order() {
    let server = TestServer::start();
    let mut client = server.client();
    let mut bytes = Vec::new();
    for id in 0..1000_u16 {
        bytes.extend(header(id, REGION_WRITE, 16 + 16 + 2, 0));
        bytes.extend(write(0, 0, &id.to_ne_bytes()));
    }
    client.send_bytes(&bytes, &[]);
    for id in 0..1000 {
        let answer = client.receive();
        assert_eq!(answer.id, id);
        answer.ok();
    }
    assert_eq!(client.request(REGION_READ, &access(0, 0, 2), &[]).ok()[16..], 999_u16.to_ne_bytes());
}

#[test]
fn a_size_smaller_than_the_header_ends_the_connection() {
    for size in [0, 1, 15] {
        let server = TestServer::start();
        let mut client = server.client();
        client.send_bytes(&header(1, GET_INFO, size, 0), &[]);
        client.assert_closed();
        server.client().assert_in_step();
    }
}

#[test]
fn a_monstrous_size_ends_the_connection() {
    for size in [u32::MAX, 1 << 31, (16 << 20) + 1] {
        let server = TestServer::start();
        let mut client = server.client();
        client.send_bytes(&header(1, REGION_WRITE, size, 0), &[]);
        client.assert_closed();
        server.client().assert_in_step();
    }
}

#[test]
fn a_message_that_is_too_large_is_skipped_and_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    // What is skipped looks like resets: none of it may be executed.
    let inside: Vec<u8> = header(7, RESET, 16, 0).repeat((2 << 20) / 16);
    for command in [REGION_WRITE, GET_INFO, VERSION, 99] {
        assert_eq!(client.request(command, &inside, &[]).errno(), EMSGSIZE);
    }
    client.assert_in_step();
    assert!(!server.calls().contains(&Call::Reset));
}

#[test]
fn the_payload_of_a_refused_command_is_not_taken_for_messages() {
    let server = TestServer::start();
    let mut client = server.client();
    let reset = header(7, RESET, 16, 0);
    for command in [14, 15, 16, 17, 18, 0, 19, 99, u16::MAX, DMA_READ, DMA_WRITE, RESET, GET_INFO, SET_IRQS] {
        client.request(command, &reset.repeat(3), &[]).errno();
        client.assert_in_step();
    }
    assert!(!server.calls().contains(&Call::Reset));
}

#[test]
fn unknown_and_unsupported_commands_are_told_apart() {
    let server = TestServer::start();
    let mut client = server.client();
    for unknown in [0, 19, 255, u16::MAX] {
        assert_eq!(client.request(unknown, &[], &[]).errno(), ENOSYS);
    }
    for unsupported in [GET_REGION_IO_FDS, 14, 15, 16, 17, 18] {
        assert_eq!(client.request(unsupported, &[0; 24], &[]).errno(), EOPNOTSUPP);
    }
    for backwards in [DMA_READ, DMA_WRITE] {
        assert_eq!(client.request(backwards, &[0; 16], &[]).errno(), EINVAL);
    }
}

#[test]
fn a_reply_is_never_taken_for_a_command() {
    let server = TestServer::start();
    let mut client = server.client();
    for flags in [REPLY, REPLY | ERROR] {
        client.send(RESET, flags, &[], &[]);
        client.send(DMA_READ, flags, &[0; 16], &[]);
    }
    client.assert_in_step();
    assert_eq!(server.counters.snapshot().stray_replies, 4);
    assert!(!server.calls().contains(&Call::Reset));
}

#[test]
fn senseless_flags_are_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    for flags in [2, 0xf, 0x20, 0x40, 1 << 31] {
        client.send(RESET, flags, &[], &[]);
        assert_eq!(client.receive().errno(), EINVAL, "flags {flags:#x}");
    }
    client.send(RESET, 2 | NO_REPLY, &[], &[]);
    client.assert_in_step();
    assert!(!server.calls().contains(&Call::Reset));
}

#[test]
fn a_command_that_wants_no_answer_gets_none_whether_it_works_or_not() {
    let server = TestServer::start();
    let mut client = server.client();
    client.send(REGION_WRITE, NO_REPLY, &write(0, 8, &[1, 2, 3, 4]), &[]);
    client.send(REGION_WRITE, NO_REPLY, &write(0, BAR0_SIZE, &[1, 2, 3, 4]), &[]);
    client.send(REGION_WRITE, NO_REPLY, &write(0, FAILING_OFFSET, &[1]), &[]);
    client.send(REGION_READ, NO_REPLY, &access(0, 8, 4), &[]);
    client.send(99, NO_REPLY, &[], &[]);
    client.send(DMA_MAP, NO_REPLY, &[1; 3], &[]);
    client.send(REGION_WRITE, NO_REPLY, &vec![0; 2 << 20], &[]);
    assert_eq!(client.request(REGION_READ, &access(0, 8, 4), &[]).ok()[16..], [1, 2, 3, 4]);
    assert_eq!(server.counters.snapshot().requests_failed, 5);
}

#[test]
fn too_many_descriptors_are_refused_and_closed() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(4096);
    for count in [17, 64, 65, 128] {
        let (end, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut fds = vec![file.as_fd(); count - 1];
        fds.push(end.as_fd());
        assert_eq!(client.request(SET_IRQS, &set_irqs(0x24, 2, 0, 8), &fds).errno(), EINVAL);
        drop(fds);
        drop(end);
        let gone = std::io::Read::read(&mut &other, &mut [0]).unwrap();
        assert_eq!(gone, 0, "nobody holds the other end any more");
    }
    client.assert_in_step();
}

#[test]
fn a_limit_on_descriptors_is_kept() {
    let server = TestServer::with_limits(Limits::default().with_max_msg_fds(1));
    let mut client = server.client();
    let fds = [new_eventfd(), new_eventfd()];
    let two = [fds[0].as_fd(), fds[1].as_fd()];
    assert_eq!(client.request(SET_IRQS, &set_irqs(0x24, 2, 0, 2), &two).errno(), EINVAL);
    client.request(SET_IRQS, &set_irqs(0x24, 2, 0, 1), &two[..1]).ok();
}

#[test]
fn leaving_in_the_middle_of_a_message_harms_nobody() {
    let server = TestServer::start();
    let whole = [&header(1, REGION_WRITE, 36, 0)[..], &write(0, 0, &[9; 4])].concat();
    for cut in [1, 15, 16, 17, 35] {
        let mut client = server.client();
        client.send_bytes(&whole[..cut], &[]);
        drop(client);
        server.calls_until(&Call::Left);
    }
    let mut client = server.client();
    assert_eq!(client.request(REGION_READ, &access(0, 0, 4), &[]).ok()[16..], [0; 4]);
}

#[test]
fn a_client_that_reads_no_answers_is_dropped_in_time() {
    let reply = std::time::Duration::from_millis(200);
    let server = TestServer::with_limits(Limits::default().with_reply(reply));
    let mut client = server.client();
    // More answers than any socket buffers.
    for _ in 0..16 {
        client.send(REGION_READ, 0, &access(3, 0, 1 << 20), &[]);
    }
    server.calls_until(&Call::Left);
    server.client().assert_in_step();
}
