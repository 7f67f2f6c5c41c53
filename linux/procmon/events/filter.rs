// SPDX-License-Identifier: GPL-2.0

//! Whose events are recorded: everybody's, or those of one process and its descendants.
//!
//! The processes that are followed are a set of numbers, one bit each. A child is followed if its
//! parent is, from the moment on in which it is made; so descendants stay followed when their
//! parent ends and another process adopts them. Asking costs a few instructions and no lock.
//!
//! A filter can be set for a process that already has descendants. They are found by walking all
//! processes until nobody is added any more, while the set is already in use. So a process that is
//! made meanwhile is either added by its parent, if that was in the set by then, or found by a
//! later walk, if not: there is one more walk after the last addition.

use super::with_rcu;
use crate::mechanisms::{
    pid::in_initial_namespace,
    PidRef,
    Process,
    RcuCell, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        barrier::smp_mb,
        rcu,
        Mutex, //
    },
    task::Pid, //
};

/// One more than the largest process number that Linux gives out on 64-bit machines
/// (`PID_MAX_LIMIT` in `linux/threads.h`).
const MOST_PROCESSES: usize = 4 * 1024 * 1024;

/// What [`Filter::number_in_current_ns`] says of a process that the caller cannot see.
const NOT_VISIBLE: Pid = -1;

/// Decides whose events are recorded.
#[pin_data]
pub(crate) struct Filter {
    /// `None` for everybody's.
    #[pin]
    following: RcuCell<Option<ActiveFilter>>,
    /// Held while a set is being made.
    #[pin]
    setting: Mutex<()>,
}

struct ActiveFilter {
    root: Root,
    members: PidSet,
}

/// What the filter was set to.
enum Root {
    Process(PidRef),
    /// A number that no process had then. The next one that gets it is followed.
    Number(Pid),
}

impl Filter {
    /// Records everybody's events.
    ///
    /// # Safety
    ///
    /// As of [`RcuCell::new`].
    pub(super) unsafe fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // SAFETY: By the requirements of this function.
            following <- unsafe { RcuCell::new(None) },
            setting <- new_mutex!(()),
        })
    }

    /// Follows the process that has this number in the caller's PID namespace, and its descendants;
    /// for 0, everybody. The number of a thread means its process.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] for what is no process number; [`ESRCH`] in a PID namespace of its own if no
    /// process has it there; [`ENOMEM`].
    pub(crate) fn set(&self, number: Pid) -> Result {
        if number == 0 {
            let _setting = self.setting.lock();
            return self.following.replace(None, GFP_KERNEL);
        }
        if usize::try_from(number)? >= MOST_PROCESSES {
            return Err(EINVAL);
        }

        let members = PidSet::new()?;
        let root = match PidRef::find(number) {
            Some(process) => Root::Process(process),
            None if in_initial_namespace() => Root::Number(number),
            None => return Err(ESRCH),
        };
        let tgid = match &root {
            Root::Process(pid) => with_rcu(|guard| Process::of(pid, guard).map(Process::tgid)),
            Root::Number(_) => None,
        };
        match (&root, tgid) {
            (_, Some(tgid)) => members.add(tgid),
            (Root::Number(number), None) => members.add(*number),
            // It has ended just now: nobody is followed.
            (Root::Process(_), None) => (),
        }

        let _setting = self.setting.lock();
        self.following
            .replace(Some(ActiveFilter { root, members }), GFP_KERNEL)?;
        with_rcu(|guard| {
            if let Some(following) = self.following.get(guard) {
                if let (Root::Process(_), Some(tgid)) = (&following.root, tgid) {
                    following.members.remove_if_ended(tgid, guard);
                }
                following.members.add_descendants(guard);
            }
        });
        Ok(())
    }

    /// Returns what the filter was set to, as a number of the caller's PID namespace: 0 for
    /// everybody, −1 for a process that is not to be seen there.
    pub(crate) fn number_in_current_ns(&self) -> Pid {
        with_rcu(|guard| match self.following.get(guard) {
            None => 0,
            Some(following) => match &following.root {
                Root::Process(process) => process.in_current_namespace().unwrap_or(NOT_VISIBLE),
                Root::Number(number) if in_initial_namespace() => *number,
                Root::Number(_) => NOT_VISIBLE,
            },
        })
    }

    /// Tells whether a process is followed.
    pub(super) fn follows(&self, tgid: Pid) -> bool {
        with_rcu(|guard| match self.following.get(guard) {
            None => true,
            Some(following) => following.members.contains(tgid),
        })
    }

    /// Notes that `parent` has made `child`. Tells whether the child is followed.
    pub(super) fn on_fork(&self, parent: Pid, child: Pid) -> bool {
        with_rcu(|guard| match self.following.get(guard) {
            None => true,
            Some(following) if following.members.contains(parent) => {
                following.members.add(child);
                true
            }
            Some(following) => following.members.contains(child),
        })
    }

    /// Notes that a process has ended. Tells whether it was followed.
    pub(super) fn on_exit(&self, tgid: Pid) -> bool {
        with_rcu(|guard| match self.following.get(guard) {
            None => true,
            Some(following) => {
                let followed = following.members.contains(tgid);
                if followed {
                    // The number can be another's soon.
                    following.members.remove(tgid);
                }
                followed
            }
        })
    }
}

