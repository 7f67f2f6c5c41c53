// SPDX-License-Identifier: MIT OR Apache-2.0
//! DEVICE_RESET.

use crate::common::*;
use std::os::fd::AsFd;
use vfio_user_server::IrqIndex;

#[test]
fn a_reset_reaches_the_device_and_has_an_empty_answer() {
    let server = TestServer::start();
    let mut client = server.client();
    client.request(REGION_WRITE, &write(0, 0, &[1; 4]), &[]).ok();
    assert!(client.request(RESET, &[], &[]).ok().is_empty());
    assert_eq!(client.request(REGION_READ, &access(0, 0, 4), &[]).ok()[16..], [0; 4]);
    assert!(server.calls().contains(&Call::Reset));
}

#[test]
fn maps_and_eventfds_survive_a_reset() {
    let server = TestServer::start();
    let mut client = server.client();
    let (file, eventfd) = (memory_file(4096), new_eventfd());
    client.request(DMA_MAP, &dma_map(0, 0, 4096), &[file.as_fd()]).ok();
    client.request(SET_IRQS, &set_irqs(0x24, 2, 0, 1), &[eventfd.as_fd()]).ok();
    client.request(RESET, &[], &[]).ok();
    server.peer().memory.handle().write(0, &[1]).unwrap();
    assert!(server.peer().interrupts.trigger(IrqIndex::Msix, 0));
    assert_eq!(signals(&eventfd), 1);
}

#[test]
fn a_payload_or_descriptors_are_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    for size in [1, 4, 16] {
        assert_eq!(client.request(RESET, &vec![0; size], &[]).errno(), EINVAL);
    }
    assert_eq!(client.request(RESET, &[], &[memory_file(1).as_fd()]).errno(), EINVAL);
    client.assert_in_step();
    assert_eq!(server.calls(), [Call::Joined]);
}
