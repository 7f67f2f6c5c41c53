// SPDX-License-Identifier: MIT OR Apache-2.0
//! Crashes on demand, so that a test can see how the kernel reports them: `exo.crash=panic`, `exo.crash=stack` or
//! `exo.crash=lock` on the command line crash it where the first program would start. `inversion`, `sleep`, `copy` and `window` do with locks what
//! only the kernel that checks them crashes for.

use core::hint::black_box;

use exo_hal::{
    cpu,
    mm::user::copy_in,
    sync::{self, SpinLock},
};
use exo_logic::boot_options::Options;

/// Crashes if the command line asks for it.
pub fn on_demand() {
    match Options::parse(exo_hal::boot::info().command_line).crash {
        Some("panic") => panic!("asked for by exo.crash=panic"),
        Some("stack") => {
            overflow_stack(0);
        }
        Some("lock") => {
            let lock = SpinLock::new(());
            let _held = lock.lock();
            let _never = lock.lock();
        }
        Some("inversion") => {
            let (first, second) = (SpinLock::new(()), SpinLock::new(()));
            drop((first.lock(), second.lock()));
            drop((second.lock(), first.lock()));
        }
        Some("sleep") => {
            let lock = SpinLock::new(());
            let _held = lock.lock();
            sync::may_sleep();
        }
        Some("copy") => {
            let lock = SpinLock::new(());
            let _held = lock.lock();
            // Nothing is there, which would be an error to who asked.
            let _ = copy_in(&mut [0], 0);
        }
        Some("window") => {
            let lock = SpinLock::new(());
            let _held = lock.lock();
            cpu::interrupt_window();
        }
        _ => {}
    }
}

/// Calls itself until the stack ends; the buffer keeps each call's frame large.
fn overflow_stack(depth: u64) -> u64 {
    let buffer = black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { overflow_stack(depth + 1) + buffer[1] }
}
