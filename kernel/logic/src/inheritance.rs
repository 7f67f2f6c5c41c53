// SPDX-License-Identifier: MIT OR Apache-2.0
//! Priority inheritance: which tasks wait for which locks, who owns those, and what priority a task has therefore.
//!
//! Only locks that somebody waits for, or that have just been passed on, are known here, and only tasks that wait for one or own one.
//! A task has the best priority of its own and of those that wait for a lock of its, and lends it in turn to the owner of the lock that it
//! waits for itself. A change goes along that chain step by step ([`Graph::update`]), so that whoever holds the graph locked can let others
//! in between. Nothing here recurses.

use alloc::collections::{BTreeMap, BTreeSet};

use slab::Slab;

/// A priority, the smaller the better.
pub type Priority = u32;
/// What is lent to a task that owns no lock that somebody waits for.
pub const NOTHING: Priority = Priority::MAX;
/// Names a task.
pub type Id = usize;

/// How many tasks may stand between one that begins to wait and the one that can run, as on Linux (`kernel.max_lock_depth`).
pub const LONGEST_CHAIN: usize = 1024;

/// Who waits would wait for itself in the end, or the chain is too long to be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlock;

/// The order of those that wait for a lock: better priorities first, and of the same who came first.
type QueueKey = (Priority, u64);

#[derive(Debug)]
struct TaskNode<T> {
    id: Id,
    task: T,
    own: Priority,
    lent: Priority,
    waits_for: Option<(usize, QueueKey)>,
    /// Its locks, by the priority of the best that waits.
    owned: BTreeSet<(Priority, usize)>,
}

impl<T> TaskNode<T> {
    fn effective(&self) -> Priority {
        self.own.min(self.lent)
    }
}

#[derive(Debug)]
struct LockNode<K> {
    key: K,
    owner: usize,
    waiters: BTreeMap<QueueKey, usize>,
    /// Its owner got it from one that ended, and has not taken note of that yet.
    inherited: bool,
}

impl<K> LockNode<K> {
    fn best(&self) -> Priority {
        self.waiters.first_key_value().map_or(NOTHING, |(place, _)| place.0)
    }
}

/// What is known about a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Who owns it.
    pub owner: Id,
    /// It was passed on by [`Graph::inherit`], and nobody has said [`Graph::accept`] since.
    pub inherited: bool,
}

/// What has changed about a task.
#[derive(Debug, PartialEq, Eq)]
pub struct Update<T> {
    /// The task.
    pub task: T,
    /// What is lent to it now; [`NOTHING`] if nothing is.
    pub lent: Priority,
    /// The task that must be looked at next.
    pub next: Option<Id>,
}

/// Tasks and locks. `K` names a lock, `T` is what the user keeps of a task.
#[derive(Debug)]
pub struct Graph<K, T> {
    tasks: Slab<TaskNode<T>>,
    locks: Slab<LockNode<K>>,
    by_id: BTreeMap<Id, usize>,
    by_key: BTreeMap<K, usize>,
    arrivals: u64,
}

