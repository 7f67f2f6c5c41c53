// SPDX-License-Identifier: MIT OR Apache-2.0
//! The four 16550A serial ports of a PC, as long as no driver has them: output for the log, polled (a port takes 16 bytes at a
//! time). Source: National Semiconductor PC16550D data sheet.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use x86_64::instructions::port::Port;

use super::registers::Registers;

mod register {
    pub(super) const DATA: u16 = 0;
    pub(super) const INTERRUPT_ENABLE: u16 = 1;
    pub(super) const FIFO_CONTROL: u16 = 2;
    pub(super) const LINE_CONTROL: u16 = 3;
    pub(super) const MODEM_CONTROL: u16 = 4;
    pub(super) const LINE_STATUS: u16 = 5;
    pub(super) const SCRATCH: u16 = 7;
}

const TRANSMITTER_EMPTY: u8 = 1 << 5;
/// I/O ports of a serial port.
const PORTS_EACH: u16 = 8;
/// Bytes that fit when the transmitter is empty.
const FIFO: u8 = 16;
/// Reads of the line status after which an output byte is dropped: the port is broken.
const MAX_STATUS_READS: u32 = 1 << 20;

/// One port.
pub struct Serial {
    base: u16,
    present: AtomicBool,
    /// Bytes that the FIFO surely still takes.
    room: AtomicU8,
}

impl Serial {
    const fn at(base: u16) -> Self {
        Self { base, present: AtomicBool::new(false), room: AtomicU8::new(0) }
    }

    fn read(&self, register: u16) -> u8 {
        // SAFETY: the registers of a serial port, whose reads change nothing but the port.
        unsafe { Port::new(self.base + register).read() }
    }

    fn write(&self, register: u16, value: u8) {
        // SAFETY: as above; a serial port reaches no memory.
        unsafe { Port::new(self.base + register).write(value) };
    }

    fn init(&self) {
        self.write(register::SCRATCH, 0x5a);
        if self.read(register::SCRATCH) != 0x5a {
            return;
        }
        self.write(register::INTERRUPT_ENABLE, 0);
        // 115200 baud: divisor 1, reached through the divisor latch bit; then 8 data bits, no parity, 1 stop bit.
        self.write(register::LINE_CONTROL, 0x80);
        self.write(register::DATA, 1);
        self.write(register::INTERRUPT_ENABLE, 0);
        self.write(register::LINE_CONTROL, 0x03);
        // FIFOs on and cleared, interrupt at 14 bytes or after a pause.
        self.write(register::FIFO_CONTROL, 0xc7);
        // DTR, RTS, and OUT2, which connects the interrupt on a PC.
        self.write(register::MODEM_CONTROL, 0x0b);
        self.present.store(true, Ordering::Relaxed);
    }

    /// Whether the port exists.
    pub fn is_present(&self) -> bool {
        self.present.load(Ordering::Relaxed)
    }

    /// Its registers, for a driver.
    pub fn registers(&self) -> Registers {
        Registers::ports(self.base, PORTS_EACH)
    }

    /// Sends a byte, waiting until there is room.
    pub fn put(&self, byte: u8) {
        if !self.is_present() {
            return;
        }
        // One status read for each 16 bytes: every access to the port is slow, most of all in a virtual machine.
        let mut room = self.room.load(Ordering::Relaxed);
        if room == 0 {
            let mut tries = 0;
            while self.read(register::LINE_STATUS) & TRANSMITTER_EMPTY == 0 {
                tries += 1;
                if tries == MAX_STATUS_READS {
                    return;
                }
                core::hint::spin_loop();
            }
            room = FIFO;
        }
        self.room.store(room - 1, Ordering::Relaxed);
        self.write(register::DATA, byte);
    }
}

/// COM1 to COM4.
pub static PORTS: [Serial; 4] = [Serial::at(0x3f8), Serial::at(0x2f8), Serial::at(0x3e8), Serial::at(0x2e8)];
/// The kernel's log and console.
pub static CONSOLE: &Serial = &PORTS[0];
/// The ISA interrupt line of each; two share one.
pub const LINES: [u8; 4] = [4, 3, 4, 3];

pub(crate) fn early_init() {
    for port in &PORTS {
        port.init();
    }
}
