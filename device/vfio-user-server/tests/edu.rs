// SPDX-License-Identifier: MIT OR Apache-2.0
//! The example: QEMU's `edu` by its registers, as the tests of its drivers use it. It runs as a program, as a user would run it.
#[expect(dead_code, reason = "this test needs part of it")]
#[path = "protocol/common.rs"]
mod common;
use common::*;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Once;

const NONE_TRIGGER: u32 = 0x21;
const EVENTFD_TRIGGER: u32 = 0x24;
const NONE_UNMASK: u32 = 0x11;
const INTX: u32 = 0;
const MSI: u32 = 1;

struct Edu {
    child: Child,
    client: Client,
    _directory: tempfile::TempDir,
}

impl Drop for Edu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Examples are built beside the tests, unless only some tests are.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().and_then(Path::parent).unwrap().join("examples/edu");
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        if !program.exists() {
            let build = ["build", "--quiet", "--example", "edu", "-p", env!("CARGO_PKG_NAME")];
            assert!(Command::new(env!("CARGO")).args(build).status().unwrap().success());
        }
    });
    program
}

/// Exchanges versions. `false`: the server has turned the client away.
fn negotiates(client: &mut Client) -> bool {
    let request = [&header(1, VERSION, 20, 0)[..], &version(0, 1, "")].concat();
    let mut head = [0; 16];
    if client.socket.write_all(&request).is_err() || client.socket.read_exact(&mut head).is_err() {
        return false;
    }
    let size = u32::from_ne_bytes(head[4..8].try_into().unwrap()) as usize;
    client.socket.read_exact(&mut vec![0; size - 16]).is_ok()
}

impl Edu {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let child = Command::new(program()).arg(&path).spawn().expect("the example is built");
        wait_for("the example's socket", || std::os::unix::net::UnixStream::connect(&path).is_ok());
        let mut client = Client::over(std::os::unix::net::UnixStream::connect(&path).unwrap());
        // The one that only looked may not be gone yet.
        while !negotiates(&mut client) {
            client = Client::over(std::os::unix::net::UnixStream::connect(&path).unwrap());
        }
        Self { child, client, _directory: directory }
    }

    fn read(&mut self, offset: u64) -> u32 {
        let answer = self.client.request(REGION_READ, &access(0, offset, 4), &[]).ok();
        u32::from_le_bytes(answer[16..].try_into().unwrap())
    }

    fn write(&mut self, offset: u64, value: u32) {
        self.client.request(REGION_WRITE, &write(0, offset, &value.to_le_bytes()), &[]).ok();
    }

    fn write64(&mut self, offset: u64, value: u64) {
        self.client.request(REGION_WRITE, &write(0, offset, &value.to_le_bytes()), &[]).ok();
    }

    fn config(&mut self, offset: u64, data: &[u8]) {
        self.client.request(REGION_WRITE, &write(CONFIG, offset, data), &[]).ok();
    }

    fn assign(&mut self, index: u32) -> OwnedFd {
        let eventfd = new_eventfd();
        self.client.request(SET_IRQS, &set_irqs(EVENTFD_TRIGGER, index, 0, 1), &[eventfd.as_fd()]).ok();
        eventfd
    }
}

#[test]
fn it_is_at_most_100_lines_of_code() {
    let lines = include_str!("../examples/edu.rs").lines().map(str::trim);
    let code = lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
    assert!(code <= 100, "{code} lines");
}

#[test]
fn it_knows_who_it_is_that_it_lives_and_factorials() {
    let mut edu = Edu::start();
    let answer = edu.client.request(REGION_READ, &access(CONFIG, 0, 4), &[]).ok();
    assert_eq!(answer[16..], [0x34, 0x12, 0xe8, 0x11]);
    assert_eq!(edu.read(0), 0x0100_00ed);
    edu.write(4, 0x1234_5678);
    assert_eq!(edu.read(4), !0x1234_5678);
    for (number, factorial) in [(0, 1), (1, 1), (5, 120), (12, 479_001_600), (13, 1_932_053_504), (34, 0)] {
        edu.write(8, number);
        assert_eq!(edu.read(8), factorial, "{number}!");
    }
    assert_eq!(edu.read(0x24), 0, "no interrupt was asked for");
    edu.write(8, u32::MAX);
    assert_eq!(edu.read(8), 0);
}

