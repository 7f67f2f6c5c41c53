// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo exo shell`: an interactive machine.

use anyhow::Context as _;

use super::{machine, prepare};
use crate::cli::ShellArgs;
use crate::context::Context;
use crate::machine as machines;

pub(super) fn run(context: &Context, args: ShellArgs) -> anyhow::Result<i32> {
    let (build, mut config) = machine(args.machine)?;
    let parts = prepare(context, build)?;
    // The kernel's messages share the terminal with the person: warnings only.
    config.append.push("loglevel=5".to_owned());
    let shared = args.share.unwrap_or_else(|| context.modules(&parts.kernel.release));
    let shared = shared.canonicalize().with_context(|| format!("cannot share {}", shared.display()))?;
    machines::shell(&parts, &config, &shared)
}
