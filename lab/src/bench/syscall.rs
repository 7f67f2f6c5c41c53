// SPDX-License-Identifier: MIT OR Apache-2.0
//! The suite `syscall`: what system calls cost on Exo-Kernel and on Linux, by the same binary, `syscall-bench`, in machines
//! with the same QEMU settings.
//!
//! Each run starts a machine with the one kernel and then with the other, so that a slow hour of the host falls on both. Linux runs
//! as Debian ships it and with `mitigations=off`; what counts is how Exo-Kernel stands to the faster of the two.

use std::time::Duration;

use anyhow::Context as _;
use bench_report::{row_name, vcpus_text};

use super::figures::{Figure, Goal, Of};
use super::values::Values;
use super::{Measured, Options, Suite, measured_in_machine};
use crate::exo_kernel::{self, Profile};
use crate::machine::{Accel, Config, Machine, Output, Parts, System};
use crate::ui::Step;

pub(super) const SUITE: Suite = Suite {
    name: "syscall",
    title: "System calls on Exo-Kernel and on Linux",
    ours: "measured",
    measure,
    figures: FIGURES,
};

/// How much faster than the faster of both Linuxes: name of the row there, and here where that is another.
macro_rules! faster {
    ($linux:literal, $must:literal, $aim:literal) => {
        faster!($linux, $linux, $must, $aim)
    };
    ($linux:literal, $exo:literal, $must:literal, $aim:literal) => {
        Figure {
            of: Of::Lead(&[concat!("linux.", $linux), concat!("linux-off.", $linux)], concat!("exo.", $exo)),
            must: $must,
            aim: Some($aim),
            goal: Goal::AtLeast,
        }
    };
}

/// What this project promises.
const FIGURES: &[Figure] = &[
    Figure { of: Of::Row("exo.getpid_rate", "op/s"), must: 5e6, aim: Some(10e6), goal: Goal::AtLeast },
    faster!("getpid", 2.0, 4.0),
    faster!("unknown", 1.0, 2.0),
    faster!("read_zero_1", 1.0, 2.0),
    faster!("read_zero_4k", 1.0, 2.0),
    faster!("write_null", 1.0, 2.0),
    faster!("clock_gettime", 1.0, 2.0),
    faster!("sched_yield", 1.0, 2.0),
    faster!("open_close", 1.0, 2.0),
    faster!("futex_wake", 1.0, 2.0),
    faster!("mmap_munmap", 1.0, 2.0),
    faster!("page_fault", 1.0, 2.0),
    faster!("pipe_roundtrip_ns", 1.0, 2.0),
    faster!("unix_roundtrip_ns", 1.0, 2.0),
    faster!("context_switch", 1.0, 2.0),
    faster!("fork_exit_wait", 1.0, 2.0),
    faster!("execve", 1.0, 2.0),
    faster!("pipe_roundtrip_ns", "ipc_roundtrip_ns", 3.0, 8.0),
    Figure { of: Of::Scaling("exo.getpid_rate", 2), must: 1.9, aim: None, goal: Goal::AtLeast },
    Figure { of: Of::Row("exo.start", "ns"), must: 1e9, aim: Some(0.3e9), goal: Goal::AtMost },
];

/// What is measured side by side.
struct Kind {
    /// What its rows begin with.
    group: &'static str,
    is_exo: bool,
    /// Words for its command line.
    append: &'static [&'static str],
}

const KINDS: &[Kind] = &[
    Kind { group: "exo", is_exo: true, append: &[] },
    Kind { group: "linux", is_exo: false, append: &[] },
    Kind { group: "linux-off", is_exo: false, append: &["mitigations=off"] },
];

/// Rows that `syscall-bench` measures one after the other, for the time that it takes.
const ROWS: u32 = 18;
/// A machine's boot and end, and rows that are slower than a window.
const MARGIN: Duration = Duration::from_secs(60);
/// What the machine says when its first command runs.
const STARTED: &str = "started\n";

fn measure(parts: &Parts, options: &Options) -> anyhow::Result<Measured> {
    let kernel = exo_kernel::build(&parts.context, &parts.toolroot, Profile::Optimised)?;
    let exo = Parts { system: System::Exo(kernel), ..parts.clone() };
    let (mut values, mut accel) = (Values::default(), Accel::Tcg);
    for &vcpus in &options.vcpus {
        let name = format!("Measuring system calls with {}", vcpus_text(vcpus));
        let machine = options.window * ROWS + Duration::from_secs(8);
        let step = Step::new(&name, Some(machine * options.runs * 3));
        for run in 1..=options.runs {
            for kind in KINDS {
                let parts = if kind.is_exo { &exo } else { parts };
                step.message(&format!("run {run} of {}: {}", options.runs, kind.group));
                accel = machine_run(parts, options, vcpus, kind, &mut values)
                    .with_context(|| format!("on {}", parts.system.name()))?;
            }
        }
        step.done();
    }
    Ok(Measured { rows: values.rows(), accel })
}

/// One machine, from its start to its figures.
fn machine_run(
    parts: &Parts,
    options: &Options,
    vcpus: u32,
    kind: &Kind,
    values: &mut Values,
) -> anyhow::Result<Accel> {
    let config = Config {
        accel: options.accel,
        smp: vcpus,
        rng: 0,
        load_modules: false,
        append: kind.append.iter().map(|&word| word.to_owned()).collect(),
        timeout: Some(options.window * ROWS * 3 + MARGIN),
        ..Config::default()
    };
    let window = options.window.as_millis();
    let script = format!("echo started; exec syscall-bench --json --runs 1 --window {window}");
    let mut machine =
        Machine::start(parts, &config, &["sh", "-c", &script].map(str::to_owned), Output::Capture)?;
    machine.wait_for(STARTED)?;
    let start = machine.age().as_secs_f64() * 1e9;
    let outcome = machine.wait()?;
    values.add(row_name(&format!("{}.start", kind.group), vcpus), "ns", start);
    for row in measured_in_machine("syscall-bench", &outcome)? {
        values.add(row_name(&format!("{}.{}", kind.group, row.name), vcpus), row.unit, row.median);
    }
    Ok(outcome.accel)
}
