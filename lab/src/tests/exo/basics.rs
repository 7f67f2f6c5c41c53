// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo exo vm --kernel exo` and `cargo exo shell --kernel exo` keep their word.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::super::vm::{self, exo, succeed};
use super::Both;
use crate::machine::Config;
use crate::process::Running;

/// Part of the prompt that guest-init gives the shell.
const PROMPT: &str = "exo:";
/// How long a machine may take to be built and to start.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) fn it_boots_on_one_two_and_four_processors(both: &Both<'_>) -> anyhow::Result<()> {
    for smp in [1, 2, 4] {
        let config = Config { smp, ..both.exo.config() };
        let said = succeed(&both.exo, &config, "nproc; grep -c ^processor /proc/cpuinfo")?.stdout;
        ensure!(said == format!("{smp}\n{smp}\n"), "with {smp} processors: {said:?}");
    }
    Ok(())
}

pub(super) fn the_exit_status_comes_back(both: &Both<'_>) -> anyhow::Result<()> {
    vm::the_exit_status_comes_back(&both.exo)
}

pub(super) fn output_arrives_whole_and_apart(both: &Both<'_>) -> anyhow::Result<()> {
    vm::so_much_output_arrives(&both.exo, 50_000)
}

/// More than the serial line, the kernel and a pipe hold together, while the command does not read yet.
pub(super) fn input_reaches_the_command(both: &Both<'_>) -> anyhow::Result<()> {
    vm::so_much_input_arrives(&both.exo, &["sh", "-c", "sleep 1; sha256sum"], 200_000)
}

pub(super) fn a_hanging_machine_is_stopped(both: &Both<'_>) -> anyhow::Result<()> {
    vm::it_is_stopped_after(&both.exo, Duration::from_secs(4))
}

/// The static programs are the same files as on Linux; each must come as far as its help.
pub(super) fn every_program_of_this_project_starts(both: &Both<'_>) -> anyhow::Result<()> {
    let names: Vec<&str> = both.exo.parts.programs.commands().map(|(name, _)| name).collect();
    ensure!(names.contains(&"my-app"), "my-app is missing among {names:?}");
    let line = format!("for p in {}; do $p --help | grep -c '^Usage: '$p; done", names.join(" "));
    let said = succeed(&both.exo, &both.exo.config(), &line)?;
    let expected = "1\n".repeat(names.len());
    ensure!(said.stdout == expected, "of {names:?}: {:?} {:?}", said.stdout, said.stderr);
    Ok(())
}

/// A person at the console: the interactive shell, an editor that wants a terminal, and `exit`.
pub(super) fn vi_edits_over_the_serial_line(both: &Both<'_>) -> anyhow::Result<()> {
    let mut command = exo(both.linux, &["shell", "--kernel", "exo"])?;
    let mut shell = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let mut keys = shell.child().stdin.take().context("no stdin")?;
    let mut terminal = shell.child().stdout.take().context("no stdout")?;
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
    let status = shell.wait_at_most(PATIENCE)?;
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
    let output = exo(both.linux, &["vm", "--kernel", "exo", "--no-modules", "--", "true"])?
        .output()
        .context("cannot start")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(1) && said.contains("--no-modules"),
        "--no-modules: {}, {said}",
        output.status
    );
    Ok(())
}
