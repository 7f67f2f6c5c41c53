// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attacks of one machine's monitor, or of anybody who may connect, against a program that serves two machines: the other
//! machine's accesses, the control socket and the end must not suffer. How that is measured on a busy host, [`setup`] says.

#[path = "../common/mod.rs"]
mod common;
mod fuse;
mod setup;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::mem::ManuallyDrop;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::client::{BAR0, Client, GET_INFO, NO_REPLY, REGION_WRITE, SET_IRQS, VERSION, header, write};
use common::control::Line;
use common::program::{PATIENCE, text};
use common::queue::Machine;
use common::virtio;
use my_rng_abi::registers;
use my_rng_device::control::client as control;
use my_rng_device::control::protocol::{LimitChange, Which};
use my_rng_device::virtio::layout::NOTIFY;
use my_rng_device::virtio::transport::FEATURES;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::pwrite;
use setup::{Setup, expect, processor_time, promised};

/// A socket whose close would wait for an hour: its peer takes nothing of what was sent.
fn lingering() -> (OwnedFd, TcpListener) {
    let (socket, peer) = common::lingering(Duration::from_secs(3600));
    (socket.into(), peer)
}

/// Sends a descriptor in every way in which it will be closed: with a message that cannot have one, with one that is too
/// large, as one of too many, as a stranger that is turned away, and half a message.
fn send_in_every_way(path: &Path, fd: &OwnedFd) {
    let mut client = Client::connect(path);
    let many = vec![fd.as_fd(); 100];
    client.send(GET_INFO, 0, &[0; 16], &[fd.as_fd()]);
    client.send(GET_INFO, 0, &[0; 2 << 20], &[fd.as_fd()]);
    client.send(GET_INFO, 0, &[0; 16], &many);
    client.send(SET_IRQS, 0, &set_irqs(0, 1), &[fd.as_fd()]);
    let stranger = UnixStream::connect(path).unwrap();
    let mut stranger = Client::over(stranger);
    stranger.send_bytes(&header(1, VERSION, 4, 0, 0), &many);
    client.send_bytes(&[1, 2, 3], &[fd.as_fd()]);
}

fn set_irqs(start: u32, count: u32) -> Vec<u8> {
    [20, 0x24, 2, start, count].iter().flat_map(|word: &u32| word.to_ne_bytes()).collect()
}

#[test]
fn descriptors_that_linger_when_they_are_closed_make_nobody_wait() {
    promised(|| {
        let setup = Setup::start(&[]);
        let (socket, _peer) = lingering();
        send_in_every_way(&setup.a, &socket);
        drop(socket); // Now the program's are the last.
        let start = Instant::now();
        // Its own device goes on as well.
        while Client::try_connect(&setup.a).is_none() {
            assert!(start.elapsed() < PATIENCE, "nobody can connect any more");
        }
        setup.unharmed()
    });
}

#[test]
fn descriptors_whose_close_never_returns_make_nobody_wait_and_are_seen() {
    promised(|| {
        // In this order: whatever fails, the file system goes first, and with it what waits for it.
        let setup = Setup::start(&[]);
        let Some(slow) = fuse::SlowFile::mount() else {
            eprintln!("this user may mount no FUSE file system: nothing to test");
            return Ok(());
        };
        // To close it in here would wait, too.
        let file = ManuallyDrop::new(OwnedFd::from(slow.open()));
        for _ in 0..20 {
            let Some(mut client) = Client::try_connect(&setup.a) else { break };
            client.send(GET_INFO, 0, &[0; 16], &vec![file.as_fd(); 100]);
        }
        let start = Instant::now();
        let device = loop {
            let device = setup.status().devices.swap_remove(0);
            if device.server.accept_failures > 0 {
                break device;
            }
            assert!(start.elapsed() < PATIENCE, "{device:?}");
        };
        assert!((259..2000).contains(&device.unclosed_descriptors), "{}", device.unclosed_descriptors);
        // Not even the kernel ends a process that waits in there.
        drop(slow);
        setup.unharmed()
    });
}

