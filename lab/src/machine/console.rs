// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's console: kept as a log file of this checkout, shown with `-v`, and its end shown when a machine failed.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use anyhow::Context as _;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

use crate::context::Context;
use crate::process::indent;
use crate::ui;

/// Logs that are kept, the newest.
const KEPT_LOGS: usize = 40;
/// Lines that are shown of a failed machine's log.
const SHOWN_LINES: usize = 40;

/// A console that is being written down.
#[derive(Debug)]
pub(super) struct ConsoleLog {
    path: PathBuf,
    reader: JoinHandle<()>,
}

impl ConsoleLog {
    pub(super) fn start(context: &Context, mut console: UnixStream) -> anyhow::Result<Self> {
        let folder = context.build().join("logs");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        remove_old(&folder);
        let (mut file, path) = tempfile::Builder::new()
            .prefix(&format!("console-{}-", now()))
            .suffix(".log")
            .tempfile_in(&folder)
            .and_then(|file| file.keep().map_err(|error| error.error))
            .context("cannot create the console's log")?;
        let reader = std::thread::spawn(move || {
            let mut bytes = vec![0; 4096];
            while let Ok(count @ 1..) = console.read(&mut bytes) {
                let part = bytes.get(..count).unwrap_or_default();
                write_down(&mut file, part);
            }
        });
        Ok(Self { path, reader })
    }

    /// After the machine's end: the log's path.
    pub(super) fn finish(self) -> PathBuf {
        // The reader has ended with QEMU's side of the socket.
        let _ = self.reader.join();
        self.path
    }
}

/// A full disk must not stop the machine.
fn write_down(file: &mut File, bytes: &[u8]) {
    let _ = file.write_all(bytes);
    if ui::verbose() {
        let _ = std::io::stderr().lock().write_all(bytes);
    }
}

/// Seconds since 1970: log names sort by age.
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn remove_old(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut logs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    logs.sort();
    let surplus = logs.len().saturating_sub(KEPT_LOGS);
    for log in logs.iter().take(surplus) {
        // Somebody else may have removed it.
        let _ = std::fs::remove_file(log);
    }
}

/// Why a machine failed, with the end of its log.
pub(super) fn explanation(failure: &str, log: &Path) -> String {
    let text =
        std::fs::read(log).map(|text| String::from_utf8_lossy(&text).replace('\r', "")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default();
    if shown.is_empty() {
        return format!("{failure}; its console stayed empty");
    }
    format!("{failure}; the end of its console ({}):\n{}", log.display(), indent(&shown.join("\n")))
}

/// Rows and columns of this terminal; 24 × 80 where there is none.
pub(super) fn terminal_size() -> (u16, u16) {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return (24, 80);
    }
    let size = crate::process::output(std::process::Command::new("stty").args(["-F", "/dev/tty", "size"]))
        .unwrap_or_default();
    let mut numbers = size.split_whitespace().filter_map(|word| word.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(rows @ 1..), Some(columns @ 1..)) => (rows, columns),
        _ => (24, 80),
    }
}

/// The terminal's settings, put back when dropped: QEMU changes them and may be killed.
#[derive(Debug)]
pub(super) struct RestoredTerminal(Option<Termios>);

impl RestoredTerminal {
    pub(super) fn save() -> Self {
        let stdin = std::io::stdin();
        Self(if stdin.is_terminal() { tcgetattr(&stdin).ok() } else { None })
    }
}

impl Drop for RestoredTerminal {
    fn drop(&mut self) {
        if let Some(settings) = &self.0 {
            // The terminal may be gone.
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, settings);
        }
    }
}
