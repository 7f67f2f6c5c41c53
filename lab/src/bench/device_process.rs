// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device's process: how fast it is alone, and what it costs the host while nobody asks it for anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bench_report::Row;

use super::{Options, printed_rows};
use crate::machine::Parts;
use crate::ui::Step;
use crate::{interrupt, process, programs};

/// How fast the device fills memory, without a machine.
pub(super) fn alone(parts: &Parts, options: &Options) -> anyhow::Result<Vec<Row>> {
    let program = programs::build_host(&parts.context, "device-bench")?;
    let step = Step::new("Measuring the device alone", None);
    let mut command = std::process::Command::new(program);
    command.arg("--json").args(["--runs", &options.runs.to_string()]);
    command.args(["--window", &options.window.as_millis().to_string()]).arg(&parts.device);
    let rows = printed_rows(&process::output(&mut command)?)?;
    step.done();
    Ok(rows)
}

/// Until the device has noticed that nobody wants anything any more.
const SETTLE: Duration = Duration::from_secs(2);
/// Over which wake-ups are counted, once for each run.
const WINDOW: Duration = Duration::from_secs(1);

/// How long [`idle`] takes.
pub(super) fn idle_time(runs: u32) -> Duration {
    SETTLE + WINDOW * runs
}

/// The rows of the running device process while its machine does nothing.
pub(super) fn idle(process: u32, runs: u32) -> anyhow::Result<Vec<Row>> {
    let process = PathBuf::from(format!("/proc/{process}"));
    std::thread::sleep(SETTLE);
    let (mut wake_ups, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        interrupt::check()?;
        let (start, before) = (Instant::now(), switches(&process)?);
        std::thread::sleep(WINDOW);
        let (time, after) = (start.elapsed(), switches(&process)?);
        wake_ups.push(after.saturating_sub(before) as f64 / time.as_secs_f64());
        memory.push(own_memory(&process)? as f64);
    }
    let rows = [Row::of("device.idle_wakeups", "1/s", &wake_ups), Row::of("device.memory", "B", &memory)];
    Ok(rows.into_iter().flatten().collect())
}

/// How often any thread of the process was put on a processor, as its state before and after a wake-up shows.
fn switches(process: &Path) -> anyhow::Result<u64> {
    let mut sum = 0_u64;
    for task in fs::read_dir(process.join("task")).context("the device's process has ended")?.flatten() {
        // A thread that has ended meanwhile has no file any more.
        let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
        sum = sum.saturating_add(field(&status, "voluntary_ctxt_switches")?);
        sum = sum.saturating_add(field(&status, "nonvoluntary_ctxt_switches")?);
    }
    Ok(sum)
}

/// Bytes of memory that the process holds, without the machine's memory, which it has mapped to write to.
fn own_memory(process: &Path) -> anyhow::Result<u64> {
    let status = fs::read_to_string(process.join("status")).context("the device's process has ended")?;
    Ok(field(&status, "RssAnon")?.saturating_add(field(&status, "RssFile")?).saturating_mul(1024))
}

/// A number of /proc/PID/status.
fn field(status: &str, name: &str) -> anyhow::Result<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("the host's kernel does not tell {name} of a process"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_sleeping_process_has_memory_and_no_wake_ups() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        // Between fork and exec the child is still this program.
        while fs::read_link(process.join("exe")).unwrap() == std::env::current_exe().unwrap() {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(200));
        let before = switches(&process).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(switches(&process).unwrap(), before);
        assert!(own_memory(&process).unwrap() > 4096);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(own_memory(&process).is_err());
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = "nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t3\nRssAnon:\t     500 kB\n";
        assert_eq!(field(status, "voluntary_ctxt_switches").unwrap(), 3);
        assert_eq!(field(status, "RssAnon").unwrap(), 500);
        assert!(field(status, "Rss").is_err());
    }
}
