// SPDX-License-Identifier: GPL-2.0

//! Making sure that a device no longer writes to memory.

use core::ptr;
use kernel::{
    bindings,
    device::Bound,
    pci,
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// How long a transfer that is under way may take.
const DMA_SETTLE_TIME: Delta = Delta::from_millis(10);

/// Takes the right to access memory away from a device that could not be told to stop. Returns
/// whether it can be relied on that it has lost it.
///
/// That is so if the device shows it (its command register says so, afterwards), or if the hot-plug
/// controller has seen it leave. If nothing answers at all, it may be dead, or just very slow: then
/// nobody knows.
pub(crate) fn disable_dma(pdev: &pci::Device<Bound>) -> bool {
    // `pci::Device` is a transparent wrapper of `struct pci_dev`.
    let raw = ptr::from_ref(pdev).cast_mut().cast::<bindings::pci_dev>();
    let mut command: u16 = u16::MAX;

    // SAFETY: The device is bound, so it is there.
    let removed = unsafe {
        bindings::pci_clear_master(raw);
        (*raw).error_state == bindings::pci_channel_io_perm_failure
    };
    fsleep(DMA_SETTLE_TIME);

    // SAFETY: As above, and `command` can be written to.
    let failed = unsafe {
        bindings::pci_read_config_word(raw, bindings::PCI_COMMAND as c_int, &mut command)
    };
    // CAST: One bit of sixteen.
    let master = command & bindings::PCI_COMMAND_MASTER as u16 != 0;
    removed || (failed == 0 && command != u16::MAX && !master)
}
