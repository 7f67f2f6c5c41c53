// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each refusal is counted by its reason, and each client that is dropped by its own.

use crate::common::*;
use vfio_user_server::CountersSnapshot;

/// What was counted among failed requests, and whether the reasons add up to them.
fn reasons(counters: &CountersSnapshot) -> Vec<(&'static str, u64)> {
    let names = [
        "requests_unsupported",
        "requests_malformed",
        "requests_out_of_range",
        "requests_of_memory_failed",
        "requests_of_interrupts_failed",
        "requests_refused_by_device",
    ];
    let found: Vec<_> = counters.each().filter(|(name, ..)| names.contains(name)).collect();
    assert_eq!(found.len(), names.len());
    assert_eq!(found.iter().map(|(.., count)| count).sum::<u64>(), counters.requests_failed);
    found.into_iter().filter(|(.., count)| *count > 0).map(|(name, _, count)| (name, count)).collect()
}

#[test]
fn failed_requests_are_counted_by_reason() {
    let server = TestServer::start();
    let mut client = server.client();
    client.request(99, &[], &[]).errno(); // A command that there is not.
    client.request(GET_INFO, &[0], &[]).errno();
    client.request(REGION_READ, &access(0, 1 << 40, 4), &[]).errno();
    client.request(REGION_READ, &access(77, 0, 4), &[]).errno();
    client.request(DMA_UNMAP, &dma_unmap(0, 0x1000, 0x1000), &[]).errno();
    client.request(SET_IRQS, &set_irqs(0x24, 2, 0, 2000), &[]).errno();
    let expected = [
        ("requests_unsupported", 1),
        ("requests_malformed", 1),
        ("requests_out_of_range", 2),
        ("requests_of_memory_failed", 1),
        ("requests_of_interrupts_failed", 1),
    ];
    assert_eq!(reasons(&server.counters.snapshot()), expected);
}

#[test]
fn dropped_clients_are_counted_by_reason() {
    let server = TestServer::start();
    let mut early = server.connect();
    early.send(GET_INFO, 0, &[0; 16], &[]);
    early.receive();
    early.assert_closed();
    let mut unframed = server.client();
    unframed.send_bytes(&[1, 0, 4, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]); // A message of 3 bytes.
    unframed.assert_closed();
    let counters = server.counters.snapshot();
    let found = (counters.clients_without_version, counters.clients_unframed, counters.clients_dropped);
    assert_eq!(found, (1, 1, 2));
    assert_eq!(reasons(&counters), [("requests_malformed", 1)]);
}
