// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tests inside machines: those of the program `guest-tests`.

use super::{Lab, Report, controls};
use crate::machine::{self, Config, Output};

/// Runs them in one machine with two devices and two processors, and reports each under its own name.
pub(super) fn run(lab: &Lab, report: &mut Report, group: &str) -> anyhow::Result<()> {
    // What shows that allocations can be made to fail.
    let more_modules = if lab.checked { controls::modules(lab)? } else { Vec::new() };
    let config = Config { rng: 2, smp: 2, more_modules, ..lab.config() };
    run_with(lab, report, group, &config)
}

/// The same behind an IOMMU: a driver that lets the device reach memory that it has not mapped, or no more maps, fails.
pub(super) fn run_behind_iommu(lab: &Lab, report: &mut Report, group: &str) -> anyhow::Result<()> {
    let config = Config { rng: 2, smp: 2, iommu: true, ..lab.config() };
    run_with(lab, report, group, &config)
}

fn run_with(lab: &Lab, report: &mut Report, group: &str, config: &Config) -> anyhow::Result<()> {
    let outcome = machine::run(&lab.parts, config, &["guest-tests".to_owned()], Output::Capture)?;
    let mut details = String::new();
    let mut seen = 0;
    for line in outcome.captured.stdout.lines() {
        let Some((name, result)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
        else {
            details += &format!("{line}\n");
            continue;
        };
        seen += 1;
        let name = format!("{group}::{name}");
        match result.split_once(' ').map_or(result, |(word, _)| word) {
            "ok" => report.pass(&name, None),
            "skipped" => report.skip(&name, result.strip_prefix("skipped").unwrap_or_default().trim()),
            _ => report.fail(&name, "its output is below"),
        }
    }
    if config.iommu && !outcome.console().contains("DMAR: IOMMU enabled") {
        report.fail(&format!("{group}::the IOMMU is on"), "the kernel did not switch it on");
    }
    if let Some(found) = outcome.report().filter(|_| lab.checked || config.iommu) {
        report.fail(&format!("{group}::no detector reports anything"), &found);
    }
    if outcome.status != 0 {
        report.fail(
            &format!("{group}::guest-tests"),
            &format!(
                "status {}\n{details}{}\nconsole: {}",
                outcome.status,
                outcome.captured.stderr,
                outcome.log.display()
            ),
        );
    } else if seen == 0 {
        report.fail(&format!("{group}::guest-tests"), "it ran no test");
    }
    Ok(())
}
