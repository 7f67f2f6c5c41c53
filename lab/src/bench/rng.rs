// SPDX-License-Identifier: MIT OR Apache-2.0
//! The suite `rng`: random numbers in a machine, from the my_rng device by every way there is, and from its peers.
//!
//! Each machine has two my_rng devices (the second gives up its driver, so that its registers can be read directly), one that is a
//! virtio device, QEMU's virtio-rng, and a vhost-user-rng that another process serves. The program `rng-bench` measures all of them in turns. The same
//! program then measures the device on Exo-Kernel: rows `exo.…`.

use std::time::Duration;

use anyhow::Context as _;
use bench_report::{Row, vcpus_text};

use super::figures::{Figure, Goal, Of};
use super::{Measured, Options, Suite, device_process, measured_in_machine, peers};
use crate::exo_kernel::{self, Profile};
use crate::machine::{self, Accel, Config, Machine, Output, Parts, Personality, RngDevices, System};
use crate::ui::{self, Step};

pub(super) const SUITE: Suite = Suite {
    name: "rng",
    title: "Random numbers in a virtual machine",
    ours: "my_rng on Linux",
    measure,
    figures: FIGURES,
};

const fn at_least(over: &'static str, under: &'static str, must: f64, aim: f64) -> Figure {
    Figure { of: Of::Ratio(over, under), must, aim: Some(aim), goal: Goal::AtLeast }
}

/// What this project promises.
const FIGURES: &[Figure] = &[
    at_least("rng.read", "peer.hwrng_virtio", 100.0, 1000.0),
    // The peer is in QEMU's own process, and this device one more to be woken: on two emulating cores, which are busy.
    at_least("rng.hwrng_virtio", "peer.hwrng_virtio", 0.3, 1.0),
    at_least("rng.read", "peer.getrandom", 3.0, 8.0),
    at_least("rng.read", "peer.dev_zero_read", 0.3, 0.8),
    at_least("rng.read", "peer.memory_file_read", 0.5, 0.8),
    at_least("rng.mmap", "rng.read", 1.5, 4.0),
    at_least("exo.rng.read", "rng.read", 1.0, 1.5),
    at_least("rng.ioctl_rand64", "rng.ioctl_rand32", 1.9, 2.0),
    Figure {
        of: Of::Ratio("rng.ioctl_rand64_ns", "peer.null_ioctl_ns"),
        must: 2.0,
        aim: Some(1.2),
        goal: Goal::AtMost,
    },
    Figure { of: Of::Row("device.entropy_memory", "B/s"), must: 1e9, aim: Some(3e9), goal: Goal::AtLeast },
    Figure { of: Of::Row("device.idle_wakeups", "1/s"), must: 0.0, aim: None, goal: Goal::AtMost },
    Figure {
        of: Of::Row("device.memory", "B"),
        must: (32_u32 << 20) as f64,
        aim: Some((8_u32 << 20) as f64),
        goal: Goal::AtMost,
    },
];

/// Slots of the first PCI bus that nothing else is in.
const VIRTIO_SLOT: u8 = 0x10;
const VHOST_USER_SLOT: u8 = 0x11;
const OWN_VIRTIO_SLOT: u8 = 0x12;

/// Rows that `rng-bench` measures one after the other, for the time that it takes.
const ROWS: u32 = 14;
/// A machine's boot, and sources that are slower than a window.
const MARGIN: Duration = Duration::from_secs(60);

fn measure(parts: &Parts, options: &Options) -> anyhow::Result<Measured> {
    let peer = match peers::vhost_device_rng(&parts.context) {
        Ok(program) => Some(program),
        Err(error) => {
            crate::interrupt::check()?;
            ui::note(&format!("peer.vhost_user_rng not measured: {error:#}"));
            None
        }
    };
    let exo = Parts {
        system: System::Exo(exo_kernel::build(&parts.context, &parts.toolroot, Profile::Optimised)?),
        ..parts.clone()
    };
    let (mut rows, mut accel) = (device_process::alone(parts, options)?, Accel::Tcg);
    for (index, &vcpus) in options.vcpus.iter().enumerate() {
        let machine = RngMachine { vcpus, idle: index == 0, peer: peer.as_deref() };
        let measured = machine.measure(parts, options)?;
        rows.extend(measured.rows);
        rows.extend(measure_exo(&exo, options, vcpus)?);
        accel = measured.accel;
    }
    Ok(Measured { rows, accel })
}

/// What Exo-Kernel's programs can measure: it has no other generators, and lets nobody at a device's registers.
const EXO_ROWS: &str =
    "rng.ioctl_rand32 rng.ioctl_rand64 rng.read rng.mmap peer.getrandom peer.dev_zero_read";

