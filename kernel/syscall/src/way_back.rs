// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way back to user mode, after a call or an interrupt.

use core::sync::atomic::Ordering;

use exo_hal::trap::Regs;

use crate::{
    dispatch,
    mm::dead_pages,
    sched::{self, spans},
    signal,
    task::{current, oom, work},
};

/// Does all that must happen before the program goes on as `regs` say; they may say something else then.
#[inline]
pub fn to_user(regs: &mut Regs) {
    loop {
        if sched::should_reschedule() {
            sched::schedule();
        }
        match current().work.load(Ordering::Acquire) {
            0 => return spans::leave(regs),
            due if due & work::OUT_OF_MEMORY != 0 => oom::at_the_end_of(regs, dispatch::full),
            due if due & work::DEAD_PAGES != 0 => dead_pages::give_back(),
            _ => {}
        }
        signal::before_user_mode(regs);
    }
}
