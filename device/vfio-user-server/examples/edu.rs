// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's `edu` device (`docs/specs/edu.rst`) outside QEMU: factorials, interrupts by MSI and by the pin, DMA both ways.
use vfio_user_server::function::{self, Bus, Function, PciFunction};
use vfio_user_server::pci::{ConfigSpace, Identity};
use vfio_user_server::{Listener, Server, Shutdown};

const BUFFER: u64 = 0x4_0000; // Where the device's own memory is, as transfers see it.

#[derive(Default)]
struct Edu {
    liveness: u32,
    factorial: u32,
    status: u64,
    interrupts: u64,
    dma: [u64; 4], // Source, destination, count, command.
    buffer: Vec<u8>,
}

impl Edu {
    fn raise(&mut self, bits: u64, bus: &Bus<Vec<u8>>) {
        self.interrupts |= bits;
        if bits != 0 {
            bus.raise(0);
        }
    }

    fn acknowledge(&mut self, bits: u64, bus: &Bus<Vec<u8>>) {
        self.interrupts &= !bits;
        if self.interrupts == 0 {
            bus.lower();
        }
    }

    fn compute(&mut self, number: u64, bus: &Bus<Vec<u8>>) {
        self.factorial = (1..=number.min(34) as u32).fold(1, u32::wrapping_mul); // 34! is 0, and so on.
        self.raise(self.status >> 7, bus); // If it was asked for: the bit of a factorial is 1.
    }

    /// Writes a register of the transfer, unless one is under way; with the last one, it begins.
    fn set_dma<const N: usize>(&mut self, value: u64, bus: &Bus<Vec<u8>>) {
        if self.dma[3] & 1 == 0 {
            self.dma[N] = value;
            if N == 3 && value & 1 != 0 && !self.start(bus) {
                self.dma[3] &= !1;
            }
        }
    }

    /// Copies between guest memory and the buffer. What is out of bounds moves nothing.
    fn start(&self, bus: &Bus<Vec<u8>>) -> bool {
        let ([source, destination, count, command], mut buffer) = (self.dma, self.buffer.clone());
        bus.transfer(move |memory| {
            buffer.resize(4096, 0);
            let to_guest = command & 2 != 0;
            let (guest, own) = if to_guest { (destination, source) } else { (source, destination) };
            let start = own.wrapping_sub(BUFFER) as usize;
            if let Some(part) = buffer.get_mut(start..start.saturating_add(count as usize)) {
                let moved = if to_guest { memory.write(guest, part) } else { memory.read(guest, part) };
                moved.unwrap_or_else(|error| eprintln!("edu: {error}"));
            }
            buffer
        })
    }
}

type Register = function::Register<Edu>;

const fn dma<const N: usize>() -> Register {
    let register = Register::at(0x80 + 8 * N as u64).of_bytes(4, 8);
    register.read(|edu, _| edu.dma[N]).write(|edu, value, bus| edu.set_dma::<N>(value, bus))
}

const REGISTERS: &[Register] = &[
    Register::at(0x00).read(|_, _| 0x0100_00ed),
    Register::at(0x04).read(|edu, _| edu.liveness.into()).write(|edu, value, _| edu.liveness = !value as u32),
    Register::at(0x08).read(|edu, _| edu.factorial.into()).write(|edu, value, bus| edu.compute(value, bus)),
    Register::at(0x20).read(|edu, _| edu.status).write(|edu, value, _| edu.status = value & 0x80),
    Register::at(0x24).read(|edu, _| edu.interrupts),
    Register::at(0x60).write(|edu, value, bus| edu.raise(value, bus)),
    Register::at(0x64).write(|edu, value, bus| edu.acknowledge(value, bus)),
    dma::<0>(),
    dma::<1>(),
    dma::<2>(),
    dma::<3>(),
];

impl Function for Edu {
    type Outcome = Vec<u8>; // The buffer after a transfer.

    fn registers() -> &'static [Register] {
        REGISTERS
    }

    fn transferred(&mut self, buffer: Vec<u8>, bus: &Bus<Vec<u8>>) {
        self.buffer = buffer;
        self.dma[3] &= !1;
        self.raise(if self.dma[3] & 4 != 0 { 0x100 } else { 0 }, bus);
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: edu SOCKET")?;
    let identity = Identity::new(0x1234, 0x11e8).with_revision(0x10).with_class(0x00_ff_00);
    let config = ConfigSpace::new(&identity).with_memory_bar(0, 1 << 20).with_interrupt_pin(1).with_msi(1);
    let device = PciFunction::new(config, Edu::default())?;
    Ok(Server::new(Listener::bind(path.as_ref())?, device).run(&Shutdown::new()?)?)
}
