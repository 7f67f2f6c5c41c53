// SPDX-License-Identifier: MIT OR Apache-2.0
//! DEVICE_GET_INFO.

use crate::common::*;
use std::os::fd::AsFd;

#[test]
fn a_pci_device_that_can_be_reset_is_described() {
    let server = TestServer::start();
    let info = server.client().request(GET_INFO, &get_info(16), &[]).ok();
    assert_eq!(info, words(&[16, 0b11, 9, 5]));
}

#[test]
fn more_room_than_needed_is_fine() {
    let server = TestServer::start();
    let info = server.client().request(GET_INFO, &get_info(u32::MAX), &[]).ok();
    assert_eq!(info[..4], 16_u32.to_ne_bytes());
}

#[test]
fn too_little_room_is_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    for argsz in [0, 1, 15] {
        assert_eq!(client.request(GET_INFO, &get_info(argsz), &[]).errno(), EINVAL);
    }
    client.assert_in_step();
}

#[test]
fn wrong_sizes_are_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    for size in [0, 4, 15, 17, 32] {
        let mut payload = vec![0; size];
        payload.iter_mut().zip(16_u32.to_ne_bytes()).for_each(|(to, from)| *to = from);
        assert_eq!(client.request(GET_INFO, &payload, &[]).errno(), EINVAL, "{size} bytes");
    }
    client.assert_in_step();
}

#[test]
fn descriptors_are_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(client.request(GET_INFO, &get_info(16), &[memory_file(1).as_fd()]).errno(), EINVAL);
    client.assert_in_step();
}
