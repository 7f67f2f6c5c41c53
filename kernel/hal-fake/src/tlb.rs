// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shoot-downs, of which there are none here.

/// Answers those that wait for this CPU. Who calls this waits for another CPU, so the host may run that.
pub fn answer() {
    std::thread::yield_now();
}

/// Shoot-downs so far.
pub fn shootdowns() -> u64 {
    0
}

/// The numbers of the set bits.
pub fn bits(mask: u64) -> impl Iterator<Item = usize> {
    (0..64).filter(move |bit| mask & (1 << bit) != 0)
}
