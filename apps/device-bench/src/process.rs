// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device's process, with one worker, and the processor time that it has used.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// A running device; killed when dropped.
#[derive(Debug)]
pub(crate) struct Device {
    child: Child,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Device {
    /// Starts the program and waits until it can be connected to.
    pub(crate) fn start(program: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
        let socket = folder.path().join("socket");
        let mut command = Command::new(program);
        command
            .arg("--socket")
            .arg(&socket)
            .args(["--workers", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let mut device = Self { child, socket, _folder: folder };
        let mut line = String::new();
        let stdout = device.child.stdout.take().context("the device has no stdout")?;
        BufReader::new(stdout).read_line(&mut line).context("cannot read what the device says")?;
        ensure!(line == "ready\n", "the device did not start; expected \"ready\", it said {line:?}");
        Ok(device)
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The time that all its threads have run so far.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        processor_time(self.child.id())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn processor_time(process: u32) -> anyhow::Result<Duration> {
    let mut sum = Duration::ZERO;
    let threads = fs::read_dir(format!("/proc/{process}/task")).context("the device's process has ended")?;
    for thread in threads.flatten() {
        let path = thread.path().join("schedstat");
        // A thread may have ended since the list was read.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        // Nanoseconds on a processor, nanoseconds waiting for one, number of turns.
        let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
        let time = nanoseconds.with_context(|| format!("{} reads {text:?}", path.display()))?;
        sum = sum.saturating_add(Duration::from_nanos(time));
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn time_passes_while_a_thread_works() {
        let own = std::process::id();
        let (before, start) = (processor_time(own).unwrap(), Instant::now());
        // However busy the host is, this loop ends only when the figure has moved.
        while processor_time(own).unwrap() < before + Duration::from_millis(5) {
            assert!(start.elapsed() < Duration::from_secs(60), "no processor time is counted");
        }
    }

    #[test]
    fn a_program_that_is_no_device_is_refused() {
        let error = Device::start(Path::new("/bin/true")).unwrap_err().to_string();
        assert!(error.contains("expected \"ready\", it said \"\""), "{error}");
    }
}
