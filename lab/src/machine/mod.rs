// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtual machines: one command in a fresh machine, or a person at its console.

mod accel;
mod boot_watch;
mod channels;
mod config;
mod console;
mod contents;
mod device;
pub(crate) mod disk;
mod kvm_probe;
pub(crate) mod network;
mod qemu;
mod qmp;
mod reports;

pub(crate) use accel::Accel;
pub(crate) use channels::Captured;
pub(crate) use config::Config;
pub(crate) use device::{Personality, RngDevices};
pub(crate) use disk::{Disk, DiskDriver};
pub(crate) use network::{Forward, Network};
pub(crate) use qemu::vfio_user_device;
pub(crate) use qmp::Qmp;

use std::fs::File;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::context::Context;
use crate::exo_kernel::ExoKernel;
use crate::interrupt;
use crate::kernel::Kernel;
use crate::process::Running;
use crate::programs::GuestPrograms;
use crate::toolroot::Toolroot;
use crate::ui;
use boot_watch::BootWatch;
use channels::{Channels, Wiring};
use console::{ConsoleLog, Log};
use contents::{ARGUMENTS, modules_conf, pack};

/// Exit status when the time was up, as of `timeout(1)`.
pub(crate) const STATUS_TIMED_OUT: i32 = 124;
/// Exit status when the machine failed before its command ended: it crashed, or never came up.
pub(crate) const STATUS_MACHINE_FAILED: i32 = 125;
/// QEMU's own exit status when Exo-Kernel ends the machine through `isa-debug-exit`: after an orderly power-off …
const QEMU_POWERED_OFF: i32 = 33;
/// … and after a crash (`kernel/hal/src/power.rs`).
const QEMU_CRASHED: i32 = 35;
/// What a quiet QEMU said on its stderr, in the machine's temporary folder.
const QEMU_SAID: &str = "qemu.stderr";
/// MiB of memory that the checked kernel wants, an eighth of it for KASAN.
pub(crate) const CHECKED_MEMORY: u32 = 1024;
/// How often a running machine is looked at.
const POLL: Duration = Duration::from_millis(5);

/// All that machines are started from.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    /// Folders.
    pub(crate) context: Context,
    /// Tools.
    pub(crate) toolroot: Toolroot,
    /// The kernel to boot, and what belongs to it.
    pub(crate) system: System,
    /// The static programs: the same on every kernel.
    pub(crate) programs: GuestPrograms,
    /// The device process.
    pub(crate) device: PathBuf,
}

/// A kernel with what only it needs.
#[derive(Debug, Clone)]
pub(crate) enum System {
    /// Debian's Linux.
    Linux(Linux),
    /// Exo-Kernel.
    Exo(ExoKernel),
}

/// Linux with this project's modules.
#[derive(Debug, Clone)]
pub(crate) struct Linux {
    /// The kernel to boot.
    pub(crate) kernel: Kernel,
    /// This project's modules for that kernel, in load order.
    pub(crate) modules: Vec<PathBuf>,
}

impl System {
    /// `Linux 7.3.4+deb13-cloud-amd64` or `Exo-Kernel 0.1.0`.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Linux(linux) => format!("Linux {}", linux.kernel.release),
            Self::Exo(kernel) => format!("Exo-Kernel {}", kernel.release),
        }
    }
}

impl Parts {
    /// What belongs to Linux; an error where the machine runs another kernel.
    pub(crate) fn linux(&self) -> anyhow::Result<&Linux> {
        match &self.system {
            System::Linux(linux) => Ok(linux),
            System::Exo(_) => {
                bail!("this needs a machine with Linux, and this one has {}", self.system.name())
            }
        }
    }

    /// This project's modules for the kernel, in load order; Exo-Kernel loads none.
    fn modules(&self) -> &[PathBuf] {
        match &self.system {
            System::Linux(linux) => &linux.modules,
            System::Exo(_) => &[],
        }
    }

    /// Linux's own modules for the machine's devices, in load order; Exo-Kernel's drivers are part of it.
    fn device_modules(&self, config: &Config) -> anyhow::Result<Vec<PathBuf>> {
        let System::Linux(linux) = &self.system else { return Ok(Vec::new()) };
        let mut modules = disk::modules(&linux.kernel, &self.toolroot, &config.disks)?;
        if config.rng > 0 && config.personality == Personality::Virtio {
            modules.push(linux.kernel.own_module(&self.toolroot, "virtio-rng")?);
        }
        if config.network.is_some() {
            modules.extend(network::modules(&linux.kernel, &self.toolroot)?);
        }
        Ok(modules)
    }

    /// The my_rng devices of a machine, served by processes with their sockets in `folder`.
    fn start_devices(&self, config: &Config, folder: &Path) -> anyhow::Result<RngDevices> {
        RngDevices::start(&self.device, config.rng, folder, &config.device_arguments())
    }
}

/// Where the command's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// To this process's stdout and stderr.
    PassOn,
    /// Into [`Outcome::captured`].
    Capture,
}

