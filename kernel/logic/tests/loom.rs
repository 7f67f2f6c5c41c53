// SPDX-License-Identifier: MIT OR Apache-2.0
//! All orders in which two CPUs can meet over an address space, a page frame, or a task that is about to sleep:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p exo-logic --test loom`.
#![cfg(loom)]

use exo_logic::frame_count::FrameCount;
use exo_logic::sleep::{State, Waiters};
use exo_logic::translations::{Flushes, LazyTlb, Users};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;

/// The CPU that uses a page, and the one that takes it away.
const USER: usize = 1;
const OTHER: usize = 0;

#[derive(Default)]
struct Machine {
    users: Users,
    lazy: LazyTlb,
    flushes: Flushes,
    /// The page's entry in the tables; 0 is none.
    entry: AtomicU64,
    /// The page's frame belongs to somebody else.
    reused: AtomicBool,
}

/// What a CPU has cached of the entry.
struct Cache(Option<u64>);

impl Cache {
    fn use_page(&mut self, machine: &Machine) {
        let entry = *self.0.get_or_insert_with(|| machine.entry.load(Ordering::Relaxed));
        assert!(
            entry == 0 || !machine.reused.load(Ordering::Acquire),
            "a frame was used that is somebody else's"
        );
    }
}

impl Machine {
    fn new() -> Arc<Self> {
        let machine = Self::default();
        machine.entry.store(1, Ordering::Relaxed);
        machine.users.load(USER);
        Arc::new(machine)
    }

    fn take_page_away(&self) {
        self.entry.store(0, Ordering::Relaxed);
        if self.users.to_tell() & (1 << USER) != 0 {
            let ticket = self.flushes.request();
            while !self.flushes.is_done(ticket) {
                thread::yield_now();
            }
        }
        self.reused.store(true, Ordering::Release);
    }

    fn leave_lazy_tlb(&self, cache: &mut Cache) {
        if self.users.leave_lazy_tlb(USER, &self.lazy) {
            cache.0 = None;
        }
    }
}

/// Runs `user` on one CPU while the other takes the page away; afterwards the first answers until the other is content.
fn meet(user: impl Fn(&Machine, &mut Cache) + Sync + Send + 'static) {
    loom::model(move || {
        let machine = Machine::new();
        let other = {
            let machine = machine.clone();
            thread::spawn(move || machine.take_page_away())
        };
        let mut cache = Cache(None);
        cache.use_page(&machine);
        user(&machine, &mut cache);
        while !machine.reused.load(Ordering::Acquire) {
            machine.flushes.answer(|| cache.0 = None);
            thread::yield_now();
        }
        other.join().unwrap();
        assert!(machine.users.to_tell() & (1 << OTHER) == 0);
    });
}

#[test]
fn a_page_in_use_is_not_reused_before_its_user_has_forgotten_it() {
    meet(|machine, cache| {
        machine.flushes.answer(|| cache.0 = None);
        cache.use_page(machine);
    });
}

#[test]
fn tables_used_again_have_nothing_stale() {
    meet(|machine, cache| {
        machine.users.enter_lazy_tlb(USER, &machine.lazy);
        machine.leave_lazy_tlb(cache);
        cache.use_page(machine);
    });
}

#[test]
fn tables_left_lazily_twice_have_nothing_stale_either() {
    meet(|machine, cache| {
        machine.users.enter_lazy_tlb(USER, &machine.lazy);
        machine.users.enter_lazy_tlb(USER, &machine.lazy);
        machine.leave_lazy_tlb(cache);
        cache.use_page(machine);
    });
}

#[test]
fn tables_loaded_anew_have_nothing_stale() {
    meet(|machine, cache| {
        machine.users.unload(USER);
        machine.users.load(USER);
        cache.0 = None;
        cache.use_page(machine);
    });
}

/// A frame's content and its count. Who has a reference reads; who has the last one reuses the frame, which is a write.
#[derive(Default)]
struct Counted {
    count: FrameCount,
    content: loom::cell::UnsafeCell<u32>,
    freed: AtomicU64,
}

// SAFETY: the accesses to the content are what the test is about: loom finds those that are not ordered.
unsafe impl Sync for Counted {}

impl Counted {
    fn look(&self) {
        assert_eq!(self.freed.load(Ordering::Relaxed), 0, "a free frame was used");
        self.content.with(|_| ());
    }

    fn release(&self) {
        self.look();
        if self.count.release() {
            self.content.with_mut(|_| ());
            assert_eq!(self.freed.fetch_add(1, Ordering::Relaxed), 0, "a frame was freed twice");
        }
    }
}

