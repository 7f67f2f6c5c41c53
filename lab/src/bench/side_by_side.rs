// SPDX-License-Identifier: MIT OR Apache-2.0
//! One program measures the same on several systems, in machines with the same QEMU settings that take turns: a slow hour of the
//! host falls on all of them.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use bench_report::{row_name, vcpus_text};

use super::values::Values;
use super::{Measured, Options, measured_in_machine};
use crate::exo_kernel::{self, Profile};
use crate::machine::{self, Accel, Config, Machine, Network, Output, Parts};
use crate::process::Running;
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
    /// Whether the machines have a network, and the program a partner on the host, which it is as well (`--serve`, `--partner`).
    pub(super) has_partner: bool,
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
    let partner = if program.has_partner { Some(Partner::start(program, parts)?) } else { None };
    for &vcpus in &options.vcpus {
        let name = format!("Measuring {} with {}", program.measures, vcpus_text(vcpus));
        let machine = options.window * program.rows + Duration::from_secs(8);
        let machines = options.runs * u32::try_from(program.systems.len())?;
        let step = Step::new(&name, Some(machine * machines));
        for run in 1..=options.runs {
            for system in program.systems {
                let parts = if system.is_exo { &exo } else { parts };
                step.message(&format!("run {run} of {}: {}", options.runs, system.group));
                accel = machine_run(program, system, parts, options, vcpus, partner.as_ref(), &mut values)
                    .with_context(|| format!("on {}", parts.system.name()))?;
            }
        }
        step.done();
    }
    drop(partner);
    Ok(Measured { rows: values.rows(), accel })
}

/// The host's 127.0.0.1, as a machine sees it.
const HOST: &str = "10.0.2.2";

/// The program on the host, as a partner of those in the machines. It ends when this is dropped.
struct Partner {
    _process: Running,
    port: u16,
}

impl Partner {
    fn start(program: &Program, parts: &Parts) -> anyhow::Result<Self> {
        let name = program.name;
        let known = parts.programs.commands().find(|(command, _)| *command == name);
        let (_, path) = known.with_context(|| format!("{name} is not one of the machines' programs"))?;
        let mut command = Command::new(path);
        command.args(["--serve", "0"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Running::start(&mut command)?;
        let stdout = process.child().stdout.take().context("it has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address: SocketAddr =
            line.trim().parse().with_context(|| format!("{name} --serve said {line:?}"))?;
        Ok(Self { _process: process, port: address.port() })
    }
}

/// One machine, from its start to its figures.
fn machine_run(
    program: &Program,
    system: &System,
    parts: &Parts,
    options: &Options,
    vcpus: u32,
    partner: Option<&Partner>,
    values: &mut Values,
) -> anyhow::Result<Accel> {
    let config = Config {
        accel: options.accel,
        smp: vcpus,
        rng: 0,
        load_modules: false,
        network: partner.map(|_| Network::User(Vec::new())),
        append: system.append.iter().map(|&word| word.to_owned()).collect(),
        timeout: Some(options.window * program.rows * 3 + MARGIN),
        ..Config::default()
    };
    let window = options.window.as_millis();
    let partner = partner.map_or_else(String::new, |partner| format!(" --partner {HOST}:{}", partner.port));
    let script = format!("echo started; exec {} --json --runs 1 --window {window}{partner}", program.name);
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
