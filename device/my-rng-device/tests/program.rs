// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program as people and launchers use it: its sockets, its words, its end.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::program::{Owned, PATIENCE, Program, sockets, text};
use rustix::process::Signal;

const CLASSIC: [u32; 5] = [1_804_289_383, 846_930_886, 1_681_692_777, 1_714_636_915, 1_957_747_793];

/// A client that speaks just enough of the protocol.
struct Client(UnixStream);

impl Client {
    fn connect(path: &Path) -> Self {
        let start = Instant::now();
        loop {
            let socket = UnixStream::connect(path).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut client = Self(socket);
            if client.request(1, &[0, 0, 1, 0]).is_some() {
                return client;
            }
            // The client before may not be quite gone.
            assert!(start.elapsed() < PATIENCE, "it is turned away");
        }
    }

    /// The payload of the answer; `None`: the connection was closed.
    fn request(&mut self, command: u16, payload: &[u8]) -> Option<Vec<u8>> {
        let size = 16 + payload.len() as u32;
        let header = [&[1, 0][..], &command.to_ne_bytes(), &size.to_ne_bytes(), &[0; 8]].concat();
        self.0.write_all(&[&header[..], payload].concat()).ok()?;
        let mut head = [0; 16];
        self.0.read_exact(&mut head).ok()?;
        assert_eq!(head[8..], [1, 0, 0, 0, 0, 0, 0, 0], "command {command} failed");
        let mut answer = vec![0; u32::from_ne_bytes(head[4..8].try_into().unwrap()) as usize - 16];
        self.0.read_exact(&mut answer).ok()?;
        Some(answer)
    }

    fn read(&mut self, region: u32, offset: u64) -> u32 {
        let place = [&offset.to_ne_bytes()[..], &region.to_ne_bytes(), &4_u32.to_ne_bytes()].concat();
        let answer = self.request(9, &place).expect("an answer");
        u32::from_le_bytes(answer[16..].try_into().unwrap())
    }

    fn write(&mut self, region: u32, offset: u64, value: u32) {
        let place = [&offset.to_ne_bytes()[..], &region.to_ne_bytes(), &4_u32.to_ne_bytes()].concat();
        self.request(10, &[&place[..], &value.to_le_bytes()].concat()).expect("an answer");
    }

    fn five(&mut self) -> [u32; 5] {
        [(); 5].map(|()| self.read(0, 0))
    }
}

#[test]
fn the_classic_numbers_come_out_of_the_socket() {
    let (_directory, path, _) = sockets();
    let _program = Program::ready(&["--socket", text(&path)]);
    let mut client = Client::connect(&path);
    assert_eq!(client.read(7, 0), 0xcafe_1234, "identity");
    assert_eq!(client.five(), CLASSIC);
    client.write(0, 4, 1);
    assert_eq!(client.five(), CLASSIC);
    client.write(0, 4, 2);
    assert_eq!(client.read(0, 0), 1_505_335_290);
    client.request(13, &[]).expect("a reset");
    assert_eq!(client.five(), CLASSIC);
}

#[test]
fn generator_and_seed_can_be_chosen() {
    let (_directory, path, _) = sockets();
    let _program = Program::ready(&["--socket", text(&path), "--generator", "glibc", "--seed", "0x2a"]);
    assert_eq!(Client::connect(&path).read(0, 0), 71_876_166);
}

#[test]
fn the_next_client_finds_the_device_as_new() {
    let (_directory, path, _) = sockets();
    let _program = Program::ready(&["--socket", text(&path)]);
    for _ in 0..3 {
        let mut client = Client::connect(&path);
        assert_eq!(client.read(0, 0xc), 0, "no number of the last client");
        assert_eq!(client.five(), CLASSIC);
        client.write(0, 4, 7);
        client.read(0, 8);
    }
}

