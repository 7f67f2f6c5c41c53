// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command's streams and its status, which come out of the machine through virtio-serial ports, or through serial
//! lines where the kernel has no driver for those ports. `apps/guest-init/README.md` is the contract with the machine.
//!
//! The machine ends with a line `STATUS STDOUT_BYTES STDERR_BYTES` and waits for an answer before it powers off, since
//! what QEMU still holds then would be lost. The answer is given when that many bytes have arrived.
//!
//! The machine says `ready` on the status line first. A serial line has no end, and its first bytes are lost while nobody listens:
//! there the input waits for that, and its length follows on the line of stderr once it is known.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::{Output, System};
use crate::process::Running;

/// QEMU connects to all sockets while it starts, before the machine runs.
const CONNECT_TIME: Duration = Duration::from_secs(30);

const STDIN: &str = "exo.stdin";
const STDOUT: &str = "exo.stdout";
const STDERR: &str = "exo.stderr";
const STATUS: &str = "exo.status";
const CONSOLE: &str = "console";

/// What carries the streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wiring {
    /// Four ports of one virtio-serial device.
    Virtio,
    /// The second serial line for stdin and stdout, the third for stderr, the fourth for the status.
    Serial,
}

impl Wiring {
    /// What the kernel has drivers for.
    pub(super) fn of(system: &System) -> Self {
        match system {
            System::Linux(_) => Self::Virtio,
            System::Exo(_) => Self::Serial,
        }
    }

    /// What guest-init calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Serial => "serial",
        }
    }

    /// The sockets, serial lines in their order.
    fn sockets(self) -> &'static [&'static str] {
        match self {
            Self::Virtio => &[CONSOLE, STDIN, STDOUT, STDERR, STATUS],
            Self::Serial => &[CONSOLE, STDOUT, STDERR, STATUS],
        }
    }
}

/// Sockets that QEMU has yet to connect to.
#[derive(Debug)]
pub(super) struct Listening {
    wiring: Wiring,
    sockets: Vec<(&'static str, PathBuf, UnixListener)>,
}

impl Listening {
    pub(super) fn new(folder: &Path, wiring: Wiring) -> anyhow::Result<Self> {
        let listen = |name: &'static str| -> anyhow::Result<_> {
            let path = folder.join(name);
            let listener =
                UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
            listener.set_nonblocking(true).context("cannot set a socket up")?;
            Ok((name, path, listener))
        };
        let sockets = wiring.sockets().iter().copied().map(listen).collect::<anyhow::Result<_>>()?;
        Ok(Self { wiring, sockets })
    }

    pub(super) fn qemu_arguments(&self) -> Vec<String> {
        let mut arguments = match self.wiring {
            Wiring::Virtio => vec!["-device".to_owned(), "virtio-serial-pci,max_ports=8".to_owned()],
            Wiring::Serial => Vec::new(),
        };
        for (name, path, _) in &self.sockets {
            arguments.extend(["-chardev".to_owned(), format!("socket,id={name},path={}", path.display())]);
            if *name == CONSOLE || self.wiring == Wiring::Serial {
                arguments.extend(["-serial".to_owned(), format!("chardev:{name}")]);
            } else {
                arguments
                    .extend(["-device".to_owned(), format!("virtserialport,chardev={name},name={name}")]);
            }
        }
        arguments
    }

