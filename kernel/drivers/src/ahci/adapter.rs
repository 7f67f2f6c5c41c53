// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host bus adapter: hand-off, reset, and finding the disks at its ports. Source: Serial ATA AHCI 1.3.1, section 10.

use alloc::{sync::Arc, vec::Vec};

use exo_platform::{InterruptHandler, Registers, SpinLock, pci};

use super::{
    identify::Drive,
    memory::PortMemory,
    port::Port,
    registers::{BAR, MAX_PORTS, host, port},
};
use crate::{
    DriverError,
    block::{Cause, Controller, DeviceName, Requests, slots},
    bus::{self, Access},
};

/// How long the BIOS may take to give the adapter up, and once more if it says that it is busy with it (AHCI 10.6.3).
const HANDOFF_LIMIT_NS: u64 = 25_000_000;
const HANDOFF_BUSY_LIMIT_NS: u64 = 2_000_000_000;
/// How long the adapter's reset may take (AHCI 10.4.3).
const RESET_LIMIT_NS: u64 = 1_000_000_000;
/// How long a port may take to stop (AHCI 10.1.2).
const STOP_LIMIT_NS: u64 = 500_000_000;
/// How long after a reset a drive may take until it is detected (AHCI 10.1.1: 10 ms), and until it is no more busy.
const DETECT_LIMIT_NS: u64 = 10_000_000;
const SPIN_UP_LIMIT_NS: u64 = 10_000_000_000;
/// How long IDENTIFY may take.
const IDENTIFY_LIMIT_NS: u64 = 5_000_000_000;
/// Between two looks at a register.
const PAUSE_NS: u64 = 10_000;

/// The part of the adapter that takes interrupts.
struct Ports {
    registers: Registers,
    ports: Vec<Arc<Port>>,
}

impl InterruptHandler for Ports {
    fn interrupt(&self, _index: usize) {
        let pending = self.registers.read32(host::INTERRUPTS);
        if pending == u32::MAX {
            self.ports.iter().for_each(|port| port.close(Cause::Removed));
            return;
        }
        for port in self.ports.iter().filter(|port| pending & (1 << port.number) != 0) {
            port.interrupt();
        }
        // After the ports: a port that still reports sets its bit again.
        if pending != 0 {
            self.registers.write32(host::INTERRUPTS, pending);
        }
    }
}

/// An adapter that was started.
pub(super) struct Adapter {
    function: pci::Function,
    registers: Registers,
    ports: Vec<Arc<Port>>,
    interrupts: SpinLock<Option<pci::Interrupts>>,
}

impl Controller for Adapter {
    type Handle = pci::Function;

    fn start(name: DeviceName, function: &pci::Function) -> Result<Arc<Self>, DriverError> {
        let mut ports = Vec::new();
        // Declared after the ports, whose memory the adapter is told of: on an early end it loses access before that is freed.
        let access = Access::grant(function);
        let registers = function.bar(BAR)?;
        if registers.read32(host::CAPABILITIES) == u32::MAX {
            return Err(DriverError::Removed);
        }
        take_over(&registers)?;
        reset(&registers)?;
        let capabilities = registers.read32(host::CAPABILITIES);
        let implemented = registers.read32(host::PORTS);
        let candidates: Vec<Candidate> = (0..MAX_PORTS)
            .filter(|number| implemented & (1 << number) != 0)
            .filter_map(|number| Some((number, registers.part(port::base(number), port::BYTES)?)))
            .map(|(number, registers)| Candidate { number, registers })
            .collect();
        // All links come up at the same time.
        for candidate in &candidates {
            candidate.power_on();
        }
        // Not all of them have a drive, which is no error.
        wait_until(DETECT_LIMIT_NS, || candidates.iter().all(Candidate::is_linked));
        for candidate in candidates.iter().filter(|candidate| candidate.is_linked()) {
            let name = slots::numbered(&name, 'p', candidate.number as u32);
            // One port that is no disk, or a broken one, is no reason to do without the others.
            if let Ok(port) = candidate.start(name, function, capabilities) {
                ports.push(Arc::new(port));
            }
        }
        let handler = Arc::new(Ports { registers: registers.clone(), ports: ports.clone() });
        let interrupts = function.interrupts(1, handler)?;
        for port in &ports {
            port.registers.write32(port::INTERRUPTS, u32::MAX);
            port.registers.write32(port::INTERRUPT_ENABLE, port::INTERRUPTS_WANTED);
        }
        registers.write32(host::INTERRUPTS, u32::MAX);
        registers.write32(host::CONTROL, host::AHCI_ENABLE | host::INTERRUPT_ENABLE);
        access.keep();
        let interrupts = SpinLock::new(Some(interrupts));
        Ok(Arc::new(Self { function: function.clone(), registers, ports, interrupts }))
    }

    fn disks(self: &Arc<Self>) -> Vec<Arc<dyn Requests>> {
        self.ports.iter().map(|port| port.clone() as Arc<dyn Requests>).collect()
    }

    fn is_present(&self) -> bool {
        self.registers.read32(host::CAPABILITIES) != u32::MAX
    }

    fn remove(&self) {
        self.function.disable();
        self.ports.iter().for_each(|port| port.close(Cause::Removed));
        *self.interrupts.lock() = None;
    }

    fn shut_down(&self) -> Result<(), DriverError> {
        let mut result = Ok(());
        for port in &self.ports {
            result = result.and(port.shut_down());
        }
        self.registers.write32(host::CONTROL, host::AHCI_ENABLE);
        self.function.disable();
        *self.interrupts.lock() = None;
        result
    }
}

