// SPDX-License-Identifier: MIT OR Apache-2.0
//! 16550A serial ports. Source: National Semiconductor PC16550D data sheet; register and bit names are those of its tables.
//!
//! Output goes straight into the port's FIFO as long as that takes it; what is left waits in a ring, and the port interrupts when it
//! has room. Input stays in the port until somebody takes it: while nobody does, its interrupt is switched off, the FIFO fills up and
//! the sender is held back.

mod registers;
#[cfg(test)]
mod tests;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use alloc::{collections::VecDeque, format, string::String, sync::Arc, vec::Vec};

use exo_platform::{ConnectedLine, InterruptHandler, InterruptLine, Registers, SpinLock, now_ns};

use crate::{
    Device, Driver, DriverError, DriverType,
    bus::{DriverInfo, Found, Match},
    character::{ByteListener, CharDevice},
};
use registers::*;

/// What the bus knows of this driver; `PNP0501` is ACPI's name for these ports.
pub static SERIAL: DriverInfo = DriverInfo { name: "serial", matches: &[Match::Name("PNP0501")], probe };

/// Bytes that wait to be sent.
const RING: usize = 4096;
/// Causes in a row that seeing to them does not take away; a port that has more is broken.
const MOST_IDLE: usize = 16;
/// How long a port may take none of the bytes that must go out now, in nanoseconds.
const TIMEOUT_NS: u64 = 500_000_000;
/// The same in a crash: nothing else waits, and what is not sent is lost.
const CRASH_TIMEOUT_NS: u64 = 3_000_000_000;

struct Inner {
    ring: VecDeque<u8>,
    /// What the interrupt enable register holds.
    enabled: u8,
}

/// A port.
pub struct Serial {
    name: String,
    unit: usize,
    registers: Registers,
    line: InterruptLine,
    inner: SpinLock<Inner>,
    connected: SpinLock<Option<ConnectedLine>>,
    listener: SpinLock<Option<Arc<dyn ByteListener>>>,
    me: alloc::sync::Weak<Serial>,
    ready: AtomicBool,
    /// Bytes that somebody took.
    received: AtomicU64,
    /// Bytes that came when the FIFO was full.
    overruns: AtomicU64,
}

fn probe(found: &Found) -> Result<Arc<dyn Driver>, DriverError> {
    match found {
        Found::Fixed { index, registers, line: Some(line), .. } => {
            Ok(Serial::new(*index, registers.clone(), line.clone())?)
        }
        _ => Err(DriverError::Declined("it has no interrupt line")),
    }
}

impl Serial {
    /// The driver of port `unit`.
    ///
    /// # Errors
    /// [`DriverError::Declined`] if there is no 16550A.
    pub fn new(unit: usize, registers: Registers, line: InterruptLine) -> Result<Arc<Self>, DriverError> {
        // The scratch register does nothing but remember; earlier kinds and empty places have none.
        for pattern in [0x5a, 0xa5] {
            registers.write8(SCRATCH, pattern);
            if registers.read8(SCRATCH) != pattern {
                return Err(DriverError::Declined("it has no scratch register"));
            }
        }
        Ok(Arc::new_cyclic(|me| Self {
            name: format!("serial{unit}"),
            unit,
            registers,
            line,
            inner: SpinLock::new(Inner { ring: VecDeque::with_capacity(RING), enabled: 0 }),
            connected: SpinLock::new(None),
            listener: SpinLock::new(None),
            me: me.clone(),
            ready: AtomicBool::new(false),
            received: AtomicU64::new(0),
            overruns: AtomicU64::new(0),
        }))
    }

    /// Bytes that were lost because they came faster than the port could keep them.
    pub fn overruns(&self) -> u64 {
        self.overruns.load(Ordering::Relaxed)
    }

    fn status(&self) -> u8 {
        let status = self.registers.read8(LINE_STATUS);
        if status != ALL_ONES && status & OVERRUN != 0 {
            self.overruns.fetch_add(1, Ordering::Relaxed);
        }
        status
    }

