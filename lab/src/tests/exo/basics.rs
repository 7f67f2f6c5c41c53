// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo exo vm --kernel exo` and `cargo exo shell --kernel exo` keep their word.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::super::vm::{exo, shell};
use super::Both;
use crate::machine::{Config, STATUS_TIMED_OUT};

/// Part of the prompt that guest-init gives the shell.
const PROMPT: &str = "exo:";
/// How long a machine may take to be built and to start.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) fn it_boots_on_one_two_and_four_processors(both: &Both<'_>) -> anyhow::Result<()> {
    for smp in [1, 2, 4] {
        let config = Config { smp, ..both.exo.config() };
        let (status, captured) = shell(&both.exo, &config, "nproc; grep -c ^processor /proc/cpuinfo")?;
        ensure!(
            status == 0 && captured.stdout == format!("{smp}\n{smp}\n"),
            "with {smp} processors: status {status}, {:?} {:?}",
            captured.stdout,
            captured.stderr
        );
    }
    Ok(())
}

pub(super) fn the_exit_status_comes_back(both: &Both<'_>) -> anyhow::Result<()> {
    for (line, expected) in [("exit 7", 7), ("kill -TERM $$", 143), ("exit 0", 0), ("no-such-program", 127)] {
        let (status, _) = shell(&both.exo, &both.exo.config(), line)?;
        ensure!(status == expected, "`{line}` ended with {status}, expected {expected}");
    }
    Ok(())
}

pub(super) fn output_arrives_whole_and_apart(both: &Both<'_>) -> anyhow::Result<()> {
    let (status, captured) = shell(&both.exo, &both.exo.config(), "seq 1 50000; echo to-stderr >&2")?;
    let expected: String = (1..=50_000).map(|number| format!("{number}\n")).collect();
    ensure!(status == 0, "status {status}");
    ensure!(captured.stdout == expected, "{} bytes came, expected {}", captured.stdout.len(), expected.len());
    ensure!(captured.stderr == "to-stderr\n", "stderr was {:?}", captured.stderr);
    Ok(())
}

/// More than the serial line, the kernel and a pipe hold together, while the command does not read yet.
pub(super) fn input_reaches_the_command(both: &Both<'_>) -> anyhow::Result<()> {
    let line = "sleep 1; sha256sum";
    let mut child = exo(both.linux, &["vm", "--kernel", "exo", "--timeout", "120", "--", "sh", "-c", line])?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start")?;
    let input: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
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

pub(super) fn a_hanging_machine_is_stopped(both: &Both<'_>) -> anyhow::Result<()> {
    let config = Config { timeout: Some(Duration::from_secs(4)), ..both.exo.config() };
    let started = Instant::now();
    let (status, _) = shell(&both.exo, &config, "sleep 1000")?;
    ensure!(status == STATUS_TIMED_OUT, "status {status}, expected {STATUS_TIMED_OUT}");
    ensure!(started.elapsed() < Duration::from_secs(60), "it took {:?} to stop it", started.elapsed());
    Ok(())
}

/// The static programs are the same files as on Linux; each must come as far as its help.
pub(super) fn every_program_of_this_project_starts(both: &Both<'_>) -> anyhow::Result<()> {
    let names: Vec<&str> = both.exo.parts.programs.commands().map(|(name, _)| name).collect();
    ensure!(names.contains(&"my-app"), "my-app is missing among {names:?}");
    let line = format!("for p in {}; do $p --help | grep -c '^Usage: '$p; done", names.join(" "));
    let (status, captured) = shell(&both.exo, &both.exo.config(), &line)?;
    let expected = "1\n".repeat(names.len());
    ensure!(
        status == 0 && captured.stdout == expected,
        "of {names:?}: {:?} {:?}",
        captured.stdout,
        captured.stderr
    );
    Ok(())
}

/// A person at the console: the interactive shell, an editor that wants a terminal, and `exit`.
pub(super) fn vi_edits_over_the_serial_line(both: &Both<'_>) -> anyhow::Result<()> {
    let mut child = exo(both.linux, &["shell", "--kernel", "exo"])?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start")?;
    let mut keys = child.stdin.take().context("no stdin")?;
    let mut terminal = child.stdout.take().context("no stdout")?;
    let (shown, seen) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut part = [0; 4096];
        while let Ok(length @ 1..) = terminal.read(&mut part) {
            if shown.send(part.get(..length).unwrap_or_default().to_vec()).is_err() {
                return;
            }
        }
    });
    // What is typed before the shell is there goes to nobody.
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(PROMPT) {
        text.extend(seen.recv_timeout(PATIENCE).context("the shell has not shown its prompt")?);
    }
    // As a person types: a key at a time and with time to see what happens.
    for (text, pause) in [
        // busybox's shell asks the terminal for its cursor and takes the first key for the answer.
        ("\r", 1000),
        ("tty; stty size\r", 500),
        ("vi /tmp/f\r", 1000),
        ("ifirst line\rsecond line\x1b", 500),
        (":1s/first/changed/\r:wq\r", 700),
        ("cat -A /tmp/f; sleep 100\r", 700),
        ("\x03", 500),
        ("echo status $?; exit\r", 500),
    ] {
        keys.write_all(text.as_bytes()).context("cannot type")?;
        std::thread::sleep(Duration::from_millis(pause));
    }
    let status = child.wait().context("cannot wait")?;
    text.extend(seen.into_iter().flatten());
    reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
    let text = String::from_utf8_lossy(&text).replace('\r', "");
    for expected in ["\n/dev/ttyS0\n24 80\n", "\nchanged line$\nsecond line$\n", "\nstatus 130\n"] {
        ensure!(text.contains(expected), "no {expected:?} on the terminal:\n{text}");
    }
    ensure!(status.success(), "the shell ended with {status}");
    Ok(())
}

pub(super) fn what_makes_no_sense_is_refused(both: &Both<'_>) -> anyhow::Result<()> {
    for option in [&["--checked"][..], &["--no-modules"]] {
        let mut arguments = vec!["vm", "--kernel", "exo"];
        arguments.extend(option.iter().chain(&["--", "true"]));
        let output = exo(both.linux, &arguments)?.output().context("cannot start")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let name = option.first().copied().unwrap_or_default();
        ensure!(
            output.status.code() == Some(1) && said.contains(name),
            "{option:?}: {}, {said}",
            output.status
        );
    }
    Ok(())
}