/// How a machine ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The command's exit status, or one of this module's constants.
    pub(crate) status: i32,
    /// From the start of QEMU to its end.
    pub(crate) time: Duration,
    /// KVM or TCG.
    pub(crate) accel: Accel,
    /// The console's log.
    pub(crate) log: Log,
    /// Output, if it was to be captured.
    pub(crate) captured: Captured,
    /// How often the my_rng devices wanted to reach memory that was not there, or not for them; `None` without devices.
    pub(crate) dma_faults: Option<u64>,
}

impl Outcome {
    /// The first report of the kernel's detectors, whole.
    pub(crate) fn report(&self) -> anyhow::Result<Option<String>> {
        Ok(reports::first(&self.log.text()?))
    }
}

/// A machine that runs a command.
#[derive(Debug)]
pub(crate) struct Machine {
    qemu: Running,
    channels: Channels,
    console: ConsoleLog,
    boot: BootWatch,
    devices: RngDevices,
    qmp_path: PathBuf,
    accel: Accel,
    started: Instant,
    deadline: Option<Instant>,
    timeout: Option<Duration>,
    // Removed with all that is in it when the machine is gone.
    folder: tempfile::TempDir,
    output: Output,
}

impl Machine {
    /// Starts a machine that will run `command`.
    pub(crate) fn start(
        parts: &Parts,
        config: &Config,
        command: &[String],
        output: Output,
    ) -> anyhow::Result<Self> {
        if command.is_empty() {
            bail!("there is no command to run in the machine; give one after `--`");
        }
        let accel = choose_accel(parts, config)?;
        let folder =
            tempfile::Builder::new().prefix("exo-").tempdir().context("cannot create a temporary folder")?;
        let initramfs = folder.path().join("initramfs.cpio");
        let mut words = command.join("\0").into_bytes();
        words.push(0);
        let wiring = Wiring::of(&parts.system);
        let channel = wiring.name();
        let mut conf = format!(
            "mode=command\narguments={ARGUMENTS}\nchannel={channel}\nacknowledge=yes\nhostname=exo\n"
        );
        let device_modules = parts.device_modules(config)?;
        conf += &modules_conf(parts, config, &device_modules);
        conf += network::conf(&parts.system, config);
        if config.final_check {
            conf += "final_check=yes\n";
        }
        pack(parts, config, &initramfs, &conf, &device_modules, Some(&words))?;

        let devices = parts.start_devices(config, folder.path())?;
        let mut qemu = qemu::command(parts, config, accel, &initramfs, &devices)?;
        let qmp_path = folder.path().join("qmp");
        qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", qmp_path.display()));
        let forward_stdin = output == Output::PassOn && !std::io::stdin().is_terminal();
        let listening = channels::Listening::new(folder.path(), wiring)?;
        qemu.args(listening.qemu_arguments());
        qemu.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        if output == Output::Capture {
            qemu.stderr(File::create(folder.path().join(QEMU_SAID)).context("cannot create a file")?);
        }

        let started = Instant::now();
        let mut running = Running::start(&mut qemu)?;
        let (channels, console) = listening.accept(&mut running, output, forward_stdin)?;
        let console = ConsoleLog::start(&parts.context, console)?;
        Ok(Self {
            qemu: running,
            channels,
            console,
            boot: BootWatch::of(&parts.system, config.boot_patience),
            devices,
            qmp_path,
            accel,
            started,
            deadline: config.timeout.map(|time| started + time),
            timeout: config.timeout,
            folder,
            output,
        })
    }

    /// A connection to QEMU's own control socket.
    pub(crate) fn qmp(&self) -> anyhow::Result<Qmp> {
        Qmp::connect(&self.qmp_path)
    }

    /// The device processes, to stop or kill them.
    pub(crate) fn devices(&mut self) -> &mut RngDevices {
        &mut self.devices
    }

    /// Time since QEMU was started.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// What the command has written to its stdout so far, if it is captured.
    pub(crate) fn stdout_so_far(&self) -> String {
        self.channels.stdout_so_far()
    }

