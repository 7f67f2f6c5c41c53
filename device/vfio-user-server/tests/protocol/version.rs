// SPDX-License-Identifier: MIT OR Apache-2.0
//! The version exchange.

use crate::common::*;
use std::os::fd::AsFd;

#[test]
fn the_answer_names_version_and_limits() {
    let server = TestServer::start();
    let payload = server.connect().negotiate(r#"{"capabilities":{"max_msg_fds":8}}"#);
    assert_eq!(payload[..4], [0, 0, 1, 0]);
    let (nul, json) = payload[4..].split_last().unwrap();
    assert_eq!(*nul, 0);
    let json = std::str::from_utf8(json).unwrap();
    assert_eq!(
        json,
        r#"{"capabilities":{"max_msg_fds":16,"max_data_xfer_size":1048576,"max_dma_maps":4096,"pgsizes":4096}}"#
    );
}

#[test]
fn an_older_minor_version_is_spoken() {
    let server = TestServer::start();
    let mut client = server.connect();
    let payload = client.request(VERSION, &version(0, 0, ""), &[]).ok();
    assert_eq!(payload[..4], [0, 0, 0, 0]);
    client.assert_in_step();
}

#[test]
fn a_version_without_json_is_legal() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.negotiate("");
    client.assert_in_step();
}

#[track_caller]
fn assert_refused(payload: &[u8]) {
    let server = TestServer::start();
    let mut client = server.connect();
    assert_eq!(client.request(VERSION, payload, &[]).errno(), EINVAL);
    client.assert_closed();
    let mut next = server.client();
    next.assert_in_step();
    assert_eq!(server.counters.snapshot().clients_dropped, 1);
    assert_eq!(server.calls(), [Call::Joined], "the device never heard of the first");
}

#[test]
fn another_major_version_is_refused() {
    assert_refused(&version(1, 0, "{}"));
}

#[test]
fn json_without_nul_is_refused() {
    assert_refused(&[&version(0, 1, "")[..], b"{}"].concat());
}

#[test]
fn a_lone_nul_is_refused() {
    assert_refused(&[&version(0, 1, "")[..], b"\0"].concat());
}

#[test]
fn broken_json_is_refused() {
    assert_refused(&version(0, 1, "{\"capabilities\":"));
}

#[test]
fn senseless_limits_are_refused() {
    assert_refused(&version(0, 1, r#"{"capabilities":{"max_msg_fds":-1}}"#));
    assert_refused(&version(0, 1, r#"{"capabilities":{"max_data_xfer_size":0}}"#));
    assert_refused(&version(0, 1, r#"{"capabilities":[]}"#));
}

#[test]
fn endless_json_is_refused() {
    assert_refused(&version(0, 1, &"[".repeat(100_000)));
}

#[test]
fn half_a_version_is_refused() {
    assert_refused(&[]);
    assert_refused(&[0, 0, 1]);
}

#[test]
fn a_version_with_descriptors_is_refused() {
    let server = TestServer::start();
    let mut client = server.connect();
    let file = memory_file(4096);
    assert_eq!(client.request(VERSION, &version(0, 1, "{}"), &[file.as_fd()]).errno(), EINVAL);
    client.assert_closed();
}

#[test]
fn a_second_version_is_refused_and_the_first_stands() {
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(client.request(VERSION, &version(0, 0, "{}"), &[]).errno(), EINVAL);
    client.assert_in_step();
}

#[test]
fn nothing_comes_before_the_version() {
    for command in [DMA_MAP, GET_INFO, REGION_READ, RESET, 99] {
        let server = TestServer::start();
        let mut client = server.connect();
        assert_eq!(client.request(command, &get_info(16), &[]).errno(), EINVAL);
        client.assert_closed();
        assert_eq!(server.calls(), []);
    }
}

#[test]
fn a_version_that_wants_no_answer_gets_none() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send(VERSION, NO_REPLY, &version(0, 1, "{}"), &[]);
    client.assert_in_step();
}
