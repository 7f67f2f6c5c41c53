// SPDX-License-Identifier: MIT OR Apache-2.0
//! Futexes that are locks and inherit priorities (FUTEX_LOCK_PI and its like). The word holds the owner's number; a program changes it
//! itself as long as nobody waits. Who waits lends its priority to the owner, and an owner that unlocks passes the lock on to the best
//! that waits.
//!
//! The word is the program's and may say anything at any time. What counts is who owns what in [`WAITERS_AND_OWNERS`]: a word that
//! contradicts it gives EINVAL, as on Linux.
//!
//! Order of locks: the graph, then the table of plain futexes. The program's memory is looked at with the graph locked.

use core::sync::atomic::{AtomicUsize, Ordering};

use alloc::sync::Arc;

use exo_hal::sync::{SpinGuard, SpinLock};
use exo_logic::inheritance::{self, Id};

use super::{
    OWNER, OWNER_DIED, WAITERS, WAITING,
    waiters::{self, Key, Waiter},
};
use crate::{
    errno::{Errno, Result},
    sched::{
        self, spans,
        wait::{Deadline, Ended, wait_until},
    },
    task::{Task, current, table},
    user,
};

type Graph = inheritance::Graph<Key, Arc<Task>>;

static WAITERS_AND_OWNERS: SpinLock<Graph> = SpinLock::held_over_faults(Graph::new());
/// Tasks that wait for one of these locks, are about to, or have just got one.
static USERS: AtomicUsize = AtomicUsize::new(0);
/// Steps along a chain of owners with the graph locked.
const STEPS: usize = 16;
/// Waiters that are moved with the graph locked: for each the whole chain is looked at.
const MOVED_AT_ONCE: usize = 4;

fn id(task: &Arc<Task>) -> Id {
    Arc::as_ptr(task) as Id
}

fn with_priority(task: &Arc<Task>) -> (Id, Arc<Task>, inheritance::Priority) {
    (id(task), task.clone(), task.schedule.policy().priority())
}

/// Whether somebody waits for a lock, so that plain operations on its word are a mistake.
pub(super) fn has_waiters(key: Key) -> bool {
    USERS.load(Ordering::SeqCst) > 0 && WAITERS_AND_OWNERS.lock().lock(key).is_some()
}

/// A key of a word that this writes to.
fn key_to_write(address: usize, private: bool) -> Result<Key> {
    let key = Key::of(address, private)?;
    user::make_writable(address, size_of::<u32>())?;
    Ok(key)
}

/// Counts a task among the [`USERS`] as long as it lives.
struct User;

impl User {
    fn enter() -> Self {
        USERS.fetch_add(1, Ordering::SeqCst);
        WAITING.enter();
        Self
    }
}

