// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's `edu` device (`docs/specs/edu.rst`) outside QEMU: factorials, interrupts by MSI and by the pin, DMA both ways.
use std::sync::{Arc, Mutex};

use vfio_user_server::function::{Access, Bus, Function, PciFunction};
use vfio_user_server::pci::{ConfigSpace, Identity};
use vfio_user_server::{DmaHandle, Listener, Server, Shutdown};

const BUFFER: u64 = 0x4_0000; // Where the device's own memory is, as transfers see it.

#[derive(Clone, Copy)]
struct State {
    liveness: u32,
    factorial: u32,
    status: u32,
    interrupts: u32,
    dma: [u64; 4], // Source, destination, count, command.
    buffer: [u8; 4096],
}

const POWER_ON: State =
    State { liveness: 0, factorial: 0, status: 0, interrupts: 0, dma: [0; 4], buffer: [0; 4096] };

#[derive(Clone)]
struct Edu(Arc<Mutex<State>>);

impl Edu {
    /// A transfer between guest memory and the buffer. One that is out of bounds moves nothing.
    fn transfer(&self, memory: &mut DmaHandle, bus: &Bus) {
        let mut copy = *self.0.lock().expect("nobody panics with it"); // Not held while memory is waited for.
        let [source, destination, count, command] = copy.dma;
        let (guest, own) = if command & 2 == 0 { (source, destination) } else { (destination, source) };
        let start = own.wrapping_sub(BUFFER) as usize;
        if let Some(part) = copy.buffer.get_mut(start..start.saturating_add(count as usize)) {
            let moved = if command & 2 == 0 { memory.read(guest, part) } else { memory.write(guest, part) };
            moved.unwrap_or_else(|error| eprintln!("edu: {error}"));
        }
        let mut state = self.0.lock().expect("nobody panics with it");
        state.buffer = copy.buffer;
        state.dma[3] &= !1;
        if command & 4 != 0 {
            state.interrupts |= 0x100;
            bus.raise(0);
        }
    }
}

impl Function for Edu {
    fn read(&mut self, at: Access, _: &Bus) -> u64 {
        let state = self.0.lock().expect("nobody panics with it");
        match at.offset {
            0x00 => 0x0100_00ed,
            0x04 => state.liveness.into(),
            0x08 => state.factorial.into(),
            0x20 => state.status.into(),
            0x24 => state.interrupts.into(),
            0x80 | 0x88 | 0x90 | 0x98 => state.dma[(at.offset as usize - 0x80) / 8],
            _ => u64::MAX,
        }
    }

    fn write(&mut self, at: Access, value: u64, bus: &Bus) {
        let mut state = self.0.lock().expect("nobody panics with it");
        match at.offset {
            0x04 => state.liveness = !(value as u32),
            0x08 => {
                state.factorial = (1..=(value as u32).min(34)).fold(1, u32::wrapping_mul); // 34! is 0, and so on.
                state.interrupts |= state.status >> 7; // If it was asked for: the bit of a factorial is 1.
            }
            0x20 => state.status = value as u32 & 0x80,
            0x60 => state.interrupts |= value as u32,
            0x64 => state.interrupts &= !(value as u32),
            0x80 | 0x88 | 0x90 if state.dma[3] & 1 == 0 => state.dma[(at.offset as usize - 0x80) / 8] = value,
            0x98 if state.dma[3] & 1 == 0 => {
                let (edu, irq) = (self.clone(), bus.clone());
                let starts = value & 1 != 0 && bus.transfer(move |memory| edu.transfer(memory, &irq));
                state.dma[3] = if starts { value } else { value & !1 };
            }
            _ => {}
        }
        match at.offset {
            0x08 if state.status & 0x80 != 0 => bus.raise(0),
            0x60 if value as u32 != 0 => bus.raise(0),
            0x64 if state.interrupts == 0 => bus.lower(),
            _ => {}
        }
    }

    fn reset(&mut self) {
        *self.0.lock().expect("nobody panics with it") = POWER_ON;
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: edu SOCKET")?;
    let identity = Identity::new(0x1234, 0x11e8).with_revision(0x10).with_class(0x00_ff_00);
    let config = ConfigSpace::new(&identity).with_memory_bar(0, 1 << 20).with_interrupt_pin(1).with_msi(1);
    let device = PciFunction::new(config, Edu(Arc::new(Mutex::new(POWER_ON))))?;
    Ok(Server::new(Listener::bind(path.as_ref())?, device).run(&Shutdown::new()?)?)
}
