// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program itself, in a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Nothing in these tests takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The program.
pub(crate) struct Program {
    pub(crate) child: Owned,
    pub(crate) out: BufReader<ChildStdout>,
}

/// A process that ends with its test, however that ends. One that is left holds the tests' own output open, and whoever reads that to its
/// end waits for ever.
pub(crate) struct Owned(pub(crate) Child);

impl std::ops::Deref for Owned {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for Owned {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) code: Option<i32>,
    pub(crate) error: String,
}

impl Program {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_my-rng-device"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Owned(command.spawn().unwrap());
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// Starts it and waits for its word.
    pub(crate) fn ready(arguments: &[&str]) -> Self {
        let mut program = Self::start(arguments);
        let mut line = String::new();
        program.out.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        program
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn end(&mut self) -> End {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "the program does not end");
            std::thread::sleep(Duration::from_millis(2));
        };
        let mut error = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        // What this host has not got is no business of these tests.
        let error = error
            .lines()
            .filter(|line| !line.contains("sandbox: no "))
            .map(|line| format!("{line}\n"))
            .collect();
        End { code: status.code(), error }
    }
}

pub(crate) fn sockets() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (directory.path().join("a.sock"), directory.path().join("b.sock"));
    (directory, a, b)
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
