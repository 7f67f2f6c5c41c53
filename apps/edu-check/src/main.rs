// SPDX-License-Identifier: MIT OR Apache-2.0
//! `edu-check`: asks each PCI device that says that it is QEMU's `edu` (1234:11e8) what that device's documentation
//! (`docs/specs/edu.rst`) promises, from user space, through sysfs. Runs as root in a machine, where no driver has them.
//!
//! So the same questions go to QEMU's own device and to the example of `vfio-user-server`.

mod memory;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use memory::{Page, Registers};

/// Why a device is not what it should be, or cannot be asked.
type Failure = Box<dyn std::error::Error>;

/// Nothing that the device does takes this long; QEMU's own waits for 100 ms before a transfer.
const PATIENCE: Duration = Duration::from_secs(20);

// Registers, by their offsets.
const IDENTITY: usize = 0x00;
const LIVENESS: usize = 0x04;
const FACTORIAL: usize = 0x08;
const STATUS: usize = 0x20;
const INTERRUPTS: usize = 0x24;
const RAISE: usize = 0x60;
const ACKNOWLEDGE: usize = 0x64;
const DMA_SOURCE: usize = 0x80;
const DMA_DESTINATION: usize = 0x88;
const DMA_COUNT: usize = 0x90;
const DMA_COMMAND: usize = 0x98;

/// Bits of [`STATUS`].
const COMPUTING: u32 = 1;
const INTERRUPT_WHEN_DONE: u32 = 0x80;
/// Bits of [`DMA_COMMAND`].
const START: u64 = 1;
const FROM_DEVICE: u64 = 2;
const INTERRUPT: u64 = 4;
/// What a transfer's interrupt shows.
const TRANSFERRED: u32 = 0x100;
/// Where transfers see the device's own memory.
const BUFFER: u64 = 0x4_0000;

/// Offsets in configuration space, the bits of the command register that are set for the check (memory, bus master, no
/// interrupt by the pin, which nobody would handle), and that of the status register that shows the pin.
const CONFIG_COMMAND: u64 = 4;
const CONFIG_STATUS: u64 = 6;
const COMMAND: u16 = 1 << 1 | 1 << 2 | 1 << 10;
const PIN: u16 = 1 << 3;

