// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rows: what is measured, and under which names.

use std::time::Duration;

use bench_report::Unit;

use crate::{Failure, calls, memory, partners, programs, rate};

/// A figure.
pub(crate) struct Row {
    /// What it is called, on the command line and in the report.
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    /// Measures it once, for about that long.
    pub(crate) measure: fn(Duration) -> Result<f64, Failure>,
    /// Whether a kernel may lack what it needs.
    pub(crate) is_optional: bool,
}

const fn time(name: &'static str, measure: fn(Duration) -> Result<f64, Failure>) -> Row {
    Row { name, unit: "ns", measure, is_optional: false }
}

/// Every row, in the order in which they are measured.
pub(crate) const ALL: &[Row] = &[
    time("getpid", calls::getpid),
    time("unknown", calls::unknown),
    time("read_zero_1", calls::read_zero_1),
    time("read_zero_4k", calls::read_zero_4k),
    time("write_null", calls::write_null),
    time("clock_gettime", calls::clock_gettime),
    time("sched_yield", calls::sched_yield),
    time("open_close", calls::open_close),
    time("futex_wake", calls::futex_wake),
    time("mmap_munmap", memory::mmap_munmap),
    time("page_fault", memory::page_fault),
    time("pipe_roundtrip_ns", partners::pipe_roundtrip),
    time("unix_roundtrip_ns", partners::unix_roundtrip),
    Row { is_optional: true, ..time("ipc_roundtrip_ns", partners::ipc_roundtrip) },
    time("context_switch", partners::context_switch),
    time("fork_exit_wait", programs::fork_exit_wait),
    time("execve", programs::execve),
    Row { name: "getpid_rate", unit: "op/s", measure: rate::getpid_rate, is_optional: false },
];

#[cfg(test)]
mod tests {
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
