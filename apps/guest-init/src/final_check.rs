// SPDX-License-Identifier: MIT OR Apache-2.0
//! `final_check=yes`: what the checked kernel's detectors have to say at the end of a machine's life. For that kernel only;
//! `lab/kernels/README.md` tells what it is and how its reports are read.
//!
//! Three things make a finding: one of our modules that does not unload, memory that it has left behind (kmemleak), and a
//! detector that is off. The last counts because a detector that has run out of memory, or has reported once, is silent ever
//! after: what ran then was not watched.

use std::ffi::CString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::conf::Module;
use crate::failure::Failure;

/// Where the lab puts modules that the command itself may load.
const MODULE_FOLDER: &str = "/lib/modules/exo";

const LEAKS: &str = "/sys/kernel/debug/kmemleak";
const LOADED: &str = "/proc/modules";

/// How long a module may stay in use: killed processes close their files when the kernel gets round to it.
const TIME_TO_LET_GO: Duration = Duration::from_secs(10);

/// kmemleak leaves out objects that are younger than five seconds when a scan starts (`MSECS_MIN_AGE`).
const OLD_ENOUGH: Duration = Duration::from_millis(5500);

/// Bits of `/proc/sys/kernel/tainted` that a report sets (`include/linux/panic.h`).
const TAINTS: [(u64, &str); 3] = [
    (1 << 5, "a bad access to memory was found"),
    (1 << 7, "there was an oops"),
    (1 << 9, "there was a warning"),
];

/// Fails on a kernel that cannot be checked: better before the command than after it.
pub(crate) fn is_possible() -> Result<(), Failure> {
    if Path::new(LEAKS).exists() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "final_check=yes: this kernel has no {LEAKS}; only the checked kernel can do this"
    )))
}

/// Looks; returns a text for each finding. Takes some ten seconds under emulation, most of them kmemleak's.
pub(crate) fn run(configured: &[Module]) -> Vec<String> {
    let mut findings = Vec::new();
    let loaded = Loaded::parse(&fs::read_to_string(LOADED).unwrap_or_default());
    let ours = our_names(configured);
    // The list has the newest first, so a module goes before those that it was built upon.
    for module in loaded.iter().filter(|module| ours.contains(&module.name)) {
        findings.extend(unload(&module.name).err());
    }
    match leaks(Instant::now()) {
        Ok(leaks) if leaks.trim().is_empty() => {}
        Ok(leaks) => findings.push(format!("memory was left behind:\n{}", with_places(&leaks, &loaded))),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            findings.push("kmemleak has turned itself off: the kernel's log says why".to_owned());
        }
        Err(error) => findings.push(format!("cannot scan for leaks, {LEAKS}: {error}")),
    }
    findings.extend(detectors_that_are_off());
    findings
}

/// The names of the modules that this machine was given, as the kernel writes them.
fn our_names(configured: &[Module]) -> Vec<String> {
    let carried = fs::read_dir(MODULE_FOLDER).into_iter().flatten().flatten().map(|entry| entry.path());
    let configured = configured.iter().map(|module| module.path.clone().into());
    carried.chain(configured).filter_map(|path| name_of(&path)).collect()
}

/// The name of the module in this file.
fn name_of(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.strip_suffix(".ko")?.replace('-', "_"))
}

fn unload(name: &str) -> Result<(), String> {
    let wrong = |why: &dyn std::fmt::Display| Err(format!("module {name} does not unload: {why}"));
    let Ok(c_name) = CString::new(name) else { return wrong(&"its name holds a NUL byte") };
    // As rmmod: without waiting in the kernel, from where nobody could end it.
    let no_wait = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let start = Instant::now();
    loop {
        match rustix::system::delete_module(&c_name, no_wait) {
            // ENOENT: it went with another one's help.
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::BUSY) if start.elapsed() < TIME_TO_LET_GO => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(errno) => {
                let list = fs::read_to_string(LOADED).unwrap_or_default();
                let line = list.lines().find(|line| line.split(' ').next() == Some(name)).unwrap_or_default();
                return wrong(&format!("{errno} ({LOADED}: {line})"));
            }
        }
    }
}

/// What kmemleak has found; empty if nothing.
///
/// An object is a leak if it was unreferenced and unchanged in two scans, and old enough at the start of the second one. The
/// first scan only takes its measure, so that need not wait.
fn leaks(unloaded: Instant) -> io::Result<String> {
    fs::write(LEAKS, "scan")?;
    std::thread::sleep(OLD_ENOUGH.saturating_sub(unloaded.elapsed()));
    fs::write(LEAKS, "scan")?;
    fs::read_to_string(LEAKS)
}

/// A module that was loaded before the check began.
#[derive(Debug, PartialEq, Eq)]
struct Loaded {
    name: String,
    size: u64,
    address: u64,
}

