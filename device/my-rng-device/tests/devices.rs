// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices that are added and removed while a program, whose sandbox is closed, serves others.

mod common;

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use common::client::{BAR0, Client, SET_IRQS};
use common::control::Setup;
use common::program::{PATIENCE, Program, sockets, text};
use common::queue::Machine;
use my_rng_abi::registers;
use my_rng_device::control::client as control;
use my_rng_device::control::protocol::{Place, Status, Which};
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::Signal;
use serde_json::{Value, json};

fn numbers(status: &Status) -> Vec<usize> {
    status.devices.iter().map(|device| device.device).collect()
}

#[test]
fn devices_come_and_go_and_the_others_do_not_notice() {
    let mut setup = Setup::with_room_for("3", &["--seed", "42"]);
    let mut other = Client::connect(&setup.a);
    let first = other.read_register(registers::RAND32);
    let added = setup.run("add", &["--socket", text(&setup.b)]);
    assert_eq!(String::from_utf8(added.stdout).unwrap(), format!("device 1: {}\n", setup.b.display()));
    let mut client = Client::connect(&setup.b);
    assert_eq!(client.read_register(registers::RAND32), first, "it is as the options say");
    let third = setup.directory.path().join("c.sock");
    assert_eq!(setup.add(&third), Place { device: 2, socket: third.clone() });
    let status = setup.status();
    assert_eq!((numbers(&status), status.max_devices), (vec![0, 1, 2], 3));
    assert_eq!((status.devices[1].counters.draws32, status.devices[2].counters.draws32), (1, 0));

    let removed = setup.run("remove", &["--socket", "b.sock"]);
    assert_eq!(removed.stdout, b"device 1: removed\n", "{}", String::from_utf8_lossy(&removed.stderr));
    assert!(!setup.b.exists());
    assert!(client.receive().is_none(), "its client is gone");
    assert_eq!(numbers(&setup.status()), [0, 2], "numbers stay");
    assert!(UnixStream::connect(&third).is_ok());
    // The first number that is free, and nothing of who had it.
    assert_eq!(setup.add(&setup.b).device, 1);
    assert_eq!(setup.status().devices[1].counters.draws32, 0);
    other.read_register(registers::RAND32);
    assert_eq!(setup.status().devices[0].counters.draws32, 2);
    assert_eq!(setup.status().devices[0].server.clients, 1);

    setup.program.signal(Signal::TERM);
    let end = setup.program.end();
    assert_eq!((end.code, end.error.as_str()), (Some(0), ""));
    assert!(!setup.a.exists() && !setup.b.exists() && !third.exists());
}

#[test]
fn a_program_may_begin_and_go_on_without_a_device() {
    let (directory, a, _) = sockets();
    let control = directory.path().join("control");
    let mut program = Program::ready(&["--control", text(&control), "--max-devices", "1"]);
    for _ in 0..3 {
        assert_eq!(control::add(&control, &a).unwrap().device, 0);
        Client::connect(&a).read_register(registers::RAND32);
        control::remove(&control, Which { device: Some(0), socket: None }).unwrap();
        assert!(control::status(&control).unwrap().devices.is_empty());
    }
    program.signal(Signal::TERM);
    assert_eq!(program.end().code, Some(0));
}

#[test]
fn a_program_without_room_refuses_more() {
    let (directory, a, b) = sockets();
    let control = directory.path().join("control");
    let _program = Program::ready(&["--socket", text(&a), "--control", text(&control)]);
    let error = control::add(&control, &b).unwrap_err().to_string();
    assert_eq!(error, "this program was started without --max-devices");
    assert!(!b.exists(), "its socket is removed");
    // And has none for more at the start, either.
    let end =
        Program::start(&["--control", text(&b), "--max-devices", "1", "--socket=/x", "--socket=/y"]).end();
    assert_eq!(end.code, Some(2));

    let setup = Setup::with_room_for("2", &[]);
    setup.add(&setup.b);
    let error = control::add(&setup.control, &setup.directory.path().join("c")).unwrap_err().to_string();
    assert!(error.starts_with("all 2 devices that there may be"), "{error}");
    setup.remove(0);
    assert_eq!(setup.add(&setup.a).device, 0);
}