/// A set of process numbers.
struct PidSet(KVVec<Atomic<u64>>);

impl PidSet {
    fn new() -> Result<Self> {
        // CAST: Lossless, `usize` has at least 32 bits.
        let words = MOST_PROCESSES / u64::BITS as usize;
        let mut members = KVVec::with_capacity(words, GFP_KERNEL)?;
        for _ in 0..words {
            members.push(Atomic::new(0), GFP_KERNEL)?;
        }
        Ok(Self(members))
    }

    fn contains(&self, tgid: Pid) -> bool {
        self.bit(tgid)
            .is_some_and(|(word, bit)| word.load(Relaxed) & bit != 0)
    }

    fn add(&self, tgid: Pid) {
        self.change(tgid, |word, bit| word | bit);
    }

    fn remove(&self, tgid: Pid) {
        self.change(tgid, |word, bit| word & !bit);
    }

    fn change(&self, tgid: Pid, change: impl Fn(u64, u64) -> u64) {
        let Some((word, bit)) = self.bit(tgid) else {
            return;
        };
        let mut old = word.load(Relaxed);
        while let Err(now) = word.cmpxchg(old, change(old, bit), Full) {
            old = now;
        }
    }

    /// Returns the word and the bit in it that stand for a process.
    fn bit(&self, tgid: Pid) -> Option<(&Atomic<u64>, u64)> {
        let number = u32::try_from(tgid).ok()?;
        // CAST: Lossless, `usize` has at least 32 bits.
        let word = self.0.get((number / u64::BITS) as usize)?;
        Some((word, 1 << (number % u64::BITS)))
    }

    /// Removes a process that had ended before the set was in use, such as a zombie: nobody else
    /// does, and whoever gets its number next would be followed. To be called when the set is in
    /// use.
    fn remove_if_ended(&self, tgid: Pid, guard: &rcu::Guard) {
        let mut all = Process::all(guard);
        if !all.any(|process| process.tgid() == tgid && !process.is_ending()) {
            self.remove(tgid);
        }
    }

    /// Adds those whose parent is in the set, until there are no more.
    fn add_descendants(&self, guard: &rcu::Guard) {
        let mut added = true;
        while added {
            added = false;
            for process in Process::all(guard) {
                let tgid = process.tgid();
                if self.contains(process.parent_tgid()) && !self.contains(tgid) {
                    self.add(tgid);
                    // If it has ended before it was added, then nobody removes it but us.
                    smp_mb(kernel::sync::barrier::Full);
                    if process.is_ending() {
                        self.remove(tgid);
                    } else {
                        added = true;
                    }
                }
            }
        }
    }
}