#[test]
fn a_frame_is_freed_once_and_by_the_last() {
    loom::model(|| {
        let frame = Arc::new(Counted::default());
        frame.count.begin();
        frame.count.share();
        let other = frame.clone();
        let there = thread::spawn(move || {
            other.count.share();
            other.release();
            other.release();
        });
        assert!(frame.count.pin());
        frame.look();
        frame.count.unpin();
        frame.release();
        there.join().unwrap();
        assert_eq!(frame.freed.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn who_finds_itself_the_only_owner_is_it() {
    loom::model(|| {
        let frame = Arc::new(Counted::default());
        frame.count.begin();
        frame.count.share();
        let other = frame.clone();
        let there = thread::spawn(move || other.release());
        // Copy-on-write writes to the frame in place if nobody else has it.
        if frame.count.is_only() {
            frame.content.with_mut(|_| ());
        }
        there.join().unwrap();
        frame.release();
    });
}

/// What a task that waits, and one that wakes it, do in turn: with the fences of [`exo_logic::sleep`], or with one of them missing.
trait Protocol: Default + Send + Sync + 'static {
    fn enter(&self);
    fn begin_sleep(&self);
    fn is_awake(&self) -> bool;
    /// Wakes the task if it waits.
    fn wake(&self);
}

#[derive(Default)]
struct Real {
    waiters: Waiters,
    state: State,
}

impl Protocol for Real {
    fn enter(&self) {
        self.waiters.enter();
    }

    fn begin_sleep(&self) {
        self.state.begin_sleep();
    }

    fn is_awake(&self) -> bool {
        self.state.is_runnable()
    }

    fn wake(&self) {
        if !self.waiters.are_none() {
            self.state.wake();
        }
    }
}

/// The same as the real one, but for one fence.
#[derive(Default)]
struct Fenced<const SLEEPER: bool, const WAKER: bool> {
    waiters: AtomicU64,
    sleeps: AtomicBool,
}

fn fence_if(wanted: bool) {
    if wanted {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
}

impl<const SLEEPER: bool, const WAKER: bool> Protocol for Fenced<SLEEPER, WAKER> {
    fn enter(&self) {
        self.waiters.fetch_add(1, Ordering::Relaxed);
        fence_if(SLEEPER);
    }

    fn begin_sleep(&self) {
        self.sleeps.store(true, Ordering::Relaxed);
        fence_if(SLEEPER);
    }

    fn is_awake(&self) -> bool {
        !self.sleeps.load(Ordering::Acquire)
    }

    fn wake(&self) {
        fence_if(WAKER);
        if self.waiters.load(Ordering::Relaxed) > 0 {
            let _ = self.sleeps.compare_exchange(true, false, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

/// One task waits for a condition that another makes true. It must see it, or be woken: else it sleeps for ever.
fn one_waits_for_another<P: Protocol>() {
    loom::model(|| {
        let both = Arc::new((P::default(), AtomicBool::new(false)));
        let other = both.clone();
        let waker = thread::spawn(move || {
            other.1.store(true, Ordering::Relaxed);
            other.0.wake();
        });
        let (protocol, condition) = &*both;
        protocol.enter();
        protocol.begin_sleep();
        let seen = condition.load(Ordering::Relaxed);
        waker.join().unwrap();
        assert!(seen || protocol.is_awake(), "a wake-up was lost");
    });
}

#[test]
fn no_wake_up_is_lost() {
    one_waits_for_another::<Real>();
    one_waits_for_another::<Fenced<true, true>>();
}

#[test]
#[should_panic(expected = "a wake-up was lost")]
fn without_the_wakers_fence_one_is_lost() {
    one_waits_for_another::<Fenced<true, false>>();
}

#[test]
#[should_panic(expected = "a wake-up was lost")]
fn without_the_sleepers_fence_one_is_lost() {
    one_waits_for_another::<Fenced<false, true>>();
}

/// A futex: the condition is the program's own word, and the waker changes it without knowing of the kernel. Two words, two threads that
/// wait for each other's.
#[test]
fn two_that_wake_each_other_do_not_both_sleep() {
    loom::model(|| {
        let both =
            Arc::new([(Real::default(), AtomicBool::new(false)), (Real::default(), AtomicBool::new(false))]);
        let turn = |own: usize, both: &[(Real, AtomicBool); 2]| {
            let (own, other) = (&both[own], &both[1 - own]);
            other.1.store(true, Ordering::Relaxed);
            other.0.wake();
            own.0.enter();
            own.0.begin_sleep();
            own.1.load(Ordering::Relaxed)
        };
        let there = both.clone();
        let other = thread::spawn(move || turn(1, &there));
        let seen = turn(0, &both);
        let seen_there = other.join().unwrap();
        for (index, seen) in [seen, seen_there].into_iter().enumerate() {
            assert!(seen || both[index].0.is_awake(), "thread {index} sleeps for ever");
        }
    });
}
