// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo exo bench`: measurements, peers side by side in the same run.

use std::time::Duration;

use super::{Build, prepare};
use crate::bench::{self, Options};
use crate::cli::BenchArgs;
use crate::context::Context;
use crate::exo_kernel::Profile;

pub(super) fn run(context: &Context, args: &BenchArgs) -> anyhow::Result<i32> {
    let mut vcpus = args.smp.clone();
    vcpus.sort_unstable();
    vcpus.dedup();
    let build = if args.instructions { Build::Exo(Profile::Optimised) } else { Build::Stock };
    let parts = prepare(context, build)?;
    let options = Options {
        accel: args.accel,
        vcpus: if args.instructions { vec![1] } else { vcpus },
        runs: args.runs,
        window: Duration::from_millis(args.window),
        instructions: args.instructions,
    };
    bench::run(&parts, &options, &args.suite, args.json.as_deref(), args.plot.as_deref())?;
    Ok(0)
}
