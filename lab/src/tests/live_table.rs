// SPDX-License-Identifier: MIT OR Apache-2.0
//! A person at a terminal: `cargo exo shell`, and in it the live table of `procmon`, over a serial line.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::pty::{Winsize, openpty};

use super::{Lab, vm};
use crate::process::Running;

/// Lines and columns of a VT100, which is what a program takes a serial line for.
const SIZE: (u16, u16) = (24, 80);
/// The machine's start is the longest that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// What is on the screen before.
const FILL: &str = "00000";
/// What makes a terminal show its other screen; the plainest have none.
const OTHER_SCREEN: [&[u8]; 2] = [b"\x1b[?1049h", b"\x1b[?1049l"];

/// The terminal that the shell believes to have.
struct Terminal {
    keys: File,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
}

impl Terminal {
    /// A terminal, and what a program takes for it.
    fn new() -> anyhow::Result<(Self, File)> {
        let (ws_row, ws_col) = SIZE;
        let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).context("cannot make a terminal")?;
        let keys = File::from(pty.master);
        let mut reader = keys.try_clone().context("cannot make a terminal")?;
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails once the last program has closed its side.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let screen = vt100::Parser::new(ws_row, ws_col, 0);
        Ok((Self { keys, output, screen }, File::from(pty.slave)))
    }

    fn press(&mut self, keys: &str) -> anyhow::Result<()> {
        self.keys.write_all(keys.as_bytes()).context("cannot type")
    }

    /// What it shows.
    fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Waits until it shows something that `is_there` accepts.
    fn wait_for(&mut self, what: &str, is_there: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while !is_there(&self.text()) {
            match self.output.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.screen.process(&plain(bytes)),
                Err(RecvTimeoutError::Timeout) => bail!("no {what}; the screen:\n{}", self.text()),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the shell has ended before {what}:\n{}", self.text())
                }
            }
        }
        Ok(())
    }
}

/// The bytes without what only better terminals understand. They come whole, as programs write them at once.
fn plain(mut bytes: Vec<u8>) -> Vec<u8> {
    for unknown in OTHER_SCREEN {
        while let Some(at) = bytes.windows(unknown.len()).position(|part| part == unknown) {
            bytes.drain(at..at + unknown.len());
        }
    }
    bytes
}

fn has_prompt(text: &str) -> bool {
    text.trim_end().ends_with("~#")
}

/// The table fills a screen that showed something else before, reacts to keys and leaves a usable shell.
pub(super) fn the_live_table_works_over_a_serial_line(lab: &Lab) -> anyhow::Result<()> {
    let (mut terminal, slave) = Terminal::new()?;
    let mut command = vm::exo(lab, &["shell"])?;
    let clone = || slave.try_clone().context("cannot make a terminal");
    command.stdin(clone()?).stdout(clone()?).stderr(Stdio::null());
    let mut shell = Running::start(&mut command)?;
    // The command has copies of the terminal too.
    drop((command, slave));

    terminal.wait_for("prompt", has_prompt)?;
    terminal.press(&format!("yes $(printf %070d) | head -n {}; echo\r", SIZE.0))?;
    terminal.wait_for("full screen", |text| text.contains(FILL) && has_prompt(text))?;
    terminal.press("procmon\r")?;
    terminal.wait_for("table", |text| text.contains("q quit") && text.contains("init"))?;
    let text = terminal.text();
    let lines: Vec<_> = text.lines().collect();
    ensure!(
        lines.first().is_some_and(|line| line.contains("processes")),
        "the table has no heading:\n{text}"
    );
    ensure!(!text.contains(FILL), "the table lies over what was there before:\n{text}");

    terminal.press("/kthreadd\r")?;
    terminal.wait_for("filter", |text| text.contains("kthreadd") && !text.contains("init"))?;
    terminal.press("q")?;
    terminal.wait_for("prompt after the table", |text| has_prompt(text) && !text.contains("kthreadd"))?;
    terminal.press("exit\r")?;
    let status = shell.wait_at_most(PATIENCE)?;
    ensure!(status.success(), "the shell ended with {status}:\n{}", terminal.text());
    Ok(())
}
