// SPDX-License-Identifier: MIT OR Apache-2.0
//! The suite `procmon`: what the module tells of processes, and `/proc` beside it; what recording costs those who are told
//! of. The program `procmon` measures itself, in a machine for each number of processors.

use std::time::Duration;

use bench_report::{row_name, vcpus_text};

use super::figures::{Figure, Goal, Of};
use super::{Measured, Options, Suite, measured_in_machine};
use crate::machine::{self, Accel, Config, Output, Parts};
use crate::ui::Step;

pub(super) const SUITE: Suite = Suite {
    name: "procmon",
    title: "Processes, by procmon and by /proc",
    ours: "procmon",
    measure,
    figures: FIGURES,
};

const fn at_most(of: Of, must: f64) -> Figure {
    Figure { of, must, aim: None, goal: Goal::AtMost }
}

/// What this project promises.
const FIGURES: &[Figure] = &[
    at_most(Of::Ratio("procmon.query_ns", "peer.proc_stat_ns"), 0.2),
    at_most(Of::Ratio("procmon.snapshot_ns_per_process", "peer.proc_scan_ns_per_process"), 0.1),
    // That readers do not slow each other down; the rest is what processors of a virtual machine share.
    at_most(Of::Ratio("procmon.read_ns.2readers", "procmon.read_ns.1readers"), 1.25),
    at_most(Of::Machine("procmon.event_overhead_percent", "%"), 5.0),
    at_most(Of::Machine("procmon.storm_events_lost", "events"), 0.0),
];

/// Rows that `procmon bench` measures one after the other, for the time that it takes; those that fork take several times theirs.
const ROWS: u32 = 22;
/// A machine's boot, loading the module, and starting readers.
const MARGIN: Duration = Duration::from_secs(120);

fn measure(parts: &Parts, options: &Options) -> anyhow::Result<Measured> {
    let (mut rows, mut accel) = (Vec::new(), Accel::Tcg);
    for &vcpus in &options.vcpus {
        let measured = in_machine(parts, options, vcpus)?;
        rows.extend(measured.rows);
        accel = measured.accel;
    }
    Ok(Measured { rows, accel })
}

fn in_machine(parts: &Parts, options: &Options, vcpus: u32) -> anyhow::Result<Measured> {
    let expected = options.window * ROWS * options.runs;
    let name = format!("Measuring procmon with {}", vcpus_text(vcpus));
    let step = Step::new(&name, Some(expected + Duration::from_secs(30)));
    let config = Config {
        accel: options.accel,
        smp: vcpus,
        timeout: Some(expected * 4 + MARGIN),
        ..Config::default()
    };
    let (runs, window) = (options.runs, options.window.as_millis());
    let command =
        format!("procmon bench --json --runs {runs} --window {window} --module /lib/modules/exo/procmon.ko");
    let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
    let outcome = machine::run(parts, &config, &words, Output::Capture)?;
    let mut rows = measured_in_machine("procmon bench", &outcome)?;
    for row in &mut rows {
        row.name = row_name(&row.name, vcpus);
    }
    step.done();
    Ok(Measured { rows, accel: outcome.accel })
}
