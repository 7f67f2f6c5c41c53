// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the command's streams and its status reach the host.
//!
//! | kind | stdin | stdout | stderr | status |
//! | --- | --- | --- | --- | --- |
//! | virtio | port `exo.stdin` | port `exo.stdout` | port `exo.stderr` | port `exo.status` |
//! | serial | `/dev/ttyS1` | `/dev/ttyS1` | `/dev/ttyS2` | `/dev/ttyS3` |
//! | console | empty | console | console | console, as `exo: status N` |
//!
//! `auto` takes the first kind that the machine has. A virtio-serial port is found by its name. A port that is missing is
//! empty (stdin), or the console takes its place. The serial lines are raw at 115200 baud, so every byte arrives as it
//! was written. In both cases the command has pipes, and threads of this process copy between them and the ports.
//!
//! The status is one line: the decimal number. With `acknowledge=yes` the line is `STATUS STDOUT_BYTES STDERR_BYTES`, and
//! the machine stays on until the host has answered on the status port with any byte, or has closed it. A host that
//! reads slower than the machine writes needs this: what waits in QEMU when the machine powers off is lost, and nothing
//! inside the machine can see whether it does. The status line then begins with `ready`: the machine has come up and listens.
//! On serial lines the host sends nothing before that, and input ends as [`serial`] tells; without `acknowledge=yes` it has no
//! end there.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::tcdrain;

use crate::conf::ChannelKind;
use crate::failure::Failure;
use crate::kernel_log;
use crate::kernel_relay::KernelRelay;
use crate::relay::Relay;
use crate::serial;

const PORTS: &str = "/sys/class/virtio-ports";
const PORT_DRIVER: &str = "/sys/bus/virtio/drivers/virtio_console";
const NAMES: [&str; 4] = ["exo.stdin", "exo.stdout", "exo.stderr", "exo.status"];

/// Ports and their names come in messages from the host after the driver has started; under emulation that takes
/// milliseconds, on a busy host some more.
const WAIT_FOR_PORTS: Duration = Duration::from_secs(2);

/// That a port's host side is open comes in a message of its own, right after the name.
const WAIT_FOR_HOST: Duration = Duration::from_millis(500);

/// What the machine says on the status line when it listens on all ports.
const READY: &[u8] = b"ready\n";

/// The way to the host.
pub(crate) enum Channel {
    Ports { ports: Ports, relays: Relays, acknowledge: bool },
    Console,
}

/// The ports that the machine has.
pub(crate) struct Ports {
    stdin: Option<Input>,
    stdout: Option<File>,
    stderr: Option<File>,
    status: Option<File>,
}

/// Where the command's input comes from.
enum Input {
    Virtio(File),
    /// A serial line, and the one that tells the input's length, if the host tells it.
    Serial(File, Option<File>),
}

/// The copies that run between ports and pipes.
#[derive(Default)]
pub(crate) struct Relays {
    stdout: Option<Copy>,
    stderr: Option<Copy>,
    stdout_bytes: u64,
    stderr_bytes: u64,
}

/// Who copies from a pipe to a port.
enum Copy {
    Thread(Relay),
    Kernel(KernelRelay),
}

impl Copy {
    fn finish(self) -> u64 {
        match self {
            Self::Thread(relay) => relay.finish(),
            Self::Kernel(relay) => relay.finish(),
        }
    }
}

/// The command's standard streams.
pub(crate) struct Streams {
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
}

impl Channel {
    /// The channel of a machine that is not prepared yet.
    pub(crate) fn console() -> Self {
        Self::Console
    }

