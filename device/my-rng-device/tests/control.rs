// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control socket of a running program: what it shows and changes, and what it does with clients that misbehave.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::client::{BAR0, CONFIG, Client, DMA_MAP, dma_map};
use common::control::Setup;
use common::program::{Owned, PATIENCE, Program, sockets, text};
use my_rng_abi::{queue, registers};
use rustix::process::Signal;
use serde_json::{Value, json};

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_status_tells_what_each_device_is_and_did() {
    let setup = Setup::with_two_devices(&["--generator", "pcg64", "--bytes-per-second", "1M:2k"]);
    let mut client = Client::connect(&setup.b);
    client.read_register(registers::RAND32);
    client.write(BAR0, registers::GENERATOR, registers::GENERATOR_CHACHA20);
    let status = setup.raw_status();
    assert_eq!(status["pid"], setup.program.child.id());
    assert_eq!(status["devices"].as_array().unwrap().len(), 2);
    let [first, second] = [&status["devices"][0], &status["devices"][1]];
    assert_eq!((first["socket"].as_str(), second["socket"].as_str()), (setup.a.to_str(), setup.b.to_str()));
    assert_eq!((&first["client_connected"], &second["client_connected"]), (&json!(false), &json!(true)));
    assert_eq!((&first["generator"], &second["generator"]), (&json!("pcg64"), &json!("chacha20")));
    assert_eq!((&first["counters"]["draws32"], &second["counters"]["draws32"]), (&json!(0), &json!(1)));
    assert_eq!(
        first["limits"],
        json!({"bytes": {"per_second": 1_000_000, "burst": 2000}, "operations": null})
    );
    assert_eq!(second["server"]["clients"], 1);
    assert_eq!(second["server"]["requests"], 3, "version, read, write");
    drop(client);
    let start = Instant::now();
    while setup.raw_status()["devices"][1]["client_connected"] != json!(false) {
        assert!(start.elapsed() < PATIENCE);
    }
}

#[test]
fn queues_in_use_have_rows_and_accesses_that_miss_are_counted() {
    let setup = Setup::with_two_devices(&[]);
    let mut client = Client::connect(&setup.a);
    let memory = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memory, 0x10000).unwrap();
    assert_eq!(client.request(DMA_MAP, &dma_map(0, 0, 0x10000), &[memory.as_fd()]).error, 0);
    client.write(CONFIG, 4, 6);
    // The first buffer is in the memory, the second is not.
    let descriptors = [(0x3000_u64, 4096_u32), (0x10_0000, 64)];
    for (place, (address, length)) in descriptors.into_iter().enumerate() {
        let bytes = [&address.to_le_bytes()[..], &length.to_le_bytes(), &[0; 4]].concat();
        rustix::io::pwrite(&memory, &bytes, 0x2000 + 16 * place as u64).unwrap();
    }
    rustix::io::pwrite(&memory, &2_u32.to_le_bytes(), 0x1000 + queue::POSTED as u64).unwrap();
    for (register, value) in [
        (registers::QUEUE_SELECT, 5),
        (registers::QUEUE_DEPTH, 2),
        (registers::QUEUE_DESCRIPTORS_LOW, 0x2000),
        (registers::QUEUE_STATE_LOW, 0x1000),
        (registers::QUEUE_CONTROL, registers::QUEUE_ENABLE),
    ] {
        client.write(BAR0, register, value);
    }
    let start = Instant::now();
    let device = loop {
        let device = setup.raw_status()["devices"][0].take();
        if device["queues"][0]["errors"] == 1 {
            break device;
        }
        assert!(start.elapsed() < PATIENCE, "{device}");
    };
    let row = json!({"queue": 5, "state": "off", "bytes": 4096, "buffers": 1, "interrupts": 0, "errors": 1});
    assert_eq!(device["queues"], json!([row]));
    assert_eq!(
        (&device["counters"]["entropy_bytes"], &device["counters"]["queue_errors"]),
        (&json!(4096), &json!(1))
    );
    assert!(device["server"]["dma_faults"].as_u64() >= Some(1), "{device}");
}

