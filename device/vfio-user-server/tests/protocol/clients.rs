// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clients that come, go, knock while another is there, or say nothing; and the end of the server.

use crate::common::*;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use vfio_user_server::{IrqIndex, Limits};

#[test]
fn the_next_client_is_served_after_the_first_has_left() {
    let server = TestServer::start();
    for _ in 0..50 {
        server.client().assert_in_step(); // And leaves.
    }
    let calls = server.calls_until(&Call::Left);
    assert_eq!(calls, vec![[Call::Joined, Call::Left]; 50].concat());
    assert_eq!(server.counters.snapshot().clients, 50);
    assert_eq!(server.counters.snapshot().clients_refused, 0);
}

#[test]
fn a_second_client_is_turned_away_at_once() {
    let server = TestServer::start();
    let mut first = server.client();
    for _ in 0..3 {
        server.connect().assert_closed();
        first.assert_in_step();
    }
    assert_eq!(server.counters.snapshot().clients_refused, 3);
    drop(first);
    server.client().assert_in_step();
}

#[test]
fn a_client_that_connects_the_moment_the_first_leaves_is_served() {
    let server = TestServer::start();
    let mut client = server.client();
    for _ in 0..50 {
        // Work that the server still has to do when the next one knocks.
        for _ in 0..20 {
            client.send(REGION_READ, 0, &access(0, 0, 4), &[]);
        }
        drop(client);
        client = server.client();
    }
    assert_eq!(server.counters.snapshot().clients_refused, 0);
}

#[test]
fn a_silent_client_makes_room_in_time() {
    let handshake = Duration::from_millis(200);
    let server = TestServer::with_limits(Limits::default().with_handshake(handshake));
    let mut silent = server.connect();
    silent.assert_closed();
    let mut dribbling = server.connect();
    dribbling.send_bytes(&[1, 0, 1], &[]);
    dribbling.assert_closed();
    let mut client = server.client();
    std::thread::sleep(handshake * 2);
    client.assert_in_step(); // Who has spoken may be silent.
    assert_eq!(server.counters.snapshot().clients_dropped, 2);
}

#[test]
fn eventfds_go_with_their_client() {
    let server = TestServer::start();
    let mut client = server.client();
    let eventfd = new_eventfd();
    client.request(SET_IRQS, &set_irqs(0x24, 2, 0, 1), &[eventfd.as_fd()]).ok();
    let interrupts = server.peer().interrupts;
    assert!(interrupts.trigger(IrqIndex::Msix, 0));
    drop(client);
    wait_for("the eventfd to go", || !interrupts.is_assigned(IrqIndex::Msix, 0));
    assert!(!interrupts.trigger(IrqIndex::Msix, 0));
    let _next = server.client();
    assert!(!server.peer().interrupts.trigger(IrqIndex::Msix, 0));
    assert_eq!(signals(&eventfd), 1);
}

#[test]
fn the_server_ends_promptly_whatever_a_client_does() {
    let mut idle = TestServer::start();
    let mut busy = TestServer::start();
    let mut stuck = TestServer::start();
    let _client = busy.client();
    let mut client = stuck.client();
    for _ in 0..16 {
        client.send(REGION_READ, 0, &access(3, 0, 1 << 20), &[]);
    }
    std::thread::sleep(Duration::from_millis(50));
    for server in [&mut idle, &mut busy, &mut stuck] {
        let start = Instant::now();
        server.stop();
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert!(!server.directory.path().join("socket").exists());
    }
    assert_eq!(busy.calls(), [Call::Joined, Call::Left]);
}

/// Else the connection would be reset, and QEMU 11.1 aborts when that happens to it.
#[test]
fn a_client_sees_an_orderly_end_although_requests_of_it_are_unread() {
    for _ in 0..30 {
        let mut server = TestServer::start();
        let mut client = server.client();
        // More than the server takes between two looks at whether it is to end.
        let one = [&header(7, REGION_WRITE, 36, NO_REPLY)[..], &write(0, 0, &[0; 4])].concat();
        client.send_bytes(&one.repeat(500), &[]);
        server.begin_stop();
        assert_eq!(std::io::Read::read(&mut client.socket, &mut [0; 16]).unwrap(), 0);
        server.stop();
    }
}

const REQ: u32 = 4;

#[test]
fn a_client_that_wants_to_know_is_asked_to_let_go_before_the_end() {
    let mut server = TestServer::with_limits(Limits::default().with_release(Duration::from_secs(60)));
    let mut client = server.client();
    assert_eq!(client.request(GET_IRQ_INFO, &get_irq_info(REQ), &[]).ok(), words(&[16, 1, REQ, 1]));
    let eventfd = new_eventfd();
    client.request(SET_IRQS, &set_irqs(0x24, REQ, 0, 1), &[eventfd.as_fd()]).ok();
    let start = Instant::now();
    server.begin_stop();
    wait_for("the request to let go", || signals(&eventfd) == 1);
    client.assert_in_step(); // It is served until then.
    drop(client);
    server.stop();
    assert!(start.elapsed() < Duration::from_secs(30), "nobody waits when it has left");
}

#[test]
fn a_client_that_does_not_let_go_or_cannot_be_asked_delays_no_end() {
    // The one is never waited for, however busy the host is; the other is for all of the time.
    for (assigned, release) in [(false, Duration::from_secs(60)), (true, Duration::from_millis(100))] {
        let mut server = TestServer::with_limits(Limits::default().with_release(release));
        let mut client = server.client();
        let eventfd = new_eventfd();
        if assigned {
            client.request(SET_IRQS, &set_irqs(0x24, REQ, 0, 1), &[eventfd.as_fd()]).ok();
        }
        let start = Instant::now();
        server.stop();
        assert_eq!(start.elapsed() >= release, assigned);
        client.assert_closed();
    }
}
