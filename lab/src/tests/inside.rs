// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tests inside machines: those of the program `guest-tests`. They are wanted or not by their own names, and each is
//! reported under its own name.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::{Lab, Report, controls};
use crate::kmod;
use crate::machine::{Config, Machine, Outcome, Output, Parts};
use crate::process;

/// What the names of tests have in common that fail one allocation after the other. They need the checked kernel, and take
/// as long there as all others together.
const FAILURES: &str = "::fail_nth";

/// What the names of tests begin with that need the examples of `linux/chardev`.
const CHARDEV: &str = "chardev::";

/// How often tests of coming and going repeat, and how many seconds each test may take, with `--long`.
const LONG: [&str; 4] = ["--loops", "1000", "--timeout", "1200"];

/// Starts all but the failures, in one machine with two devices and two processors.
pub(super) fn start(lab: &Lab, report: &Report, group: &str) -> anyhow::Result<Option<Lane>> {
    let config = Config { rng: 2, smp: 2, ..lab.config() };
    start_if_any(lab, report, group, &config, |_| true)
}

/// Runs them.
pub(super) fn run(lab: &Lab, report: &mut Report, group: &str) -> anyhow::Result<()> {
    finish(start(lab, report, group)?, report)
}

/// Starts those of devices behind an IOMMU: a driver that lets the device reach memory that it has not mapped, or no more maps, fails.
pub(super) fn start_behind_iommu(lab: &Lab, report: &Report, group: &str) -> anyhow::Result<Option<Lane>> {
    let config = Config { rng: 2, smp: 2, iommu: true, ..lab.config() };
    start_if_any(lab, report, group, &config, |name| name.starts_with("my_rng::"))
}

/// Waits for the end of what was started, if anything was.
pub(super) fn finish(lane: Option<Lane>, report: &mut Report) -> anyhow::Result<()> {
    lane.map_or(Ok(()), |lane| lane.finish(report))
}

/// The same, but later, by who gets what is returned, if several tests may have their machines at a time.
pub(super) fn finish_later(
    lane: Option<Lane>,
    lab: &Lab,
    report: &mut Report,
) -> anyhow::Result<Option<Lane>> {
    if lab.jobs > 1 {
        return Ok(lane);
    }
    finish(lane, report)?;
    Ok(None)
}

fn start_if_any(
    lab: &Lab,
    report: &Report,
    group: &str,
    config: &Config,
    belongs: impl Fn(&str) -> bool,
) -> anyhow::Result<Option<Lane>> {
    let names = wanted(lab, report, group, |name| belongs(name) && !name.contains(FAILURES))?;
    if names.is_empty() {
        return Ok(None);
    }
    let mut config = config.clone();
    if names.iter().any(|name| name.starts_with(CHARDEV)) {
        config.more_modules.extend(chardev_modules(lab)?);
    }
    Lane::start(lab, group, &config, names).map(Some)
}

/// The modules that the tests of [`CHARDEV`] load, built.
fn chardev_modules(lab: &Lab) -> anyhow::Result<Vec<PathBuf>> {
    let Parts { context, toolroot, .. } = &lab.parts;
    let mut built = Vec::new();
    for folder in ["chardev/example", "chardev/misc-example", "test-modules/hold_node"] {
        let folder = context.checkout.join("linux").join(folder);
        built.extend(kmod::build(
            context,
            toolroot,
            &lab.parts.linux()?.kernel,
            &folder,
            kmod::Options::default(),
        )?);
    }
    Ok(built)
}

/// Starts the failures in a machine of their own: it has one processor, and the other one of a usual host is for the tests
/// that run meanwhile.
pub(super) fn start_failures(lab: &Lab, report: &Report, group: &str) -> anyhow::Result<Option<Lane>> {
    let names = wanted(lab, report, group, |name| name.contains(FAILURES))?;
    if names.is_empty() {
        return Ok(None);
    }
    // What shows that allocations can be made to fail.
    let more_modules = controls::modules(lab)?;
    let config = Config { rng: 1, more_modules, ..lab.config() };
    Lane::start(lab, group, &config, names).map(Some)
}

/// The names, as `guest-tests` has them, of those that were asked for.
fn wanted(
    lab: &Lab,
    report: &Report,
    group: &str,
    belongs: impl Fn(&str) -> bool,
) -> anyhow::Result<Vec<String>> {
    // A static program runs on any Linux, and on this host it only tells the names.
    let list = process::output(Command::new(lab.parts.programs.tests()).arg("--list"))?;
    let names: Vec<&str> = list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    ensure!(!names.is_empty(), "guest-tests names no test:\n{list}");
    let is_wanted = |name: &&str| belongs(name) && report.wants(&format!("{group}::{name}"));
    Ok(names.into_iter().filter(is_wanted).map(str::to_owned).collect())
}

