// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers of an AHCI host bus adapter (BAR 5). Source: Serial ATA AHCI 1.3.1, section 3.

/// The PCI base address register that maps the registers (AHCI 2.1.11).
pub(super) const BAR: u8 = 5;
/// Ports that an adapter has at most.
pub(super) const MAX_PORTS: usize = 32;

/// Registers of the whole adapter: offsets and bits.
pub(super) mod host {
    /// Host Capabilities.
    pub(crate) const CAPABILITIES: usize = 0x00;
    /// Global Host Control.
    pub(crate) const CONTROL: usize = 0x04;
    /// Interrupt Status: one bit for each port.
    pub(crate) const INTERRUPTS: usize = 0x08;
    /// Ports Implemented: one bit for each.
    pub(crate) const PORTS: usize = 0x0c;
    /// Host Capabilities Extended.
    pub(crate) const CAPABILITIES_2: usize = 0x24;
    /// BIOS/OS Handoff Control and Status.
    pub(crate) const HANDOFF: usize = 0x28;

    /// CONTROL: HR, resets the adapter; reads as set until that is done.
    pub(crate) const RESET: u32 = 1;
    /// CONTROL: IE, lets ports interrupt.
    pub(crate) const INTERRUPT_ENABLE: u32 = 1 << 1;
    /// CONTROL: AE, AHCI instead of the old IDE registers.
    pub(crate) const AHCI_ENABLE: u32 = 1 << 31;

    /// CAPABILITIES: SNCQ, native command queueing.
    pub(crate) const NATIVE_QUEUEING: u32 = 1 << 30;
    /// CAPABILITIES: S64A, addresses of 64 bits.
    pub(crate) const WIDE_ADDRESSES: u32 = 1 << 31;

    /// CAPABILITIES_2: BOH, there is a hand-off from the BIOS.
    pub(crate) const HAS_HANDOFF: u32 = 1;
    /// HANDOFF: BOS, the BIOS owns the adapter; OOS, the system does; BB, the BIOS is busy giving it up.
    pub(crate) const BIOS_OWNS: u32 = 1;
    /// See [`BIOS_OWNS`].
    pub(crate) const SYSTEM_OWNS: u32 = 1 << 1;
    /// See [`BIOS_OWNS`].
    pub(crate) const BIOS_BUSY: u32 = 1 << 4;

    /// Command slots of each port, from CAPABILITIES: NCS, less one in bits 8 to 12.
    pub(crate) fn command_slots(capabilities: u32) -> u32 {
        ((capabilities >> 8) & 0x1f) + 1
    }
}

/// Registers of one port, from [`port::base`]: offsets and bits.
pub(super) mod port {
    /// Bytes of one port's registers.
    pub(crate) const BYTES: usize = 0x80;
    /// Command List Base Address, 64 bits.
    pub(crate) const COMMAND_LIST: usize = 0x00;
    /// FIS Base Address, 64 bits: where received frames go.
    pub(crate) const RECEIVED: usize = 0x08;
    /// Interrupt Status; write ones to clear.
    pub(crate) const INTERRUPTS: usize = 0x10;
    /// Interrupt Enable.
    pub(crate) const INTERRUPT_ENABLE: usize = 0x14;
    /// Command and Status.
    pub(crate) const COMMAND: usize = 0x18;
    /// Task File Data: the drive's status and error.
    pub(crate) const TASK_FILE: usize = 0x20;
    /// Signature: what kind of drive it is.
    pub(crate) const SIGNATURE: usize = 0x24;
    /// Serial ATA Status.
    pub(crate) const SATA_STATUS: usize = 0x28;
    /// Serial ATA Control.
    pub(crate) const SATA_CONTROL: usize = 0x2c;
    /// Serial ATA Error; write ones to clear.
    pub(crate) const SATA_ERROR: usize = 0x30;
    /// Serial ATA Active: one bit for each queued command.
    pub(crate) const SATA_ACTIVE: usize = 0x34;
    /// Command Issue: one bit for each command.
    pub(crate) const COMMAND_ISSUE: usize = 0x38;