/// Waits until `is_done`, at most `limit_ns`; whether it came to that.
fn wait_until(limit_ns: u64, is_done: impl FnMut() -> bool) -> bool {
    bus::wait_until(limit_ns, PAUSE_NS, is_done)
}

/// Takes the adapter from the BIOS, if that has it.
fn take_over(registers: &Registers) -> Result<(), DriverError> {
    if registers.read32(host::CAPABILITIES_2) & host::HAS_HANDOFF == 0 {
        return Ok(());
    }
    let handoff = registers.read32(host::HANDOFF);
    registers.write32(host::HANDOFF, handoff | host::SYSTEM_OWNS);
    let is_free = || registers.read32(host::HANDOFF) & host::BIOS_OWNS == 0;
    let is_done = wait_until(HANDOFF_LIMIT_NS, is_free)
        || (registers.read32(host::HANDOFF) & host::BIOS_BUSY != 0
            && wait_until(HANDOFF_BUSY_LIMIT_NS, is_free));
    if is_done { Ok(()) } else { Err(DriverError::TimedOut("the BIOS to give the adapter up")) }
}

/// Resets the adapter and all its ports, and puts it into AHCI mode.
fn reset(registers: &Registers) -> Result<(), DriverError> {
    registers.write32(host::CONTROL, host::AHCI_ENABLE);
    registers.write32(host::CONTROL, host::AHCI_ENABLE | host::RESET);
    if !wait_until(RESET_LIMIT_NS, || registers.read32(host::CONTROL) & host::RESET == 0) {
        return Err(DriverError::TimedOut("the adapter's reset"));
    }
    registers.write32(host::CONTROL, host::AHCI_ENABLE);
    Ok(())
}

/// A port that may have a disk.
struct Candidate {
    number: usize,
    registers: Registers,
}

impl Candidate {
    fn is_linked(&self) -> bool {
        port::detection(self.registers.read32(port::SATA_STATUS)) == port::DETECTED
    }

    fn power_on(&self) {
        self.registers.write32(port::SATA_CONTROL, port::NO_POWER_SAVING);
        self.registers.write32(port::COMMAND, port::SPIN_UP | port::POWER_ON | port::LINK_ACTIVE);
    }

    /// Makes a disk of the port.
    fn start(
        &self,
        name: DeviceName,
        function: &pci::Function,
        capabilities: u32,
    ) -> Result<Port, DriverError> {
        let memory = PortMemory::new(capabilities & host::WIDE_ADDRESSES != 0)?;
        self.stop()?;
        let drive = self.look(&memory).inspect_err(|_| {
            // The memory goes back: the adapter must not use it any more.
            if self.stop().is_err() {
                function.disable();
            }
        })?;
        memory.clear_frames();
        let queueing = (capabilities & host::NATIVE_QUEUEING != 0).then(|| host::command_slots(capabilities));
        let registers = self.registers.clone();
        Ok(Port::new(name, self.number, registers, function.clone(), memory, drive, queueing))
    }

    /// Lets the adapter use `memory` for the port, and finds out what is there. After an error it may still use it.
    fn look(&self, memory: &PortMemory) -> Result<Drive, DriverError> {
        let (list, received) = memory.addresses();
        for (at, address) in [(port::COMMAND_LIST, list), (port::RECEIVED, received)] {
            self.registers.write32(at, address as u32);
            self.registers.write32(at + 4, (address >> 32) as u32);
        }
        self.registers.write32(port::SATA_ERROR, u32::MAX);
        self.registers.write32(port::INTERRUPTS, u32::MAX);
        let command = self.registers.read32(port::COMMAND);
        self.registers.write32(port::COMMAND, command | port::RECEIVE_ENABLE);
        let busy = port::BUSY | port::DATA_REQUEST;
        if !wait_until(SPIN_UP_LIMIT_NS, || self.registers.read32(port::TASK_FILE) & busy == 0) {
            return Err(DriverError::TimedOut("a drive to spin up"));
        }
        match self.registers.read32(port::SIGNATURE) {
            port::DISK => {}
            port::PACKET_DEVICE => return Err(DriverError::Declined("an ATAPI drive")),
            port::MULTIPLIER => return Err(DriverError::Declined("a port multiplier")),
            _ => return Err(DriverError::Declined("no disk")),
        }
        let command = self.registers.read32(port::COMMAND);
        self.registers.write32(port::COMMAND, command | port::START);
        self.identify(memory)
    }

    /// Stops the command list, then the receiving of frames.
    fn stop(&self) -> Result<(), DriverError> {
        for (bit, running) in
            [(port::START, port::LIST_RUNNING), (port::RECEIVE_ENABLE, port::RECEIVE_RUNNING)]
        {
            let command = self.registers.read32(port::COMMAND);
            self.registers.write32(port::COMMAND, command & !bit);
            if !wait_until(STOP_LIMIT_NS, || self.registers.read32(port::COMMAND) & running == 0) {
                return Err(DriverError::TimedOut("a port to stop"));
            }
        }
        Ok(())
    }

    fn identify(&self, memory: &PortMemory) -> Result<Drive, DriverError> {
        memory.lay_out_identify();
        self.registers.write32(port::COMMAND_ISSUE, 1);
        if !wait_until(IDENTIFY_LIMIT_NS, || self.registers.read32(port::COMMAND_ISSUE) & 1 == 0) {
            return Err(DriverError::TimedOut("the answer to IDENTIFY DEVICE"));
        }
        if self.registers.read32(port::TASK_FILE) & port::ERROR != 0 {
            return Err(DriverError::Device("IDENTIFY DEVICE failed"));
        }
        Drive::parse(&memory.identity()).map_err(|_| DriverError::Declined("a drive without sectors for us"))
    }
}
