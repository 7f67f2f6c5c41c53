// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which CPUs have to hear of a change to an address space's page tables, and how they are told: the part of TLB shoot-down that
//! is only about order between CPUs. `tests/loom.rs` tries all orders.
//!
//! A CPU with nothing to do keeps the tables that it has loaded, in lazy TLB mode as Linux calls it: interrupting it for each unmapped page
//! would cost more than all else. When it uses them again it finds out by counts whether it has missed anything.

#[cfg(not(loom))]
use core::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// The CPUs that use an address space, up to 64.
#[derive(Debug, Default)]
pub struct Users {
    /// CPUs that may use what they have cached of the tables.
    active: AtomicU64,
    /// Changes to the tables, counted before each looks who is active …
    begun: AtomicU64,
    /// … and after. One count would not do: a change that was counted before a CPU becomes lazy, and looks who is active
    /// after that, would neither be told nor be missed.
    looked: AtomicU64,
}

/// Of each CPU: how many changes had looked who is active when it became lazy about the tables that it has loaded.
#[derive(Debug, Default)]
pub struct LazyTlb(AtomicU64);

impl LazyTlb {
    /// Nothing is missed.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Users {
    /// The CPUs that must hear of a change which was just made to the tables, as a mask. A CPU that goes on to use the tables at this
    /// moment is either among them or sees the count.
    pub fn to_tell(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::Release);
        // Pairs with those in `load` and `leave_lazy_tlb`: this sees their bit, or they see the change.
        fence(Ordering::SeqCst);
        let active = self.active.load(Ordering::Acquire);
        self.looked.fetch_add(1, Ordering::Release);
        active
    }

    /// This CPU is about to load the tables in place of others, which drops all that it has cached.
    pub fn load(&self, cpu: usize) {
        self.active.fetch_or(bit(cpu), Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// This CPU has loaded other tables.
    pub fn unload(&self, cpu: usize) {
        self.active.fetch_and(!bit(cpu), Ordering::Release);
    }

    /// This CPU keeps the tables loaded, and does not use them. It may say so again before it uses them, and what it has missed since
    /// the first time stays missed.
    pub fn enter_lazy_tlb(&self, cpu: usize, at: &LazyTlb) {
        // Only this CPU changes its bit.
        if self.active.load(Ordering::Relaxed) & bit(cpu) == 0 {
            return;
        }
        // Before the bit goes: who does not see it any more is not among those counted here.
        at.0.store(self.looked.load(Ordering::Acquire), Ordering::Relaxed);
        self.active.fetch_and(!bit(cpu), Ordering::Release);
    }

    /// This CPU uses the tables that it has loaded. True if it may have missed a change and must first forget all that it has
    /// cached.
    #[must_use]
    #[inline]
    pub fn leave_lazy_tlb(&self, cpu: usize, at: &LazyTlb) -> bool {
        if self.active.load(Ordering::Relaxed) & bit(cpu) != 0 {
            return false;
        }
        self.active.fetch_or(bit(cpu), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.begun.load(Ordering::Acquire) != at.0.load(Ordering::Relaxed)
    }
}

fn bit(cpu: usize) -> u64 {
    1 << (cpu % 64)
}

/// What others ask of one CPU: to forget all that it has cached. On cache lines of its own, since those that wait look at it all
/// the time.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Flushes {
    /// Tickets drawn.
    requested: AtomicU64,
    /// The highest ticket that the CPU has served.
    done: AtomicU64,
}

impl Flushes {
    /// Nobody asks for anything.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self { requested: AtomicU64::new(0), done: AtomicU64::new(0) }
    }

    /// Asks; the ticket to wait with.
    pub fn request(&self) -> u64 {
        self.requested.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Whether the CPU has done what it was asked with this ticket.
    pub fn is_done(&self, ticket: u64) -> bool {
        self.done.load(Ordering::Acquire) >= ticket
    }

    /// On the CPU itself: does `flush` if anybody asks for it.
    #[inline]
    pub fn answer(&self, flush: impl FnOnce()) {
        let ticket = self.requested.load(Ordering::Acquire);
        if ticket != self.done.load(Ordering::Relaxed) {
            flush();
            // What a waiting CPU looks for comes after the flush, and covers only requests made before it.
            self.done.store(ticket, Ordering::Release);
        }
    }
}
