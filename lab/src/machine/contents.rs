// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a machine finds when it starts: programs, modules, files and the configuration of its first process.

use std::path::{Path, PathBuf};

use super::network::{HOSTS, Network, RESOLV_CONF};
use super::{Config, Parts, disk};
use crate::debian::Packages;
use crate::initramfs::{self, Initramfs};

/// Where the command's words lie in the machine.
pub(super) const ARGUMENTS: &str = "/etc/exo/arguments";
/// Where modules lie in the machine.
const MODULE_FOLDER: &str = "/lib/modules/exo";

/// Where a module of the host lies in the machine.
pub(super) fn guest_module(path: &Path) -> PathBuf {
    Path::new(MODULE_FOLDER).join(path.file_name().unwrap_or_default())
}

/// The lines of the configuration that say what `/init` loads.
pub(super) fn modules_conf(parts: &Parts, config: &Config, device_modules: &[PathBuf]) -> String {
    let loaded = if config.load_modules { parts.modules() } else { &[] };
    let own: String =
        loaded.iter().map(|path| format!("module={}\n", guest_module(path).display())).collect();
    own + &disk::modules_conf(device_modules, &config.disks)
}

/// Writes the initramfs at `path`; `words` are the command's, each with a NUL behind it.
pub(super) fn pack(
    parts: &Parts,
    config: &Config,
    path: &Path,
    conf: &str,
    device_modules: &[PathBuf],
    words: Option<&[u8]>,
) -> anyhow::Result<()> {
    let mut initramfs = Initramfs::create(path)?;
    initramfs.host_file(&parts.programs.init(), Path::new("/init"))?;
    initramfs::add_tools(&mut initramfs, &parts.toolroot, &parts.context.cache)?;
    for (name, program) in parts.programs.commands() {
        initramfs.host_file(&program, &Path::new("/bin").join(name))?;
    }
    for module in parts.modules().iter().chain(device_modules).chain(&config.more_modules) {
        initramfs.host_file(module, &guest_module(module))?;
    }
    if matches!(config.network, Some(Network::User(_))) {
        for (path, content) in [RESOLV_CONF, HOSTS] {
            initramfs.file(Path::new(path), 0o644, content.as_bytes())?;
        }
    }
    if !config.packages.is_empty() {
        let packages = Packages::get(&parts.context, &parts.toolroot, &config.packages)?;
        for (host, guest) in packages.files()? {
            initramfs.host_file(&host, &guest)?;
        }
    }
    // After what is here anyway: of two files with one name, the later one stays.
    for (host, guest) in &config.files {
        initramfs.host_file(host, guest)?;
    }
    initramfs.file(Path::new("/etc/exo/guest.conf"), 0o644, conf.as_bytes())?;
    if let Some(words) = words {
        initramfs.file(Path::new(ARGUMENTS), 0o644, words)?;
    }
    initramfs.finish()
}
