// SPDX-License-Identifier: MIT OR Apache-2.0
//! Peers that no distribution has: built from the registry once, kept in the cache.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::context::{Context, remove_folder};
use crate::lock::Lock;
use crate::process::{self, Running};
use crate::programs::{cargo, expect_file};
use crate::ui::Step;

/// rust-vmm's random-number device for vhost-user, and the version that is measured.
const VHOST_DEVICE_RNG: (&str, &str) = ("vhost-device-rng", "0.1.0");

/// How long a peer may take until it listens.
const START_TIME: Duration = Duration::from_secs(10);

/// The program `vhost-device-rng`, built on first use.
pub(super) fn vhost_device_rng(context: &Context) -> anyhow::Result<PathBuf> {
    let (name, version) = VHOST_DEVICE_RNG;
    let root = context.cache.join("peers").join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if program.is_file() {
        return Ok(program);
    }
    let _lock = Lock::take(&context.cache_lock("peers"), "builds peers to measure against")?;
    if program.is_file() {
        return Ok(program);
    }
    let step =
        Step::new(&format!("Building {name} {version} to measure against"), Some(Duration::from_secs(90)));
    let build = root.join("build");
    let mut install = cargo(context);
    // With the versions of its own lock file: this is what its authors released.
    install.args(["install", "--locked", "--no-track", "--version", version, "--root"]).arg(&root);
    install.arg("--target-dir").arg(&build).arg(name);
    let built = process::run(&mut install, &step);
    remove_folder(&build)?;
    built?;
    step.done();
    expect_file(program)
}

/// A running `vhost-device-rng`.
#[derive(Debug)]
pub(super) struct VhostUserRng {
    socket: PathBuf,
    _process: Running,
}

impl VhostUserRng {
    /// Starts it with its socket in `folder`, and waits until it listens.
    pub(super) fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        let mut command = std::process::Command::new(program);
        // It puts a number at the end of the path: the first of its sockets is 0.
        command.arg("--socket-path").arg(folder.join("vhost-user-rng"));
        // Its own debugging output would be taken for ours.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Running::start(&mut command)?;
        let socket = folder.join("vhost-user-rng0");
        let deadline = Instant::now() + START_TIME;
        while !socket.exists() {
            crate::interrupt::check()?;
            if process.ended()?.is_some() || Instant::now() > deadline {
                bail!("{} did not start to listen", program.display());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { socket, _process: process })
    }

    /// The device for QEMU, in the slot `slot` of the first PCI bus.
    pub(super) fn qemu_arguments(&self, slot: u8) -> Vec<String> {
        vec![
            "-chardev".to_owned(),
            format!("socket,id=vhost-user-rng,path={}", self.socket.display()),
            "-device".to_owned(),
            format!("vhost-user-rng-pci,chardev=vhost-user-rng,addr={slot:#x}"),
        ]
    }
}