    /// Waits for QEMU's connections. Returns the channels and the console.
    pub(super) fn accept(
        self,
        qemu: &mut Running,
        output: Output,
        forward_stdin: bool,
    ) -> anyhow::Result<(Channels, UnixStream)> {
        let deadline = Instant::now() + CONNECT_TIME;
        let mut accept = |name: &str| -> anyhow::Result<UnixStream> {
            let (_, _, listener) =
                self.sockets.iter().find(|(found, _, _)| *found == name).context("no such socket")?;
            loop {
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(false).context("cannot set a socket up")?;
                        return Ok(stream);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error).context("cannot accept QEMU's connection"),
                }
                crate::interrupt::check()?;
                if let Some(status) = qemu.ended()? {
                    bail!("QEMU did not start ({status}); what it said stands above");
                }
                if Instant::now() > deadline {
                    bail!("QEMU did not start within {} s", CONNECT_TIME.as_secs());
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        let share = |stream: &UnixStream| stream.try_clone().context("cannot share a socket");
        let stdout = accept(STDOUT)?;
        let stdin = if self.wiring == Wiring::Virtio { accept(STDIN)? } else { share(&stdout)? };
        let stderr = accept(STDERR)?;
        let status = accept(STATUS)?;
        let console = accept(CONSOLE)?;
        let status_lines = StatusLines::default();
        let status_reader = std::thread::spawn({
            let (stream, lines) = (share(&status)?, status_lines.clone());
            move || lines.fill(stream)
        });
        // Not waited for: a read from a pipe that nobody closes cannot be called off. It ends with the process.
        match self.wiring {
            Wiring::Virtio => drop(std::thread::spawn({
                let input = share(&stdin)?;
                move || send_to_port(input, forward_stdin)
            })),
            Wiring::Serial => drop(std::thread::spawn({
                let (input, length, lines) = (share(&stdin)?, share(&stderr)?, status_lines.clone());
                move || send_to_line(input, length, &lines, forward_stdin)
            })),
        }
        let stdout = Stream::start(stdout, output, Target::Stdout);
        let stderr = Stream::start(stderr, output, Target::Stderr);
        let channels = Channels {
            _stdin: stdin,
            stdout,
            stderr,
            status,
            status_lines,
            status_reader,
            acknowledged: false,
        };
        Ok((channels, console))
    }
}

/// The streams of a running machine.
#[derive(Debug)]
pub(super) struct Channels {
    // Only its writing side is ever closed: QEMU throws away what it has not read yet when a socket is closed whole.
    _stdin: UnixStream,
    stdout: Stream,
    stderr: Stream,
    status: UnixStream,
    status_lines: StatusLines,
    status_reader: JoinHandle<()>,
    acknowledged: bool,
}

/// What a machine's command wrote, if it was captured.
#[derive(Debug, Default, Clone)]
pub(crate) struct Captured {
    /// Its stdout.
    pub(crate) stdout: String,
    /// Its stderr.
    pub(crate) stderr: String,
}

impl Channels {
    /// Answers the machine once all that it wrote has arrived.
    pub(super) fn acknowledge_when_complete(&mut self) {
        if self.acknowledged {
            return;
        }
        let Some(end) = self.status_lines.end() else { return };
        if self.stdout.received() >= end.stdout && self.stderr.received() >= end.stderr {
            self.acknowledged = true;
            // The machine may be gone by now.
            let _ = self.status.write_all(b"k");
        }
    }

    /// Whether the machine has come up and listens.
    pub(super) fn ready(&self) -> bool {
        lock(&self.status_lines.0.0).is_ready()
    }

    /// What stdout has brought so far.
    pub(super) fn stdout_so_far(&self) -> String {
        String::from_utf8_lossy(&lock(&self.stdout.shared).captured).into_owned()
    }

