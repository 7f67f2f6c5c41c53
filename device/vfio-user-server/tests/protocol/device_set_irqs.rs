// SPDX-License-Identifier: MIT OR Apache-2.0
//! DEVICE_SET_IRQS.

use crate::common::*;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use vfio_user_server::IrqIndex::{Intx, Msi, Msix};

// VFIO_IRQ_SET_…
const NONE: u32 = 1;
const BOOL: u32 = 2;
const EVENTFD: u32 = 4;
const MASK: u32 = 8;
const UNMASK: u32 = 16;
const TRIGGER: u32 = 32;

const INTX: u32 = 0;
const MSIX: u32 = 2;

fn eventfds(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| new_eventfd()).collect()
}

fn borrow(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}

#[test]
fn an_assigned_eventfd_is_signalled_from_any_thread() {
    let server = TestServer::start();
    let mut client = server.client();
    let fds = eventfds(8);
    client.request(SET_IRQS, &set_irqs(EVENTFD | TRIGGER, MSIX, 0, 8), &borrow(&fds)).ok();
    let interrupts = server.peer().interrupts;
    std::thread::scope(|scope| {
        for vector in 0..8 {
            let interrupts = &interrupts;
            scope.spawn(move || (0..=vector).for_each(|_| assert!(interrupts.trigger(Msix, vector))));
        }
    });
    assert_eq!(fds.iter().map(signals).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn an_interrupt_that_nobody_assigned_goes_nowhere() {
    let server = TestServer::start();
    let _client = server.client();
    let interrupts = server.peer().interrupts;
    for (index, vector) in [(Msix, 0), (Msix, 8), (Msix, u32::MAX), (Msi, 0), (Intx, 0)] {
        assert!(!interrupts.trigger(index, vector));
    }
}

#[test]
fn parts_can_be_assigned_and_taken_away() {
    let server = TestServer::start();
    let mut client = server.client();
    let fds = eventfds(3);
    client.request(SET_IRQS, &set_irqs(EVENTFD | TRIGGER, MSIX, 2, 3), &borrow(&fds)).ok();
    let interrupts = server.peer().interrupts;
    let assigned = || (0..8).map(|vector| interrupts.is_assigned(Msix, vector)).collect::<Vec<_>>();
    assert_eq!(assigned(), [false, false, true, true, true, false, false, false]);
    // As QEMU does it for vectors that it does not use: eventfds, but none are sent.
    client.request(SET_IRQS, &set_irqs(EVENTFD | TRIGGER, MSIX, 3, 4), &[]).ok();
    assert_eq!(assigned(), [false, false, true, false, false, false, false, false]);
    client.request(SET_IRQS, &set_irqs(NONE | TRIGGER, MSIX, 0, 0), &[]).ok();
    assert_eq!(assigned(), [false; 8]);
    assert!(!interrupts.trigger(Msix, 2));
    assert_eq!(fds.iter().map(signals).sum::<u64>(), 0);
}

#[test]
fn a_new_eventfd_replaces_the_old_one() {
    let server = TestServer::start();
    let mut client = server.client();
    let fds = eventfds(2);
    for fd in &fds {
        client.request(SET_IRQS, &set_irqs(EVENTFD | TRIGGER, MSIX, 5, 1), &[fd.as_fd()]).ok();
    }
    assert!(server.peer().interrupts.trigger(Msix, 5));
    assert_eq!((signals(&fds[0]), signals(&fds[1])), (0, 1));
}

#[test]
fn the_client_can_trigger_interrupts_itself() {
    let server = TestServer::start();
    let mut client = server.client();
    let fds = eventfds(4);
    client.request(SET_IRQS, &set_irqs(EVENTFD | TRIGGER, MSIX, 0, 4), &borrow(&fds)).ok();
    client.request(SET_IRQS, &set_irqs(NONE | TRIGGER, MSIX, 1, 2), &[]).ok();
    let mut chosen = set_irqs(BOOL | TRIGGER, MSIX, 0, 4);
    chosen.extend([1, 0, 2, 0]);
    client.request(SET_IRQS, &chosen, &[]).ok();
    assert_eq!(fds.iter().map(signals).collect::<Vec<_>>(), [1, 1, 2, 0]);
}

#[test]
fn intx_masks_itself_until_it_is_unmasked() {
    let server = TestServer::start();
    let mut client = server.client();
    let fd = new_eventfd();
    client.request(SET_IRQS, &set_irqs(EVENTFD | TRIGGER, INTX, 0, 1), &[fd.as_fd()]).ok();
    let interrupts = server.peer().interrupts;
    assert!(interrupts.trigger(Intx, 0));
    assert!(!interrupts.trigger(Intx, 0));
    assert!(interrupts.is_pending(Intx, 0));
    assert_eq!(signals(&fd), 1);
    client.request(SET_IRQS, &set_irqs(NONE | UNMASK, INTX, 0, 1), &[]).ok();
    assert_eq!(signals(&fd), 1, "what came meanwhile is delivered");
    client.request(SET_IRQS, &set_irqs(NONE | UNMASK, INTX, 0, 1), &[]).ok();
    assert_eq!(signals(&fd), 0, "but once");
    client.request(SET_IRQS, &set_irqs(NONE | MASK, INTX, 0, 1), &[]).ok();
    assert!(!interrupts.trigger(Intx, 0));
    assert_eq!(signals(&fd), 0);
}

#[test]
fn messages_can_be_masked_one_by_one() {
    let server = TestServer::start();
    let mut client = server.client();
    let fds = eventfds(2);
    client.request(SET_IRQS, &set_irqs(EVENTFD | TRIGGER, MSIX, 0, 2), &borrow(&fds)).ok();
    client.request(SET_IRQS, &set_irqs(NONE | MASK, MSIX, 0, 1), &[]).ok();
    let interrupts = server.peer().interrupts;
    for _ in 0..3 {
        assert!(!interrupts.trigger(Msix, 0) && interrupts.trigger(Msix, 1));
    }
    assert!(interrupts.is_pending(Msix, 0) && !interrupts.is_pending(Msix, 1));
    assert_eq!((signals(&fds[0]), signals(&fds[1])), (0, 3));
    let mut chosen = set_irqs(BOOL | UNMASK, MSIX, 0, 2);
    chosen.extend([1, 0]);
    client.request(SET_IRQS, &chosen, &[]).ok();
    assert!(!interrupts.is_pending(Msix, 0));
    assert_eq!((signals(&fds[0]), signals(&fds[1])), (1, 0), "what came meanwhile is delivered, once");
    assert!(interrupts.trigger(Msix, 0), "and messages do not mask themselves");
    assert!(interrupts.trigger(Msix, 0));
    let fd = new_eventfd();
    let answer = client.request(SET_IRQS, &set_irqs(EVENTFD | UNMASK, INTX, 0, 1), &[fd.as_fd()]);
    assert_eq!(answer.errno(), EOPNOTSUPP);
}

#[test]
fn interrupts_that_the_device_does_not_have_are_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    for (index, start, count) in [
        (MSIX, 0, 9),
        (MSIX, 8, 1),
        (MSIX, u32::MAX, 1),
        (MSIX, 1, u32::MAX),
        (MSIX, u32::MAX, u32::MAX),
        (1, 0, 1),
        (3, 0, 1),
        (5, 0, 1),
        (u32::MAX, 0, 1),
    ] {
        let answer = client.request(SET_IRQS, &set_irqs(NONE | TRIGGER, index, start, count), &[]);
        assert_eq!(answer.errno(), EINVAL, "{count} from {start} of {index}");
    }
    assert_eq!(client.request(SET_IRQS, &set_irqs(NONE | TRIGGER, 5, 0, 0), &[]).errno(), EINVAL);
    // To disable all of a kind of which there are none is no mistake.
    client.request(SET_IRQS, &set_irqs(NONE | TRIGGER, 1, 0, 0), &[]).ok();
}

#[test]
fn the_number_of_eventfds_must_be_the_count_or_none() {
    let server = TestServer::start();
    let mut client = server.client();
    let fds = eventfds(3);
    for (count, sent) in [(2, 1), (2, 3), (0, 1), (u32::MAX, 1)] {
        let payload = set_irqs(EVENTFD | TRIGGER, MSIX, 0, count);
        assert_eq!(client.request(SET_IRQS, &payload, &borrow(&fds[..sent])).errno(), EINVAL);
    }
    for flags in [NONE | TRIGGER, BOOL | TRIGGER] {
        let mut payload = set_irqs(flags, MSIX, 0, 1);
        if flags & BOOL != 0 {
            payload.push(1);
        }
        assert_eq!(client.request(SET_IRQS, &payload, &borrow(&fds[..1])).errno(), EINVAL);
    }
    assert!(!server.peer().interrupts.is_assigned(Msix, 0));
}

#[test]
fn only_eventfds_are_taken_and_all_or_none() {
    let server = TestServer::start();
    let mut client = server.client();
    let (mut reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
    let good = new_eventfd();
    let file = memory_file(4096);
    for bad in [writer.as_fd(), file.as_fd(), client.socket.try_clone().unwrap().as_fd()] {
        let payload = set_irqs(EVENTFD | TRIGGER, MSIX, 0, 2);
        assert_eq!(client.request(SET_IRQS, &payload, &[good.as_fd(), bad]).errno(), EINVAL);
        assert!(!server.peer().interrupts.is_assigned(Msix, 0), "nothing was changed");
    }
    drop(writer);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the server closed its copy");
}

#[test]
fn a_full_eventfd_blocks_nobody() {
    let server = TestServer::start();
    let mut client = server.client();
    let fd = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap(); // Blocking.
    rustix::io::write(&fd, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    client.request(SET_IRQS, &set_irqs(EVENTFD | TRIGGER, MSIX, 0, 1), &[fd.as_fd()]).ok();
    assert!(server.peer().interrupts.trigger(Msix, 0));
    client.request(SET_IRQS, &set_irqs(NONE | TRIGGER, MSIX, 0, 1), &[]).ok();
}

#[test]
fn flags_must_name_one_kind_of_data_and_one_action() {
    let server = TestServer::start();
    let mut client = server.client();
    for flags in
        [0, NONE, TRIGGER, NONE | TRIGGER | MASK, NONE | EVENTFD | TRIGGER, NONE | TRIGGER | 64, 1 << 31]
    {
        let answer = client.request(SET_IRQS, &set_irqs(flags, MSIX, 0, 1), &[]);
        assert_eq!(answer.errno(), EINVAL, "flags {flags:#x}");
    }
    client.assert_in_step();
}

#[test]
fn a_count_of_nothing_only_disables_all() {
    let server = TestServer::start();
    let mut client = server.client();
    for (flags, start) in
        [(NONE | TRIGGER, 1), (NONE | UNMASK, 0), (BOOL | TRIGGER, 0), (EVENTFD | TRIGGER, 0)]
    {
        assert_eq!(client.request(SET_IRQS, &set_irqs(flags, MSIX, start, 0), &[]).errno(), EINVAL);
    }
}

#[test]
fn wrong_sizes_are_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    for size in [0, 4, 16, 19, 21, 24] {
        let mut payload = set_irqs(NONE | TRIGGER, MSIX, 0, 1);
        payload.resize(size, 0);
        assert_eq!(client.request(SET_IRQS, &payload, &[]).errno(), EINVAL, "{size} bytes");
    }
    for bytes in [0, 3, 5] {
        let mut payload = set_irqs(BOOL | TRIGGER, MSIX, 0, 4);
        payload.resize(20 + bytes, 1);
        assert_eq!(client.request(SET_IRQS, &payload, &[]).errno(), EINVAL, "{bytes} of 4 booleans");
    }
    let payload = words(&[19, NONE | TRIGGER, MSIX, 0, 1]);
    assert_eq!(client.request(SET_IRQS, &payload, &[]).errno(), EINVAL);
    client.assert_in_step();
}
