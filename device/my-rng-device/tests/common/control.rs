// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program with a control socket, and clients of that which send bytes and descriptors as they like.

use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use my_rng_device::control::client as control;
use my_rng_device::control::protocol::{Place, Status, Which};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

use super::program::{PATIENCE, Program, sockets, text};

/// A program with a control socket.
pub(crate) struct Setup {
    pub(crate) directory: tempfile::TempDir,
    /// The socket of its first device.
    pub(crate) a: PathBuf,
    /// That of its second one, or of one that is added.
    pub(crate) b: PathBuf,
    pub(crate) control: PathBuf,
    pub(crate) program: Program,
}

impl Setup {
    /// A program with two devices.
    pub(crate) fn with_two_devices(more: &[&str]) -> Self {
        Self::start(2, more)
    }

    /// A program with one device and room for more, `most` in all.
    pub(crate) fn with_room_for(most: &str, more: &[&str]) -> Self {
        Self::start(1, &[&["--max-devices", most], more].concat())
    }

    fn start(devices: usize, more: &[&str]) -> Self {
        let (directory, a, b) = sockets();
        let control = directory.path().join("control");
        let devices = [&a, &b].into_iter().take(devices).flat_map(|path| ["--socket", text(path)]);
        let arguments: Vec<_> =
            devices.chain(["--control", text(&control)]).chain(more.iter().copied()).collect();
        let program = Program::ready(&arguments);
        Self { directory, a, b, control, program }
    }

    pub(crate) fn connect(&self) -> Line {
        Line::connect(&self.control)
    }

    #[track_caller]
    pub(crate) fn add(&self, path: &Path) -> Place {
        control::add(&self.control, path).unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    pub(crate) fn remove(&self, device: usize) -> Place {
        control::remove(&self.control, Which { device: Some(device), socket: None }).unwrap()
    }

    pub(crate) fn status(&self) -> Status {
        control::status(&self.control).unwrap()
    }

    /// The status as it is sent.
    pub(crate) fn raw_status(&self) -> Value {
        self.connect().ask(&json!({"command": "status"}))["status"].take()
    }

    /// Runs a subcommand on the control socket.
    pub(crate) fn run(&self, subcommand: &str, more: &[&str]) -> Output {
        let arguments = [&[subcommand, "--control", text(&self.control)][..], more].concat();
        Command::new(env!("CARGO_BIN_EXE_my-rng-device")).args(arguments).output().unwrap()
    }
}

/// A client of the control socket.
pub(crate) struct Line(pub(crate) BufReader<UnixStream>);

impl Line {
    pub(crate) fn connect(path: &Path) -> Self {
        let socket = UnixStream::connect(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(socket))
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// Sends bytes, with descriptors beside the first of them. Gives how many were taken, which are none if the program has
    /// closed the connection.
    pub(crate) fn send_with(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> usize {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
        }
        match sendmsg(self.0.get_ref().as_fd(), &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(Errno::PIPE | Errno::CONNRESET) => 0,
            Err(errno) => panic!("sending: {errno}"),
        }
    }

    /// The next answer. `None`: the program has closed the connection.
    #[track_caller]
    pub(crate) fn try_receive(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => return None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("no answer: {error}"),
            Ok(_) => {}
        }
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
    }

    #[track_caller]
    pub(crate) fn receive(&mut self) -> Value {
        self.try_receive().expect("an answer")
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, request: &Value) -> Value {
        self.ask_with(request, &[])
    }

    /// Asks, with descriptors beside the request.
    #[track_caller]
    pub(crate) fn ask_with(&mut self, request: &Value, descriptors: &[BorrowedFd<'_>]) -> Value {
        let request = format!("{request}\n");
        assert_eq!(self.send_with(request.as_bytes(), descriptors), request.len());
        self.receive()
    }

    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 16]), Ok(0) | Err(_))
    }
}
