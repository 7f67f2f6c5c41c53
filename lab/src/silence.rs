// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that hang: a pipe whose reader does not wait for ever, and who could have written to it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long reading about a process may take.
const DESCRIPTION_TIME: Duration = Duration::from_secs(5);

/// The reading end of a pipe. A read fails with [`ErrorKind::TimedOut`] when nothing comes for too long.
#[derive(Debug)]
pub(crate) struct Patient {
    pipe: File,
    patience: PollTimeout,
}

impl Patient {
    /// With a `patience` of more than three weeks reads wait for ever.
    pub(crate) fn new(pipe: File, patience: Duration) -> Self {
        Self { pipe, patience: PollTimeout::try_from(patience).unwrap_or(PollTimeout::NONE) }
    }

    /// What it reads from.
    pub(crate) fn pipe(&self) -> &File {
        &self.pipe
    }
}

impl Read for Patient {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match poll(&mut [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)], self.patience)? {
            0 => Err(ErrorKind::TimedOut.into()),
            _ => self.pipe.read(to),
        }
    }
}

/// Ends all who hold an end of the pipe but this process: `starter`, the process that started the others, only if it is the last. Returns
/// what they were doing, or nothing if there was nobody.
pub(crate) fn end_writers(pipe: &File, starter: u32) -> String {
    let Ok(pipe) = fs::read_link(format!("/proc/self/fd/{}", pipe.as_raw_fd())) else {
        return String::new();
    };
    let own = std::process::id();
    let pids = names(Path::new("/proc")).filter_map(|name| name.parse::<u32>().ok());
    let mut writers: Vec<u32> = pids.filter(|pid| *pid != own && holds(*pid, &pipe)).collect();
    if writers.len() > 1 {
        writers.retain(|pid| *pid != starter);
    }
    let mut text = String::new();
    for pid in writers {
        // Of one that hangs in the kernel not all can be read: whoever reads hangs with it.
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || tell.send(description(pid)));
        let described = told.recv_timeout(DESCRIPTION_TIME);
        text += &described.unwrap_or_else(|_| format!("process {pid}, of which nothing can be read\n"));
        // It may have ended by itself.
        let _ = i32::try_from(pid).map(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL));
    }
    text
}

fn holds(pid: u32, pipe: &Path) -> bool {
    let folder = PathBuf::from(format!("/proc/{pid}/fd"));
    // Of a process that has ended, or is somebody else's, there is nothing to read.
    let is_it = |name: &String| fs::read_link(folder.join(name)).is_ok_and(|link| link == pipe);
    names(&folder).filter(is_it).any(|name| can_write(&PathBuf::from(format!("/proc/{pid}/fdinfo/{name}"))))
}

/// Whether a descriptor is for writing: a child of this process has the reading end until it begins its program.
fn can_write(information: &Path) -> bool {
    let text = fs::read_to_string(information).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).map(str::trim);
    flags.is_some_and(|flags| flags.ends_with('1') || flags.ends_with('2'))
}

/// Its command, and of each thread the name (in Rust's tests the test's), the state and where in the kernel it waits.
fn description(pid: u32) -> String {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let words = fs::read_to_string(folder.join("cmdline")).unwrap_or_default().replace('\0', " ");
    let mut text = format!("process {pid}: {}\n", words.trim_end());
    let threads = names(&folder.join("task")).map(|thread| {
        let of =
            |file: &str| fs::read_to_string(folder.join("task").join(&thread).join(file)).unwrap_or_default();
        let stat = of("stat");
        let state = stat.rsplit_once(") ").map_or("?", |(_, rest)| rest.get(..1).unwrap_or_default());
        let call = of("syscall");
        let (name, place) = (of("comm"), of("wchan"));
        format!("{} ({state}) in {place}, system call {}", name.trim(), call.trim())
    });
    // Threads of a pool are alike.
    for thread in threads.collect::<BTreeSet<String>>() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  thread {thread}");
    }
    text
}

fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}
