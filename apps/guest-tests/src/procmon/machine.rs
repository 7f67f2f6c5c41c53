// SPDX-License-Identifier: MIT OR Apache-2.0
//! The module and its files, as these tests need them.

use std::ffi::CStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::harness::{Options, Stop, fail, is_exo_kernel, modules, skip};

pub(super) const MODULE: &str = "procmon";
pub(super) const NODE: &str = "/dev/procmon";
pub(super) const EVENTS: &str = "/dev/procmon_events";
pub(super) const CLASS: &str = "/sys/class/procmon";
pub(super) const STATS: &str = "/sys/class/procmon/procmon/stats";
pub(super) const BUFFER_SIZE: &str = "/sys/class/procmon/procmon/buffer_size";

/// Events of a small ring.
const SMALL_RING: &str = "64";

/// How long what should happen at once may take on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// Where the module's file is.
pub(super) fn module_file(options: &Options) -> PathBuf {
    modules::file_of(&options.modules, MODULE)
}

pub(super) fn needs_the_module_file(options: &Options) -> Result<(), Stop> {
    let module = module_file(options);
    if module.exists() { Ok(()) } else { skip(format!("there is no {}", module.display())) }
}

/// Sees to it that rings hold few events; how many were recorded until now. On Exo-Kernel that is for whoever boots the
/// machine.
pub(super) fn with_small_rings(options: &Options) -> Result<u64, Stop> {
    if is_exo_kernel() {
        let set = fs::read_to_string(parameter("ring_events"))?;
        if set.trim() != SMALL_RING {
            return skip(format!("this kernel was not booted with procmon.ring_events={SMALL_RING}"));
        }
    } else {
        needs_the_module_file(options)?;
        unload()?;
        load(options, c"ring_events=64")?;
    }
    Ok(stat("events")?.parse()?)
}

/// Takes that back.
pub(super) fn with_usual_rings(options: &Options) -> Result<(), Stop> {
    if is_exo_kernel() {
        return Ok(());
    }
    unload()?;
    load(options, c"")
}

/// Loads the module with these parameters; the error is the kernel's.
pub(super) fn try_load(options: &Options, parameters: &CStr) -> Result<Result<(), Errno>, Stop> {
    let file = File::open(module_file(options))?;
    Ok(rustix::system::finit_module(&file, parameters, 0))
}

pub(super) fn load(options: &Options, parameters: &CStr) -> Result<(), Stop> {
    try_load(options, parameters)?
        .or_else(|errno| fail(format!("cannot load the module with {parameters:?}: {errno}")))
}

/// Unloads the module; who is just about to let go of it is waited for.
pub(super) fn unload() -> Result<(), Stop> {
    let mut last = None;
    if soon(|| modules::try_unload(MODULE).inspect_err(|errno| last = Some(*errno)).is_ok()) {
        return Ok(());
    }
    fail(format!("cannot unload {MODULE}: {last:?}"))
}

pub(super) fn parameter(name: &str) -> PathBuf {
    Path::new("/sys/module").join(MODULE).join("parameters").join(name)
}

pub(super) fn set_parameter(name: &str, value: &str) -> Result<(), Stop> {
    fs::write(parameter(name), value).or_else(|error| fail(format!("cannot set {name} to {value}: {error}")))
}

/// Opens the node for reading and writing.
pub(super) fn open() -> Result<File, Stop> {
    Ok(File::options().read(true).write(true).open(NODE)?)
}

/// A value of the file `stats`, by its name.
pub(super) fn stat(name: &str) -> Result<String, Stop> {
    let text = fs::read_to_string(STATS)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    value.map_or_else(|| fail(format!("stats shows no {name}:\n{text}")), |value| Ok(value.to_owned()))
}

pub(super) fn pid_of(child: &Child) -> Result<i32, Stop> {
    Ok(i32::try_from(child.id())?)
}

/// This process.
pub(super) fn own_pid() -> Result<i32, Stop> {
    Ok(i32::try_from(std::process::id())?)
}

/// A shell that runs this script.
pub(super) fn shell(script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).stdin(Stdio::null());
    shell
}

/// Whether `happens` becomes true soon.
pub(super) fn soon(mut happens: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + SOON;
    loop {
        if happens() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
