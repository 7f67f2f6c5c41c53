// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checks of the feature `lock-checks`: what is held on each CPU, and the crash when [`exo_logic::lock_order`] finds trouble.

use core::{
    cell::UnsafeCell,
    fmt,
    panic::Location,
    ptr,
    sync::atomic::{AtomicBool, AtomicPtr, Ordering},
};

use exo_logic::lock_order::{CLASSES, Class, Held, How, LockOrder, Trouble};

use super::{RawSpin, Use};
use crate::{MAX_CPUS, cpu::percpu};

/// What the checker has to know of a lock.
pub(super) struct LockClass {
    location: &'static Location<'static>,
    key: u64,
    how: Use,
}

impl LockClass {
    /// That of the caller's place.
    #[track_caller]
    pub(super) const fn new(how: Use) -> Self {
        let location = Location::caller();
        Self { location, key: key_of(location), how }
    }
}

/// A number for a place. The compiler may have the same place more than once, so that its address will not do.
const fn key_of(location: &Location<'_>) -> u64 {
    // FNV-1a, <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>.
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let file = location.file().as_bytes();
    let mut at = 0;
    while at < file.len() {
        hash = (hash ^ file[at] as u64).wrapping_mul(PRIME);
        at += 1;
    }
    hash = (hash ^ location.line() as u64).wrapping_mul(PRIME);
    hash = (hash ^ location.column() as u64).wrapping_mul(PRIME);
    // 0 is no key.
    hash | 1
}

static ORDER: LockOrder = LockOrder::new();
/// Where the locks of each class are made.
static LOCATIONS: [AtomicPtr<Location<'static>>; CLASSES] =
    [const { AtomicPtr::new(ptr::null_mut()) }; CLASSES];
/// Which classes may be held while a program's memory is touched.
static OVER_FAULTS: [AtomicBool; CLASSES] = [const { AtomicBool::new(false) }; CLASSES];
/// Something was found and is being reported.
static OVER: AtomicBool = AtomicBool::new(false);

struct HeldHere(UnsafeCell<Held>);
// SAFETY: each CPU touches its own alone, with interrupts off.
unsafe impl Sync for HeldHere {}

static HELD: [HeldHere; MAX_CPUS] = [const { HeldHere(UnsafeCell::new(Held::new())) }; MAX_CPUS];

/// Calls `with` with what this CPU holds, unless a crash is being reported.
fn with_held<R>(with: impl FnOnce(&mut Held) -> R) -> Option<R> {
    if OVER.load(Ordering::Relaxed) {
        return None;
    }
    // SAFETY: this CPU's own; interrupts are off, and no caller takes a lock inside.
    Some(with(unsafe { &mut *HELD[percpu::cpu_index()].0.get() }))
}

fn class_of(lock: &RawSpin) -> Class {
    let class = ORDER.class(lock.class.key).expect("room for all classes of locks");
    LOCATIONS[class.number()].store(ptr::from_ref(lock.class.location).cast_mut(), Ordering::Relaxed);
    OVER_FAULTS[class.number()]
        .store(matches!(lock.class.how, Use::OverFaults | Use::NestedOverFaults), Ordering::Relaxed);
    class
}

fn address_of(lock: &RawSpin) -> usize {
    ptr::from_ref(lock).addr()
}

/// A lock is about to be waited for.
pub(super) fn before_lock(lock: &RawSpin) {
    note(
        lock,
        if matches!(lock.class.how, Use::Nested | Use::NestedOverFaults) { How::Nested } else { How::Wait },
    );
}

/// A lock was free, and taken.
pub(super) fn after_try(lock: &RawSpin) {
    note(lock, How::Try);
}

fn note(lock: &RawSpin, how: How) {
    let found = with_held(|held| {
        let class = class_of(lock);
        ORDER.acquire(held, address_of(lock), class, how).map_err(|trouble| (trouble, class))
    });
    if let Some(Err((trouble, class))) = found {
        report(trouble, class);
    }
}

/// A lock is about to be let go of.
pub(super) fn before_unlock(lock: &RawSpin) {
    with_held(|held| held.release(address_of(lock)));
}

/// Crashes if this CPU holds a spin lock.
pub(super) fn none_is_held(doing: &str) {
    none_is_held_but(doing, |_| false);
}

/// Crashes if this CPU holds a spin lock that is not known to be held while a program's memory is touched.
pub(super) fn none_is_held_over_faults() {
    none_is_held_but("touching a program's memory", |class| {
        OVER_FAULTS[class.number()].load(Ordering::Relaxed)
    });
}

fn none_is_held_but(doing: &str, is_allowed: impl Fn(Class) -> bool) {
    let first = with_held(|held| held.classes().find(|&class| !is_allowed(class))).flatten();
    if let Some(class) = first {
        OVER.store(true, Ordering::Relaxed);
        panic!("lock checks: {doing} with a spin lock held, {}", CallSite(class));
    }
}

/// Where the locks of a class are made.
struct CallSite(Class);

impl fmt::Display for CallSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = LOCATIONS[self.0.number()].load(Ordering::Relaxed);
        // SAFETY: null, or from a reference to a constant.
        match unsafe { location.as_ref() } {
            Some(location) => write!(f, "the one made at {}:{}", location.file(), location.line()),
            None => f.write_str("one of an unknown class"),
        }
    }
}

/// The way round of an inversion: what was taken after what.
struct Way(Class, Class);

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut result = Ok(());
        ORDER.path(self.0, self.1, |class| {
            result = result.and_then(|()| write!(f, "\n    {}, which was taken after", CallSite(class)));
        });
        result.and_then(|()| write!(f, "\n    {}", CallSite(self.0)))
    }
}

#[cold]
fn report(trouble: Trouble, class: Class) -> ! {
    OVER.store(true, Ordering::Relaxed);
    match trouble {
        Trouble::Twice { .. } => {
            panic!("lock checks: a lock is waited for that is held here, {}", CallSite(class))
        }
        Trouble::SameClass { .. } => {
            panic!(
                "lock checks: two locks of one class are held, {}: is there an order for them?",
                CallSite(class)
            )
        }
        Trouble::Inversion { held, wanted } => panic!(
            "lock checks: with a lock held, {}, another is waited for, {}; but elsewhere it was the other way round:{}",
            CallSite(held),
            CallSite(wanted),
            Way(wanted, held)
        ),
        Trouble::TooDeep => panic!("lock checks: too many locks are held at once"),
    }
}
