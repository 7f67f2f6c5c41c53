// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo exo bench`: measurements, peers side by side in the same run.

use std::time::Duration;

use super::{Build, prepare};
use crate::bench::{self, Options};
use crate::cli::BenchArgs;
use crate::context::Context;

pub(super) fn run(context: &Context, args: &BenchArgs) -> anyhow::Result<i32> {
    let mut vcpus = args.smp.clone();
    vcpus.sort_unstable();
    vcpus.dedup();
    let parts = prepare(context, Build::Stock)?;
    let options =
        Options { accel: args.accel, vcpus, runs: args.runs, window: Duration::from_millis(args.window) };
    bench::run(&parts, &options, &args.suite, args.json.as_deref(), args.plot.as_deref())?;
    Ok(0)
}
