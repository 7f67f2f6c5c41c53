// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's command line.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use super::{Accel, Config, Linux, Parts, RngDevices, System, disk, network};
use crate::process::Running;
use crate::toolroot::Toolroot;

/// How long QEMU waits for an answer of the device process before it gives it up for dead, in milliseconds. Its own default
/// of 5000 would keep programs waiting that long when the process has died.
const ANSWER_TIME_MS: u32 = 1500;

/// A QEMU that boots the kernel with this initramfs and these devices; the caller adds the console and channels.
pub(super) fn command(
    parts: &Parts,
    config: &Config,
    accel: Accel,
    initramfs: &Path,
    devices: &RngDevices,
) -> anyhow::Result<Command> {
    let folder = initramfs.parent().unwrap_or(Path::new("/"));
    let mut qemu = parts.toolroot.command("qemu-system-x86_64", folder)?;
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    let nodes = if config.numa { 2 } else { 1 };
    ensure!(config.smp >= nodes, "{nodes} NUMA nodes have no processor each of {}", config.smp);
    let machine = if config.numa { "q35" } else { "q35,memory-backend=ram0" };
    qemu.args(["-machine", machine, "-accel", accel.qemu_argument()]);
    qemu.args(accel.more_qemu_arguments());
    qemu.args(["-smp", &config.smp.to_string(), "-m", &config.memory.to_string()]);
    for node in 0..nodes {
        // The device process maps the machine's memory, so it must be shareable by file descriptor.
        let size = config.memory / nodes;
        qemu.arg("-object").arg(format!("memory-backend-memfd,id=ram{node},size={size}M,share=on"));
        if config.numa {
            let cpus = config.smp / nodes;
            let (first, last) = (node * cpus, (node + 1) * cpus - 1);
            qemu.arg("-numa").arg(format!("node,nodeid={node},memdev=ram{node},cpus={first}-{last}"));
        }
    }
    let (image, mut append) = match &parts.system {
        System::Linux(Linux { kernel, .. }) => {
            let options = kernel.boot_options.iter().map(String::as_str);
            (&kernel.image, ["console=ttyS0", "panic=-1", "loglevel=7"].into_iter().chain(options).collect())
        }
        System::Exo(kernel) => {
            // How it tells that it has powered off or crashed.
            qemu.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
            if config.hotplug {
                // It unplugs as PCI Express itself has it, not through ACPI's interpreted code.
                qemu.args(["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]);
            }
            (&kernel.image, Vec::new())
        }
    };
    qemu.arg("-kernel").arg(image).arg("-initrd").arg(initramfs);
    if config.iommu {
        // Before the devices that it shall serve. QEMU demands caching mode where devices outside of it keep maps.
        qemu.args(["-device", "intel-iommu,intremap=on,caching-mode=on"]);
        append.extend(["intel_iommu=on", "iommu.strict=1", "iommu.passthrough=0"]);
    }
    let ram_disk = disk::append(&parts.system, &config.disks);
    append.extend(ram_disk.as_deref());
    append.extend(config.append.iter().map(String::as_str));
    qemu.arg("-append").arg(append.join(" "));
    for (index, socket) in devices.sockets().iter().enumerate() {
        let mut bus = String::new();
        if config.hotplug {
            qemu.args(["-device", &format!("pcie-root-port,id=port{index},chassis={index},slot={index}")]);
            bus = format!(",\"bus\":\"port{index}\"");
        }
        qemu.args(["-device", &rng_device(index, socket, &bus)]);
    }
    disk::add(&mut qemu, &config.disks, config.hotplug)?;
    if let Some(wanted) = &config.network {
        network::add(&mut qemu, wanted);
    }
    qemu.args(&config.qemu_args);
    Ok(qemu)
}

/// The vfio-user device `rng<index>`, in JSON because its socket has parts of its own, with `more` members.
fn rng_device(index: usize, socket: &Path, more: &str) -> String {
    vfio_user_device(&format!("rng{index}"), socket, more)
}

/// The vfio-user device with that identity on that socket, as a `-device` argument.
pub(crate) fn vfio_user_device(id: &str, socket: &Path, more: &str) -> String {
    let path = serde_json::Value::from(socket.to_string_lossy());
    format!(
        r#"{{"driver":"vfio-user-pci","id":"{id}","x-msg-timeout":{ANSWER_TIME_MS},"socket":{{"type":"unix","path":{path}}}{more}}}"#
    )
}

/// A host's folder that a machine can mount with virtiofs under the tag `host`.
#[derive(Debug)]
pub(super) struct SharedFolder {
    socket: PathBuf,
    _server: Running,
}

impl SharedFolder {
    /// Starts its server and waits until it listens.
    pub(super) fn start(toolroot: &Toolroot, shared: &Path, folder: &Path) -> anyhow::Result<Self> {
        let socket = folder.join("share");
        let mut command = toolroot.command("/usr/libexec/virtiofsd", Path::new("/"))?;
        // The sandbox that it runs in is ours already; its own would need more rights.
        command.args(["--sandbox", "none", "--log-level", "error", "--socket-path"]).arg(&socket);
        command.arg("--shared-dir").arg(shared).stdin(Stdio::null());
        let mut server = Running::start(&mut command)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while !socket.exists() {
            if server.ended()?.is_some() || Instant::now() > deadline {
                bail!("virtiofsd did not start to share {}", shared.display());
            }
            std::thread::sleep(super::POLL);
        }
        Ok(Self { socket, _server: server })
    }

    /// The device for QEMU.
    pub(super) fn qemu_arguments(&self) -> Vec<String> {
        vec![
            "-chardev".to_owned(),
            format!("socket,id=share,path={}", self.socket.display()),
            "-device".to_owned(),
            "vhost-user-fs-pci,chardev=share,tag=host".to_owned(),
        ]
    }
}
