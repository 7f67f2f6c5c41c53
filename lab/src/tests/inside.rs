// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tests inside machines: those of the program `guest-tests`.

use std::process::Command;

use anyhow::ensure;

use super::{Lab, Report, controls};
use crate::machine::{self, Config, Output};
use crate::process;

/// How often tests of coming and going repeat, and how many seconds each test may take, with `--long`.
const LONG: [&str; 4] = ["--loops", "1000", "--timeout", "1200"];

/// Runs those that were asked for in one machine with two devices and two processors, and reports each under its own name.
pub(super) fn run(lab: &Lab, report: &mut Report, group: &str) -> anyhow::Result<()> {
    let names = names(lab, report, group)?;
    if names.is_empty() {
        return Ok(());
    }
    // What shows that allocations can be made to fail.
    let more_modules = if lab.checked { controls::modules(lab)? } else { Vec::new() };
    let config = Config { rng: 2, smp: 2, more_modules, ..lab.config() };
    run_with(lab, report, group, &names, &config)
}

/// Those of devices behind an IOMMU: a driver that lets the device reach memory that it has not mapped, or no more maps, fails.
pub(super) fn run_behind_iommu(lab: &Lab, report: &mut Report, group: &str) -> anyhow::Result<()> {
    let mut names = names(lab, report, group)?;
    names.retain(|name| name.starts_with("my_rng::"));
    if names.is_empty() {
        return Ok(());
    }
    let config = Config { rng: 2, smp: 2, iommu: true, ..lab.config() };
    run_with(lab, report, group, &names, &config)
}

/// The names of the tests that were asked for. The program is static, so it can say on the host which it has.
fn names(lab: &Lab, report: &Report, group: &str) -> anyhow::Result<Vec<String>> {
    let list = process::output(Command::new(lab.parts.programs.tests()).arg("--list"))?;
    let names: Vec<String> =
        list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
    ensure!(!names.is_empty(), "guest-tests names no test:\n{list}");
    Ok(names.into_iter().filter(|name| report.wants(&format!("{group}::{name}"))).collect())
}

fn run_with(
    lab: &Lab,
    report: &mut Report,
    group: &str,
    names: &[String],
    config: &Config,
) -> anyhow::Result<()> {
    let mut command = vec!["guest-tests".to_owned(), "--exact".to_owned()];
    command.extend(lab.long.then_some(LONG).into_iter().flatten().map(str::to_owned));
    command.extend_from_slice(names);
    let outcome = machine::run(&lab.parts, config, &command, Output::Capture)?;
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
