// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's console: kept as a log file of this checkout, shown with `-v`, and its end shown when a machine failed.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

use super::channels::lock;
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
    heard: Arc<Mutex<Heard>>,
    reader: JoinHandle<()>,
}

#[derive(Debug)]
struct Heard {
    /// When something came last, or the log was begun.
    last: Instant,
    anything: bool,
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
        let heard = Arc::new(Mutex::new(Heard { last: Instant::now(), anything: false }));
        let reader = std::thread::spawn({
            let heard = Arc::clone(&heard);
            move || {
                let mut bytes = vec![0; 4096];
                while let Ok(count @ 1..) = console.read(&mut bytes) {
                    let part = bytes.get(..count).unwrap_or_default();
                    write_down(&mut file, part);
                    *lock(&heard) = Heard { last: Instant::now(), anything: true };
                }
            }
        });
        Ok(Self { path, heard, reader })
    }

    /// How long nothing has come.
    pub(super) fn silence(&self) -> Duration {
        lock(&self.heard).last.elapsed()
    }

    /// Whether anything has come.
    pub(super) fn has_begun(&self) -> bool {
        lock(&self.heard).anything
    }

    /// What has come so far.
    pub(super) fn so_far(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.path).unwrap_or_default()).into_owned()
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
