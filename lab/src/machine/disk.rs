// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks of a machine: images of the host behind the controllers that both kernels drive, and memory of the guest.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};

use super::System;
use super::contents::guest_module;
use crate::kernel::Kernel;
use crate::toolroot::Toolroot;

/// Ports of the AHCI controller that is part of QEMU's `q35` machine.
const AHCI_PORTS: usize = 6;
/// Longest serial number that all controllers show whole: ATA's and NVMe's field has 20 bytes.
const SERIAL_LENGTH: usize = 20;
/// Largest RAM disk in MiB, far more than machines have memory.
const RAM_DISK_LIMIT: u32 = 1 << 16;

/// What a disk is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskDriver {
    /// A port of the machine's own AHCI controller (`ich9-ahci`).
    Ahci,
    /// An NVMe controller of its own.
    Nvme,
    /// A virtio-blk device of its own.
    Virtio,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Disk {
    /// A raw image.
    Image {
        /// The controller.
        driver: DiskDriver,
        /// The file, which the machine writes to.
        path: PathBuf,
        /// What the disk says its serial number is; by default `exo0`, `exo1`, …
        serial: Option<String>,
    },
    /// Memory of the guest: `/dev/ram0` on Linux, the last disk on Exo-Kernel.
    Ram {
        /// Its size.
        mebibytes: u32,
    },
}

impl FromStr for Disk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (driver, rest) =
            text.split_once('=').ok_or("expected DRIVER=PATH[,SERIAL] or ram=MIB, such as nvme=disk.img")?;
        let driver = match driver {
            "ahci" => DiskDriver::Ahci,
            "nvme" => DiskDriver::Nvme,
            "virtio" => DiskDriver::Virtio,
            "ram" => {
                let size = rest.parse().ok().filter(|size| (1..=RAM_DISK_LIMIT).contains(size));
                let mebibytes = size.ok_or_else(|| {
                    format!("{rest:?} is no size of a RAM disk; expected 1 to {RAM_DISK_LIMIT} MiB")
                })?;
                return Ok(Self::Ram { mebibytes });
            }
            other => return Err(format!("{other:?} is no driver; expected ahci, nvme, virtio or ram")),
        };
        let (path, serial) = match rest.rsplit_once(',') {
            Some((path, serial)) => (path, Some(serial.to_owned())),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err("the image's path is missing; expected DRIVER=PATH[,SERIAL]".to_owned());
        }
        let fits = |serial: &String| {
            (1..=SERIAL_LENGTH).contains(&serial.len())
                && serial.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if let Some(wrong) = serial.as_ref().filter(|serial| !fits(serial)) {
            return Err(format!(
                "{wrong:?} is no serial number; expected 1 to {SERIAL_LENGTH} letters, digits, `-` or `_`"
            ));
        }
        Ok(Self::Image { driver, path: path.into(), serial })
    }
}

/// What is wrong with the disks, as far as it can be said without a machine.
pub(crate) fn check(disks: &[Disk]) -> anyhow::Result<()> {
    let mut ports = 0;
    for disk in disks {
        if let Disk::Image { driver, path, .. } = disk {
            escaped(&whole_path(path)?)?;
            ports += usize::from(*driver == DiskDriver::Ahci);
        }
    }
    ensure!(ports <= AHCI_PORTS, "the machine's AHCI controller has {AHCI_PORTS} ports, no more");
    Ok(())
}

/// Where an image is, from the root.
fn whole_path(path: &Path) -> anyhow::Result<PathBuf> {
    let path = path.canonicalize().with_context(|| format!("cannot use {} as a disk", path.display()))?;
    ensure!(path.is_file(), "cannot use {} as a disk: it is no file", path.display());
    Ok(path)
}

/// Puts the disks into QEMU's command line. With `removable`, each controller sits behind a port that it can be unplugged
/// from, under the id `controller<number>`; disks themselves are `disk<number>`.
pub(super) fn add(qemu: &mut Command, disks: &[Disk], removable: bool) -> anyhow::Result<()> {
    // Without them, each has a controller of its own.
    if !removable {
        check(disks)?;
    }
    let mut ports = 0;
    let images = disks.iter().filter_map(|disk| match disk {
        Disk::Image { driver, path, serial } => Some((driver, path, serial)),
        Disk::Ram { .. } => None,
    });
    for (number, (driver, path, serial)) in images.enumerate() {
        let path = whole_path(path)?;
        let mut drive = OsString::from(format!("if=none,id=drive{number},format=raw,file="));
        drive.push(escaped(&path)?);
        qemu.arg("-drive").arg(drive);
        let bus = if removable {
            qemu.args(["-device", &format!("pcie-root-port,id=diskport{number},chassis={}", 64 + number)]);
            format!(",bus=diskport{number}")
        } else {
            String::new()
        };
        let serial = serial.clone().unwrap_or_else(|| format!("exo{number}"));
        let common = format!("drive=drive{number},serial={serial}");
        let device = match driver {
            DiskDriver::Nvme => format!("nvme,id=controller{number},{common}{bus}"),
            DiskDriver::Virtio => format!("virtio-blk-pci,id=controller{number},{common}{bus}"),
            DiskDriver::Ahci if removable => {
                qemu.args(["-device", &format!("ich9-ahci,id=controller{number}{bus}")]);
                format!("ide-hd,id=disk{number},bus=controller{number}.0,{common}")
            }
            DiskDriver::Ahci => {
                let port = ports;
                ports += 1;
                format!("ide-hd,id=disk{number},bus=ide.{port},{common}")
            }
        };
        qemu.args(["-device", &device]);
    }
    Ok(())
}