/// A device cannot be removed for good while something of its clients does not close, so that removing and adding it
/// again piles nothing up.
#[test]
fn a_removed_device_whose_descriptors_do_not_close_keeps_its_place_and_holds_up_nobody() {
    promised(|| {
        let setup = Setup::start(&["--max-devices", "2"]);
        let Some(slow) = fuse::SlowFile::mount() else {
            eprintln!("this user may mount no FUSE file system: nothing to test");
            return Ok(());
        };
        let file = ManuallyDrop::new(OwnedFd::from(slow.open()));
        let mut client = Client::connect(&setup.a);
        client.send(GET_INFO, 0, &[0; 16], &[file.as_fd(); 100]);
        let start = Instant::now();
        while setup.status().devices[0].unclosed_descriptors == 0 {
            assert!(start.elapsed() < PATIENCE, "they are not closed");
        }
        let remove = || control::remove(setup.control(), Which { device: Some(0), socket: None });
        let error = remove().unwrap_err().to_string();
        assert!(error.contains("is stuck"), "{error}");
        assert!(client.receive().is_none() || client.receive().is_none(), "it is not served");
        assert!(remove().unwrap_err().to_string().contains("already"));
        let other = setup.a.with_file_name("c.sock");
        let error = control::add(setup.control(), &other).unwrap_err().to_string();
        assert!(error.contains("not quite gone"), "{error}");
        assert!(setup.status().devices[0].ending);
        drop(slow);
        let start = Instant::now();
        while control::add(setup.control(), &setup.a).is_err() {
            assert!(start.elapsed() < PATIENCE, "its place is never free");
        }
        Client::connect(&setup.a).read_register(registers::RAND32);
        setup.unharmed()
    });
}

/// They are no listening sockets, so that the program has the last descriptor of each when it refuses it.
#[test]
fn descriptors_that_linger_make_nobody_wait_who_adds_devices() {
    promised(|| {
        let setup = Setup::start(&["--max-devices", "3"]);
        let mut peers = Vec::new();
        for _ in 0..20 {
            let (socket, peer) = lingering();
            peers.push(peer);
            let mut line = Line::connect(setup.control());
            let (begin, end) = (&b"{\"command\":"[..], &b"\"add\"}\n"[..]);
            assert_eq!(line.send_with(begin, &[socket.as_fd()]), begin.len());
            drop(socket); // Now the program's is the last.
            line.send(end);
            let error = line.receive()["error"].take();
            assert!(error.as_str().is_some_and(|error| error.contains("another kind")), "{error}");
        }
        let other = setup.a.with_file_name("c.sock");
        assert!(control::add(setup.control(), &other).is_ok(), "devices can be added");
        setup.unharmed()
    });
}

/// Eight at a time, half of them with a machine that has a queue at work.
#[test]
fn a_thousand_devices_that_come_and_go_disturb_nobody_and_leave_nothing() {
    promised(|| {
        let setup = Setup::start(&["--max-devices", "10"]);
        let (control, places) = (setup.control(), setup.a.parent().unwrap());
        let round = |path: &Path, with_machine: bool| {
            let place = control::add(control, path).unwrap();
            let machine = with_machine.then(|| {
                let mut machine = Machine::connect(path);
                let mut queue = machine.start(0, 8, 64);
                machine.fill(&mut queue);
                machine
            });
            let removed = control::remove(control, Which { device: Some(place.device), socket: None });
            // On a host so busy that its threads get no processor for two seconds, it ends later.
            let is_late = removed.is_err_and(|error| {
                assert!(error.to_string().contains("is stuck"), "{error}");
                true
            });
            let start = Instant::now();
            let is_there =
                || control::status(control).unwrap().devices.iter().any(|d| d.socket == text(path));
            while is_late && is_there() {
                assert!(start.elapsed() < PATIENCE, "a device does not end");
            }
            drop(machine);
        };
        let rounds = |count: u32| {
            std::thread::scope(|scope| {
                for number in 0..8 {
                    let path = places.join(format!("{number}.sock"));
                    scope.spawn(move || (0..count).for_each(|turn| round(&path, turn % 2 == 0)));
                }
            });
        };
        // What a C library keeps for threads is there after the first.
        rounds(4);
        let before = setup.status().usage;
        rounds(125);
        let start = Instant::now();
        // Clients of the control socket are closed by a thread of their own.
        let after = loop {
            let after = setup.status().usage;
            if after.descriptors <= before.descriptors {
                break after;
            }
            assert!(start.elapsed() < PATIENCE, "{before:?} {after:?}");
        };
        assert_eq!(after.threads, before.threads);
        // Not a page for each.
        assert!(after.resident_bytes < before.resident_bytes + (3 << 20), "{before:?} {after:?}");
        setup.unharmed()
    });
}

