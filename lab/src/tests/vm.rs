// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo exo vm` keeps its word: status, output, input, time limit, crash.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Lab;
use crate::machine::{
    self, Captured, Config, Machine, Output, STATUS_MACHINE_FAILED, STATUS_TIMED_OUT, System,
};
use crate::process::Running;
use crate::sandbox::OWN_PROGRAM;

/// Runs a shell line in a machine; its status and output.
pub(super) fn shell(lab: &Lab, config: &Config, line: &str) -> anyhow::Result<(i32, Captured)> {
    let command = ["sh", "-c", line].map(str::to_owned);
    let outcome = machine::run(&lab.parts, config, &command, Output::Capture)?;
    Ok((outcome.status, outcome.captured))
}

/// Runs a shell line in a machine, which has to succeed; what it wrote.
pub(super) fn succeed(lab: &Lab, config: &Config, line: &str) -> anyhow::Result<Captured> {
    let (status, captured) = shell(lab, config, line)?;
    let Captured { stdout, stderr } = &captured;
    let (system, smp) = (lab.parts.system.name(), config.smp);
    ensure!(status == 0, "`{line}` on {system} with {smp} processors ended with {status}:\n{stdout}{stderr}");
    Ok(captured)
}

pub(super) fn the_exit_status_comes_back(lab: &Lab) -> anyhow::Result<()> {
    for (line, expected) in [("exit 7", 7), ("kill -TERM $$", 143), ("exit 0", 0), ("no-such-program", 127)] {
        let (status, _) = shell(lab, &lab.config(), line)?;
        ensure!(status == expected, "`{line}` ended with {status}, expected {expected}");
    }
    Ok(())
}

pub(super) fn output_arrives_whole_and_apart(lab: &Lab) -> anyhow::Result<()> {
    so_much_output_arrives(lab, 300_000)
}

/// So many numbers on stdout, a line each, and a line on stderr.
pub(super) fn so_much_output_arrives(lab: &Lab, lines: u32) -> anyhow::Result<()> {
    let captured = succeed(lab, &lab.config(), &format!("seq 1 {lines}; echo to-stderr >&2"))?;
    let expected: String = (1..=lines).map(|number| format!("{number}\n")).collect();
    ensure!(
        captured.stdout == expected,
        "{} bytes of stdout, expected {}",
        captured.stdout.len(),
        expected.len()
    );
    ensure!(captured.stderr == "to-stderr\n", "stderr was {:?}", captured.stderr);
    Ok(())
}

/// This program as a person would call it.
pub(super) fn exo(lab: &Lab, arguments: &[&str]) -> anyhow::Result<Command> {
    // Not by its name: a build may have replaced the file meanwhile.
    let mut command = Command::new(OWN_PROGRAM);
    command.args(arguments).env("CARGO_TARGET_DIR", &lab.parts.context.target);
    Ok(command)
}

pub(super) fn input_reaches_the_command(lab: &Lab) -> anyhow::Result<()> {
    so_much_input_arrives(lab, &["sha256sum"], 1_000_000)
}