#[test]
fn limits_change_while_the_program_runs() {
    let setup = Setup::with_two_devices(&["--operations-per-second", "7:9"]);
    let operations = json!({"per_second": 7, "burst": 9});
    let mut line = setup.connect();
    let answer = line.ask(&json!({"command": "limit", "device": 1, "bytes_per_second": "64Ki:1"}));
    let new = json!({"bytes": {"per_second": 65_536, "burst": 1}, "operations": operations});
    assert_eq!(answer, json!({"limits": [{"device": 1, "limits": new}]}));
    let status = line.ask(&json!({"command": "status"}));
    assert_eq!(status["status"]["devices"][1]["limits"], new);
    assert_eq!(status["status"]["devices"][0]["limits"], json!({"bytes": null, "operations": operations}));

    let words = out(&setup.run("limit", &["--operations-per-second", "none"]));
    assert_eq!(
        words,
        "device 0: bytes unlimited, operations unlimited\ndevice 1: bytes 65536:1 per second, operations unlimited\n"
    );
    let refused = setup.run("limit", &["--device", "2", "--bytes-per-second", "1"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(refused.stderr, b"my-rng-device: there is no device 2, expected one of 0, 1\n");
}

#[test]
fn a_transfer_that_waits_for_a_limit_goes_on_when_that_is_lifted() {
    let setup = Setup::with_two_devices(&["--bytes-per-second", "1:4096"]);
    let mut client = Client::connect(&setup.a);
    let memory = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memory, 0x10000).unwrap();
    assert_eq!(client.request(DMA_MAP, &dma_map(0, 0, 0x10000), &[memory.as_fd()]).error, 0);
    client.write(CONFIG, 4, 6);
    client.write(BAR0, registers::ONE_SHOT_COUNT, 4096);
    let mut start = || {
        let command = registers::ONE_SHOT_START | registers::ONE_SHOT_TO_GUEST;
        client.write(BAR0, registers::ONE_SHOT_COMMAND, command);
    };
    // The first one takes the burst; the next would come in an hour.
    start();
    let transfers =
        |setup: &Setup| setup.raw_status()["devices"][0]["counters"]["one_shots"].as_u64().unwrap();
    let wait_for = |count| {
        let start = Instant::now();
        while transfers(&setup) != count {
            assert!(start.elapsed() < PATIENCE, "transfer {count} never ends");
        }
    };
    wait_for(1);
    start();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(transfers(&setup), 1);
    out(&setup.run("limit", &["--device", "0", "--bytes-per-second", "none"]));
    wait_for(2);
}

#[test]
fn the_status_is_printed_as_table_json_and_metrics() {
    let setup = Setup::with_two_devices(&[]);
    let table = out(&setup.run("status", &[]));
    assert!(table.contains("device 1\n") && table.contains("draws32"), "{table}");
    let json: Value = serde_json::from_str(&out(&setup.run("status", &["--format", "json"]))).unwrap();
    assert_eq!(json["devices"][0]["counters"]["resets"], 0);
    let metrics = out(&setup.run("status", &["--format", "prometheus"]));
    let sample = format!("my_rng_client_connected{{device=\"0\",socket=\"{}\"}} 0", setup.a.display());
    assert!(metrics.lines().any(|line| line == sample), "{metrics}");
}

#[test]
fn a_watched_status_comes_again_until_the_program_ends() {
    let mut setup = Setup::with_two_devices(&[]);
    let arguments = ["status", "--control", text(&setup.control), "--format", "json", "--watch", "1"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_my-rng-device"));
    command.args(arguments).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut watch = Owned(command.spawn().unwrap());
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut uptime = || {
        let status: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        status["uptime_seconds"].as_f64().unwrap()
    };
    let first = uptime();
    assert!(uptime() > first);
    setup.program.signal(Signal::TERM);
    assert_eq!(setup.program.end().code, Some(0));
    assert_eq!(watch.wait().unwrap().code(), Some(1));
}

#[test]
fn the_socket_is_its_users_alone_and_goes_with_the_program() {
    let mut setup = Setup::with_two_devices(&[]);
    let mode = std::fs::symlink_metadata(&setup.control).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let other = setup.directory.path().join("other");
    let end = Program::start(&["--socket", text(&other), "--control", text(&setup.control)]).end();
    assert_eq!(end.code, Some(1), "another program does not take it over");
    assert!(!other.exists());
    setup.program.signal(Signal::KILL);
    setup.program.end();
    let _successor = Program::ready(&["--socket", text(&setup.a), "--control", text(&setup.control)]);
    let mut setup = Setup { program: _successor, ..setup };
    assert_eq!(setup.raw_status()["devices"].as_array().unwrap().len(), 1);
    setup.program.signal(Signal::TERM);
    assert_eq!(setup.program.end().code, Some(0));
    assert!(!setup.control.exists());
}

#[test]
fn without_a_program_status_says_so() {
    let (directory, _, _) = sockets();
    let path = directory.path().join("control");
    let output = Command::new(env!("CARGO_BIN_EXE_my-rng-device"))
        .args(["status", "--control", text(&path)])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with(&format!("my-rng-device: {}: No such file", path.display())), "{error}");
}

#[test]
fn requests_that_make_no_sense_are_answered_and_the_next_one_is_read() {
    let setup = Setup::with_two_devices(&[]);
    let mut line = setup.connect();
    let senseless = [
        &b"\n"[..],
        b"hello\n",
        b"\xff\xfe\0\n",
        b"{\"command\":\"halt\"}\n",
        b"{\"command\":\"limit\",\"bytes_per_second\":\"0\"}\n",
        b"{\"command\":\"limit\",\"bytes_per_second\":5}\n",
        b"{\"command\":\"limit\",\"device\":9}\n",
        b"[[[[[[[[[[[[[[[[\n",
    ];
    for request in senseless {
        line.send(request);
        assert!(line.receive()["error"].is_string(), "{request:?}");
    }
    // Several at once, and one in pieces.
    line.send(b"{\"command\":\"status\"}\n{\"command\":\"status\"}\n{\"comm");
    assert!(line.receive()["status"].is_object() && line.receive()["status"].is_object());
    line.send(b"and\":\"status\"}\n");
    assert!(line.receive()["status"].is_object());
}

#[test]
fn a_request_that_never_ends_costs_its_sender_the_connection() {
    let setup = Setup::with_two_devices(&[]);
    let mut line = setup.connect();
    line.send(&[b'x'; 4096]);
    assert!(line.receive()["error"].as_str().unwrap().contains("4096"));
    assert!(line.is_closed());
    assert!(setup.raw_status()["pid"].is_u64());
}

#[test]
fn many_clients_keep_neither_others_nor_the_device_from_their_work() {
    let setup = Setup::with_two_devices(&[]);
    let mut silent: Vec<_> = (0..100).map(|_| setup.connect()).collect();
    // Some that ask all the time and read nothing.
    let mut greedy: Vec<_> = (0..8).map(|_| setup.connect()).collect();
    for line in &mut greedy {
        line.0.get_mut().set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        let requests = b"{\"command\":\"status\"}\n".repeat(2000);
        let _ = line.0.get_mut().write_all(&requests);
    }
    let mut client = Client::connect(&setup.a);
    for _ in 0..100 {
        client.read_register(registers::RAND32);
    }
    assert_eq!(setup.raw_status()["devices"][0]["counters"]["draws32"], 100);
    assert!(silent[0].is_closed(), "the one that was silent for longest gave way");
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", setup.program.child.id())).unwrap().count();
    assert!(descriptors < 50, "{descriptors} descriptors are open");
}

#[test]
fn the_log_can_say_more_or_less_while_the_program_runs() {
    let mut setup = Setup::with_two_devices(&[]);
    drop(Client::connect(&setup.a));
    assert!(setup.run("log", &["info"]).status.success());
    let client = Client::connect(&setup.b);
    assert_eq!(setup.connect().ask(&json!({"command": "log", "level": "error"})), json!({"log": "error"}));
    drop(client);
    assert!(setup.connect().ask(&json!({"command": "log", "level": "loud"}))["error"].is_string());
    assert!(!setup.run("log", &["loud"]).status.success());
    setup.program.signal(Signal::TERM);
    let log = setup.program.end().error;
    let connected: Vec<_> = log.lines().filter(|line| line.contains("a client connected")).collect();
    assert!(matches!(connected[..], [line] if line.contains("b.sock")), "{log}");
    assert!(!log.contains("the client left"), "{log}");
}

/// A host that was cloned must not give the same numbers twice.
#[test]
fn a_new_generation_takes_new_keys_before_the_next_byte() {
    let setup = Setup::with_two_devices(&["--workers", "1"]);
    let mut machine = common::queue::Machine::connect(&setup.a);
    let mut queue = machine.start(0, 4, 64);
    let mut rekeys_of_a_buffer = |new_generation: bool| {
        let rekeys = || setup.raw_status()["devices"][0]["counters"]["rekeys"].as_u64().unwrap();
        let (before, completed) = (rekeys(), machine.completed(&queue));
        if new_generation {
            assert!(setup.run("new-generation", &[]).status.success());
        }
        machine.fill(&mut queue);
        let start = Instant::now();
        while machine.completed(&queue) == completed {
            assert!(start.elapsed() < PATIENCE);
        }
        rekeys() - before
    };
    rekeys_of_a_buffer(false);
    assert!(rekeys_of_a_buffer(true) >= 1);
    let answer = setup.connect().ask(&json!({"command": "new_generation"}));
    assert_eq!(answer, json!({"generation": 2}));
}