    /// After the machine's end: the status, if it sent one, and the output.
    pub(super) fn finish(self) -> (Option<i32>, Captured) {
        // The reader has ended with QEMU's side of the socket.
        let _ = self.status_reader.join();
        let status = self.status_lines.end().map(|end| end.status);
        (status, Captured { stdout: self.stdout.finish(), stderr: self.stderr.finish() })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct End {
    status: i32,
    stdout: u64,
    stderr: u64,
}

/// What the machine has said on the status port so far.
#[derive(Debug, Default, Clone)]
struct StatusLines(Arc<(Mutex<Said>, Condvar)>);

#[derive(Debug, Default)]
struct Said {
    text: String,
    /// The machine is gone.
    ended: bool,
}

impl Said {
    fn is_ready(&self) -> bool {
        self.text.lines().any(|line| line == READY)
    }
}

impl StatusLines {
    /// Reads until the other side is gone.
    fn fill(&self, mut stream: UnixStream) {
        let (said, changed) = &*self.0;
        let mut bytes = [0; 256];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            lock(said).text += &String::from_utf8_lossy(bytes.get(..count).unwrap_or_default());
            changed.notify_all();
        }
        lock(said).ended = true;
        changed.notify_all();
    }

    fn wait_until_ready(&self) {
        let (said, changed) = &*self.0;
        let waiting = |said: &mut Said| !said.ended && !said.is_ready();
        drop(changed.wait_while(lock(said), waiting).unwrap_or_else(|poisoned| poisoned.into_inner()));
    }

    /// The command's end, once the machine has told it.
    fn end(&self) -> Option<End> {
        lock(&self.0.0).text.split_inclusive('\n').find_map(parse_status)
    }
}

/// The line by which a machine says that it listens.
const READY: &str = "ready";

/// Input for a virtio port, which has an end when the socket's writing side is closed.
fn send_to_port(mut port: UnixStream, forward_stdin: bool) {
    if forward_stdin {
        // The machine may end before it has read everything.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut port);
    }
    let _ = port.shutdown(Shutdown::Write);
}

/// Input for a serial line, which has no end; so its length follows on another.
fn send_to_line(mut line: UnixStream, mut length: UnixStream, lines: &StatusLines, forward_stdin: bool) {
    lines.wait_until_ready();
    let sent = if forward_stdin { copy_counted(std::io::stdin().lock(), &mut line) } else { 0 };
    // The machine may be gone by now.
    let _ = length.write_all(format!("{sent}\n").as_bytes());
}

/// Copies until the input ends or the output breaks; how many bytes were written.
fn copy_counted(mut from: impl Read, to: &mut impl Write) -> u64 {
    let mut bytes = vec![0; 64 << 10];
    let mut sent = 0;
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(bytes.get(..count).unwrap_or_default()).is_err() {
            break;
        }
        sent += count as u64;
    }
    sent
}

fn parse_status(line: &str) -> Option<End> {
    let mut numbers = line.strip_suffix('\n')?.split(' ');
    let status: u8 = numbers.next()?.parse().ok()?;
    let (stdout, stderr) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    Some(End { status: status.into(), stdout, stderr })
}

#[derive(Debug, Clone, Copy)]
enum Target {
    Stdout,
    Stderr,
}

/// One direction of output, read by a thread of its own.
#[derive(Debug)]
struct Stream {
    shared: Arc<Mutex<Shared>>,
    reader: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    received: u64,
    captured: Vec<u8>,
}

impl Stream {
    fn start(mut stream: UnixStream, output: Output, target: Target) -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let reader = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let mut bytes = vec![0; 64 << 10];
                while let Ok(count @ 1..) = stream.read(&mut bytes) {
                    let part = bytes.get(..count).unwrap_or_default();
                    if output == Output::PassOn {
                        pass_on(part, target);
                    }
                    let mut shared = lock(&shared);
                    shared.received += count as u64;
                    if output == Output::Capture {
                        shared.captured.extend_from_slice(part);
                    }
                }
            }
        });
        Self { shared, reader }
    }

    fn received(&self) -> u64 {
        lock(&self.shared).received
    }

    fn finish(self) -> String {
        // The reader has ended with QEMU's side of the socket.
        let _ = self.reader.join();
        String::from_utf8_lossy(&lock(&self.shared).captured).into_owned()
    }
}

/// A reader of ours that has gone (`| head`) is no reason to stop the machine.
fn pass_on(bytes: &[u8], target: Target) {
    let _ = match target {
        Target::Stdout => {
            std::io::stdout().lock().write_all(bytes).and_then(|()| std::io::stdout().lock().flush())
        }
        Target::Stderr => std::io::stderr().lock().write_all(bytes),
    };
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_counts_only_when_its_line_is_whole() {
        assert_eq!(parse_status("7 10 0\n"), Some(End { status: 7, stdout: 10, stderr: 0 }));
        let lines = StatusLines::default();
        lock(&lines.0.0).text += "ready\n7 10";
        assert_eq!(lines.end(), None);
        lock(&lines.0.0).text += " 0\n";
        assert_eq!(lines.end(), Some(End { status: 7, stdout: 10, stderr: 0 }));
        for text in ["ready\n", "", "7", "7 10", "7 10 0", "x 1 2\n", "256 0 0\n", "-1 0 0\n"] {
            assert_eq!(parse_status(text), None, "{text:?}");
        }
    }
}
