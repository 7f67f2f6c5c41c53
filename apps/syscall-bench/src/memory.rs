// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mappings and page faults.

use std::hint::black_box;
use std::time::Duration;

use memmap2::MmapMut;

use bench_report::{Failure, nanoseconds};

const PAGE: usize = 4096;
/// What is mapped and taken away, untouched.
const MAPPED: usize = 64 * 1024;
/// Pages that are touched one after the other. Mapping them is part of the time, shared by all of them.
const TOUCHED: u64 = 256;

pub(crate) fn mmap_munmap(window: Duration) -> Result<f64, Failure> {
    nanoseconds(window, |count| (0..count).try_for_each(|_| Ok(MmapMut::map_anon(MAPPED).map(drop)?)))
}

/// The first write to a page of anonymous memory.
pub(crate) fn page_fault(window: Duration) -> Result<f64, Failure> {
    let rounds = nanoseconds(window, |count| {
        (0..count).try_for_each(|_| {
            let mut pages = MmapMut::map_anon(PAGE * TOUCHED as usize)?;
            pages.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
            black_box(&pages);
            Ok(())
        })
    })?;
    Ok(rounds / TOUCHED as f64)
}