    /// Waits until the command's captured stdout contains `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> anyhow::Result<()> {
        self.wait_until(&format!("{text:?}"), |said| said.contains(text))
    }

    /// Waits until the command's captured stdout is as `expected` says in words.
    pub(crate) fn wait_until(
        &mut self,
        expected: &str,
        is_said: impl Fn(&str) -> bool,
    ) -> anyhow::Result<()> {
        self.wait_to_hear(expected, Self::stdout_so_far, is_said)
    }

    /// Waits until the console has said `text`.
    pub(crate) fn wait_for_console(&mut self, text: &str) -> anyhow::Result<()> {
        let expected = format!("{text:?} on its console");
        self.wait_to_hear(&expected, |machine| machine.console.so_far(), |said| said.contains(text))
    }

    fn wait_to_hear(
        &mut self,
        expected: &str,
        said: impl Fn(&Self) -> String,
        is_said: impl Fn(&str) -> bool,
    ) -> anyhow::Result<()> {
        while !is_said(&said(self)) {
            interrupt::check()?;
            self.boot.look(&self.channels, &self.console, &self.qmp_path);
            if self.qemu.ended()?.is_some() || self.deadline.is_some_and(|deadline| Instant::now() > deadline)
            {
                bail!("the machine never said {expected}; it said:\n{}", said(self));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Waits for the end. A machine that failed or took too long is explained: on stderr, or in what was captured.
    pub(crate) fn wait(mut self) -> anyhow::Result<Outcome> {
        let ended = loop {
            interrupt::check()?;
            self.boot.look(&self.channels, &self.console, &self.qmp_path);
            self.channels.acknowledge_when_complete();
            if let Some(status) = self.qemu.ended()? {
                break Some(status);
            }
            if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
                self.qemu.kill();
                break None;
            }
            std::thread::sleep(POLL);
        };
        let time = self.started.elapsed();
        let log = self.console.finish();
        let (status, mut captured) = self.channels.finish();
        let (status, failure) = match status {
            _ if ended.is_none() => {
                let limit = ui::humane(self.timeout.unwrap_or_default());
                (
                    STATUS_TIMED_OUT,
                    Some(format!("the machine was stopped: its time of {limit} was up (--timeout)")),
                )
            }
            // What the command's own status was counts no more when the kernel has crashed after it.
            _ if ended.is_some_and(|status| status.code() == Some(QEMU_CRASHED)) => {
                (STATUS_MACHINE_FAILED, Some("Exo-Kernel crashed".to_owned()))
            }
            Some(status) => (status, None),
            None => (STATUS_MACHINE_FAILED, Some("the machine ended before its command did".to_owned())),
        };
        if let Some(failure) = failure {
            let explanation = console::explanation(&failure, &log);
            if self.output == Output::PassOn {
                ui::note(&explanation);
            } else {
                let said = std::fs::read_to_string(self.folder.path().join(QEMU_SAID)).unwrap_or_default();
                captured.stderr += &format!("{said}{explanation}\n");
            }
        }
        let dma_faults = self.devices.dma_faults()?;
        Ok(Outcome { status, time, accel: self.accel, log, captured, dma_faults })
    }
}

/// Runs one command in a fresh machine.
pub(crate) fn run(
    parts: &Parts,
    config: &Config,
    command: &[String],
    output: Output,
) -> anyhow::Result<Outcome> {
    Machine::start(parts, config, command, output)?.wait()
}

/// An interactive machine on this terminal. `shared` is a folder that it sees as `/host`, where its kernel can.
pub(crate) fn shell(parts: &Parts, config: &Config, shared: Option<&Path>) -> anyhow::Result<i32> {
    let accel = choose_accel(parts, config)?;
    let folder =
        tempfile::Builder::new().prefix("exo-").tempdir().context("cannot create a temporary folder")?;
    let initramfs = folder.path().join("initramfs.cpio");
    let (rows, columns) = console::terminal_size();
    let term = std::env::var("TERM").unwrap_or_else(|_| "linux".to_owned());
    let mut conf = format!("mode=shell\nhostname=exo\nterm={term}\nrows={rows}\ncolumns={columns}\n");
    if shared.is_some() {
        conf += "mount=virtiofs host /host\n";
    }
    let device_modules = parts.device_modules(config)?;
    conf += &modules_conf(parts, config, &device_modules);
    conf += network::conf(&parts.system, config);
    pack(parts, config, &initramfs, &conf, &device_modules, None)?;
    let devices = parts.start_devices(config, folder.path())?;
    let share =
        shared.map(|shared| qemu::SharedFolder::start(&parts.toolroot, shared, folder.path())).transpose()?;
    let mut qemu = qemu::command(parts, config, accel, &initramfs, &devices)?;
    qemu.args(share.iter().flat_map(qemu::SharedFolder::qemu_arguments));
    // The terminal's keys, Ctrl-C among them, belong to the machine; Ctrl-A X ends it.
    qemu.args([
        "-chardev",
        "stdio,id=console,mux=on,signal=off",
        "-serial",
        "chardev:console",
        "-mon",
        "chardev=console",
    ]);
    let place = shared.map(|shared| format!("{} is /host in the machine; ", shared.display()));
    ui::note(&format!("{accel}; {}`exit` or Ctrl-A X ends it", place.unwrap_or_default()));
    let _terminal = console::RestoredTerminal::save();
    let status = Running::start(&mut qemu)?.wait()?;
    let well = status.success() || status.code() == Some(QEMU_POWERED_OFF);
    Ok(if well { 0 } else { STATUS_MACHINE_FAILED })
}

fn choose_accel(parts: &Parts, config: &Config) -> anyhow::Result<Accel> {
    match config.accel {
        Some(accel) => Ok(accel),
        None => accel::best(&parts.context, || kvm_probe::runs(parts)),
    }
}