    /// Changes which interrupts are on.
    fn enable(&self, inner: &mut Inner, wanted: u8) {
        if inner.enabled != wanted {
            inner.enabled = wanted;
            self.registers.write8(INTERRUPT_ENABLE, wanted);
        }
    }

    /// Moves bytes from the ring to the port as long as it takes them, and asks for an interrupt if some are left.
    fn feed(&self, inner: &mut Inner) {
        while !inner.ring.is_empty() {
            let status = self.status();
            if status == ALL_ONES {
                // Nobody is there: what cannot be sent is not kept.
                inner.ring.clear();
            }
            if status & TRANSMITTER_EMPTY == 0 {
                break;
            }
            // An empty transmitter takes as much as the FIFO holds.
            for byte in inner.ring.drain(..FIFO.min(inner.ring.len())) {
                self.registers.write8(DATA, byte);
            }
        }
        let output = if inner.ring.is_empty() { 0 } else { ENABLE_OUTPUT };
        self.enable(inner, inner.enabled & !ENABLE_OUTPUT | output);
    }

    fn tell(&self) {
        let listener = self.listener.lock().clone();
        if let Some(listener) = listener {
            listener.happened();
        }
    }

    /// Input has come: if nobody takes any, it stays, and does not interrupt again. Whether anybody took some.
    fn input(&self) -> bool {
        let before = self.received.load(Ordering::Relaxed);
        self.tell();
        let mut inner = self.inner.lock();
        let is_taken = self.received.load(Ordering::Relaxed) != before;
        if !is_taken && self.status() & DATA_READY != 0 {
            let enabled = inner.enabled & !ENABLE_INPUT;
            self.enable(&mut inner, enabled);
        }
        is_taken
    }

    /// There is room for output; whether any of it went.
    fn output(&self) -> bool {
        let (before, after) = {
            let mut inner = self.inner.lock();
            let before = inner.ring.len();
            self.feed(&mut inner);
            (before, inner.ring.len())
        };
        if after <= RING / 2 {
            self.tell();
        }
        after < before
    }

    /// Sends what is in the ring, then `bytes`, unless the port takes nothing for too long.
    fn push(&self, inner: &mut Inner, bytes: &[u8], patience_ns: u64) {
        let mut rest = bytes;
        let mut deadline = now_ns().saturating_add(patience_ns);
        loop {
            let (now, later) =
                rest.split_at_checked(rest.len().min(RING - inner.ring.len())).unwrap_or_default();
            inner.ring.extend(now);
            rest = later;
            let before = inner.ring.len();
            self.feed(inner);
            if inner.ring.is_empty() && rest.is_empty() {
                return;
            }
            if inner.ring.len() < before {
                deadline = now_ns().saturating_add(patience_ns);
            } else if now_ns() > deadline {
                return;
            }
            core::hint::spin_loop();
        }
    }

    fn stop(&self) {
        self.ready.store(false, Ordering::Relaxed);
        let mut inner = self.inner.lock();
        self.enable(&mut inner, 0);
    }
}

impl InterruptHandler for Serial {
    fn interrupt(&self, _index: usize) {
        // Until the port has no cause any more: its line tells of changes only.
        let mut idle = 0;
        while idle < MOST_IDLE {
            let cause = self.registers.read8(INTERRUPT_IDENTIFICATION);
            if cause & NO_CAUSE != 0 {
                return;
            }
            let went_on = match cause & CAUSE {
                CAUSE_OUTPUT => self.output(),
                CAUSE_INPUT | CAUSE_PAUSE => self.input(),
                CAUSE_STATUS => {
                    self.status();
                    false
                }
                // A modem's lines have changed; reading them is the answer.
                _ => {
                    self.registers.read8(MODEM_STATUS);
                    false
                }
            };
            idle = if went_on { 0 } else { idle + 1 };
        }
        // It has a cause that nothing takes away: without interrupts it can at least be written to.
        self.stop();
    }
}

