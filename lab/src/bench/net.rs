// SPDX-License-Identifier: MIT OR Apache-2.0
//! The suite `net`: what sockets and event files give to a program, on Exo-Kernel and on Linux, by the same binary, `net-bench`.

use super::figures::{Figure, Goal, Of};
use super::side_by_side::{self, Program, System};
use super::{Measured, Options, Suite};
use crate::machine::Parts;

pub(super) const SUITE: Suite = Suite {
    name: "net",
    title: "Sockets and events on Exo-Kernel and on Linux",
    ours: "measured",
    measure,
    figures: FIGURES,
};

/// How much faster than Linux: more bytes a second, or less time.
macro_rules! faster {
    (throughput $row:literal, $must:literal, $aim:literal) => {
        faster!(concat!("exo.", $row), concat!("linux.", $row), $must, $aim)
    };
    (time $row:literal, $must:literal, $aim:literal) => {
        faster!(concat!("linux.", $row), concat!("exo.", $row), $must, $aim)
    };
    ($over:expr, $under:expr, $must:literal, $aim:literal) => {
        Figure { of: Of::Ratio($over, $under), must: $must, aim: Some($aim), goal: Goal::AtLeast }
    };
}

/// What this project promises.
const FIGURES: &[Figure] = &[
    faster!(throughput "tcp_64k", 1.5, 3.0),
    faster!(time "tcp_roundtrip_ns", 2.0, 4.0),
    faster!(time "udp_roundtrip_ns", 2.0, 4.0),
    faster!(time "unix_roundtrip_ns", 2.0, 4.0),
    faster!(time "tcp_connection_ns", 1.5, 3.0),
    faster!(throughput "send_64k", 1.0, 1.5),
    faster!(throughput "receive_64k", 1.0, 1.5),
    Figure {
        of: Of::Ratio("exo.epoll_10k_ns", "exo.epoll_10_ns"),
        must: 1.1,
        aim: Some(1.0),
        goal: Goal::AtMost,
    },
];

const PROGRAM: Program = Program {
    name: "net-bench",
    measures: "sockets and events",
    rows: 15,
    systems: &[System::EXO, System::LINUX],
    has_partner: true,
};

fn measure(parts: &Parts, options: &Options) -> anyhow::Result<Measured> {
    side_by_side::measure(&PROGRAM, parts, options)
}