impl<K: Copy + Ord, T: Clone> Default for Graph<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Copy + Ord, T: Clone> Graph<K, T> {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self {
            tasks: Slab::new(),
            locks: Slab::new(),
            by_id: BTreeMap::new(),
            by_key: BTreeMap::new(),
            arrivals: 0,
        }
    }

    /// Whether nobody waits for anything and nothing was inherited.
    pub fn is_empty(&self) -> bool {
        self.locks.is_empty()
    }

    /// A lock that somebody waits for or has inherited.
    pub fn lock(&self, key: K) -> Option<Lock> {
        let lock = self.locks.get(*self.by_key.get(&key)?)?;
        Some(Lock { owner: self.tasks.get(lock.owner)?.id, inherited: lock.inherited })
    }

    /// Who owns such a lock.
    pub fn owner(&self, key: K) -> Option<T> {
        let lock = self.locks.get(*self.by_key.get(&key)?)?;
        self.tasks.get(lock.owner).map(|node| node.task.clone())
    }

    /// Who would get it.
    pub fn first_waiter(&self, key: K) -> Option<T> {
        let lock = self.locks.get(*self.by_key.get(&key)?)?;
        let (_, first) = lock.waiters.first_key_value()?;
        self.tasks.get(*first).map(|node| node.task.clone())
    }

    /// The lock that a task waits for.
    pub fn waits_for(&self, id: Id) -> Option<K> {
        let (lock, _) = self.node(id)?.waits_for?;
        self.locks.get(lock).map(|lock| lock.key)
    }

    /// A lock of a task's that somebody waits for.
    pub fn owned_by(&self, id: Id) -> Option<K> {
        let (_, lock) = self.node(id)?.owned.first()?;
        self.locks.get(*lock).map(|lock| lock.key)
    }

    /// How many wait for a lock.
    pub fn waiters(&self, key: K) -> usize {
        let lock = self.by_key.get(&key).and_then(|lock| self.locks.get(*lock));
        lock.map_or(0, |lock| lock.waiters.len())
    }

    fn node(&self, id: Id) -> Option<&TaskNode<T>> {
        self.tasks.get(*self.by_id.get(&id)?)
    }

    fn enter_task(&mut self, id: Id, task: T, own: Priority) -> usize {
        if let Some(&known) = self.by_id.get(&id) {
            return known;
        }
        let node = TaskNode { id, task, own, lent: NOTHING, waits_for: None, owned: BTreeSet::new() };
        let index = self.tasks.insert(node);
        self.by_id.insert(id, index);
        index
    }

    /// Forgets a task that neither waits nor owns anything, unless it has still to be told that nothing is lent to it any more.
    fn forget_if_idle(&mut self, index: usize) {
        let idle =
            |node: &TaskNode<T>| node.waits_for.is_none() && node.owned.is_empty() && node.lent == NOTHING;
        if self.tasks.get(index).is_some_and(idle) {
            let node = self.tasks.remove(index);
            self.by_id.remove(&node.id);
        }
    }

    /// The best that waits for a lock may be another: its owner's list follows, or the lock is forgotten. The owner is returned, to be
    /// [updated](Graph::update).
    fn best_was(&mut self, lock_index: usize, before: Priority) -> Option<Id> {
        let lock = self.locks.get(lock_index)?;
        let (owner_index, best) = (lock.owner, lock.best());
        let is_over = lock.waiters.is_empty() && !lock.inherited;
        let owner = self.tasks.get_mut(owner_index)?;
        if is_over || best != before {
            owner.owned.remove(&(before, lock_index));
        }
        let id = owner.id;
        if is_over {
            let lock = self.locks.remove(lock_index);
            self.by_key.remove(&lock.key);
            self.forget_if_idle(owner_index);
        } else if best != before {
            owner.owned.insert((best, lock_index));
        }
        Some(id)
    }

    /// A task begins to wait for a lock, whose owner is `owner` unless it is known already. Both are given with their own priorities. The
    /// owner must be [updated](Graph::update) then.
    pub fn wait(
        &mut self,
        key: K,
        (id, task, own): (Id, T, Priority),
        owner: impl FnOnce() -> (Id, T, Priority),
    ) -> Result<Id, Deadlock> {
        let known = self.by_key.get(&key).copied();
        let owner = match known.and_then(|lock| self.locks.get(lock)) {
            Some(lock) => lock.owner,
            None => {
                let (owner_id, owner, own) = owner();
                self.enter_task(owner_id, owner, own)
            }
        };
        if self.leads_to(owner, id) {
            self.forget_if_idle(owner);
            return Err(Deadlock);
        }
        let waiter = self.enter_task(id, task, own);
        let lock_index = known.unwrap_or_else(|| {
            let index =
                self.locks.insert(LockNode { key, owner, waiters: BTreeMap::new(), inherited: false });
            self.by_key.insert(key, index);
            if let Some(owner) = self.tasks.get_mut(owner) {
                owner.owned.insert((NOTHING, index));
            }
            index
        });
        self.arrivals += 1;
        let arrival = self.arrivals;
        if let Some(node) = self.tasks.get_mut(waiter) {
            node.own = own;
            let place = (node.effective(), arrival);
            node.waits_for = Some((lock_index, place));
            if let Some(lock) = self.locks.get_mut(lock_index) {
                let before = lock.best();
                lock.waiters.insert(place, waiter);
                return self.best_was(lock_index, before).ok_or(Deadlock);
            }
        }
        Err(Deadlock)
    }

    /// Whether the task at `from` is `id`, or waits for it in the end, or for so many that nobody can tell.
    fn leads_to(&self, from: usize, id: Id) -> bool {
        let mut at = from;
        for _ in 0..LONGEST_CHAIN {
            let Some(node) = self.tasks.get(at) else { return false };
            if node.id == id {
                return true;
            }
            let lock = node.waits_for.and_then(|(lock, _)| self.locks.get(lock));
            match lock {
                Some(lock) => at = lock.owner,
                None => return false,
            }
        }
        true
    }

    /// A task does not wait any more. The owner of what it waited for, if it did, must be [updated](Graph::update).
    pub fn leave(&mut self, id: Id) -> Option<Id> {
        let index = *self.by_id.get(&id)?;
        let (lock_index, place) = self.tasks.get_mut(index)?.waits_for.take()?;
        let lock = self.locks.get_mut(lock_index)?;
        let before = lock.best();
        lock.waiters.remove(&place);
        let owner = self.best_was(lock_index, before);
        self.forget_if_idle(index);
        owner
    }

    /// The owner gives a lock to the best that waits for it, which is returned with its name. It and the former owner must be
    /// [updated](Graph::update). None if nobody waits: the lock is forgotten then.
    pub fn pass_on(&mut self, key: K) -> Option<(Id, T)> {
        self.give(key, false)
    }

    /// The same for an owner that ends: the lock is *inherited* until its new owner [accepts](Graph::accept) it.
    pub fn inherit(&mut self, key: K) -> Option<(Id, T)> {
        self.give(key, true)
    }

    fn give(&mut self, key: K, inherited: bool) -> Option<(Id, T)> {
        let lock_index = *self.by_key.get(&key)?;
        let lock = self.locks.get_mut(lock_index)?;
        let (before, owner) = (lock.best(), lock.owner);
        let next = lock.waiters.pop_first().map(|(_, next)| next);
        lock.inherited = inherited && next.is_some();
        let Some(next) = next else {
            self.best_was(lock_index, before);
            return None;
        };
        lock.owner = next;
        let best = lock.best();
        if let Some(owner) = self.tasks.get_mut(owner) {
            owner.owned.remove(&(before, lock_index));
        }
        self.forget_if_idle(owner);
        let node = self.tasks.get_mut(next)?;
        node.waits_for = None;
        node.owned.insert((best, lock_index));
        let given = (node.id, node.task.clone());
        self.best_was(lock_index, best);
        Some(given)
    }

    /// The owner of an inherited lock has taken note of it.
    pub fn accept(&mut self, key: K) {
        let Some(&lock_index) = self.by_key.get(&key) else { return };
        if let Some(lock) = self.locks.get_mut(lock_index) {
            lock.inherited = false;
            let best = lock.best();
            self.best_was(lock_index, best);
        }
    }

    /// A task has got another priority of its own. It must be [updated](Graph::update).
    pub fn set_own(&mut self, id: Id, own: Priority) {
        let index = self.by_id.get(&id).copied();
        if let Some(node) = index.and_then(|index| self.tasks.get_mut(index)) {
            node.own = own;
        }
    }

    /// Looks again at what is lent to a task, and at its place among those that wait for the same. None if nothing has changed; then
    /// nothing further along the chain has either.
    pub fn update(&mut self, id: Id) -> Option<Update<T>> {
        let index = *self.by_id.get(&id)?;
        let node = self.tasks.get_mut(index)?;
        let lent = node.owned.first().map_or(NOTHING, |(best, _)| *best);
        let is_new = lent != node.lent;
        node.lent = lent;
        let effective = node.effective();
        let task = node.task.clone();
        let moves = node.waits_for.filter(|(_, place)| place.0 != effective);
        let mut next = None;
        if let Some((lock_index, place)) = moves {
            let moved = (effective, place.1);
            node.waits_for = Some((lock_index, moved));
            if let Some(lock) = self.locks.get_mut(lock_index) {
                let before = lock.best();
                lock.waiters.remove(&place);
                lock.waiters.insert(moved, index);
                next = self.best_was(lock_index, before);
            }
        }
        self.forget_if_idle(index);
        (is_new || next.is_some()).then_some(Update { task, lent, next })
    }
}

#[cfg(test)]
mod tests;
