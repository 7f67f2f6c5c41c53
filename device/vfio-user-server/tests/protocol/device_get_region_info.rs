// SPDX-License-Identifier: MIT OR Apache-2.0
//! DEVICE_GET_REGION_INFO.

use crate::common::*;
use std::os::fd::AsFd;

#[test]
fn all_nine_regions_are_described() {
    let server = TestServer::start();
    let mut client = server.client();
    let expected = [(3, 4096), (1, 16), (2, 16), (3, 2 << 20), (0, 0), (0, 0), (0, 0), (3, 4096), (0, 0)];
    for (index, (flags, size)) in (0..).zip(expected) {
        let info = client.request(GET_REGION_INFO, &get_region_info(index), &[]).ok();
        assert_eq!(info, words(&[32, flags, index, 0, size, 0, 0, 0]), "region {index}");
    }
}

#[test]
fn regions_that_pci_does_not_have_are_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    for index in [9, 10, 0x8000_0000, u32::MAX] {
        assert_eq!(client.request(GET_REGION_INFO, &get_region_info(index), &[]).errno(), EINVAL);
    }
    client.assert_in_step();
}

#[test]
fn wrong_sizes_and_descriptors_are_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    for size in [0, 16, 31, 33] {
        let mut payload = get_region_info(0);
        payload.resize(size, 0);
        assert_eq!(client.request(GET_REGION_INFO, &payload, &[]).errno(), EINVAL, "{size} bytes");
    }
    for argsz in [0, 31] {
        let payload = words(&[argsz, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(client.request(GET_REGION_INFO, &payload, &[]).errno(), EINVAL, "argsz {argsz}");
    }
    let file = memory_file(1);
    assert_eq!(client.request(GET_REGION_INFO, &get_region_info(0), &[file.as_fd()]).errno(), EINVAL);
    client.assert_in_step();
}