#[test]
fn what_is_no_listening_socket_is_refused_and_nothing_of_it_stays() {
    let setup = Setup::with_room_for("2", &[]);
    let descriptors = || setup.status().usage.descriptors;
    let add = json!({"command": "add"});
    let before = descriptors();
    let error_of = |answer: Value| answer["error"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    let (one, _other) = UnixStream::pair().unwrap();
    let nowhere = setup.directory.path().join("nowhere");
    let gone = UnixListener::bind(&nowhere).unwrap();
    std::fs::remove_file(&nowhere).unwrap();
    let wrong: [(OwnedFd, &str); 5] = [
        (std::fs::File::open("/dev/null").unwrap().into(), "it is no socket"),
        (eventfd(0, EventfdFlags::CLOEXEC).unwrap(), "it is no socket"),
        (TcpListener::bind("127.0.0.1:0").unwrap().into(), "another kind"),
        (one.into(), "it does not listen"),
        (gone.into(), "No such file"),
    ];
    for (descriptor, says) in &wrong {
        let error = error_of(setup.connect().ask_with(&add, &[descriptor.as_fd()]));
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(
        error_of(setup.connect().ask_with(&add, &[])),
        "a listening socket must come with the request"
    );
    let null = wrong[0].0.as_fd();
    assert_eq!(error_of(setup.connect().ask_with(&add, &[null; 60])), "no request: more than one descriptor");
    assert!(
        error_of(setup.connect().ask_with(&json!({"command": "add", "socket": "/x"}), &[null]))
            .contains("unknown field")
    );
    // What comes with another request is for the first one that adds a device.
    assert!(setup.connect().ask_with(&json!({"command": "status"}), &[null])["status"].is_object());
    // One that is served already, as another process might hand it over once more.
    let twice = UnixListener::bind(&setup.b).unwrap();
    assert_eq!(setup.connect().ask_with(&add, &[twice.as_fd()])["added"]["device"], 1);
    setup.remove(1);
    let again = UnixListener::bind(&setup.b).unwrap();
    assert_eq!(setup.connect().ask_with(&add, &[again.as_fd()])["added"]["device"], 1);
    assert!(error_of(setup.connect().ask_with(&add, &[again.as_fd()])).ends_with("is served already"));
    assert!(setup.b.exists());
    Client::connect(&setup.b).read_register(registers::RAND32);
    setup.remove(1);
    for request in
        [json!({"command": "remove"}), json!({"command": "remove", "device": 0, "socket": "a.sock"})]
    {
        assert_eq!(error_of(setup.connect().ask_with(&request, &[])), "expected either a device or a socket");
    }
    let error = error_of(setup.connect().ask_with(&json!({"command": "remove", "device": 1}), &[]));
    assert_eq!(error, "there is no device 1, expected one of 0");
    let start = Instant::now();
    while descriptors() > before {
        assert!(start.elapsed() < PATIENCE, "{} descriptors, {before} before", descriptors());
    }
    Client::connect(&setup.a).read_register(registers::RAND32);
}

/// VFIO's interrupt for that.
const REQ: u32 = 4;

#[test]
fn a_machine_is_asked_to_let_go_before_its_device_is_removed() {
    let setup = Setup::with_room_for("2", &["--release", "30"]);
    setup.add(&setup.b);
    let mut machine = Machine::connect(&setup.b);
    let asked = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
    let request: Vec<u8> = [20, 0x24, REQ, 0, 1].iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
    assert_eq!(machine.client.request(SET_IRQS, &request, &[asked.as_fd()]).error, 0);
    let control = setup.control.clone();
    let remove = || control::remove(&control, Which { device: Some(1), socket: None });
    std::thread::scope(|scope| {
        let removal = scope.spawn(remove);
        let start = Instant::now();
        while rustix::io::read(&asked, &mut [0_u8; 8]).is_err() {
            assert!(start.elapsed() < PATIENCE, "it is not asked");
            std::thread::sleep(Duration::from_millis(1));
        }
        // It is served until it has let go, and everything else goes on.
        machine.client.read_register(registers::RAND32);
        assert!(setup.status().devices[1].ending && !setup.status().devices[0].ending);
        let error = control::remove(&setup.control, Which { device: Some(1), socket: None }).unwrap_err();
        assert_eq!(error.to_string(), "device 1 is being removed already");
        assert!(!removal.is_finished());
        drop(machine);
        assert_eq!(removal.join().unwrap().unwrap().device, 1);
    });
    assert_eq!(numbers(&setup.status()), [0]);
}

#[test]
fn a_machine_that_does_not_let_go_loses_its_device() {
    let setup = Setup::with_room_for("2", &["--release", "1"]);
    setup.add(&setup.b);
    let mut machine = Machine::connect(&setup.b);
    let mut queue = machine.start(0, 64, 4096);
    machine.fill(&mut queue);
    setup.remove(1);
    assert!(machine.client.receive().is_none());
    assert_eq!(numbers(&setup.status()), [0]);
    setup.add(&setup.b);
    Machine::connect(&setup.b).client.read_register(registers::RAND32);
}

#[test]
fn a_new_device_has_the_limits_of_the_options_and_the_file_and_its_share_of_those_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("limits.toml");
    std::fs::write(&file, "[devices.\"b.sock\"]\nbytes_per_second = \"5:5\"\n").unwrap();
    let more =
        ["--config", text(&file), "--operations-per-second", "1k:1k", "--total-bytes-per-second", "1:4096"];
    let mut setup = Setup::with_room_for("3", &more);
    let third = setup.directory.path().join("c.sock");
    setup.add(&setup.b);
    setup.add(&third);
    let limits = || setup.status().devices.iter().map(|device| device.limits.to_string()).collect::<Vec<_>>();
    let [all, own] = [
        "bytes unlimited, operations 1000:1000 per second",
        "bytes 5:5 per second, operations 1000:1000 per second",
    ];
    assert_eq!(limits(), [all, own, all]);

    // The first machine takes what there is for all, and the new one waits.
    let transfer = |path: &Path| {
        let mut machine = Machine::connect(path);
        machine.client.write(BAR0, registers::ONE_SHOT_COUNT, 4096);
        let command = registers::ONE_SHOT_START | registers::ONE_SHOT_TO_GUEST;
        machine.client.write(BAR0, registers::ONE_SHOT_COMMAND, command);
        machine
    };
    let _first = transfer(&setup.a);
    let start = Instant::now();
    while setup.status().devices[0].counters.one_shots == 0 {
        assert!(start.elapsed() < PATIENCE);
    }
    let _other = transfer(&third);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(setup.status().devices[2].counters.one_shots, 0);

    // The file may name a device that has gone, and what it says is for one that comes again.
    setup.remove(1);
    std::fs::write(&file, "[devices.\"b.sock\"]\nbytes_per_second = \"7:7\"\n[devices.\"c.sock\"]\nbytes_per_second = \"9:9\"\n").unwrap();
    setup.program.signal(Signal::HUP);
    let start = Instant::now();
    while limits()[1] == all {
        assert!(start.elapsed() < PATIENCE);
    }
    setup.add(&setup.b);
    let [seven, nine] = ["7:7", "9:9"].map(|bytes| own.replace("5:5", bytes));
    assert_eq!(limits(), [all, &seven, &nine]);
    assert_eq!(setup.status().config_failures, 0);
    setup.program.signal(Signal::TERM);
    let log = setup.program.end().error;
    assert!(log.contains("[devices.\"b.sock\"]: no device has this socket, now"), "{log}");
}
