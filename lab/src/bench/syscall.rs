// SPDX-License-Identifier: MIT OR Apache-2.0
//! The suite `syscall`: what system calls cost on Exo-Kernel and on Linux, by the same binary, `syscall-bench`, in machines
//! with the same QEMU settings.
//!
//! Each run starts a machine with the one kernel and then with the other, so that a slow hour of the host falls on both. Linux runs
//! as Debian ships it and with `mitigations=off`; what counts is how Exo-Kernel stands to the faster of the two.

use super::figures::{Figure, Goal, Of};
use super::side_by_side::{self, Program, System};
use super::{Measured, Options, Suite};
use crate::machine::Parts;

pub(super) const SUITE: Suite = Suite {
    name: "syscall",
    title: "System calls on Exo-Kernel and on Linux",
    ours: "measured",
    measure,
    figures: FIGURES,
};

/// How much faster than the faster of both Linuxes: name of the row there, and here where that is another.
macro_rules! faster {
    ($linux:literal, $must:literal, $aim:literal) => {
        faster!($linux, $linux, $must, $aim)
    };
    ($linux:literal, $exo:literal, $must:literal, $aim:literal) => {
        Figure {
            of: Of::Lead(&[concat!("linux.", $linux), concat!("linux-off.", $linux)], concat!("exo.", $exo)),
            must: $must,
            aim: Some($aim),
            goal: Goal::AtLeast,
        }
    };
}

/// What this project promises.
const FIGURES: &[Figure] = &[
    Figure { of: Of::Row("exo.getpid_rate", "op/s"), must: 5e6, aim: Some(10e6), goal: Goal::AtLeast },
    faster!("getpid", 2.0, 4.0),
    faster!("unknown", 1.0, 2.0),
    faster!("read_zero_1", 1.0, 2.0),
    faster!("read_zero_4k", 1.0, 2.0),
    faster!("write_null", 1.0, 2.0),
    faster!("clock_gettime", 1.0, 2.0),
    faster!("sched_yield", 1.0, 2.0),
    faster!("open_close", 1.0, 2.0),
    faster!("futex_wake", 1.0, 2.0),
    faster!("mmap_munmap", 1.0, 2.0),
    faster!("page_fault", 1.0, 2.0),
    faster!("pipe_roundtrip_ns", 1.0, 2.0),
    faster!("unix_roundtrip_ns", 1.0, 2.0),
    faster!("context_switch", 1.0, 2.0),
    faster!("fork_exit_wait", 1.0, 2.0),
    faster!("execve", 1.0, 2.0),
    faster!("pipe_roundtrip_ns", "ipc_roundtrip_ns", 3.0, 8.0),
    Figure { of: Of::Scaling("exo.getpid_rate", 2), must: 1.9, aim: None, goal: Goal::AtLeast },
    Figure { of: Of::Row("exo.start", "ns"), must: 1e9, aim: Some(0.3e9), goal: Goal::AtMost },
];

const PROGRAM: Program = Program {
    name: "syscall-bench",
    measures: "system calls",
    rows: 18,
    systems: &[
        System::EXO,
        System::LINUX,
        System { group: "linux-off", is_exo: false, append: &["mitigations=off"] },
    ],
    has_partner: false,
};

fn measure(parts: &Parts, options: &Options) -> anyhow::Result<Measured> {
    side_by_side::measure(&PROGRAM, parts, options)
}
