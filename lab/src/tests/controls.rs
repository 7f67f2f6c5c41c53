// SPDX-License-Identifier: MIT OR Apache-2.0
//! Negative controls: does each detector of the checked kernel still catch the fault that it is there for?
//!
//! The modules are in `linux/negative-controls`; the first lines of each say what is wrong with it and, after
//! `//! expect: `, what the kernel must report.

use std::path::Path;

use anyhow::{Context as _, ensure};
use regex::Regex;

use super::{Lab, Report};
use crate::kmod::{self, Options};
use crate::machine::{self, Config, Output, STATUS_MACHINE_FAILED};

/// What one machine tries: the controls in an order in which none silences a later one, and a last one that ends it.
struct Round {
    name: &'static str,
    controls: &'static [&'static str],
    last: &'static str,
}

/// KASAN reports once only and silences lockdep and RCU; lockdep reports once only. So these come late, and the second fault
/// for KASAN has a machine of its own.
const ROUNDS: [Round; 2] = [
    Round {
        name: "checked::every_detector_catches_its_fault",
        controls: &[
            "dma_leak",
            "object_misuse",
            "list_corruption",
            "sleep_in_atomic",
            "leak",
            "rcu_misuse",
            "lock_inversion",
            "use_after_free",
        ],
        last: "overflow",
    },
    Round {
        name: "checked::out_of_bounds_and_failed_assertions_are_caught",
        controls: &["out_of_bounds"],
        last: "debug_assertion",
    },
];

/// Runs them.
pub(super) fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    for round in &ROUNDS {
        if report.wants(round.name) {
            report.case(round.name, || try_round(lab, round))?;
        }
    }
    Ok(())
}

/// The modules with the faults, built for the checked kernel.
pub(super) fn modules(lab: &Lab) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let parts = &lab.parts;
    kmod::build(&parts.context, &parts.toolroot, &parts.linux()?.kernel, &sources(lab), Options::default())
}

fn sources(lab: &Lab) -> std::path::PathBuf {
    lab.parts.context.checkout.join("linux/negative-controls")
}

fn try_round(lab: &Lab, round: &Round) -> anyhow::Result<()> {
    let mut command = vec!["guest-tests".to_owned()];
    for name in round.controls {
        command.extend(["--control".to_owned(), format!("{name}={}", expected(&sources(lab), name)?)]);
    }
    command.extend(["--last-control".to_owned(), round.last.to_owned()]);
    let config = Config {
        rng: 0,
        load_modules: false,
        final_check: false,
        more_modules: modules(lab)?,
        ..lab.config()
    };
    let outcome = machine::run(&lab.parts, &config, &command, Output::Capture)?;
    let said = format!(
        "{}{}\nconsole: {}",
        outcome.captured.stdout,
        outcome.captured.stderr,
        outcome.log.path().display()
    );
    for name in round.controls {
        ensure!(
            said.contains(&format!("test net::{name} ... ok")),
            "{name} was not caught; the machine said:\n{said}"
        );
    }
    ensure!(outcome.status == STATUS_MACHINE_FAILED, "{} did not end the machine:\n{said}", round.last);
    let pattern = expected(&sources(lab), round.last)?;
    let pattern = Regex::new(&pattern).with_context(|| format!("{pattern:?} is no pattern"))?;
    ensure!(pattern.is_match(&outcome.log.text()?), "the console shows nothing like {pattern}:\n{said}");
    Ok(())
}

/// The detector of the lane with an IOMMU: the device's own count of accesses that were not allowed.
pub(super) fn a_device_that_reaches_too_far_is_counted(lab: &Lab) -> anyhow::Result<()> {
    let config =
        Config { rng: 1, iommu: true, load_modules: false, more_modules: modules(lab)?, ..lab.config() };
    let command = ["insmod", "/lib/modules/exo/dma_stray.ko"].map(str::to_owned);
    let outcome = machine::run(&lab.parts, &config, &command, Output::Capture)?;
    ensure!(outcome.status == 0, "status {}:\n{}", outcome.status, outcome.captured.stderr);
    let console = outcome.log.text()?;
    ensure!(console.contains("the device has tried to write"), "the device was not asked to:\n{console}");
    ensure!(
        outcome.dma_faults.is_some_and(|count| count > 0),
        "it counts {:?} accesses that were not allowed",
        outcome.dma_faults
    );
    Ok(())
}

/// What the module's first lines say that the kernel reports.
fn expected(sources: &Path, name: &str) -> anyhow::Result<String> {
    let path = sources.join(name).with_extension("rs");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("//! expect: "));
    line.map(str::to_owned).with_context(|| format!("{} does not say what to expect", path.display()))
}
