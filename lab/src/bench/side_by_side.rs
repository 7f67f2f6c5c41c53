// SPDX-License-Identifier: MIT OR Apache-2.0
//! One program measures the same on several systems, in machines with the same QEMU settings that take turns: a slow hour of the
//! host falls on all of them.

use std::time::Duration;

use anyhow::Context as _;
use bench_report::{row_name, vcpus_text};

use super::values::Values;
use super::{Measured, Options, measured_in_machine};
use crate::exo_kernel::{self, Profile};
use crate::machine::{self, Accel, Config, Machine, Output, Parts};
use crate::ui::Step;

/// A program of the machines that measures rows one after the other.
pub(super) struct Program {
    /// What it is called.
    pub(super) name: &'static str,
    /// What it measures, in words.
    pub(super) measures: &'static str,
    /// How many rows it has, for the time that they take.
    pub(super) rows: u32,
    /// Where it runs.
    pub(super) systems: &'static [System],
}

/// A kernel and how it is started.
pub(super) struct System {
    /// What its rows begin with.
    pub(super) group: &'static str,
    /// Whether it is Exo-Kernel.
    pub(super) is_exo: bool,
    /// Words for its command line.
    pub(super) append: &'static [&'static str],
}

impl System {
    /// Exo-Kernel.
    pub(super) const EXO: Self = Self { group: "exo", is_exo: true, append: &[] };
    /// Linux as Debian ships it.
    pub(super) const LINUX: Self = Self { group: "linux", is_exo: false, append: &[] };
}

/// A machine's boot and end, and rows that are slower than a window.
const MARGIN: Duration = Duration::from_secs(60);
/// What the machine says when its first command runs.
const STARTED: &str = "started\n";

/// Measures all rows on all systems, and how long each takes to start.
pub(super) fn measure(program: &Program, parts: &Parts, options: &Options) -> anyhow::Result<Measured> {
    let kernel = exo_kernel::build(&parts.context, &parts.toolroot, Profile::Optimised)?;
    let exo = Parts { system: machine::System::Exo(kernel), ..parts.clone() };
    let (mut values, mut accel) = (Values::default(), Accel::Tcg);
    for &vcpus in &options.vcpus {
        let name = format!("Measuring {} with {}", program.measures, vcpus_text(vcpus));
        let machine = options.window * program.rows + Duration::from_secs(8);
        let machines = options.runs * u32::try_from(program.systems.len())?;
        let step = Step::new(&name, Some(machine * machines));
        for run in 1..=options.runs {
            for system in program.systems {
                let parts = if system.is_exo { &exo } else { parts };
                step.message(&format!("run {run} of {}: {}", options.runs, system.group));
                accel = machine_run(program, system, parts, options, vcpus, &mut values)
                    .with_context(|| format!("on {}", parts.system.name()))?;
            }
        }
        step.done();
    }
    Ok(Measured { rows: values.rows(), accel })
}

/// One machine, from its start to its figures.
fn machine_run(
    program: &Program,
    system: &System,
    parts: &Parts,
    options: &Options,
    vcpus: u32,
    values: &mut Values,
) -> anyhow::Result<Accel> {
    let config = Config {
        accel: options.accel,
        smp: vcpus,
        rng: 0,
        load_modules: false,
        append: system.append.iter().map(|&word| word.to_owned()).collect(),
        timeout: Some(options.window * program.rows * 3 + MARGIN),
        ..Config::default()
    };
    let window = options.window.as_millis();
    let script = format!("echo started; exec {} --json --runs 1 --window {window}", program.name);
    let mut machine =
        Machine::start(parts, &config, &["sh", "-c", &script].map(str::to_owned), Output::Capture)?;
    machine.wait_for(STARTED)?;
    let start = machine.age().as_secs_f64() * 1e9;
    let outcome = machine.wait()?;
    values.add(row_name(&format!("{}.start", system.group), vcpus), "ns", start);
    for row in measured_in_machine(program.name, &outcome)? {
        values.add(row_name(&format!("{}.{}", system.group, row.name), vcpus), row.unit, row.median);
    }
    Ok(outcome.accel)
}