impl Driver for Serial {
    fn driver_type(&self) -> DriverType {
        DriverType::Character
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn init(&self) -> Result<(), DriverError> {
        let me = self.me.upgrade().ok_or(DriverError::NotReady)?;
        {
            let mut inner = self.inner.lock();
            self.registers.write8(INTERRUPT_ENABLE, 0);
            // 115200 baud: divisor 1, reached through the divisor latch bit; then 8 data bits, no parity, 1 stop bit.
            self.registers.write8(LINE_CONTROL, DIVISOR_LATCH);
            self.registers.write8(DATA, 1);
            self.registers.write8(INTERRUPT_ENABLE, 0);
            self.registers.write8(LINE_CONTROL, EIGHT_BITS);
            self.registers.write8(FIFO_CONTROL, FIFO_ENABLE | FIFO_TRIGGER_14);
            self.registers.write8(MODEM_CONTROL, DTR | RTS | OUT2);
            inner.enabled = 0;
            self.feed(&mut inner);
        }
        let connected =
            self.line.connect(me).ok_or(DriverError::Device("its interrupt line is not there"))?;
        *self.connected.lock() = Some(connected);
        let mut inner = self.inner.lock();
        let enabled = inner.enabled | ENABLE_INPUT;
        self.enable(&mut inner, enabled);
        self.ready.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn shutdown(&self) -> Result<(), DriverError> {
        self.send_now(&[]);
        self.stop();
        *self.connected.lock() = None;
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && self.registers.read8(LINE_STATUS) != ALL_ONES
    }

    fn devices(&self) -> Vec<Device> {
        match self.me.upgrade() {
            Some(port) if self.ready.load(Ordering::Relaxed) => Vec::from([Device::Character(port)]),
            _ => Vec::new(),
        }
    }
}

impl CharDevice for Serial {
    fn name(&self) -> &str {
        &self.name
    }

    fn unit(&self) -> usize {
        self.unit
    }

    fn receive(&self) -> Option<u8> {
        let status = self.status();
        if status != ALL_ONES && status & DATA_READY != 0 {
            self.received.fetch_add(1, Ordering::Relaxed);
            return Some(self.registers.read8(DATA));
        }
        // All is taken: the next byte may interrupt again.
        let mut inner = self.inner.lock();
        if self.ready.load(Ordering::Relaxed) {
            let enabled = inner.enabled | ENABLE_INPUT;
            self.enable(&mut inner, enabled);
        }
        None
    }

    fn send(&self, bytes: &[u8]) -> usize {
        let mut inner = self.inner.lock();
        let mut accepted = 0;
        loop {
            let rest = bytes.get(accepted..).unwrap_or_default();
            let count = rest.len().min(RING - inner.ring.len());
            if count == 0 {
                return accepted;
            }
            inner.ring.extend(rest.iter().take(count));
            accepted += count;
            self.feed(&mut inner);
        }
    }

    fn pending(&self) -> usize {
        self.inner.lock().ring.len()
    }

    fn has_room(&self) -> bool {
        self.pending() < RING
    }

    fn discard(&self) {
        let mut inner = self.inner.lock();
        inner.ring.clear();
        self.feed(&mut inner);
    }

    fn send_now(&self, bytes: &[u8]) {
        self.push(&mut self.inner.lock(), bytes, TIMEOUT_NS);
    }

    fn send_in_crash(&self, bytes: &[u8]) {
        if let Some(mut inner) = self.inner.try_lock() {
            self.push(&mut inner, bytes, CRASH_TIMEOUT_NS);
            let deadline = now_ns().saturating_add(CRASH_TIMEOUT_NS);
            // What is in the port when the machine ends is lost.
            while self.status() & TRANSMITTER_EMPTY == 0 && now_ns() < deadline {
                core::hint::spin_loop();
            }
        }
    }

    fn listen(&self, listener: Arc<dyn ByteListener>) {
        *self.listener.lock() = Some(listener);
    }
}