impl Loaded {
    /// Reads lines such as `my_rng 98304 0 - Live 0xffffffffa0000000 (O)`.
    fn parse(list: &str) -> Vec<Self> {
        list.lines().filter_map(Self::parse_line).collect()
    }

    fn parse_line(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let name = words.next()?.to_owned();
        let size = words.next()?.parse().ok()?;
        let address = words.find_map(|word| word.strip_prefix("0x"))?;
        Some(Self { name, size, address: u64::from_str_radix(address, 16).ok()? })
    }

    /// How far into the module this address is.
    fn offset_of(&self, address: u64) -> Option<u64> {
        address.checked_sub(self.address).filter(|&offset| offset < self.size)
    }
}

/// kmemleak cannot name places in modules that are gone: says where in which module each was.
fn with_places(leaks: &str, loaded: &[Loaded]) -> String {
    let mut text = String::new();
    for line in leaks.lines() {
        text.push_str(line);
        // A place with a name is written as `do_one_initcall+0x122/0x2c0`, one without as its address alone.
        let address =
            line.trim_start().strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let place = address.and_then(|address| {
            loaded.iter().find_map(|module| Some((&module.name, module.offset_of(address)?)))
        });
        if let Some((name, offset)) = place {
            // Writing into a String cannot fail.
            let _ = write!(text, " = {name}+{offset:#x}");
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

fn detectors_that_are_off() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut off = Vec::new();
    if debug_locks(&read("/proc/lockdep_stats")) != Some("1") {
        off.push(
            "lockdep is off: it was so from the start, has reported something, or a report made it stop"
                .to_owned(),
        );
    }
    if read("/sys/kernel/debug/dma-api/disabled").trim() != "N" {
        off.push("the checks of DMA mappings are off: the kernel's log says why".to_owned());
    }
    let tainted = read("/proc/sys/kernel/tainted").trim().parse().unwrap_or(0);
    off.extend(taints(tainted).map(|what| format!("{what}: the kernel's log has it (tainted: {tainted})")));
    off
}

/// The value of the line ` debug_locks:      1`.
fn debug_locks(stats: &str) -> Option<&str> {
    stats.lines().find_map(|line| line.trim_start().strip_prefix("debug_locks:")).map(str::trim)
}

fn taints(tainted: u64) -> impl Iterator<Item = &'static str> {
    TAINTS.into_iter().filter(move |(bit, _)| tainted & bit != 0).map(|(_, what)| what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str =
        "leak 16384 0 - Live 0xffffffffa0020000 (O)\nmy_rng 98304 1 - Live 0xffffffffa0000000 (O)\n";

    #[test]
    fn the_kernels_list_of_modules_is_understood() {
        let loaded = Loaded::parse(LIST);
        let [leak, my_rng] = &loaded[..] else { panic!("{loaded:?}") };
        assert_eq!((leak.name.as_str(), leak.size, leak.address), ("leak", 16384, 0xffff_ffff_a002_0000));
        assert_eq!((my_rng.name.as_str(), my_rng.size), ("my_rng", 98304));
        assert!(Loaded::parse("").is_empty());
    }

    #[test]
    fn a_module_is_called_after_its_file() {
        assert_eq!(name_of(Path::new("/lib/modules/exo/my-rng.ko")).as_deref(), Some("my_rng"));
        assert_eq!(name_of(Path::new("/lib/modules/exo/my_rng.ko.xz")), None);
    }

    #[test]
    fn places_in_unloaded_modules_get_their_names() {
        let leaks = "unreferenced object 0xff11000007930980 (size 64):\n  backtrace (crc 0):\n    kmalloc+0x1/0x2\n    \
                     0xffffffffa0000010\n    0xffffffffa0018000\n";
        let text = with_places(leaks, &Loaded::parse(LIST));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines[2].ends_with("kmalloc+0x1/0x2"), "{text}");
        assert!(lines[3].ends_with("0xffffffffa0000010 = my_rng+0x10"), "{text}");
        assert!(lines[4].ends_with("0xffffffffa0018000"), "the end of a module lies outside of it: {text}");
    }

    #[test]
    fn lockdep_is_on_only_if_it_says_so() {
        assert_eq!(
            debug_locks(" max locking depth:   9\n debug_locks:                       1\n"),
            Some("1")
        );
        assert_eq!(debug_locks(" debug_locks:                             0\n"), Some("0"));
        assert_eq!(debug_locks(""), None);
    }

    #[test]
    fn only_reports_taint() {
        // A module from outside of the tree, and KUnit.
        assert_eq!(taints(266_240).count(), 0);
        assert_eq!(taints(266_240 + 512).collect::<Vec<_>>(), ["there was a warning"]);
        assert_eq!(taints(32 + 128).count(), 2);
    }
}