/// A path as a value among QEMU's options, where a comma ends a value unless it is doubled.
fn escaped(path: &Path) -> anyhow::Result<String> {
    match path.to_str() {
        Some(text) => Ok(text.replace(',', ",,")),
        None => bail!("{} is not UTF-8", path.display()),
    }
}

/// Words for the kernel's command line: how Exo-Kernel learns of its RAM disk.
pub(super) fn append(system: &System, disks: &[Disk]) -> Option<String> {
    match system {
        System::Exo(_) => ram_disk(disks).map(|size| format!("exo.ram_disk={size}")),
        System::Linux(_) => None,
    }
}

/// Linux's own modules for these disks, in load order.
pub(super) fn modules(kernel: &Kernel, toolroot: &Toolroot, disks: &[Disk]) -> anyhow::Result<Vec<PathBuf>> {
    let has = |wanted| disks.iter().any(|d| matches!(d, Disk::Image { driver, .. } if *driver == wanted));
    let mut names = Vec::new();
    if has(DiskDriver::Virtio) {
        names.push("virtio_blk");
    }
    if has(DiskDriver::Ahci) {
        names.extend(["scsi_common", "scsi_mod", "libata", "libahci", "ahci", "sd_mod"]);
    }
    if ram_disk(disks).is_some() {
        names.push("brd");
    }
    // NVMe is part of the kernel image.
    names.into_iter().map(|name| kernel.own_module(toolroot, name)).collect()
}

/// Lines of the machine's configuration that load `modules`.
pub(super) fn modules_conf(modules: &[PathBuf], disks: &[Disk]) -> String {
    let line = |path: &PathBuf| {
        let parameters = match ram_disk(disks) {
            Some(size) if path.file_stem().is_some_and(|stem| stem == "brd") => {
                format!(" rd_nr=1 rd_size={}", u64::from(size) * 1024)
            }
            _ => String::new(),
        };
        format!("module={}{parameters}\n", guest_module(path).display())
    };
    modules.iter().map(line).collect()
}

fn ram_disk(disks: &[Disk]) -> Option<u32> {
    disks.iter().find_map(|disk| match disk {
        Disk::Ram { mebibytes } => Some(*mebibytes),
        Disk::Image { .. } => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(disks: &[Disk], removable: bool) -> anyhow::Result<Vec<String>> {
        let mut command = Command::new("qemu");
        add(&mut command, disks, removable)?;
        Ok(command.get_args().map(|word| word.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn a_disk_is_a_driver_an_image_and_perhaps_a_serial_number() {
        let image = |driver, path: &str, serial: Option<&str>| Disk::Image {
            driver,
            path: path.into(),
            serial: serial.map(str::to_owned),
        };
        assert_eq!("ahci=/a=b".parse(), Ok(image(DiskDriver::Ahci, "/a=b", None)));
        assert_eq!("nvme=x,S-1".parse(), Ok(image(DiskDriver::Nvme, "x", Some("S-1"))));
        assert_eq!("ram=64".parse(), Ok(Disk::Ram { mebibytes: 64 }));
        for wrong in
            ["x", "ide=x", "nvme=", "nvme=,s", "nvme=x,", "nvme=x,a b", "ram=0", "ram=x", "ram=70000"]
        {
            assert!(wrong.parse::<Disk>().is_err(), "{wrong}");
        }
        assert!(format!("virtio=x,{}", "s".repeat(21)).parse::<Disk>().is_err());
    }

    #[test]
    fn images_are_attached_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a,b.img");
        std::fs::write(&path, [0; 512]).unwrap();
        let disk = |driver| Disk::Image { driver, path: path.clone(), serial: None };
        let disks = [
            disk(DiskDriver::Ahci),
            Disk::Ram { mebibytes: 1 },
            disk(DiskDriver::Ahci),
            disk(DiskDriver::Nvme),
        ];
        let words = arguments(&disks, false).unwrap();
        assert!(
            words[1].starts_with("if=none,id=drive0,format=raw,file=/") && words[1].ends_with("a,,b.img")
        );
        let devices: Vec<&str> =
            words.chunks(2).filter(|w| w[0] == "-device").map(|w| w[1].as_str()).collect();
        assert_eq!(
            devices,
            [
                "ide-hd,id=disk0,bus=ide.0,drive=drive0,serial=exo0",
                "ide-hd,id=disk1,bus=ide.1,drive=drive1,serial=exo1",
                "nvme,id=controller2,drive=drive2,serial=exo2",
            ]
        );
        let words = arguments(&[disk(DiskDriver::Ahci)], true).unwrap();
        assert_eq!(words[3], "pcie-root-port,id=diskport0,chassis=64");
        assert!(words[5].starts_with("ich9-ahci,") && words[7].contains("bus=controller0.0"));
        assert!(arguments(&vec![disk(DiskDriver::Ahci); 7], false).is_err());
        let missing = Disk::Image { driver: DiskDriver::Nvme, path: "/nothing".into(), serial: None };
        assert!(arguments(std::slice::from_ref(&missing), false).is_err());
        assert!(arguments(std::slice::from_ref(&missing), true).is_err());
        assert!(check(&[disk(DiskDriver::Nvme)]).is_ok() && check(&[missing]).is_err());
    }
}