#[test]
fn two_sockets_are_two_devices() {
    let (_directory, a, b) = sockets();
    let mut program = Program::ready(&["--socket", text(&a), "--socket", text(&b)]);
    let (mut first, mut second) = (Client::connect(&a), Client::connect(&b));
    first.read(0, 0);
    assert_eq!(second.five(), CLASSIC, "the other device has a stream of its own");
    assert_eq!(first.read(0, 0), CLASSIC[1]);
    drop(first);
    assert_eq!(Client::connect(&a).five(), CLASSIC);
    assert_eq!(second.read(0, 0x10).to_le_bytes(), *b"EXOR", "the other one is not disturbed");
    program.signal(Signal::TERM);
    assert_eq!(program.end().code, Some(0));
    assert!(!a.exists() && !b.exists());
}

#[test]
fn signals_end_it_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let (_directory, path, _) = sockets();
        let mut program = Program::ready(&["--socket", text(&path)]);
        let mut client = Client::connect(&path);
        program.signal(signal);
        let end = program.end();
        assert_eq!((end.code, end.error.as_str()), (Some(0), ""));
        assert!(!path.exists(), "the socket is removed");
        assert_eq!(client.request(4, &[16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}

#[test]
fn a_killed_programs_socket_is_replaced() {
    let (_directory, path, _) = sockets();
    let mut killed = Program::ready(&["--socket", text(&path)]);
    killed.signal(Signal::KILL);
    assert_eq!(killed.end().code, None);
    assert!(path.exists());
    let _program = Program::ready(&["--socket", text(&path)]);
    assert_eq!(Client::connect(&path).five(), CLASSIC);
}

/// What a monitor sees of a restart of the service: its connection ends, whether the program was told to or killed, and
/// whoever connects to the new one has a new device.
#[test]
fn a_second_life_begins_anew() {
    let (_directory, path, _) = sockets();
    let mut program = Program::ready(&["--socket", text(&path), "--seed", "1"]);
    for signal in [Signal::TERM, Signal::KILL] {
        let mut client = Client::connect(&path);
        assert_eq!(client.five(), CLASSIC);
        client.write(0, 4, 7); // A seed of the guest's.
        client.write(7, 0x10, 0xfe00_0000);
        program.signal(signal);
        program.end();
        // The next request finds nobody, and does not wait.
        assert_eq!(client.request(9, &[0; 16]), None);
        program = Program::ready(&["--socket", text(&path), "--seed", "1"]);
        assert_eq!(client.request(9, &[0; 16]), None, "the old connection stays closed");
        let mut next = Client::connect(&path);
        assert_eq!((next.five(), next.read(7, 0x10)), (CLASSIC, 0));
    }
}

#[test]
fn a_socket_in_use_is_refused_and_its_user_undisturbed() {
    let (_directory, a, b) = sockets();
    let _program = Program::ready(&["--socket", text(&a)]);
    let mut client = Client::connect(&a);
    client.read(0, 0);
    // The first socket of the refused program is free, and must not stay behind.
    let end = Program::start(&["--socket", text(&b), "--socket", text(&a)]).end();
    assert_eq!(end.code, Some(1));
    assert_eq!(end.error, format!("my-rng-device: {}: another server is listening there\n", a.display()));
    assert!(!b.exists());
    assert_eq!(client.read(0, 0), CLASSIC[1]);
}

#[test]
fn the_same_socket_twice_is_refused() {
    let (_directory, path, _) = sockets();
    let end = Program::start(&["--socket", text(&path), "--socket", text(&path)]).end();
    assert_eq!(end.code, Some(1));
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_no_socket_stays() {
    let (_directory, path, _) = sockets();
    std::fs::write(&path, "precious").unwrap();
    let end = Program::start(&["--socket", text(&path)]).end();
    assert_eq!(end.code, Some(1));
    assert!(end.error.contains("no socket"), "{}", end.error);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn wrong_command_lines_end_with_status_2() {
    for arguments in [&[][..], &["--socket"], &["--socket", "x", "--seed", "much"], &["--generator", "dice"]]
    {
        let end = Program::start(arguments).end();
        assert_eq!(end.code, Some(2), "{arguments:?}");
        assert!(end.error.contains("--help"), "{}", end.error);
    }
}

#[test]
fn help_names_options_exit_status_and_an_example() {
    let mut program = Program::start(&["--help"]);
    let mut help = String::new();
    program.out.read_to_string(&mut help).unwrap();
    assert_eq!(program.end().code, Some(0));
    for word in ["--socket", "--generator", "glibc", "--seed", "Exit status", "vfio-user-pci"] {
        assert!(help.contains(word), "no {word} in:\n{help}");
    }
}

#[test]
fn nobody_needs_to_read_its_output() {
    let (_directory, path, _) = sockets();
    let mut command = Command::new(env!("CARGO_BIN_EXE_my-rng-device"));
    // A pipe whose reader is gone before anything is written.
    let (reader, writer) = UnixStream::pair().unwrap();
    drop(reader);
    command.args(["--socket", text(&path)]).stdout(std::os::fd::OwnedFd::from(writer));
    let _child = Owned(command.spawn().unwrap());
    let start = Instant::now();
    while UnixStream::connect(&path).is_err() {
        assert!(start.elapsed() < PATIENCE, "it never listens");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(Client::connect(&path).five(), CLASSIC);
}

#[test]
fn a_silent_connection_does_not_stop_the_end() {
    let (_directory, path, _) = sockets();
    let mut program = Program::ready(&["--socket", text(&path)]);
    let _silent = UnixStream::connect(&path).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    program.signal(Signal::TERM);
    assert_eq!(program.end().code, Some(0));
}

#[test]
fn it_does_nothing_while_nothing_is_asked() {
    let (_directory, path, _) = sockets();
    let program = Program::ready(&["--socket", text(&path)]);
    let mut client = Client::connect(&path);
    client.five();
    let switches = || -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", program.child.id())).unwrap();
        let mut lines: Vec<_> = tasks
            .map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap())
            .flat_map(|status| {
                status
                    .lines()
                    .filter(|line| line.starts_with("voluntary"))
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect();
        lines.sort();
        lines
    };
    // The watchdog looks once more.
    std::thread::sleep(my_rng_device::watchdog::LOOK * 3 / 2);
    let before = switches();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(switches(), before, "no thread woke up");
}

#[test]
fn a_socket_that_somebody_else_serves_is_not_taken() {
    let (_directory, path, _) = sockets();
    let _other = UnixListener::bind(&path).unwrap();
    assert_eq!(Program::start(&["--socket", text(&path)]).end().code, Some(1));
    assert!(path.exists());
}

#[test]
fn a_service_manager_is_told_when_it_is_ready_and_when_it_ends() {
    let (directory, path, _) = sockets();
    let place = directory.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&place).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_my-rng-device"));
    command.args(["--socket", text(&path)]).env("NOTIFY_SOCKET", &place);
    let mut child = Owned(command.spawn().unwrap());
    let hear = || {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    assert_eq!(hear().lines().next(), Some("READY=1"));
    assert_eq!(Client::connect(&path).five(), CLASSIC, "and it is");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(hear().lines().next(), Some("STOPPING=1"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// By systemd's own tool, where it is.
#[test]
fn sockets_can_come_from_a_service_manager_and_stay() {
    let (directory, path, _) = sockets();
    let control = directory.path().join("control");
    let mut command = Command::new("systemd-socket-activate");
    command.arg("-l").arg(&path).arg("-l").arg(&control).args(["--fdname=device:control"]);
    let spawned = command.arg(env!("CARGO_BIN_EXE_my-rng-device")).arg("--activated").spawn();
    let Ok(mut child) = spawned.map(Owned) else {
        return eprintln!("there is no systemd-socket-activate: nothing to test");
    };
    let start = Instant::now();
    // The manager makes one socket after the other, and may be between the two.
    let status = loop {
        match my_rng_device::control::client::status(&control) {
            Ok(status) => break status,
            Err(error) => assert!(start.elapsed() < PATIENCE, "the control socket is not served: {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.devices[0].socket, text(&path));
    assert_eq!(Client::connect(&path).five(), CLASSIC);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(path.exists(), "they are the manager's");
}