    /// Opens the channel that the configuration names.
    pub(crate) fn open(kind: ChannelKind, acknowledge: bool) -> Result<Self, Failure> {
        let serial = || Ports::serial(acknowledge);
        let absent = |what: &str| Failure::new(format!("channel={what}: this machine has none"));
        let mut ports = match kind {
            ChannelKind::Auto => Ports::virtio().or_else(serial),
            ChannelKind::Virtio => Some(Ports::virtio().ok_or_else(|| absent("virtio"))?),
            ChannelKind::Serial => Some(serial().ok_or_else(|| absent("serial"))?),
            ChannelKind::Console => None,
        };
        if let Some(Ports { status: Some(port), .. }) = ports.as_mut().filter(|_| acknowledge) {
            port.write_all(READY).map_err(|error| {
                Failure::new(format!("cannot tell the host that the machine is up: {error}"))
            })?;
        }
        let with_ports = |ports| Self::Ports { ports, relays: Relays::default(), acknowledge };
        Ok(ports.map_or(Self::Console, with_ports))
    }

    /// The streams for the command. They can be had once.
    pub(crate) fn streams(&mut self) -> Result<Streams, Failure> {
        match self {
            Self::Ports { ports, relays, .. } => ports.streams(relays),
            Self::Console => {
                Ok(Streams { stdin: Stdio::null(), stdout: Stdio::inherit(), stderr: Stdio::inherit() })
            }
        }
    }

    /// Waits until everything that the command wrote has been handed to the ports.
    pub(crate) fn collect(&mut self) {
        if let Self::Ports { relays, .. } = self {
            relays.stdout_bytes = relays.stdout.take().map_or(relays.stdout_bytes, Copy::finish);
            relays.stderr_bytes = relays.stderr.take().map_or(relays.stderr_bytes, Copy::finish);
        }
    }

    /// Says `message` on the command's standard error and on the console.
    pub(crate) fn report(&mut self, message: &str) {
        let line = format!("guest-init: {message}\n");
        eprint!("{line}");
        match self {
            Self::Ports { ports: Ports { stderr: Some(port), .. }, relays, .. } => {
                if port.write_all(line.as_bytes()).is_ok() {
                    relays.stderr_bytes = relays.stderr_bytes.saturating_add(line.len() as u64);
                }
            }
            // The console, which has the line, is the only other place.
            Self::Ports { .. } | Self::Console => {}
        }
    }

    /// Hands the status over, after everything else.
    pub(crate) fn finish(&mut self, status: u8) -> Result<(), Failure> {
        self.collect();
        let lost = |error: std::io::Error| Failure::new(format!("cannot hand over status {status}: {error}"));
        match self {
            Self::Ports { ports: Ports { stdout, stderr, status: Some(port), .. }, relays, acknowledge } => {
                let mut line = status.to_string();
                if *acknowledge {
                    // Writing into a String cannot fail.
                    let _ = write!(line, " {} {}", relays.stdout_bytes, relays.stderr_bytes);
                }
                line.push('\n');
                port.write_all(line.as_bytes()).map_err(lost)?;
                if *acknowledge {
                    // A closed port reads as its end, and any error means that nobody will answer any more.
                    let _ = port.read(&mut [0]);
                } else {
                    // Only a serial line can be drained; a virtio port has handed everything over already.
                    for port in [stdout.as_ref(), stderr.as_ref(), Some(&*port)].into_iter().flatten() {
                        let _ = tcdrain(port);
                    }
                }
            }
            Self::Ports { .. } | Self::Console => println!("exo: status {status}"),
        }
        Ok(())
    }
}

