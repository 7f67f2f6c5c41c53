// SPDX-License-Identifier: MIT OR Apache-2.0
//! io_uring: the same program on both kernels, and rings that a program writes nonsense into.

use super::Both;
use super::programs::{PROCESSORS, alike, passes};

pub(super) fn io_uring_behaves_alike(both: &Both<'_>) -> anyhow::Result<()> {
    PROCESSORS.into_iter().try_for_each(|smp| {
        alike(both, "exec exo-tests uring", "24 of 24 in order: true, counted as lost: 0\n", smp, &[])
    })
}

pub(super) fn io_uring_survives_hostile_programs(both: &Both<'_>) -> anyhow::Result<()> {
    passes(both, "uring-hostile").map(drop)
}
