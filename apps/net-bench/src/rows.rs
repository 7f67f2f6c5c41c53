// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rows: what is measured, and under which names.

use bench_report::Bench;

use crate::{events, packets, partner, streams};

/// Every row, in the order in which they are measured.
pub(crate) const ALL: &[Bench] = &[
    Bench::throughput("tcp_64k", streams::tcp_64k),
    Bench::throughput("tcp_1k", streams::tcp_1k),
    Bench::throughput("unix_64k", streams::unix_64k),
    Bench::time("tcp_roundtrip_ns", streams::tcp_roundtrip),
    Bench::time("unix_roundtrip_ns", streams::unix_roundtrip),
    Bench::time("udp_roundtrip_ns", packets::udp_roundtrip),
    Bench::time("tcp_connection_ns", streams::tcp_connection),
    Bench::throughput("send_64k", partner::send_64k),
    Bench::throughput("send_1k", partner::send_1k),
    Bench::throughput("receive_64k", partner::receive_64k),
    Bench::time("partner_roundtrip_ns", partner::roundtrip),
    Bench::time("partner_connection_ns", partner::connection),
    Bench::time("eventfd_ns", events::eventfd_write_read),
    Bench::time("epoll_10_ns", events::epoll_10),
    Bench::time("epoll_10k_ns", events::epoll_10k),
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_row_can_be_measured_on_linux() {
        for row in ALL {
            let value = (row.measure)(Duration::from_millis(5)).unwrap();
            assert!(value.is_finite() && value > 0.0, "{}: {value}", row.name);
        }
    }

    #[test]
    fn names_are_unlike() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
