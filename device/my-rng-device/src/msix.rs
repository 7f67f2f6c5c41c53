// SPDX-License-Identifier: MIT OR Apache-2.0
//! The region of MSI-X. The table in it is the monitor's; what it asks the device for are the pending bits.

use vfio_user_server::{Interrupts, IrqIndex};

/// Reads what is at `offset`: bits for so many vectors, from that offset on, and 0 everywhere else.
pub fn read(
    interrupts: Option<&Interrupts>,
    (pending_bits, vectors): (u32, u16),
    offset: u64,
    data: &mut [u8],
) {
    data.fill(0);
    let Some(interrupts) = interrupts else { return };
    for (byte, place) in data.iter_mut().zip(offset..) {
        let Some(first) = place.checked_sub(pending_bits.into()).and_then(|byte| byte.checked_mul(8)) else {
            continue;
        };
        for bit in 0..8 {
            let vector = u32::try_from(first + bit).ok().filter(|&vector| vector < vectors.into());
            if vector.is_some_and(|vector| interrupts.is_pending(IrqIndex::Msix, vector)) {
                *byte |= 1 << bit;
            }
        }
    }
}