/// `command` writes the SHA-256 sum of its input; it gets so many bytes.
pub(super) fn so_much_input_arrives(lab: &Lab, command: &[&str], bytes: u32) -> anyhow::Result<()> {
    let kernel = if matches!(lab.parts.system, System::Exo(_)) { "exo" } else { "linux" };
    let arguments = [&["vm", "--kernel", kernel, "--timeout", "120", "--"], command].concat();
    let mut child =
        exo(lab, &arguments)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start")?;
    let input: Vec<u8> = (0..bytes).map(|number| (number % 251) as u8).collect();
    child.stdin.take().context("no stdin")?.write_all(&input).context("cannot write")?;
    let output = child.wait_with_output().context("cannot wait")?;
    let expected: String = {
        use sha2::{Digest as _, Sha256};
        Sha256::digest(&input).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(text.starts_with(&expected), "sha256sum in the machine said {text:?}, expected {expected}");
    Ok(())
}

pub(super) fn a_hanging_machine_is_stopped(lab: &Lab) -> anyhow::Result<()> {
    it_is_stopped_after(lab, Duration::from_secs(8))
}

/// A machine whose command hangs, with a limit within which it starts.
pub(super) fn it_is_stopped_after(lab: &Lab, limit: Duration) -> anyhow::Result<()> {
    let config = Config { timeout: Some(limit), ..lab.config() };
    let started = Instant::now();
    let (status, _) = shell(lab, &config, "sleep 1000")?;
    ensure!(status == STATUS_TIMED_OUT, "status {status}, expected {STATUS_TIMED_OUT}");
    ensure!(started.elapsed() < Duration::from_secs(60), "it took {:?} to stop it", started.elapsed());
    Ok(())
}

/// A machine that is paused while its kernel boots stands still like one whose processors turn in circles.
pub(super) fn a_boot_that_stands_still_starts_again(lab: &Lab) -> anyhow::Result<()> {
    let config = Config { boot_patience: Duration::from_secs(10), ..lab.config() };
    let command = ["sh", "-c", "echo up; sleep 1; reboot -f"].map(str::to_owned);
    let mut machine = Machine::start(&lab.parts, &config, &command, Output::Capture)?;
    machine.wait_for_console("Linux version")?;
    machine.qmp()?.execute("stop", &serde_json::json!({}))?;
    // Nothing but the reset ends the pause.
    machine.wait_for("up\n")?;
    // Only the host may do that: a guest that resets its machine ends it, as ever.
    let outcome = machine.wait()?;
    ensure!(outcome.status == STATUS_MACHINE_FAILED, "status {}, {:?}", outcome.status, outcome.captured);
    ensure!(outcome.captured.stdout == "up\n", "{:?}", outcome.captured);
    Ok(())
}

pub(super) fn a_crashed_machine_is_reported(lab: &Lab) -> anyhow::Result<()> {
    let (status, _) = shell(lab, &lab.config(), "echo c > /proc/sysrq-trigger; sleep 100")?;
    ensure!(status == STATUS_MACHINE_FAILED, "status {status}, expected {STATUS_MACHINE_FAILED}");
    Ok(())
}

pub(super) fn two_devices_have_their_nodes(lab: &Lab) -> anyhow::Result<()> {
    let config = Config { rng: 2, ..lab.config() };
    let said = succeed(lab, &config, "ls /dev/my_rng*; lspci -n | grep -c 1234:cafe")?.stdout;
    let expected = "/dev/my_rng0\n/dev/my_rng1\n/dev/my_rng_driver\n2\n";
    ensure!(said == expected, "output {said:?}");
    Ok(())
}

pub(super) fn modules_can_be_left_out(lab: &Lab) -> anyhow::Result<()> {
    let config = Config { load_modules: false, ..lab.config() };
    let line = "test ! -e /dev/my_rng0 && insmod /lib/modules/exo/my_rng.ko && test -e /dev/my_rng0";
    succeed(lab, &config, line).map(drop)
}

/// Ctrl-C at several moments of a run: no process of it, no folder of it may remain.
pub(super) fn an_interrupted_run_leaves_nothing(lab: &Lab) -> anyhow::Result<()> {
    for milliseconds in [100, 700, 2500] {
        let temporary = tempfile::tempdir().context("cannot make a folder")?;
        let mut command = exo(lab, &["vm", "--", "sleep", "1000"])?;
        command.env("TMPDIR", temporary.path()).stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = Running::start(&mut command)?;
        std::thread::sleep(Duration::from_millis(milliseconds));
        kill(Pid::from_raw(i32::try_from(child.pid())?), Signal::SIGINT).context("cannot interrupt")?;
        let status = child.wait_at_most(Duration::from_secs(60))?;
        // Before it has a handler for the signal, it has made nothing either.
        let ended = status.code() == Some(130) || status.signal() == Some(Signal::SIGINT as i32);
        ensure!(ended, "after {milliseconds} ms: {status}, expected 130");
        let left: Vec<_> =
            std::fs::read_dir(temporary.path())?.flatten().map(|entry| entry.file_name()).collect();
        ensure!(left.is_empty(), "after {milliseconds} ms: these temporary files are left: {left:?}");
        if let Some(process) = process_that_names(&temporary.path().to_string_lossy())? {
            bail!("after {milliseconds} ms: this process is left: {process}");
        }
    }
    Ok(())
}

/// A process that has `text` in its command line.
fn process_that_names(text: &str) -> anyhow::Result<Option<String>> {
    for entry in std::fs::read_dir("/proc").context("cannot list processes")?.flatten() {
        // Processes come and go.
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(text) {
            return Ok(Some(line));
        }
    }
    Ok(None)
}
