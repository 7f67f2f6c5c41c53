// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo exo vm`: one command in a fresh machine.

use std::path::Path;

use serde_json::json;

use super::{Build, machine, prepare_wanted};
use crate::cli::VmArgs;
use crate::context::{Context, write_whole};
use crate::machine::{self as machines, Config, Outcome, Output, Parts};
use crate::ui;

pub(super) fn run(context: &Context, args: VmArgs) -> anyhow::Result<i32> {
    let (wanted, config) = machine(args.machine)?;
    let config = Config { timeout: args.timeout, ..config };
    let parts = prepare_wanted(context, &wanted)?;
    let outcome = machines::run(&parts, &config, &args.command, Output::PassOn)?;
    if let Some(path) = &args.json {
        write_json(path, &parts, &config, &args.command, &outcome)?;
    }
    match outcome.report()? {
        Some(report) if wanted.build == Build::Checked => {
            eprintln!("{report}");
            ui::note(&format!(
                "the kernel's detectors reported the above; the whole console is in {}",
                outcome.log.path().display()
            ));
            Ok(machines::STATUS_MACHINE_FAILED)
        }
        _ => Ok(outcome.status),
    }
}

fn write_json(
    path: &Path,
    parts: &Parts,
    config: &Config,
    command: &[String],
    outcome: &Outcome,
) -> anyhow::Result<()> {
    let report = json!({
        "environment": {
            "kernel": parts.system.name(),
            "acceleration": outcome.accel,
            "processors": config.smp,
            "memory_mib": config.memory,
            "rng_devices": config.rng,
        },
        "command": command,
        "status": outcome.status,
        "timed_out": outcome.status == machines::STATUS_TIMED_OUT,
        "seconds": outcome.time.as_secs_f64(),
        "console": outcome.log.path(),
    });
    write_whole(&std::path::absolute(path)?, format!("{report:#}\n").as_bytes())
}
