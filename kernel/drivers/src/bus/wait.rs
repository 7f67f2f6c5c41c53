// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for devices.

use exo_platform::{now_ns, spin_for_ns};

/// Waits until `is_done`, at most `limit_ns` nanoseconds; whether it came to that. It is asked at least once, and not again for
/// `pause_ns`: a look at a register may keep a device from its work.
pub fn wait_until(limit_ns: u64, pause_ns: u64, mut is_done: impl FnMut() -> bool) -> bool {
    let end = now_ns().saturating_add(limit_ns);
    loop {
        if is_done() {
            return true;
        }
        if now_ns() > end {
            return false;
        }
        spin_for_ns(pause_ns);
    }
}

#[cfg(test)]
mod tests {
    use exo_platform::fake::cpu::{advance, set_clock};

    use super::*;

    #[test]
    fn a_wait_ends_when_it_is_done_or_when_its_time_is_over() {
        set_clock(0);
        let mut asked = 0;
        let mut third = || {
            asked += 1;
            asked == 3
        };
        assert!(wait_until(1_000_000, 10, &mut third));
        assert_eq!((now_ns(), asked), (20, 3));
        assert!(!wait_until(100, 10, || false));
        assert_eq!(now_ns(), 20 + 110);
        advance(1);
        assert!(wait_until(0, 10, || true), "what is done already is not waited for");
    }
}
