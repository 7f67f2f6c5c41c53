// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rows: what is measured, and under which names.

use bench_report::Bench;

use crate::{calls, memory, partners, programs, rate};

/// Every row, in the order in which they are measured.
pub(crate) const ALL: &[Bench] = &[
    Bench::time("getpid", calls::getpid),
    Bench::time("unknown", calls::unknown),
    Bench::time("read_zero_1", calls::read_zero_1),
    Bench::time("read_zero_4k", calls::read_zero_4k),
    Bench::time("write_null", calls::write_null),
    Bench::time("clock_gettime", calls::clock_gettime),
    Bench::time("sched_yield", calls::sched_yield),
    Bench::time("open_close", calls::open_close),
    Bench::time("futex_wake", calls::futex_wake),
    Bench::time("mmap_munmap", memory::mmap_munmap),
    Bench::time("page_fault", memory::page_fault),
    Bench::time("pipe_roundtrip_ns", partners::pipe_roundtrip),
    Bench::time("unix_roundtrip_ns", partners::unix_roundtrip),
    Bench { is_optional: true, ..Bench::time("ipc_roundtrip_ns", partners::ipc_roundtrip) },
    Bench::time("context_switch", partners::context_switch),
    Bench::time("fork_exit_wait", programs::fork_exit_wait),
    Bench::time("execve", programs::execve),
    Bench { name: "getpid_rate", unit: "op/s", measure: rate::getpid_rate, is_optional: false },
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_row_can_be_measured_on_linux_but_messages() {
        let window = Duration::from_millis(5);
        for row in ALL {
            match (row.measure)(window) {
                Ok(value) => assert!(value.is_finite() && value > 0.0, "{}: {value}", row.name),
                Err(error) => assert!(row.is_optional, "{}: {error}", row.name),
            }
        }
    }

    #[test]
    fn names_are_unlike() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