fn main() -> ExitCode {
    match devices().and_then(|devices| devices.iter().try_for_each(|device| check(device))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edu-check: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The devices with that identity, in the order of their addresses.
fn devices() -> Result<Vec<PathBuf>, Failure> {
    let all = fs::read_dir("/sys/bus/pci/devices")?.map(|entry| entry.map(|entry| entry.path()));
    let mut found = all.collect::<Result<Vec<_>, _>>()?;
    let is = |device: &Path, name: &str, value: &str| {
        fs::read_to_string(device.join(name)).is_ok_and(|text| text.trim() == value)
    };
    found.retain(|device| is(device, "vendor", "0x1234") && is(device, "device", "0x11e8"));
    found.sort();
    if found.is_empty() { Err("there is no device 1234:11e8".into()) } else { Ok(found) }
}

fn check(folder: &Path) -> Result<(), Failure> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let edu = Edu::open(folder).map_err(|error| format!("{name}: {error}"))?;
    for (what, part) in [
        ("identity and liveness", Edu::lives as fn(&Edu) -> Result<(), Failure>),
        ("factorials", Edu::computes),
        ("interrupts", Edu::interrupts),
        ("transfers", Edu::transfers),
    ] {
        part(&edu).map_err(|error| format!("{name}: {what}: {error}"))?;
    }
    let board = fs::read_to_string(folder.join("subsystem_vendor"))?;
    println!("{name}: an edu of {}: ok", board.trim());
    Ok(())
}

/// A device.
struct Edu {
    registers: Registers,
    config: File,
}

impl Edu {
    fn open(folder: &Path) -> Result<Self, Failure> {
        fs::write(folder.join("enable"), "1")?;
        let config = OpenOptions::new().read(true).write(true).open(folder.join("config"))?;
        config.write_all_at(&COMMAND.to_le_bytes(), CONFIG_COMMAND)?;
        let resource = OpenOptions::new().read(true).write(true).open(folder.join("resource0"))?;
        Ok(Self { registers: Registers::map(&resource)?, config })
    }

    fn expect(&self, offset: usize, value: u32) -> Result<(), Failure> {
        match self.registers.read32(offset) {
            found if found == value => Ok(()),
            found => Err(format!("register {offset:#x} is {found:#x}, expected {value:#x}").into()),
        }
    }

    /// Waits until a register has these values of those bits.
    fn wait(&self, offset: usize, mask: u32, value: u32) -> Result<(), Failure> {
        let start = Instant::now();
        while self.registers.read32(offset) & mask != value {
            if start.elapsed() > PATIENCE {
                return Err(format!("register {offset:#x} never has {value:#x} of {mask:#x}").into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether the pin is asserted.
    fn expect_pin(&self, asserted: bool) -> Result<(), Failure> {
        let mut status = [0; 2];
        self.config.read_exact_at(&mut status, CONFIG_STATUS)?;
        match u16::from_le_bytes(status) & PIN != 0 {
            found if found == asserted => Ok(()),
            found => Err(format!("the pin is asserted: {found}, expected {asserted}").into()),
        }
    }

    fn lives(&self) -> Result<(), Failure> {
        self.expect(IDENTITY, 0x0100_00ed)?;
        for word in [0, 0x1234_5678, u32::MAX] {
            self.registers.write32(LIVENESS, word);
            self.expect(LIVENESS, !word)?;
        }
        Ok(())
    }

    fn computes(&self) -> Result<(), Failure> {
        self.registers.write32(STATUS, 0);
        for (number, factorial) in [(0, 1), (1, 1), (5, 120), (10, 3_628_800), (12, 479_001_600)] {
            self.registers.write32(FACTORIAL, number);
            self.wait(STATUS, COMPUTING, 0)?;
            self.expect(FACTORIAL, factorial)?;
        }
        self.expect(INTERRUPTS, 0)
    }

    fn interrupts(&self) -> Result<(), Failure> {
        self.expect_pin(false)?;
        self.registers.write32(RAISE, 0x21);
        self.expect(INTERRUPTS, 0x21)?;
        self.expect_pin(true)?;
        self.registers.write32(ACKNOWLEDGE, 0x20);
        self.expect(INTERRUPTS, 0x01)?;
        self.expect_pin(true)?;
        self.registers.write32(ACKNOWLEDGE, 0x01);
        self.expect(INTERRUPTS, 0)?;
        self.expect_pin(false)?;
        self.registers.write32(STATUS, INTERRUPT_WHEN_DONE);
        self.registers.write32(FACTORIAL, 4);
        self.wait(INTERRUPTS, 1, 1)?;
        self.expect(FACTORIAL, 24)?;
        self.expect_pin(true)?;
        self.registers.write32(ACKNOWLEDGE, 1);
        self.registers.write32(STATUS, 0);
        self.expect_pin(false)
    }

    fn transfers(&self) -> Result<(), Failure> {
        let page = Page::new()?;
        let address = page.physical_address()?;
        let text = b"there and back again";
        page.write(0, text);
        self.transfer(address, BUFFER + 100, text.len(), 0)?;
        self.expect(INTERRUPTS, 0)?;
        self.transfer(BUFFER + 100, address + 2000, text.len(), FROM_DEVICE | INTERRUPT)?;
        self.wait(INTERRUPTS, TRANSFERRED, TRANSFERRED)?;
        self.registers.write32(ACKNOWLEDGE, TRANSFERRED);
        self.expect(INTERRUPTS, 0)?;
        let found = page.read(2000, text.len() + 1);
        if found[..text.len()] != text[..] || found[text.len()] != 0 {
            return Err(format!("what came back is {:?}", String::from_utf8_lossy(&found)).into());
        }
        Ok(())
    }

    fn transfer(&self, source: u64, destination: u64, count: usize, flags: u64) -> Result<(), Failure> {
        self.registers.write64(DMA_SOURCE, source);
        self.registers.write64(DMA_DESTINATION, destination);
        self.registers.write64(DMA_COUNT, count as u64);
        self.registers.write64(DMA_COMMAND, flags | START);
        self.wait(DMA_COMMAND, START as u32, 0)
    }
}
