// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pages of large files that nobody has any more. The last who lets go of a file may hold a lock, or be in a switch; giving back a
//! million pages takes longer than interrupts may be off. So they are laid aside, and given back before the task that did that returns
//! to its program.

use core::sync::atomic::Ordering;

use alloc::vec::Vec;

use exo_hal::{sync::SpinLock, thread};

use super::page_map::PageMap;
use exo_core::{
    sched::spans,
    thread::{Kind, running, work},
};

/// With no more pages it is not worth it.
const FEW: usize = 256;

static DEAD: SpinLock<Vec<PageMap>> = SpinLock::new(Vec::new());

/// Gives pages back, if they are few; else the running task does it before it goes on in user mode.
pub(super) fn lay_aside(pages: PageMap) {
    if pages.count() <= FEW || !thread::has_current() {
        return;
    }
    let task = running();
    // A thread of the kernel's never gets there.
    if task.kind != Kind::Program {
        return;
    }
    let mut dead = DEAD.lock();
    if dead.try_reserve(1).is_ok() {
        dead.push(pages);
        task.work.fetch_or(work::DEAD_PAGES, Ordering::AcqRel);
    }
}

/// Gives back what was laid aside, by whomever.
pub fn give_back() {
    running().work.fetch_and(!work::DEAD_PAGES, Ordering::AcqRel);
    loop {
        let Some(mut pages) = DEAD.lock().pop() else { return };
        while pages.take_last().is_some() {
            // To the end, also when the task is to end.
            let _ = spans::point();
        }
    }
}