#[test]
fn an_eventfd_that_is_full_and_made_to_block_makes_nobody_wait() {
    promised(|| {
        let setup = Setup::start(&[]);
        let mut machine = Machine::connect(&setup.a);
        let full = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        let fds = [full.as_fd(); 16];
        assert_eq!(machine.client.request(SET_IRQS, &set_irqs(0, 16), &fds).error, 0);
        fcntl_setfl(&full, fcntl_getfl(&full).unwrap() - OFlags::NONBLOCK).unwrap();
        rustix::io::write(&full, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        for vector in 0..16 {
            // A transfer of no bytes is refused, with an interrupt by a worker.
            machine.client.write(BAR0, registers::ONE_SHOT_VECTOR, vector);
            let go = registers::ONE_SHOT_START | registers::ONE_SHOT_TO_GUEST | registers::ONE_SHOT_INTERRUPT;
            machine.client.write(BAR0, registers::ONE_SHOT_COMMAND, go);
        }
        // By the server's own thread.
        let trigger: Vec<u8> =
            [20, 0x21, 2, 0, 16].iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
        assert_eq!(machine.client.request(SET_IRQS, &trigger, &[]).error, 0);
        machine.start(0, 4, 64);
        drop(machine);
        Machine::connect(&setup.a).client.read_register(registers::RAND32);
        setup.unharmed()
    });
}

/// Most lines with the same stamp, which the program makes and which are of whole seconds.
fn most_lines_a_second(lines: &[String]) -> usize {
    let mut counts = HashMap::<&str, usize>::new();
    for line in lines {
        let stamp = line.split_whitespace().next().unwrap_or_default();
        assert!(stamp.starts_with('[') && stamp.ends_with('Z'), "no stamp: {line}");
        *counts.entry(stamp).or_default() += 1;
    }
    counts.into_values().max().unwrap_or_default()
}

#[test]
fn reconnecting_with_mistakes_floods_no_log() {
    promised(|| {
        const RECONNECTS: u32 = 30_000;
        const MISTAKES: u32 = 20;
        let mut setup = Setup::start_with(&[], Stdio::piped());
        let error = BufReader::new(setup.program.stderr.take().unwrap());
        let lines = std::thread::spawn(move || error.lines().map(Result::unwrap).collect::<Vec<_>>());
        let mistake = [header(1, GET_INFO, 1, NO_REPLY, 0), vec![0]].concat();
        let all = [header(0, VERSION, 4, NO_REPLY, 0), vec![0, 0, 1, 0], mistake.repeat(MISTAKES as usize)]
            .concat();
        for _ in 0..RECONNECTS {
            let mut socket = UnixStream::connect(&setup.a).unwrap();
            let _ = socket.write_all(&all); // It may have been turned away, as the last one is still there.
        }
        let device = setup.status().devices.swap_remove(0);
        assert!(device.server.clients + device.server.clients_refused > 0);
        assert!(device.server.requests_failed > 1000, "{:?}", device.server);
        setup.unharmed()?;
        let lines = lines.join().unwrap();
        assert!(lines.len() >= 5, "{lines:?}");
        let most = most_lines_a_second(&lines);
        expect(most <= 100, || format!("{most} lines in a second"))
    });
}

#[test]
fn a_log_that_nobody_reads_makes_nobody_wait() {
    promised(|| {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
        fcntl_setfl(&writer, OFlags::empty()).unwrap();
        let setup = Setup::start_with(&["-vvv"], writer.into());
        for _ in 0..20 {
            let mut client = Client::connect(&setup.a);
            for _ in 0..50 {
                assert_ne!(client.request(GET_INFO, &[0], &[]).error, 0);
            }
            drop(client);
            let start = Instant::now();
            while setup.status().devices[0].client_connected {
                assert!(start.elapsed() < PATIENCE);
            }
        }
        let status = setup.status();
        let left_out = status.log_lines_left_out + status.devices[0].server.log_lines_suppressed;
        assert!(left_out > 500, "{left_out}");
        setup.unharmed()?;
        drop(reader);
        Ok(())
    });
}

/// What devices have given, and when, by the program's own clock.
struct Taken {
    seconds: f64,
    bytes: f64,
    /// For how long workers have been ready to run, in seconds.
    waited: f64,
}

impl Taken {
    fn by(setup: &Setup, devices: &[usize]) -> Self {
        let status = setup.status();
        let bytes = devices.iter().map(|&device| status.devices[device].counters.entropy_bytes as f64).sum();
        let [_, waited] = processor_time(&setup.program, "worker");
        Self { seconds: status.uptime_seconds, bytes, waited: waited.as_secs_f64() }
    }

    /// What came between the two, if it is as much as the limit allows, within 2 %.
    fn exact(&self, end: &Self, per_second: f64) -> Result<f64, String> {
        let (got, seconds) = (end.bytes - self.bytes, end.seconds - self.seconds);
        let waited = end.waited - self.waited;
        let (most, least) = (seconds * per_second * 1.02, (seconds - waited) * per_second * 0.98);
        expect(got > least && got < most, || {
            format!("{got} bytes in {seconds} s, expected {least} to {most}; workers waited for {waited} s")
        })?;
        Ok(got)
    }
}

#[test]
fn small_buffers_and_large_ones_get_on_under_one_limit_which_is_exact() {
    promised(|| {
        let setup = Setup::start(&["--bytes-per-second", "1M:64k"]);
        let mut machine = Machine::connect(&setup.a);
        let (mut small, mut large) = (machine.start(0, 64, 16), machine.start(1, 64, 65_536));
        let start = Instant::now();
        let mut begin = None;
        while start.elapsed() < Duration::from_millis(6500) {
            machine.fill(&mut small);
            machine.fill(&mut large);
            std::thread::sleep(Duration::from_millis(2));
            if begin.is_none() && start.elapsed() > Duration::from_millis(500) {
                begin = Some(Taken::by(&setup, &[0])); // The burst is gone.
            }
        }
        begin.unwrap().exact(&Taken::by(&setup, &[0]), 1e6)?;
        assert!(machine.completed(&small) >= 64 * 16, "{} small buffers", machine.completed(&small));
        assert!(machine.completed(&large) >= 16, "{} large buffers", machine.completed(&large));
        setup.unharmed()
    });
}

#[test]
fn a_limit_that_is_set_again_and_again_stays_what_it_is() {
    promised(|| {
        let setup = Setup::start(&["--bytes-per-second", "200k:15k"]);
        let mut machine = Machine::connect(&setup.a);
        let mut queue = machine.start(0, 64, 1024);
        let start = Instant::now();
        let mut begin = None;
        while start.elapsed() < Duration::from_millis(5500) {
            machine.fill(&mut queue);
            let change = LimitChange {
                device: Some(0),
                bytes_per_second: Some("200k:15k".to_owned()),
                operations_per_second: None,
            };
            control::limit(setup.control(), change).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            if begin.is_none() && start.elapsed() > Duration::from_millis(500) {
                begin = Some(Taken::by(&setup, &[0]));
            }
        }
        begin.unwrap().exact(&Taken::by(&setup, &[0]), 200e3)?;
        setup.unharmed()
    });
}

/// With a queue that waits for the limit, and with one that has nothing to do.
#[test]
fn at_a_limit_of_next_to_nothing_doorbells_buy_no_processor_time() {
    promised(|| {
        let setup = Setup::start(&["--bytes-per-second", "1"]);
        let mut machine = Machine::connect(&setup.a);
        let mut queue = machine.start(0, 8, 16);
        machine.start(1, 8, 16);
        for waits in [false, true] {
            if waits {
                machine.fill(&mut queue);
            }
            let (start, [before, _]) = (Instant::now(), processor_time(&setup.program, "worker"));
            let mut rung = 0_u32;
            while start.elapsed() < Duration::from_secs(2) {
                for number in [0, 1] {
                    let doorbell = write(BAR0, registers::DOORBELL as u64, &u32::to_le_bytes(number));
                    machine.client.send(REGION_WRITE, NO_REPLY, &doorbell, &[]);
                    rung += 1;
                }
                std::thread::sleep(Duration::from_micros(10));
            }
            let taken = processor_time(&setup.program, "worker")[0] - before;
            let share = taken.as_secs_f64() / start.elapsed().as_secs_f64();
            expect(share < 0.02, || {
                format!("{rung} doorbells took {share:.3} of a processor; a queue waits: {waits}")
            })?;
        }
        setup.unharmed()
    });
}

/// Chains as long as they can be, doorbells that nobody waits for, a queue that is changed while it works, indexes that jump.
#[test]
fn a_storm_of_a_hostile_virtio_driver_hurts_nobody() {
    promised(|| {
        let setup = Setup::start(&["--personality", "virtio"]);
        let mut machine = virtio::Machine::over(Client::connect(&setup.a));
        for round in 0..20_u16 {
            machine.initialize(FEATURES);
            for place in 0..virtio::SIZE {
                let flags = virtio::WRITE | if place + 1 < virtio::SIZE { virtio::NEXT } else { 0 };
                machine.describe(place, (virtio::BUFFERS + u64::from(round), 32 << 10, flags, place + 1));
            }
            for bell in 0..500_u16 {
                let index = if bell == 499 { 0x4000 } else { bell % virtio::SIZE };
                pwrite(&machine.memory, &index.to_le_bytes(), virtio::DRIVER + 2).unwrap();
                for (offset, data) in
                    [(u64::from(NOTIFY.offset), &[0, 0][..]), (0x18, &[4, 0]), (0x20, &[0xff; 4])]
                {
                    machine.client.send(REGION_WRITE, NO_REPLY, &write(BAR0, offset, data), &[]);
                }
            }
        }
        machine.assert_works();
        setup.unharmed()
    });
}

#[test]
fn at_a_limit_of_next_to_nothing_doorbells_of_virtio_buy_no_processor_time() {
    promised(|| {
        let setup = Setup::start(&["--personality", "virtio", "--bytes-per-second", "1"]);
        let mut machine = virtio::Machine::over(Client::connect(&setup.a));
        machine.initialize(FEATURES);
        let (start, [before, _]) = (Instant::now(), processor_time(&setup.program, "worker"));
        while start.elapsed() < Duration::from_secs(2) {
            let doorbell = write(BAR0, NOTIFY.offset.into(), &[0, 0]);
            machine.client.send(REGION_WRITE, NO_REPLY, &doorbell, &[]);
            std::thread::sleep(Duration::from_micros(10));
        }
        let taken = processor_time(&setup.program, "worker")[0] - before;
        let share = taken.as_secs_f64() / start.elapsed().as_secs_f64();
        expect(share < 0.02, || format!("doorbells took {share:.3} of a processor"))?;
        setup.unharmed()
    });
}

/// Two machines that both want everything, under one limit for the program.
#[test]
fn a_limit_for_all_devices_is_shared() {
    promised(|| {
        let setup = Setup::start(&["--total-bytes-per-second", "400k:20k"]);
        let other = setup.a.with_file_name("b.sock");
        setup.stop_watching(); // The other machine makes room.
        let mut machines = [
            Machine::connect(&setup.a),
            loop {
                if let Some(client) = Client::try_connect(&other) {
                    break Machine::over(client);
                }
            },
        ];
        let mut queues = machines.each_mut().map(|machine| machine.start(0, 64, 4096));
        let start = Instant::now();
        let mut begin = None;
        while start.elapsed() < Duration::from_millis(6500) {
            for (machine, queue) in machines.iter_mut().zip(&mut queues) {
                machine.fill(queue);
            }
            std::thread::sleep(Duration::from_millis(2));
            if begin.is_none() && start.elapsed() > Duration::from_millis(500) {
                begin = Some([&[0, 1][..], &[0], &[1]].map(|devices| Taken::by(&setup, devices)));
            }
        }
        let [both, one, other] = begin.unwrap();
        let sum = both.exact(&Taken::by(&setup, &[0, 1]), 400e3)?;
        for (device, before) in [one, other].into_iter().enumerate() {
            let got = Taken::by(&setup, &[device]).bytes - before.bytes;
            expect(got > sum * 0.4, || format!("{got} of {sum} for device {device}"))?;
        }
        drop(machines);
        setup.unharmed()
    });
}