impl Drop for User {
    fn drop(&mut self) {
        WAITING.leave();
        USERS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What came of a look at a lock's word.
enum Found {
    /// The lock was free, and is the task's now.
    Free,
    /// It has an owner, whom the graph may not know yet.
    Owned(Arc<Task>),
    /// The word changed meanwhile.
    Changed,
}

/// Takes the lock for `task` or finds its owner. `others_follow` if more are about to wait for it. EFAULT also if the word's page has to be
/// waited for.
fn take_or_find(
    graph: &SpinGuard<'_, Graph>,
    task: &Arc<Task>,
    address: usize,
    key: Key,
    others_follow: bool,
) -> Result<Found> {
    let word = user::now::load_u32(address)?;
    let owner = word & OWNER;
    if owner == task.tid() {
        return Err(Errno::EDEADLK);
    }
    if let Some(lock) = graph.lock(key) {
        let known = graph.owner(key).ok_or(Errno::EINVAL)?;
        let died = word & OWNER_DIED != 0 && owner == 0;
        if !lock.inherited && !died && owner != known.tid() {
            return Err(Errno::EINVAL);
        }
        return Ok(Found::Owned(known));
    }
    if waiters::exist(key) {
        return Err(Errno::EINVAL);
    }
    let new = match owner {
        0 => word & OWNER_DIED | task.tid() | if others_follow { WAITERS } else { 0 },
        _ => word | WAITERS,
    };
    if user::now::compare_exchange_u32(address, word, new)? != word {
        return Ok(Found::Changed);
    }
    if owner == 0 {
        return Ok(Found::Free);
    }
    match table::task(owner).filter(|owner| !owner.owns_nothing.load(Ordering::Relaxed)) {
        Some(owner) => Ok(Found::Owned(owner)),
        // It may have unlocked it before it ended.
        None if user::now::load_u32(address)? != new => Ok(Found::Changed),
        None => Err(Errno::ESRCH),
    }
}

/// Carries a change through the chain of owners.
fn settle(from: Id) {
    let mut next = Some(from);
    while let Some(start) = next {
        let mut graph = WAITERS_AND_OWNERS.lock();
        next = settle_some(&mut graph, start);
        drop(graph);
        // A change that has begun is finished, whoever is to end.
        let _ = spans::point();
    }
}

/// The same for some steps; where to go on.
fn settle_some(graph: &mut Graph, from: Id) -> Option<Id> {
    let mut at = from;
    for _ in 0..STEPS {
        let update = graph.update(at)?;
        // With the graph locked, so that the last that changes it has the last word.
        sched::lend(&update.task, update.lent);
        at = update.next?;
    }
    Some(at)
}

/// Gives a lock to a task that was taken out of the graph for it.
fn grant(graph: &mut Graph, task: &Arc<Task>) {
    task.lock_granted.store(true, Ordering::Release);
    sched::wake(task);
    // It waits for nothing: one step.
    settle_some(graph, id(task));
}

/// FUTEX_LOCK_PI, and with `only_try` FUTEX_TRYLOCK_PI.
pub fn lock(address: usize, private: bool, deadline: Option<Deadline>, only_try: bool) -> Result {
    let task = current().arc();
    let key = key_to_write(address, private)?;
    let _user = User::enter();
    let owner = loop {
        let mut graph = WAITERS_AND_OWNERS.lock();
        match take_or_find(&graph, &task, address, key, false) {
            Ok(Found::Free) => return Ok(0),
            Ok(Found::Owned(_)) if only_try => return Err(Errno::EAGAIN),
            Ok(Found::Owned(owner)) => {
                task.lock_granted.store(false, Ordering::Relaxed);
                let waits = graph.wait(key, with_priority(&task), || with_priority(&owner));
                break waits.map_err(|_| Errno::EDEADLK)?;
            }
            Ok(Found::Changed) => {}
            Err(Errno::EFAULT) => {
                drop(graph);
                user::make_writable(address, size_of::<u32>())?;
            }
            Err(error) => return Err(error),
        }
        if spans::point() {
            return Err(Errno::RESTART_ALWAYS);
        }
    };
    settle(owner);
    let waited = wait_until(deadline, true, || task.lock_granted.load(Ordering::Acquire).then_some(()));
    finish(&task, address, key, waited, Errno::RESTART_ALWAYS)
}

/// The end of a wait for a lock: the task has it, or does not wait any more.
fn finish(
    task: &Arc<Task>,
    address: usize,
    key: Key,
    waited: core::result::Result<(), Ended>,
    interrupted: Errno,
) -> Result {
    let left = loop {
        let mut graph = WAITERS_AND_OWNERS.lock();
        if !task.lock_granted.load(Ordering::Acquire) {
            break graph.leave(id(task));
        }
        let Err(error) = take_note(&mut graph, task, address, key) else { return Ok(0) };
        drop(graph);
        // Its page may have to be waited for.
        if error != Errno::EFAULT || user::make_writable(address, size_of::<u32>()).is_err() {
            pass_to_heir(&mut WAITERS_AND_OWNERS.lock(), task, key);
            return Err(error);
        }
    };
    if let Some(owner) = left {
        settle(owner);
    }
    match waited {
        Err(Ended::TimedOut) => Err(Errno::ETIMEDOUT),
        _ => Err(interrupted),
    }
}

/// A task has got a lock. Who unlocks it writes the new owner into the word; if it ended, the heir does it.
fn take_note(graph: &mut Graph, task: &Arc<Task>, address: usize, key: Key) -> Result<()> {
    if !graph.lock(key).is_some_and(|lock| lock.inherited && lock.owner == id(task)) {
        return Ok(());
    }
    let mut word = user::now::load_u32(address)?;
    loop {
        let new = OWNER_DIED | WAITERS | task.tid();
        match user::now::compare_exchange_u32(address, word, new)? {
            seen if seen == word => break,
            seen => word = seen,
        }
    }
    graph.accept(key);
    Ok(())
}

/// Somebody who cannot write the word any more passes a lock on.
fn pass_to_heir(graph: &mut Graph, from: &Arc<Task>, key: Key) {
    let heir = graph.inherit(key);
    settle_some(graph, id(from));
    if let Some((_, heir)) = heir {
        grant(graph, &heir);
    }
}

/// FUTEX_UNLOCK_PI.
pub fn unlock(address: usize, private: bool) -> Result {
    let task = current().arc();
    loop {
        if address % 4 != 0 {
            return Err(Errno::EINVAL);
        }
        let word = user::load_u32(address)?;
        if word & OWNER != task.tid() {
            return Err(Errno::EPERM);
        }
        let key = key_to_write(address, private)?;
        let mut graph = WAITERS_AND_OWNERS.lock();
        let next = match graph.lock(key) {
            Some(lock) if lock.owner != id(&task) => return Err(Errno::EINVAL),
            Some(_) => Some(graph.first_waiter(key).ok_or(Errno::EINVAL)?),
            None if waiters::exist(key) => return Err(Errno::EINVAL),
            None => None,
        };
        let new = next.as_ref().map_or(0, |next| WAITERS | next.tid());
        let Ok(seen) = user::now::compare_exchange_u32(address, word, new) else {
            // Its page has to be waited for, or is gone.
            drop(graph);
            if spans::point() {
                return Err(Errno::RESTART_ALWAYS);
            }
            continue;
        };
        if seen == word {
            if next.is_some() {
                let given = graph.pass_on(key);
                settle_some(&mut graph, id(&task));
                if let Some((_, next)) = given {
                    grant(&mut graph, &next);
                }
            }
            return Ok(0);
        }
        drop(graph);
        if next.is_some() && seen & OWNER != word & OWNER {
            return Err(Errno::EINVAL);
        }
        if spans::point() {
            return Err(Errno::RESTART_ALWAYS);
        }
    }
}

/// The running thread ends, or starts a program: its locks go to those that wait for them. Who `ends` gets none after that.
pub fn release_all(task: &Arc<Task>, ends: bool) {
    loop {
        {
            let mut graph = WAITERS_AND_OWNERS.lock();
            let Some(key) = graph.owned_by(id(task)) else {
                if ends {
                    task.owns_nothing.store(true, Ordering::Relaxed);
                }
                return;
            };
            pass_to_heir(&mut graph, task, key);
        }
        let _ = spans::point();
    }
}

/// A task's own priority has changed: those that it waits for get it.
pub fn priority_changed(task: &Arc<Task>) {
    if USERS.load(Ordering::SeqCst) == 0 {
        return;
    }
    WAITERS_AND_OWNERS.lock().set_own(id(task), task.schedule.policy().priority());
    settle(id(task));
}

/// FUTEX_WAIT_REQUEUE_PI: waits for the word at `from` until somebody moves this task to the lock at `to`, and then for that.
pub fn wait_requeue(
    from: usize,
    to: usize,
    private: bool,
    expected: u32,
    deadline: Option<Deadline>,
) -> Result {
    let task = current().arc();
    if from == to {
        return Err(Errno::EINVAL);
    }
    let (to_key, from_key) = (Key::of(to, private)?, Key::of(from, private)?);
    let _user = User::enter();
    task.lock_granted.store(false, Ordering::Relaxed);
    let waiter = Waiter::new(from_key, u32::MAX, Some(to_key));
    waiter.enter(from_key);
    let waited = match user::load_u32(from) {
        Err(error) => Err(error.into()),
        Ok(word) if word != expected => Err(Errno::EAGAIN),
        Ok(_) if from_key == to_key => Err(Errno::EINVAL),
        Ok(_) => Ok(wait_until(deadline, true, || task.lock_granted.load(Ordering::Acquire).then_some(()))),
    };
    // Who moves waiters has the graph locked: with it this is either in the table or has been moved.
    let graph = WAITERS_AND_OWNERS.lock();
    if waiter.moved.load(Ordering::Acquire) {
        drop(graph);
        return finish(&task, to, to_key, waited.unwrap_or(Err(Ended::Interrupted)), Errno::EAGAIN);
    }
    waiter.leave();
    match waited? {
        Err(Ended::TimedOut) => Err(Errno::ETIMEDOUT),
        _ => Err(Errno::RESTART_ALWAYS),
    }
}

/// FUTEX_CMP_REQUEUE_PI: gives the lock at `to` to the first that waits for `from`, or lets it wait for that, and up to `count` others too.
pub fn requeue(from: usize, to: usize, private: bool, count: usize, expected: u32) -> Result {
    if from == to {
        return Err(Errno::EINVAL);
    }
    let (from_key, to_key) = (Key::of(from, private)?, Key::of(to, private)?);
    if from_key == to_key {
        return Err(Errno::EINVAL);
    }
    let most = count.saturating_add(1);
    let mut done = 0;
    let mut looked = false;
    loop {
        let mut graph = WAITERS_AND_OWNERS.lock();
        if !looked {
            match user::now::load_u32(from) {
                Ok(word) if word == expected => looked = true,
                Ok(_) => return Err(Errno::EAGAIN),
                Err(_) => {
                    drop(graph);
                    user::load_u32(from)?;
                    if spans::point() {
                        return Err(Errno::RESTART_ALWAYS);
                    }
                    continue;
                }
            }
        }
        let waiters = waiters::first(from_key, (most - done).min(MOVED_AT_ONCE));
        let Some(first) = waiters.first() else { return Ok(done) };
        if first.target != Some(to_key) {
            return Err(Errno::EINVAL);
        }
        let (owner, others) = match take_or_find(&graph, &first.task, to, to_key, count > 0) {
            Ok(Found::Owned(owner)) => (owner, waiters.as_slice()),
            Ok(Found::Free) => {
                take_out(first);
                grant(&mut graph, &first.task);
                done += 1;
                (first.task.clone(), waiters.get(1..).unwrap_or_default())
            }
            Ok(Found::Changed) | Err(Errno::EFAULT) => {
                drop(graph);
                user::make_writable(to, size_of::<u32>())?;
                if spans::point() {
                    return Ok(done);
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        let (moved, result) = move_some(&mut graph, others, (to_key, &owner));
        done += moved;
        drop(graph);
        settle(id(&owner));
        result?;
        if done >= most || spans::point() {
            return Ok(done);
        }
    }
}

/// Moves waiters to a lock that has an owner: how many, and why no more.
fn move_some(
    graph: &mut Graph,
    waiters: &[Arc<Waiter>],
    (key, owner): (Key, &Arc<Task>),
) -> (usize, Result<()>) {
    for (moved, waiter) in waiters.iter().enumerate() {
        if waiter.target != Some(key) {
            return (moved, Err(Errno::EINVAL));
        }
        if graph.wait(key, with_priority(&waiter.task), || with_priority(owner)).is_err() {
            return (moved, Err(Errno::EDEADLK));
        }
        take_out(waiter);
    }
    (waiters.len(), Ok(()))
}

fn take_out(waiter: &Arc<Waiter>) {
    waiter.leave();
    waiter.moved.store(true, Ordering::Release);
}