    /// COMMAND: ST, the adapter works on the command list.
    pub(crate) const START: u32 = 1;
    /// COMMAND: SUD, spin the drive up.
    pub(crate) const SPIN_UP: u32 = 1 << 1;
    /// COMMAND: POD, power the drive.
    pub(crate) const POWER_ON: u32 = 1 << 2;
    /// COMMAND: FRE, the adapter stores received frames.
    pub(crate) const RECEIVE_ENABLE: u32 = 1 << 4;
    /// COMMAND: FR and CR, receiving and the command list run.
    pub(crate) const RECEIVE_RUNNING: u32 = 1 << 14;
    /// See [`RECEIVE_RUNNING`].
    pub(crate) const LIST_RUNNING: u32 = 1 << 15;
    /// COMMAND: ICC = 1, the link's power state is "active".
    pub(crate) const LINK_ACTIVE: u32 = 1 << 28;

    /// INTERRUPTS: DHRS, a register frame came from the drive: a command that is not queued ended.
    pub(crate) const REGISTER_FRAME: u32 = 1;
    /// INTERRUPTS: PSS, a PIO set-up frame came.
    pub(crate) const PIO_FRAME: u32 = 1 << 1;
    /// INTERRUPTS: SDBS, a set-device-bits frame came: queued commands ended.
    pub(crate) const DEVICE_BITS: u32 = 1 << 3;
    /// INTERRUPTS: PCS and PRCS, a drive came or went.
    pub(crate) const CONNECT_CHANGE: u32 = 1 << 6;
    /// See [`CONNECT_CHANGE`].
    pub(crate) const PHY_CHANGE: u32 = 1 << 22;
    /// INTERRUPTS: INFS, IFS, HBDS, HBFS and TFES, the errors: of the link, of the adapter's memory accesses, of the drive.
    pub(crate) const ERRORS: u32 = (1 << 26) | (1 << 27) | (1 << 28) | (1 << 29) | TASK_FILE_ERROR;
    /// INTERRUPTS: TFES, the drive reports an error.
    pub(crate) const TASK_FILE_ERROR: u32 = 1 << 30;
    /// What is no end of a command in good order.
    pub(crate) const TROUBLE: u32 = CONNECT_CHANGE | PHY_CHANGE | ERRORS;
    /// What interrupts when the port runs.
    pub(crate) const INTERRUPTS_WANTED: u32 = REGISTER_FRAME | PIO_FRAME | DEVICE_BITS | TROUBLE;

    /// TASK_FILE: the drive is busy, wants data, or reports an error (ATA8-ACS, status field).
    pub(crate) const BUSY: u32 = 1 << 7;
    /// See [`BUSY`].
    pub(crate) const DATA_REQUEST: u32 = 1 << 3;
    /// See [`BUSY`].
    pub(crate) const ERROR: u32 = 1;

    /// SIGNATURE of an ATA disk.
    pub(crate) const DISK: u32 = 0x0000_0101;
    /// SIGNATURE of an ATAPI drive, such as a DVD drive.
    pub(crate) const PACKET_DEVICE: u32 = 0xeb14_0101;
    /// SIGNATURE of a port multiplier.
    pub(crate) const MULTIPLIER: u32 = 0x9669_0101;

    /// SATA_STATUS: DET = 3, a drive is there and the link is up.
    pub(crate) const DETECTED: u32 = 3;
    /// SATA_CONTROL: DET = 1, reset the link (COMRESET); IPM = 3, no power saving on the link.
    pub(crate) const LINK_RESET: u32 = 1;
    /// See [`LINK_RESET`].
    pub(crate) const NO_POWER_SAVING: u32 = 3 << 8;

    /// Where port `number`'s registers begin.
    pub(crate) fn base(number: usize) -> usize {
        0x100 + number * BYTES
    }

    /// DET of a SATA_STATUS value.
    pub(crate) fn detection(status: u32) -> u32 {
        status & 0xf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemus_adapter_has_32_slots_and_queueing() {
        // CAP of QEMU's ich9-ahci with six ports.
        let capabilities = 0xc014_1f05;
        assert_eq!(host::command_slots(capabilities), 32);
        assert_ne!(capabilities & host::NATIVE_QUEUEING, 0);
        assert_ne!(capabilities & host::WIDE_ADDRESSES, 0);
    }

    #[test]
    fn ports_follow_each_other() {
        assert_eq!(port::base(0), 0x100);
        assert_eq!(port::base(MAX_PORTS - 1) + port::BYTES, 0x1100);
    }
}
