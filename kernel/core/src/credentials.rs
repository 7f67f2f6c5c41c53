// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who a thread acts for: user and group ids, capabilities; and what is counted for each user.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::sync::SpinLock;
use exo_logic::credentials::{Capabilities, Ids, capability};

/// Most supplementary groups, as on Linux.
pub const GROUPS_MAX: usize = 65_536;

/// What is counted for all processes of a real user id together.
#[derive(Debug)]
pub struct User {
    id: u32,
    /// Threads.
    pub threads: AtomicUsize,
    /// Queued signals.
    pub signals: AtomicUsize,
    /// Files on their way through sockets.
    pub in_flight: AtomicUsize,
    /// Queues of inotify.
    pub watch_queues: AtomicUsize,
    /// Watches of inotify.
    pub watches: AtomicUsize,
}

static USERS: SpinLock<BTreeMap<u32, Weak<User>>> = SpinLock::new(BTreeMap::new());

impl User {
    /// The counts of the user `id`.
    pub fn find(id: u32) -> Arc<Self> {
        let mut users = USERS.lock();
        if let Some(user) = users.get(&id).and_then(Weak::upgrade) {
            return user;
        }
        let count = || AtomicUsize::new(0);
        let user = Arc::new(Self {
            id,
            threads: count(),
            signals: count(),
            in_flight: count(),
            watch_queues: count(),
            watches: count(),
        });
        users.insert(id, Arc::downgrade(&user));
        user
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut users = USERS.lock();
        if users.get(&self.id).is_some_and(|user| user.strong_count() == 0) {
            users.remove(&self.id);
        }
    }
}

/// The credentials of a thread. They never change: a thread gets others instead.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// User ids.
    pub users: Ids,
    /// Group ids.
    pub groups: Ids,
    /// Supplementary groups, sorted.
    pub supplementary: Arc<Vec<u32>>,
    /// What the thread may do beyond an ordinary user.
    pub capabilities: Capabilities,
    /// Capabilities outlive the loss of the superuser's ids, until the next exec (PR_SET_KEEPCAPS).
    pub keeps_capabilities: bool,
    /// Who is charged: the real user.
    pub user: Arc<User>,
}

impl Credentials {
    /// The superuser's.
    pub fn root() -> Self {
        Self {
            users: Ids::default(),
            groups: Ids::default(),
            supplementary: Arc::new(Vec::new()),
            capabilities: Capabilities::ROOT,
            keeps_capabilities: false,
            user: User::find(0),
        }
    }

    /// The same with other user ids.
    pub fn with_users(&self, users: Ids) -> Self {
        let capabilities = self.capabilities.after_users(&self.users, &users, self.keeps_capabilities);
        let user = if users.real == self.users.real { self.user.clone() } else { User::find(users.real) };
        Self { users, capabilities, user, ..self.clone() }
    }

    /// The ids in the order of [`Which`].
    fn quick_ids(&self) -> [u32; 6] {
        let (users, groups) = (&self.users, &self.groups);
        [users.real, users.effective, groups.real, groups.effective, users.fs, groups.fs]
    }

    /// Those of a program that is started, which acts as another user or group if its file says so.
    pub fn after_exec(&self, user: Option<u32>, group: Option<u32>) -> Self {
        let settle = |ids: Ids, acts_as: Option<u32>| {
            let effective = acts_as.unwrap_or(ids.effective);
            Ids { real: ids.real, effective, saved: effective, fs: effective }
        };
        let users = settle(self.users, user);
        Self {
            users,
            groups: settle(self.groups, group),
            capabilities: self.capabilities.after_exec(&users),
            keeps_capabilities: false,
            ..self.clone()
        }
    }

    /// Whether the program acts as somebody else than who started it.
    pub fn acts_as_another(&self) -> bool {
        self.users.real != self.users.effective || self.groups.real != self.groups.effective
    }

    /// Whether a capability is in force.
    pub fn has(&self, capability: u32) -> bool {
        self.capabilities.has(capability)
    }

    /// Whether a thread with these may look into the memory of one with `target`'s (ptrace(2), "Ptrace access mode checking").
    pub fn may_look_into(&self, target: &Self) -> bool {
        let is = |own: u32, ids: &Ids| [ids.real, ids.effective, ids.saved].iter().all(|id| *id == own);
        is(self.users.fs, &target.users) && is(self.groups.fs, &target.groups)
            || self.has(capability::SYS_PTRACE)
    }

    /// Whether a thread with these may send signals to one with `target`'s.
    pub fn may_signal(&self, target: &Self) -> bool {
        let (own, other) = (&self.users, &target.users);
        [own.effective, own.real].iter().any(|id| *id == other.saved || *id == other.real)
            || self.has(capability::KILL)
    }
}

/// A thread's credentials: the whole, and the four ids that are asked for most, which are read without a lock.
#[derive(Debug)]
pub struct Cell {
    whole: SpinLock<Arc<Credentials>>,
    /// Real and effective user, real and effective group, user and group for files.
    ids: [AtomicU32; 6],
    /// Permission bits of files do not count (CAP_DAC_OVERRIDE).
    overrides: AtomicBool,
}

/// Which id [`Cell::id`] gives.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// Real user.
    User,
    /// Effective user.
    EffectiveUser,
    /// Real group.
    Group,
    /// Effective group.
    EffectiveGroup,
    /// User for files.
    FileUser,
    /// Group for files.
    FileGroup,
}

impl Cell {
    /// A thread's first ones.
    pub fn new(credentials: Arc<Credentials>) -> Self {
        credentials.user.threads.fetch_add(1, Ordering::Relaxed);
        let ids = credentials.quick_ids().map(AtomicU32::new);
        let overrides = AtomicBool::new(credentials.has(capability::DAC_OVERRIDE));
        Self { whole: SpinLock::new(credentials), ids, overrides }
    }

    /// All of them.
    pub fn get(&self) -> Arc<Credentials> {
        self.whole.lock().clone()
    }

    /// One id.
    #[inline(always)]
    pub fn id(&self, which: Which) -> u32 {
        self.ids[which as usize].load(Ordering::Relaxed)
    }

    /// Whether permission bits of files do not count for the thread.
    #[inline(always)]
    pub fn overrides_permissions(&self) -> bool {
        self.overrides.load(Ordering::Relaxed)
    }

    /// Puts others in their place; those that were there.
    pub fn replace(&self, new: Arc<Credentials>) -> Arc<Credentials> {
        for (to, id) in self.ids.iter().zip(new.quick_ids()) {
            to.store(id, Ordering::Relaxed);
        }
        self.overrides.store(new.has(capability::DAC_OVERRIDE), Ordering::Relaxed);
        new.user.threads.fetch_add(1, Ordering::Relaxed);
        let old = core::mem::replace(&mut *self.whole.lock(), new);
        old.user.threads.fetch_sub(1, Ordering::Relaxed);
        old
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.whole.lock().user.threads.fetch_sub(1, Ordering::Relaxed);
    }
}
