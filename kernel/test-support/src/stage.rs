// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine for one test: what each does that has tasks, whatever its tasks are.

use std::{
    any::Any,
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook},
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use exo_hal::{
    hooks::{self, Hooks},
    machine::{self, Failure},
    thread,
};
use parking_lot::{Mutex, MutexGuard};

/// Machines start at a multiple of this time.
pub const ROUND_NS: u64 = 1_000_000_000_000;
/// How long a machine may take on a busy host before its test fails.
const LIMIT: Duration = Duration::from_secs(60);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// A machine did not come to rest, so that there can be no other.
static IS_BROKEN: AtomicBool = AtomicBool::new(false);
static PANIC: Mutex<Option<Box<dyn Any + Send>>> = Mutex::new(None);

static HOOK: Once = Once::new();

thread_local! {
    /// Where this thread has panicked, and with what.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn keep_places() {
    let before = take_hook();
    set_hook(Box::new(move |info| {
        PLACE.set(Some(info.to_string()));
        before(info);
    }));
}

/// A machine that a test has for itself.
pub struct Stage {
    _alone: MutexGuard<'static, ()>,
}

impl Stage {
    /// Waits for the test before, and sets the hooks; those of the first test of a process count.
    ///
    /// # Panics
    /// When the machine of an earlier test has not come to rest.
    pub fn prepare(hooks: Hooks) -> Self {
        let alone = ONE_AT_A_TIME.lock();
        assert!(
            !IS_BROKEN.load(Ordering::SeqCst),
            "the machine of an earlier test has not come to rest: see there, or run this alone"
        );
        hooks::set(hooks);
        HOOK.call_once(keep_places);
        Self { _alone: alone }
    }

    /// Starts the machine, with `cpus` CPUs that wait.
    pub fn power_on(&self, cpus: usize) {
        machine::power_on(cpus, ROUND_NS);
        self.await_rest();
    }

    /// Does `step` in an interrupt of the first CPU, and waits until nothing happens any more.
    ///
    /// # Panics
    /// When something panics that nobody catches, or the machine is still busy after a minute.
    pub fn run(&self, step: impl FnOnce() + Send + 'static) {
        machine::interrupt(0, step);
        self.await_rest();
    }

    fn await_rest(&self) {
        let Err(failure) = machine::wait_until_at_rest(LIMIT) else { return };
        match failure {
            Failure::Panicked(panic) => {
                IS_BROKEN.store(true, Ordering::SeqCst);
                resume_unwind(panic)
            }
            Failure::Busy => self.give_up(&format!("the machine is busy after {LIMIT:?}")),
        }
    }

    /// There can be no other machine after this one.
    ///
    /// # Panics
    /// Always; with what a task has panicked with, if one has.
    pub fn give_up(&self, why: &str) -> ! {
        IS_BROKEN.store(true, Ordering::SeqCst);
        self.check();
        panic!("{why}")
    }

    /// All tasks have ended: so do their threads of the host.
    pub fn end_threads(&self) {
        thread::end_threads();
    }

    /// Fails if a task has.
    ///
    /// # Panics
    /// With what it has panicked with.
    pub fn check(&self) {
        let Some(panic) = PANIC.lock().take() else { return };
        match panic.downcast::<String>() {
            Ok(text) => panic!("{text}"),
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// Does what a task is there for; a panic fails the test, and ends that alone. True if it returned.
pub fn watch(main: impl FnOnce()) -> bool {
    let Err(panic) = catch_unwind(AssertUnwindSafe(main)) else { return true };
    if thread::ends_thread(&*panic) {
        resume_unwind(panic);
    }
    // With its place: what the thread itself has printed belongs to no test.
    note_panic(PLACE.take().map_or(panic, |place| Box::new(place)));
    false
}

/// The test fails with this, if with nothing else before.
pub fn note_panic(panic: Box<dyn Any + Send>) {
    PANIC.lock().get_or_insert(panic);
}
