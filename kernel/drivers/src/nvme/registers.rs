// SPDX-License-Identifier: MIT OR Apache-2.0
//! The controller's registers in BAR 0. Source: NVM Express Base Specification 2.0, section 3.1.3.

use exo_platform::Registers;

/// Offsets of the registers, in bytes.
pub(super) mod offset {
    /// Controller Capabilities, 64 bits.
    pub(crate) const CAPABILITIES: usize = 0x00;
    /// Controller Configuration.
    pub(crate) const CONFIGURATION: usize = 0x14;
    /// Controller Status.
    pub(crate) const STATUS: usize = 0x1c;
    /// Admin Queue Attributes: sizes of both admin queues, less one.
    pub(crate) const ADMIN_ATTRIBUTES: usize = 0x24;
    /// Admin Submission Queue base address, 64 bits.
    pub(crate) const ADMIN_SUBMISSION: usize = 0x28;
    /// Admin Completion Queue base address, 64 bits.
    pub(crate) const ADMIN_COMPLETION: usize = 0x30;
    /// The first doorbell (PCIe transport specification 1.0, section 3.1.2).
    pub(crate) const DOORBELLS: usize = 0x1000;
}

/// What a read gives when there is no device any more.
const GONE: u32 = u32::MAX;

/// What the controller can do (CAP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capabilities(pub(super) u64);

impl Capabilities {
    pub(super) fn read(registers: &Registers) -> Self {
        Self(registers.read64(offset::CAPABILITIES))
    }

    /// Entries that a queue may have at most: MQES, which is less one.
    pub(super) fn max_queue_entries(self) -> u32 {
        (self.0 as u32 & 0xffff) + 1
    }

    /// How long the controller may take to become ready or to stop: TO, in units of 500 ms.
    pub(super) fn ready_timeout_ns(self) -> u64 {
        ((self.0 >> 24) & 0xff).max(1) * 500_000_000
    }

    /// Bytes from one doorbell to the next: 4 << DSTRD.
    pub(super) fn doorbell_stride(self) -> usize {
        4 << ((self.0 >> 32) & 0xf)
    }

    /// Whether the NVM command set is there: CSS bit 0.
    pub(super) fn has_nvm_commands(self) -> bool {
        self.0 & (1 << 37) != 0
    }

    /// Whether memory pages of 4 KiB are allowed: MPSMIN is 0 (2^(12+MPSMIN) bytes is the smallest page).
    pub(super) fn has_4k_pages(self) -> bool {
        (self.0 >> 48) & 0xf == 0
    }
}

/// Fields of the Controller Configuration (CC).
pub(super) mod configuration {
    /// EN: the controller runs.
    pub(crate) const ENABLE: u32 = 1;
    /// SHN = 01b: a normal shutdown is coming.
    pub(crate) const SHUTDOWN: u32 = 1 << 14;
    /// NVM command set, 4 KiB pages, round robin (all zero); submission entries of 2^6 and completion entries of 2^4 bytes.
    pub(crate) const FORMAT: u32 = (6 << 16) | (4 << 20);
}

/// The Controller Status (CSTS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status(u32);

impl Status {
    pub(super) fn read(registers: &Registers) -> Self {
        Self(registers.read32(offset::STATUS))
    }

    /// Nobody answers: the device was pulled out. Its reserved bits are never all set.
    pub(super) fn is_gone(self) -> bool {
        self.0 == GONE
    }

    /// RDY: commands are taken.
    pub(super) fn is_ready(self) -> bool {
        self.0 & 1 != 0
    }

    /// CFS: only a reset helps.
    pub(super) fn is_fatal(self) -> bool {
        self.0 & 2 != 0
    }

    /// SHST = 10b: the shutdown is complete.
    pub(super) fn is_shut_down(self) -> bool {
        (self.0 >> 2) & 3 == 2
    }
}

/// The offset of a queue pair's two doorbells: submission tail and completion head.
pub(super) fn doorbells(queue: u16, stride: usize) -> (usize, usize) {
    let submission = offset::DOORBELLS + 2 * usize::from(queue) * stride;
    (submission, submission + stride)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capabilities_of_qemus_controller_read_as_its_documentation_says() {
        // 2048 entries, contiguous queues, 7.5 s, stride 0, NVM and I/O-specific sets, pages of 4 KiB to 64 KiB.
        let capabilities = Capabilities(0x0040_00a0_0f01_07ff | (1 << 37));
        assert_eq!(capabilities.max_queue_entries(), 2048);
        assert_eq!(capabilities.ready_timeout_ns(), 7_500_000_000);
        assert_eq!(capabilities.doorbell_stride(), 4);
        assert!(capabilities.has_nvm_commands());
        assert!(capabilities.has_4k_pages());
    }

    #[test]
    fn each_queue_has_two_doorbells_a_stride_apart() {
        assert_eq!(doorbells(0, 4), (0x1000, 0x1004));
        assert_eq!(doorbells(3, 4), (0x1018, 0x101c));
        assert_eq!(doorbells(1, 64), (0x1080, 0x10c0));
    }

    #[test]
    fn a_status_of_all_ones_is_a_device_that_was_pulled_out() {
        assert!(Status(u32::MAX).is_gone());
        assert!(!Status(1).is_gone() && Status(1).is_ready() && !Status(1).is_fatal());
        assert!(Status(2).is_fatal() && Status(8).is_shut_down());
    }
}
