// SPDX-License-Identifier: MIT OR Apache-2.0
//! The suite `syscall` with `--instructions`: what system calls of Exo-Kernel cost in instructions.
//!
//! The machine's clock counts instructions, a nanosecond each ([`Accel::Icount`]), so that the same build gives the same figures
//! on any host, however busy. That is why they can have limits that a test holds them to; times cannot. Linux is not measured so:
//! it distrusts such a machine's clock and takes a slower one, and its figures differ by a factor from run to run.

use std::time::Duration;

use bench_report::Row;

use super::figures::{Figure, Goal, Of};
use super::{Measured, Options, Suite, measured_in_machine};
use crate::machine::{self, Accel, Config, Output, Parts};
use crate::ui::Step;

pub(super) const SUITE: Suite = Suite {
    name: "syscall",
    title: "Instructions of system calls on Exo-Kernel",
    ours: "measured",
    measure,
    figures: FIGURES,
};

const UNIT: &str = "instructions";

/// A row of a program on Exo-Kernel, and the most instructions that one operation may take.
pub(crate) struct Limit {
    program: &'static str,
    /// The row's name.
    pub(crate) row: &'static str,
    /// The limit.
    pub(crate) instructions: f64,
}

macro_rules! limits {
    ($($program:literal: {$($row:literal: $instructions:literal,)*})*) => {
        /// The budget. A change that costs more has to say so here, and why in its commit.
        pub(crate) const LIMITS: &[Limit] =
            &[$($(Limit { program: $program, row: $row, instructions: $instructions },)*)*];

        const FIGURES: &[Figure] = &[$($(Figure {
            of: Of::Row(concat!("exo.", $row), UNIT),
            must: $instructions,
            aim: None,
            goal: Goal::AtMost,
        },)*)*];
    };
}

limits! {
    "syscall-bench": {
        "getpid": 60.0,
        "unknown": 85.0,
        "write_null": 80.0,
        "read_zero_1": 115.0,
        "clock_gettime": 120.0,
        "sched_yield": 65.0,
        "open_close": 2_450.0,
        "pipe_roundtrip_ns": 3_920.0,
        "unix_roundtrip_ns": 6_100.0,
        "ipc_roundtrip_ns": 1_880.0,
        "context_switch": 1_400.0,
        "page_fault": 1_700.0,
        "fork_exit_wait": 275_000.0,
    }
    "net-bench": {
        "tcp_roundtrip_ns": 5_120.0,
        "udp_roundtrip_ns": 7_090.0,
        "eventfd_ns": 745.0,
        "epoll_10_ns": 1_850.0,
        "epoll_10k_ns": 1_850.0,
    }
}

/// Rows that are measured but have no limit: programs and their rows.
const UNLIMITED: [(&str, &[&str]); 2] =
    [("syscall-bench", &["read_zero_4k", "futex_wake", "mmap_munmap", "execve"]), ("net-bench", &[])];
/// Of the machine's time, for a row. Some hundred operations of the longest row fit into it.
const WINDOW: Duration = Duration::from_millis(40);
/// For a machine, on a busy host.
const TIMEOUT: Duration = Duration::from_secs(900);

fn measure(parts: &Parts, options: &Options) -> anyhow::Result<Measured> {
    let step = Step::new("Counting instructions of system calls", Some(Duration::from_secs(30)));
    let rows = rows_of(parts, options.runs)?;
    step.done();
    let rows = rows.into_iter().map(|row| Row { name: format!("exo.{}", row.name), ..row }).collect();
    Ok(Measured { rows, accel: Accel::Icount })
}

/// Instructions of each operation on the kernel of `parts`, in a machine for each program.
pub(crate) fn rows_of(parts: &Parts, runs: u32) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (program, unlimited) in UNLIMITED {
        let config = Config {
            accel: Some(Accel::Icount),
            rng: 0,
            load_modules: false,
            timeout: Some(TIMEOUT),
            ..Config::default()
        };
        let mut command = vec![program.to_owned(), "--json".to_owned()];
        command.extend([format!("--runs={runs}"), format!("--window={}", WINDOW.as_millis())]);
        let limited = LIMITS.iter().filter(|limit| limit.program == program).map(|limit| limit.row);
        command.extend(limited.chain(unlimited.iter().copied()).map(str::to_owned));
        let outcome = machine::run(parts, &config, &command, Output::Capture)?;
        let measured = measured_in_machine(program, &outcome)?;
        rows.extend(measured.into_iter().map(|row| Row { unit: UNIT, ..row }));
    }
    Ok(rows)
}