/// A machine that runs some of the tests.
#[derive(Debug)]
pub(crate) struct Lane {
    group: String,
    names: Vec<String>,
    iommu: bool,
    /// Whether its detectors see more than that a kernel has crashed.
    is_watched: bool,
    machine: Machine,
}

impl Lane {
    fn start(lab: &Lab, group: &str, config: &Config, names: Vec<String>) -> anyhow::Result<Self> {
        let long = lab.long.then_some(LONG).into_iter().flatten();
        let words =
            ["guest-tests", "--exact"].into_iter().chain(long).chain(names.iter().map(String::as_str));
        let words: Vec<String> = words.map(str::to_owned).collect();
        let machine = Machine::start(&lab.parts, config, &words, Output::Capture)?;
        let is_watched = lab.checked || config.iommu;
        Ok(Self { group: group.to_owned(), names, iommu: config.iommu, is_watched, machine })
    }

    /// Waits for its end and reports each test.
    fn finish(self, report: &mut Report) -> anyhow::Result<()> {
        let Self { group, names, iommu, is_watched, machine } = self;
        let outcome = machine.wait().context("cannot wait for a machine with tests")?;
        let (seen, details) = each_result(&outcome, &group, report);
        let missing: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| !seen.iter().any(|seen| seen == name)).collect();

        if iommu && !outcome.log.text()?.contains("DMAR: IOMMU enabled") {
            report.fail(&format!("{group}::the IOMMU is on"), "the kernel did not switch it on");
        }
        // The IOMMU's own reports show what QEMU's devices do; this one lives in another process, which counts for itself.
        if iommu && outcome.dma_faults != Some(0) {
            report.fail(
                &format!("{group}::the devices reach only what is mapped for them"),
                &format!("accesses beyond that: {:?}, expected 0", outcome.dma_faults),
            );
        }
        if let Some(found) = outcome.report()?.filter(|_| is_watched) {
            report.fail(&format!("{group}::no detector reports anything"), &found);
        }
        if outcome.status != 0 || !missing.is_empty() {
            report.fail(
                &format!("{group}::guest-tests"),
                &format!(
                    "status {}; not run: {}\n{details}{}\nconsole: {}",
                    outcome.status,
                    if missing.is_empty() { "none".to_owned() } else { missing.join(", ") },
                    outcome.captured.stderr,
                    outcome.log.path().display()
                ),
            );
        }
        Ok(())
    }
}

/// Reports what each line of the program's output tells. Returns the names, and all other lines.
fn each_result(outcome: &Outcome, group: &str, report: &mut Report) -> (Vec<String>, String) {
    let (mut seen, mut details) = (Vec::new(), String::new());
    for line in outcome.captured.stdout.lines() {
        let Some((inner, result)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
        else {
            details += &format!("{line}\n");
            continue;
        };
        seen.push(inner.to_owned());
        let name = format!("{group}::{inner}");
        match result.split_once(' ').map_or(result, |(word, _)| word) {
            "ok" => report.pass(&name, None),
            "skipped" => report.skip(&name, result.strip_prefix("skipped").unwrap_or_default().trim()),
            _ => report.fail(&name, "its output is below"),
        }
    }
    (seen, details)
}

#[cfg(test)]
mod documentation {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/linux-modules.md");
    const INSIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../apps/guest-tests/src");

    /// The texts in quotation marks of all sources below a folder.
    fn quoted(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                quoted(&path, found);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                found.extend(text.split('"').map(str::to_owned));
            }
        }
    }

    #[test]
    fn each_test_that_the_page_names_exists() {
        let mut inside = BTreeSet::new();
        quoted(Path::new(INSIDE), &mut inside);
        let here: BTreeSet<&str> = super::super::names().into_iter().collect();
        let page = fs::read_to_string(PAGE).unwrap();
        let names: Vec<&str> = page
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|word| word.contains("::") && !word.contains(' ') && !word.ends_with(['…', ':']))
            .collect();
        assert!(names.len() > 30, "{names:?}");
        for name in names {
            let exists = match name.strip_prefix("inside::").and_then(|name| name.split_once("::")) {
                Some((_, name)) => inside.contains(name),
                // Those on the checked kernel have a list of their own.
                None => here.contains(name) || name.starts_with("checked::"),
            };
            assert!(exists, "there is no test {name}");
        }
    }
}