/// The same device on Exo-Kernel.
fn measure_exo(parts: &Parts, options: &Options, vcpus: u32) -> anyhow::Result<Vec<Row>> {
    let expected = options.window * ROWS * options.runs;
    let name = format!("Measuring random numbers on {} with {}", parts.system.name(), vcpus_text(vcpus));
    let step = Step::new(&name, Some(expected));
    let config = Config {
        accel: options.accel,
        smp: vcpus,
        rng: 1,
        timeout: Some(expected * 3 + MARGIN),
        ..Config::default()
    };
    let (runs, window) = (options.runs, options.window.as_millis());
    let line = format!("exec rng-bench --json --runs {runs} --window {window} {EXO_ROWS}");
    let outcome = machine::run(parts, &config, &["sh", "-c", &line].map(str::to_owned), Output::Capture)?;
    let rows = measured_in_machine("rng-bench", &outcome)?;
    step.done();
    Ok(rows.into_iter().map(|row| Row { name: format!("exo.{}", row.name), ..row }).collect())
}

/// A machine to measure in.
#[derive(Debug)]
struct RngMachine<'a> {
    vcpus: u32,
    /// Whether to look at the device's process while the machine is idle, too.
    idle: bool,
    peer: Option<&'a std::path::Path>,
}

impl RngMachine<'_> {
    fn measure(&self, parts: &Parts, options: &Options) -> anyhow::Result<Measured> {
        let expected = options.window * ROWS * options.runs;
        let name = format!("Measuring random numbers with {}", vcpus_text(self.vcpus));
        let step = Step::new(&name, Some(expected + Duration::from_secs(15)));
        let folder =
            tempfile::Builder::new().prefix("exo-").tempdir().context("cannot create a temporary folder")?;
        let mut qemu_args = vec!["-device".to_owned(), format!("virtio-rng-pci,addr={VIRTIO_SLOT:#x}")];
        let peer = self.peer.map(|program| peers::VhostUserRng::start(program, folder.path())).transpose()?;
        qemu_args.extend(peer.iter().flat_map(|peer| peer.qemu_arguments(VHOST_USER_SLOT)));
        let own_virtio = RngDevices::start(&parts.device, 1, folder.path(), Personality::Virtio.arguments())?;
        for socket in own_virtio.sockets() {
            let place = format!(r#","addr":"{OWN_VIRTIO_SLOT:#x}""#);
            qemu_args.extend(["-device".to_owned(), machine::vfio_user_device("virtio", socket, &place)]);
        }
        let config = Config {
            accel: options.accel,
            smp: self.vcpus,
            rng: 2,
            more_modules: vec![parts.linux()?.kernel.own_module(&parts.toolroot, "virtio-rng")?],
            qemu_args,
            timeout: Some(expected * 3 + device_process::idle_time(options.runs) + MARGIN),
            ..Config::default()
        };
        let script =
            script(options, self.idle.then(|| device_process::idle_time(options.runs)), peer.is_some());
        let mut machine =
            Machine::start(parts, &config, &["sh", "-ec", &script].map(str::to_owned), Output::Capture)?;
        let watched = self.watch(&mut machine, options, &step);
        // The machine's own words explain a failure best.
        let outcome = machine.wait()?;
        let mut rows = measured_in_machine("rng-bench", &outcome)?;
        rows.extend(watched?);
        step.done();
        Ok(Measured { rows, accel: outcome.accel })
    }

    /// Shows how far the machine is; looks at the device's process when the machine has come to rest.
    fn watch(&self, machine: &mut Machine, options: &Options, step: &Step) -> anyhow::Result<Vec<Row>> {
        for run in 1..=options.runs {
            let line = format!("run {run} of {}", options.runs);
            machine.wait_for(&format!("{line}\n"))?;
            step.message(&line);
        }
        if !self.idle {
            return Ok(Vec::new());
        }
        machine.wait_for(IDLE)?;
        step.message("doing nothing, to see what the device does");
        let process = machine.devices().process().context("the machine has no device")?;
        device_process::idle(process, options.runs)
    }
}

/// What the machine says before it does nothing.
const IDLE: &str = "\nidle\n";

/// The commands of the machine.
fn script(options: &Options, idle: Option<Duration>, vhost_user: bool) -> String {
    let Options { runs, window, .. } = options;
    let window = window.as_millis();
    let peer =
        if vhost_user { format!("--vhost-user-rng 0000:00:{VHOST_USER_SLOT:02x}.0") } else { String::new() };
    // The virtio devices are told from each other by being bound one after the other.
    let mut script = format!(
        "echo 0 > /sys/bus/virtio/drivers_autoprobe\n\
         insmod /lib/modules/exo/virtio-rng.ko\n\
         rng-bench --json --progress --runs {runs} --window {window} --virtio-rng 0000:00:{VIRTIO_SLOT:02x}.0 \
         --own-virtio-rng 0000:00:{OWN_VIRTIO_SLOT:02x}.0 {peer}\n"
    );
    if let Some(time) = idle {
        script += &format!("printf '\\nidle\\n'\nsleep {}\n", time.as_secs() + 2);
    }
    script
}
