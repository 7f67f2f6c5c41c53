// SPDX-License-Identifier: MIT OR Apache-2.0
//! REGION_WRITE.

use crate::common::*;
use std::os::fd::AsFd;

#[test]
fn the_answer_repeats_the_question_without_the_data() {
    let server = TestServer::start();
    let mut client = server.client();
    let answer = client.request(REGION_WRITE, &write(0, 0x20, &[1, 2, 3]), &[]).ok();
    assert_eq!(answer, access(0, 0x20, 3));
    assert_eq!(server.calls(), [Call::Joined, Call::Write(0x20, vec![1, 2, 3])]);
}

#[test]
fn as_much_as_the_limit_can_be_written() {
    let server = TestServer::start();
    let mut client = server.client();
    client.request(REGION_WRITE, &write(3, 0, &vec![7; 1 << 20]), &[]).ok();
    client.assert_in_step();
}

#[test]
fn the_count_must_be_that_of_the_data() {
    let server = TestServer::start();
    let mut client = server.client();
    for (count, data) in [(4, 0), (4, 3), (4, 5), (0, 4), (u32::MAX, 4), (1 << 20, 4)] {
        let payload = [access(0, 0, count), vec![1; data]].concat();
        assert_eq!(client.request(REGION_WRITE, &payload, &[]).errno(), EINVAL, "{count} of {data}");
    }
    for size in [0, 8, 15] {
        assert_eq!(client.request(REGION_WRITE, &vec![0; size], &[]).errno(), EINVAL, "{size} bytes");
    }
    client.assert_in_step();
    assert_eq!(server.calls(), [Call::Joined]);
}

#[test]
fn nothing_outside_a_region_is_written() {
    let server = TestServer::start();
    let mut client = server.client();
    for (region, offset) in [(0, BAR0_SIZE - 3), (0, u64::MAX), (4, 0), (9, 0), (u32::MAX, 0), (CONFIG, 4093)]
    {
        let answer = client.request(REGION_WRITE, &write(region, offset, &[1; 4]), &[]);
        assert_eq!(answer.errno(), EINVAL, "{offset:#x} of region {region}");
    }
    client.assert_in_step();
    assert_eq!(server.calls(), [Call::Joined]);
}

#[test]
fn a_write_of_nothing_does_not_reach_the_device() {
    let server = TestServer::start();
    let mut client = server.client();
    client.request(REGION_WRITE, &write(0, 0, &[]), &[]).ok();
    assert_eq!(server.calls(), [Call::Joined]);
}

#[test]
fn a_region_for_reading_is_not_written() {
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(client.request(REGION_WRITE, &write(READ_ONLY_BAR, 0, &[1]), &[]).errno(), EPERM);
    assert_eq!(server.calls(), [Call::Joined]);
}

#[test]
fn the_devices_errno_reaches_the_client() {
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(client.request(REGION_WRITE, &write(0, FAILING_OFFSET, &[1]), &[]).errno(), EIO);
}

#[test]
fn descriptors_are_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(1);
    assert_eq!(client.request(REGION_WRITE, &write(0, 0, &[1]), &[file.as_fd()]).errno(), EINVAL);
    assert_eq!(server.calls(), [Call::Joined]);
}
