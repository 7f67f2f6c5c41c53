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
use nix::fcntl::{Flock, FlockArg};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

use super::channels::lock;
use crate::context::Context;
use crate::process::indent;
use crate::ui;

/// Logs that are kept besides those in use, the newest.
const KEPT_LOGS: usize = 40;
/// Lines that are shown of a failed machine's log.
const SHOWN_LINES: usize = 40;

/// A console's log file. Nobody removes it while this is there.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    /// Its lock tells other machines, of this process and of others, that the file is in use.
    file: Flock<File>,
}

impl Log {
    /// Creates a log in a folder, and removes those that are old there.
    fn create(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        remove_old(folder);
        let (file, path) = tempfile::Builder::new()
            .prefix(&format!("console-{}-", now()))
            .suffix(".log")
            .tempfile_in(folder)
            .and_then(|file| file.keep().map_err(|error| error.error))
            .context("cannot create the console's log")?;
        let file = lock_file(file).with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(Self { path, file })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it says so far.
    pub(crate) fn text(&self) -> anyhow::Result<String> {
        let text =
            std::fs::read(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn lock_file(file: File) -> nix::Result<Flock<File>> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)
}

/// A console that is being written down.
#[derive(Debug)]
pub(super) struct ConsoleLog {
    log: Log,
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
        let log = Log::create(&context.build().join("logs"))?;
        let mut file = log.file.try_clone().context("cannot share the console's log")?;
        let heard = Arc::new(Mutex::new(Heard { last: Instant::now(), anything: false }));
        let reader = std::thread::spawn({
            let heard = Arc::clone(&heard);
            move || {
                let mut bytes = vec![0; 4096];
                let mut complaints = Complaints::default();
                while let Ok(count @ 1..) = console.read(&mut bytes) {
                    let part = bytes.get(..count).unwrap_or_default();
                    write_down(&mut file, part);
                    complaints.hear(part, |line| ui::note(&format!("the machine's kernel says: {line}")));
                    *lock(&heard) = Heard { last: Instant::now(), anything: true };
                }
            }
        });
        Ok(Self { log, heard, reader })
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
        self.log.text().unwrap_or_default()
    }

    /// After the machine's end: the log.
    pub(super) fn finish(self) -> Log {
        // The reader has ended with QEMU's side of the socket.
        let _ = self.reader.join();
        self.log
    }
}

/// Finds the lines in which Exo-Kernel says that a driver does not work, or why a program does not start: nobody would look for them in the
/// log.
#[derive(Debug, Default)]
struct Complaints(Vec<u8>);

impl Complaints {
    /// What a line about a driver begins with, behind its time.
    const DRIVER: &str = "driver: ";
    /// What a line about a program has behind the program's name.
    const DYNAMIC: &str = ": dynamically linked, needs ";
    /// Longer lines are none.
    const LONGEST: usize = 1024;

    fn hear(&mut self, bytes: &[u8], mut tell: impl FnMut(&str)) {
        for &byte in bytes {
            if byte != b'\n' {
                if self.0.len() < Self::LONGEST {
                    self.0.push(byte);
                }
                continue;
            }
            let line = String::from_utf8_lossy(&self.0);
            let text = line.split_once("] ").map_or("", |(_, text)| text.trim_end());
            if text.starts_with(Self::DRIVER) || text.contains(Self::DYNAMIC) {
                tell(text);
            }
            self.0.clear();
        }
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
        // One that is locked is in use, and somebody else may have removed it.
        let locked = File::open(log).map(lock_file);
        if matches!(locked, Ok(Ok(_))) {
            let _ = std::fs::remove_file(log);
        }
    }
}

/// Why a machine failed, with the end of its log.
pub(super) fn explanation(failure: &str, log: &Log) -> String {
    let text = log.text().unwrap_or_default().replace('\r', "");
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default();
    if shown.is_empty() {
        return format!("{failure}; its console stayed empty");
    }
    format!("{failure}; the end of its console ({}):\n{}", log.path().display(), indent(&shown.join("\n")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_work_is_heard() {
        let (mut complaints, mut told) = (Complaints::default(), Vec::new());
        for part in ["[    0.1] fine\r\n[    0.2] driver: nvme0 does", " not work: broken\r\n[    0.3] x\r\n"]
        {
            complaints.hear(part.as_bytes(), |line| told.push(line.to_owned()));
        }
        complaints.hear(
            b"[    0.4] /p: dynamically linked, needs /lib/ld.so; Exo-Kernel runs static programs\r\n",
            |line| {
                told.push(line.to_owned());
            },
        );
        let dynamic = "/p: dynamically linked, needs /lib/ld.so; Exo-Kernel runs static programs";
        assert_eq!(told, ["driver: nvme0 does not work: broken", dynamic]);
    }

    #[test]
    fn old_logs_go_but_not_those_of_machines_that_still_run() {
        let folder = tempfile::tempdir().unwrap();
        let old = |number: usize| folder.path().join(format!("console-{number:02}.log"));
        for number in 0..KEPT_LOGS + 5 {
            std::fs::write(old(number), "old").unwrap();
        }
        let in_use = lock_file(File::open(old(1)).unwrap()).unwrap();
        let log = Log::create(folder.path()).unwrap();
        let is_there: Vec<bool> = (0..6).map(|number| old(number).exists()).collect();
        assert_eq!(is_there, [false, true, false, false, false, true]);
        // It can be read by its path, whatever is made after it.
        (&*log.file).write_all(b"Linux version").unwrap();
        assert_eq!(log.text().unwrap(), "Linux version");
        drop(in_use);
        remove_old(folder.path());
        assert!(!old(1).exists() && log.path().exists());
    }
}
