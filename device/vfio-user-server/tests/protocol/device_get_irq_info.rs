// SPDX-License-Identifier: MIT OR Apache-2.0
//! DEVICE_GET_IRQ_INFO.

use crate::common::*;
use std::os::fd::AsFd;

#[test]
fn interrupts_are_described() {
    let server = TestServer::start();
    let mut client = server.client();
    // INTx masks itself; it and the messages can be masked.
    for (index, flags, count) in [(0, 0b111, 1), (1, 0b11, 0), (2, 0b11, 8), (4, 1, 0)] {
        let info = client.request(GET_IRQ_INFO, &get_irq_info(index), &[]).ok();
        assert_eq!(info, words(&[16, flags, index, count]));
    }
}

#[test]
fn a_device_without_error_reporting_says_so_as_linux_does() {
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(client.request(GET_IRQ_INFO, &get_irq_info(3), &[]).errno(), EINVAL);
    client.assert_in_step();
}

#[test]
fn interrupts_that_pci_does_not_have_are_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    for index in [5, 6, u32::MAX] {
        assert_eq!(client.request(GET_IRQ_INFO, &get_irq_info(index), &[]).errno(), EINVAL);
    }
    client.assert_in_step();
}

#[test]
fn wrong_sizes_and_descriptors_are_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    for size in [0, 12, 15, 17] {
        let mut payload = get_irq_info(2);
        payload.resize(size, 0);
        assert_eq!(client.request(GET_IRQ_INFO, &payload, &[]).errno(), EINVAL, "{size} bytes");
    }
    assert_eq!(client.request(GET_IRQ_INFO, &words(&[15, 0, 2, 0]), &[]).errno(), EINVAL);
    assert_eq!(client.request(GET_IRQ_INFO, &get_irq_info(2), &[memory_file(1).as_fd()]).errno(), EINVAL);
    client.assert_in_step();
}