#[test]
fn it_interrupts_by_message() {
    let mut edu = Edu::start();
    let eventfd = edu.assign(MSI);
    edu.write(0x60, 0xabc);
    assert_eq!((edu.read(0x24), signals(&eventfd)), (0xabc, 1));
    edu.write(0x64, 0xabc);
    edu.write(0x20, 0x80);
    edu.write(8, 4);
    assert_eq!((edu.read(0x24), signals(&eventfd)), (1, 1));
}

#[test]
fn its_pin_is_a_level() {
    let mut edu = Edu::start();
    let eventfd = edu.assign(INTX);
    edu.write(0x60, 1);
    assert_eq!(signals(&eventfd), 1);
    let status = edu.client.request(REGION_READ, &access(CONFIG, 6, 2), &[]).ok();
    assert_eq!(status[16] & 8, 8, "the status register shows it");
    edu.client.request(SET_IRQS, &set_irqs(NONE_UNMASK, INTX, 0, 1), &[]).ok();
    assert_eq!(signals(&eventfd), 1, "not acknowledged: it is still asserted");
    edu.write(0x64, 1);
    edu.client.request(SET_IRQS, &set_irqs(NONE_UNMASK, INTX, 0, 1), &[]).ok();
    assert_eq!(signals(&eventfd), 0);
    edu.config(4, &[0, 4]);
    edu.write(0x60, 1);
    assert_eq!(signals(&eventfd), 0, "the guest has disabled it");
    edu.config(4, &[0, 0]);
    assert_eq!(signals(&eventfd), 1, "and enabled it again");
    edu.client.request(SET_IRQS, &set_irqs(NONE_TRIGGER, INTX, 0, 0), &[]).ok();
}

#[test]
fn it_copies_both_ways_and_only_where_it_may() {
    let mut edu = Edu::start();
    let memory = memory_file(0x4000);
    memory.write_all_at(b"there and back", 0x1000).unwrap();
    edu.client.request(DMA_MAP, &dma_map(0, 0x10_0000, 0x4000), &[memory.as_fd()]).ok();
    let eventfd = edu.assign(MSI);
    let transfer = |edu: &mut Edu, source: u64, destination: u64, count: u64, command: u32| {
        edu.write64(0x80, source);
        edu.write64(0x88, destination);
        edu.write64(0x90, count);
        edu.write(0x98, command);
        wait_for("the transfer", || edu.read(0x98) & 1 == 0);
    };
    transfer(&mut edu, 0x10_1000, 0x4_0100, 14, 1);
    assert_eq!(signals(&eventfd), 0, "no bus mastering, no transfer, no interrupt");
    edu.config(4, &[6, 0]);
    transfer(&mut edu, 0x10_1000, 0x4_0100, 14, 1);
    transfer(&mut edu, 0x4_0100, 0x10_2000, 14, 1 | 2 | 4);
    wait_for("the interrupt", || signals(&eventfd) == 1);
    let mut copy = [0; 14];
    memory.read_exact_at(&mut copy, 0x2000).unwrap();
    assert_eq!(&copy, b"there and back");
    assert_eq!(edu.read(0x24), 0x100);
    // Beyond the buffer, before it, and where no memory is.
    for (source, count) in [(0x4_0fff, 2), (0x3_ffff, 1), (0x4_0000, u64::MAX)] {
        transfer(&mut edu, source, 0x10_3000, count, 1 | 2);
    }
    transfer(&mut edu, 0x4_0000, 0x99_0000, 16, 1 | 2);
    memory.read_exact_at(&mut copy, 0x3000).unwrap();
    assert_eq!(copy, [0; 14]);
    edu.client.request(RESET, &[], &[]).ok();
    assert_eq!((edu.read(0x24), edu.read(0x98)), (0, 0));
}