impl Ports {
    /// Opens the ports named `exo.…`, once the machine has told their names; `None` where it has none.
    fn virtio() -> Option<Self> {
        let has_device = fs::read_dir(PORT_DRIVER).is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().as_encoded_bytes().starts_with(b"virtio"))
        });
        if !has_device {
            return None;
        }
        let start = Instant::now();
        let devices = loop {
            let devices = NAMES.map(device_of);
            if devices.iter().all(Option::is_some) || start.elapsed() > WAIT_FOR_PORTS {
                break devices;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        if devices.iter().all(Option::is_none) {
            return None;
        }
        let mut files = devices.into_iter().map(|device| open_port(&device?));
        let mut next = || files.next().flatten();
        Some(Self { stdin: next().map(Input::Virtio), stdout: next(), stderr: next(), status: next() })
    }

    /// The serial lines, if the machine has all of them.
    fn serial(acknowledge: bool) -> Option<Self> {
        let (data, errors, status) =
            (serial::open("/dev/ttyS1")?, serial::open("/dev/ttyS2")?, serial::open("/dev/ttyS3")?);
        let length = if acknowledge { Some(errors.try_clone().ok()?) } else { None };
        let stdin = Some(Input::Serial(data.try_clone().ok()?, length));
        Some(Self { stdin, stdout: Some(data), stderr: Some(errors), status: Some(status) })
    }

    fn streams(&mut self, relays: &mut Relays) -> Result<Streams, Failure> {
        let is_serial = matches!(self.stdin, Some(Input::Serial(..)));
        let line = |name| is_serial.then_some(name);
        let stdin = match self.stdin.take() {
            None => Stdio::null(),
            // Nobody waits for these copies: the command may leave its input unread.
            Some(Input::Virtio(port)) => {
                let (reader, writer) = pipe()?;
                Relay::start_when("stdin", wait_for_host, port, writer)?;
                reader.into()
            }
            Some(Input::Serial(line, length)) => {
                let (reader, writer) = pipe()?;
                serial::start_input(line, length, writer)?;
                reader.into()
            }
        };
        let (stdout, copy) = outlet("stdout", self.stdout.as_ref(), line("ttyS1"))?;
        relays.stdout = copy;
        let (stderr, copy) = outlet("stderr", self.stderr.as_ref(), line("ttyS2"))?;
        relays.stderr = copy;
        Ok(Streams { stdin, stdout, stderr })
    }
}

/// The command's end of a pipe into `port`, which may be a serial line with a name, or the console.
fn outlet(name: &str, port: Option<&File>, line: Option<&str>) -> Result<(Stdio, Option<Copy>), Failure> {
    let Some(port) = port else { return Ok((Stdio::inherit(), None)) };
    let port =
        port.try_clone().map_err(|error| Failure::new(format!("cannot duplicate port {name}: {error}")))?;
    let (reader, writer) = pipe()?;
    if let Some(relay) = line.and_then(|line| KernelRelay::start(line, &reader)) {
        return Ok((writer.into(), Some(Copy::Kernel(relay))));
    }
    Ok((writer.into(), Some(Copy::Thread(Relay::start(name, reader, port)?))))
}

fn pipe() -> Result<(File, File), Failure> {
    let ends = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let (reader, writer) = ends.map_err(|errno| Failure::new(format!("cannot make a pipe: {errno}")))?;
    Ok((reader.into(), writer.into()))
}

/// The device node of the port with this name.
fn device_of(name: &str) -> Option<String> {
    let mut entries = fs::read_dir(PORTS).ok()?.flatten();
    let has_name = |text: String| text.trim() == name;
    let entry = entries.find(|entry| fs::read_to_string(entry.path().join("name")).is_ok_and(has_name))?;
    Some(format!("/dev/{}", entry.file_name().to_str()?))
}

fn open_port(device: &str) -> Option<File> {
    let port = OpenOptions::new().read(true).write(true).open(device);
    port.inspect_err(|error| kernel_log::note(&format!("cannot open {device}: {error}"))).ok()
}

/// Waits until the host's side of a port is open: before that, a read says "end" at once. A host that has nothing to
/// send may leave it closed.
fn wait_for_host(port: &File) {
    let start = Instant::now();
    while start.elapsed() < WAIT_FOR_HOST {
        let mut watched = [PollFd::new(port, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let hung_up = poll(&mut watched, Some(&now)).is_ok() && watched[0].revents().contains(PollFlags::HUP);
        if !hung_up {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
