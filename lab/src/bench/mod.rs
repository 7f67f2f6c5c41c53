// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measurements: each suite measures its subject and the subject's peers in the same machines.
//!
//! A suite is a file of its own with a [`Suite`], and a line in [`SUITES`]. What it returns are rows; tables, the figures that
//! must be reached, JSON and pictures are made here for all of them. Rows of a machine with `n` > 1 virtual processors carry
//! `.ncpu` at the end of their name.

mod block;
pub(crate) mod budget;
mod device_process;
mod environment;
mod figures;
mod net;
mod peers;
mod plotter;
mod procmon;
mod rng;
mod side_by_side;
mod syscall;
mod tables;
mod values;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bench_report::Row;
use serde::{Deserialize, Serialize};

use crate::context::write_whole;
use crate::machine::{Accel, Outcome, Parts};
use crate::ui;
use environment::Environment;
use figures::Figure;
use plotter::Plotter;

/// How to measure.
#[derive(Debug)]
pub(crate) struct Options {
    /// KVM or TCG; `None` takes the best that works.
    pub(crate) accel: Option<Accel>,
    /// The numbers of virtual processors, each of which gets a machine.
    pub(crate) vcpus: Vec<u32>,
    /// How often each row is measured.
    pub(crate) runs: u32,
    /// How long each time.
    pub(crate) window: Duration,
    /// Whether instructions are counted in place of time.
    pub(crate) instructions: bool,
}

/// A subject with its peers.
struct Suite {
    /// What it is called on the command line.
    name: &'static str,
    /// What its picture says above.
    title: &'static str,
    /// What its picture calls rows that are neither a kernel's nor somebody else's.
    ours: &'static str,
    /// Measures everything.
    measure: fn(&Parts, &Options) -> anyhow::Result<Measured>,
    /// What the rows are judged by.
    figures: &'static [Figure],
}

/// What a suite found.
#[derive(Debug)]
struct Measured {
    rows: Vec<Row>,
    /// What its machines ran with.
    accel: Accel,
}

/// All suites. `all` on the command line means each of them in turn.
const SUITES: &[Suite] = &[rng::SUITE, procmon::SUITE, syscall::SUITE, block::SUITE, net::SUITE];

/// Those that can be measured in instructions.
const COUNTED: &[Suite] = &[budget::SUITE];

/// Means all suites.
const ALL: &str = "all";

/// The words that name suites on the command line.
pub(crate) fn suite_names() -> Vec<&'static str> {
    SUITES.iter().map(|suite| suite.name).chain([ALL]).collect()
}

/// The report, as the JSON file has it.
#[derive(Debug, Serialize)]
struct Report {
    environment: Environment,
    rows: Vec<Row>,
}

/// Runs the suite `name`, shows what it found, and writes the files that were asked for.
pub(crate) fn run(
    parts: &Parts,
    options: &Options,
    name: &str,
    json: Option<&Path>,
    pictures: Option<&Path>,
) -> anyhow::Result<()> {
    let all = if options.instructions { COUNTED } else { SUITES };
    let suites: Vec<&Suite> = all.iter().filter(|suite| name == ALL || suite.name == name).collect();
    ensure!(!suites.is_empty(), "the suite {name} cannot be measured in instructions, only in time");
    // That pictures cannot be drawn should not be found out after minutes of measuring.
    let plotter = pictures.map(|folder| Plotter::build(parts, folder)).transpose()?;
    let mut report = Report { environment: Environment::now(parts, options)?, rows: Vec::new() };
    for suite in suites {
        let Measured { rows, accel } = (suite.measure)(parts, options)?;
        ensure!(!rows.is_empty(), "the suite {} has measured nothing; why stands above", suite.name);
        report.environment.acceleration = Some(accel);
        let title = format!("{}: medians of {} runs", suite.title, options.runs);
        println!("{}", ui::paint_stdout("1", &title));
        println!("{}\n", report.environment);
        println!("{}", tables::rows(&rows, &options.vcpus));
        println!("{}", tables::figures(suite.figures, &rows, &options.vcpus));
        if let Some(plotter) = &plotter {
            plotter.draw(suite, &title, &report.environment, &rows)?;
        }
        report.rows.extend(rows);
    }
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&report).context("the figures cannot be written as JSON")?;
        write_whole(&std::path::absolute(path)?, format!("{text}\n").as_bytes())?;
    }
    Ok(())
}

/// What a measuring program prints as JSON, as far as it is of interest here.
#[derive(Debug, Deserialize)]
struct Printed {
    rows: Vec<Row>,
}

/// The rows in a program's output, which may have lines of other kinds before and after the JSON.
fn printed_rows(output: &str) -> anyhow::Result<Vec<Row>> {
    let (Some(start), Some(end)) = (output.find('{'), output.rfind('}')) else {
        bail!("expected figures as JSON, but the program printed:\n{output}");
    };
    let printed: Printed = serde_json::from_str(output.get(start..=end).unwrap_or_default())
        .with_context(|| format!("the figures are no JSON as expected:\n{output}"))?;
    Ok(printed.rows)
}

/// The rows that `program` printed in a machine. What else it said explains a failure, and is noted in any case.
fn measured_in_machine(program: &str, outcome: &Outcome) -> anyhow::Result<Vec<Row>> {
    for line in outcome.captured.stderr.lines() {
        ui::note(line);
    }
    ensure!(outcome.status == 0, "{program} failed in the machine, with status {}", outcome.status);
    printed_rows(&outcome.captured.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_between_other_output() {
        let output = "run 1 of 2\nrun 2 of 2\n{\"environment\": {\"cpus\": 1},\n \"rows\": [{\"name\": \"rng.read\", \
                      \"unit\": \"B/s\", \"median\": 2.0, \"min\": 1, \"max\": 3.5, \"runs\": 5}]}\nidle\n";
        let rows = printed_rows(output).unwrap();
        assert_eq!((rows.len(), rows[0].name.as_str(), rows[0].max), (1, "rng.read", 3.5));
        for wrong in ["", "idle", "} {", "{\"rows\": 7}"] {
            assert!(printed_rows(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn names_of_suites_are_unlike() {
        let mut names = suite_names();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SUITES.len() + 1);
    }
}
