// SPDX-License-Identifier: MIT OR Apache-2.0
//! A serial port whose cable a test holds.

use std::{collections::VecDeque, sync::Arc};

use exo_drivers::character::{ByteListener, CharDevice};
use exo_fs::tty;
use exo_test_support::programs::*;
use parking_lot::Mutex;

/// Room for output, until a test takes it.
const ROOM: usize = 4096;

#[derive(Default)]
pub(crate) struct Wire {
    unit: usize,
    received: Mutex<VecDeque<u8>>,
    sent: Mutex<Vec<u8>>,
    listener: Mutex<Option<Arc<dyn ByteListener>>>,
}

impl CharDevice for Wire {
    fn name(&self) -> &str {
        "wire"
    }

    fn unit(&self) -> usize {
        self.unit
    }

    fn receive(&self) -> Option<u8> {
        self.received.lock().pop_front()
    }

    fn send(&self, bytes: &[u8]) -> usize {
        let mut sent = self.sent.lock();
        let count = bytes.len().min(ROOM - sent.len());
        sent.extend(&bytes[..count]);
        count
    }

    fn pending(&self) -> usize {
        0
    }

    fn has_room(&self) -> bool {
        self.sent.lock().len() < ROOM
    }

    fn discard(&self) {}

    fn send_now(&self, bytes: &[u8]) {
        self.send(bytes);
    }

    fn send_in_crash(&self, bytes: &[u8]) {
        self.send(bytes);
    }

    fn listen(&self, listener: Arc<dyn ByteListener>) {
        *self.listener.lock() = Some(listener);
    }
}

impl Wire {
    fn tell(&self) {
        let listener = self.listener.lock().clone();
        listener.expect("a terminal listens").happened();
    }

    /// Somebody types.
    pub(crate) fn types(&self, text: &str) {
        self.received.lock().extend(text.bytes());
        self.tell();
    }

    /// What has come out since it was asked.
    pub(crate) fn shows(&self) -> String {
        let sent = std::mem::take(&mut *self.sent.lock());
        self.tell();
        String::from_utf8(sent).unwrap()
    }
}

/// Runs `test` in a session whose terminal is /dev/ttyS1, with the descriptor and the cable.
pub(crate) fn at_terminal(test: impl FnOnce(usize, Arc<Wire>) + Send + 'static) {
    machine(move || {
        let wire = Arc::new(Wire { unit: 1, ..Wire::default() });
        let port: Arc<dyn CharDevice> = wire.clone();
        tty::add(&port).unwrap();
        let child = fork(move || {
            exo_test_support::call!(abi::__NR_setsid).unwrap();
            let fd = open("/dev/ttyS1", abi::O_RDWR).unwrap();
            let first = termios(fd);
            exo_test_support::call!(abi::__NR_ioctl, fd, linux_raw_sys::ioctl::TCFLSH, 0).unwrap();
            test(fd, wire);
            set_termios(fd, &first).unwrap();
        });
        let status = end_of(child);
        assert!(status == 0 || status == exited(101), "status {status:#x}");
        tty::remove(&port);
    });
}

/// `struct termios` of the kernel: flags for input, output, control and local, and characters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Termios {
    pub(crate) flags: [u32; 4],
    pub(crate) characters: [u8; 19],
}

pub(crate) const OUTPUT: usize = 1;
pub(crate) const LOCAL: usize = 3;

pub(crate) fn termios(fd: usize) -> Termios {
    let at = zeros(36);
    exo_test_support::call!(abi::__NR_ioctl, fd, linux_raw_sys::ioctl::TCGETS, at).unwrap();
    Termios { flags: get(at), characters: get(at + 17) }
}

pub(crate) fn set_termios(fd: usize, new: &Termios) -> Result {
    let at = zeros(36);
    memory::write(at, &new.flags.map(u32::to_ne_bytes).concat());
    memory::write(at + 17, &new.characters);
    exo_test_support::call!(abi::__NR_ioctl, fd, linux_raw_sys::ioctl::TCSETS, at)
}

/// Without lines: what comes is read at once.
pub(crate) fn make_raw(fd: usize, min: u8, time: u8) {
    let mut new = termios(fd);
    new.flags[LOCAL] &= !(abi::ICANON | abi::ECHO | abi::ISIG);
    new.characters[abi::VMIN as usize] = min;
    new.characters[abi::VTIME as usize] = time;
    set_termios(fd, &new).unwrap();
}
