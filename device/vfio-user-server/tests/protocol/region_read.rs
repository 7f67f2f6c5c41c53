// SPDX-License-Identifier: MIT OR Apache-2.0
//! REGION_READ.

use crate::common::*;
use std::os::fd::AsFd;

#[test]
fn the_answer_repeats_the_question_and_has_the_data() {
    let server = TestServer::start();
    let mut client = server.client();
    client.request(REGION_WRITE, &write(0, 0x10, &[1, 2, 3, 4, 5, 6, 7, 8]), &[]).ok();
    let answer = client.request(REGION_READ, &access(0, 0x12, 4), &[]).ok();
    assert_eq!(answer, [&access(0, 0x12, 4)[..], &[3, 4, 5, 6]].concat());
}

#[test]
fn as_much_as_the_limit_can_be_read_and_no_more() {
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(client.request(REGION_READ, &access(3, 0, 1 << 20), &[]).ok().len(), 16 + (1 << 20));
    for count in [(1 << 20) + 1, 2 << 20, u32::MAX] {
        assert_eq!(client.request(REGION_READ, &access(3, 0, count), &[]).errno(), EINVAL);
    }
    client.assert_in_step();
}

#[test]
fn a_read_of_nothing_does_not_reach_the_device() {
    let server = TestServer::start();
    let mut client = server.client();
    for offset in [0, BAR0_SIZE] {
        let answer = client.request(REGION_READ, &access(0, offset, 0), &[]).ok();
        assert_eq!(answer, access(0, offset, 0));
    }
    assert_eq!(server.calls(), [Call::Joined]);
}

#[test]
fn nothing_outside_a_region_is_read() {
    let server = TestServer::start();
    let mut client = server.client();
    for (region, offset, count) in [
        (0, BAR0_SIZE, 1),
        (0, BAR0_SIZE - 3, 4),
        (0, u64::MAX, 1),
        (0, u64::MAX - 3, 4),
        (0, 0, BAR0_SIZE as u32 + 1),
        (4, 0, 1),
        (8, 0, 4),
        (9, 0, 4),
        (u32::MAX, 0, 4),
        (CONFIG, 4096, 4),
    ] {
        let answer = client.request(REGION_READ, &access(region, offset, count), &[]);
        assert_eq!(answer.errno(), EINVAL, "{count} bytes at {offset:#x} of region {region}");
    }
    client.assert_in_step();
    assert_eq!(server.calls(), [Call::Joined]);
}

#[test]
fn a_region_for_writing_is_not_read() {
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(client.request(REGION_READ, &access(WRITE_ONLY_BAR, 0, 4), &[]).errno(), EPERM);
    assert_eq!(server.calls(), [Call::Joined]);
}

#[test]
fn the_devices_errno_reaches_the_client() {
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(client.request(REGION_READ, &access(0, FAILING_OFFSET, 4), &[]).errno(), EIO);
    client.assert_in_step();
}

#[test]
fn a_failed_read_leaks_nothing_of_an_earlier_one() {
    let server = TestServer::start();
    let mut client = server.client();
    client.request(REGION_WRITE, &write(0, 0, &[0x5a; 64]), &[]).ok();
    client.request(REGION_READ, &access(0, 0, 64), &[]).ok();
    assert_eq!(client.request(REGION_READ, &access(3, 0, 64), &[]).ok()[16..], [0; 64]);
}

#[test]
fn wrong_sizes_and_descriptors_are_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    for size in [0, 8, 15, 17, 20] {
        let mut payload = access(0, 0, 4);
        payload.resize(size, 0);
        assert_eq!(client.request(REGION_READ, &payload, &[]).errno(), EINVAL, "{size} bytes");
    }
    assert_eq!(client.request(REGION_READ, &access(0, 0, 4), &[memory_file(1).as_fd()]).errno(), EINVAL);
    client.assert_in_step();
    assert_eq!(server.calls(), [Call::Joined]);
}
