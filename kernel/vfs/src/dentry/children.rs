// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names below a dentry.

use core::sync::atomic::{AtomicBool, Ordering};

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use exo_logic::name::Name;

use super::{Dentry, cache};
use crate::inode::{
    NAME_MAX,
    directory::{Each, Names},
};

/// What is known of a name.
pub(super) struct Child {
    /// What has it; none for a name that is known not to exist.
    pub(super) dentry: Option<Arc<Dentry>>,
    /// In memory: its position, which never changes, by which a reader goes on where it stopped. In the cache: its place there.
    pub(super) number: u64,
    /// It was looked up since the cache last looked.
    pub(super) used: AtomicBool,
}

/// What the cache may do with a name.
pub(super) enum Fate {
    /// It is forgotten. What had the name is dropped with nothing locked.
    Gone(#[expect(dead_code, reason = "it is held to be dropped later")] Option<Arc<Dentry>>),
    /// It stays, at the end of the cache under this number.
    Stays(u64),
}

/// The names below a dentry. Those of a file system in memory are all there are; of others, those that are known.
#[derive(Default)]
pub(super) struct Children {
    names: BTreeMap<Name<'static>, Child>,
    /// The names in memory, by their numbers.
    order: BTreeMap<u64, Name<'static>>,
    last: u64,
}

/// The map lends itself for as long as the borrowed name lives, which a method of the whole could not say.
fn find<'a>(names: &'a BTreeMap<Name<'a>, Child>, name: &'a [u8]) -> Option<&'a Child> {
    names.get(&Name::new(name))
}

impl Children {
    /// How many are known.
    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    /// What is known of a name: nothing, what has it, or that nothing does.
    #[inline]
    pub(super) fn get(&self, name: &[u8]) -> Option<Option<Arc<Dentry>>> {
        let child = find(&self.names, name)?;
        child.used.store(true, Ordering::Relaxed);
        Some(child.dentry.clone())
    }

    /// Notes what has a name, in the place of what was known. Gives what had it, and the number in the cache if the name is new there.
    pub(super) fn put(
        &mut self,
        how: Names,
        name: &[u8],
        dentry: Option<Arc<Dentry>>,
    ) -> (Option<Arc<Dentry>>, Option<u64>) {
        let name = Name::new(name).into_owned();
        if let Some(known) = self.names.get_mut(&name) {
            return (core::mem::replace(&mut known.dentry, dentry), None);
        }
        let number = match how {
            Names::Fleeting => return (None, None),
            Names::Cached => cache::next_number(),
            Names::InMemory => {
                self.last += 1;
                self.order.insert(self.last, name.clone());
                self.last
            }
        };
        self.names.insert(name, Child { dentry, number, used: AtomicBool::new(false) });
        (None, (how == Names::Cached).then_some(number))
    }

    /// Nothing has the name any more. Gives what had it.
    pub(super) fn vacate(&mut self, how: Names, name: &[u8]) -> Option<Arc<Dentry>> {
        let name = Name::new(name).into_owned();
        if how != Names::InMemory {
            return self.names.get_mut(&name)?.dentry.take();
        }
        let child = self.names.remove(&name)?;
        self.order.remove(&child.number);
        child.dentry
    }

    /// Takes any name out: what had it, and its number in the cache.
    pub(super) fn take_first(&mut self) -> Option<Child> {
        self.order.clear();
        self.names.pop_first().map(|(_, child)| child)
    }

    /// Lets the cache's entry `number` for a name go, if it may: it stays if it was used since, or is in use.
    pub(super) fn let_go(&mut self, name: &Name<'static>, number: u64) -> Fate {
        let Some(child) = self.names.get_mut(name).filter(|child| child.number == number) else {
            return Fate::Gone(None);
        };
        // Who has no reference can get one here alone, where the names are locked.
        let is_in_use = child
            .dentry
            .as_ref()
            .is_some_and(|dentry| Arc::strong_count(dentry) > 1 || dentry.children.lock().count() > 0);
        if child.used.swap(false, Ordering::Relaxed) || is_in_use {
            child.number = cache::next_number();
            return Fate::Stays(child.number);
        }
        Fate::Gone(self.names.remove(name).and_then(|child| child.dentry))
    }

    /// Lists the names in memory behind a position.
    pub(super) fn list(&self, after: u64, each: &mut Each<'_>) {
        let mut bytes = Vec::with_capacity(NAME_MAX);
        for (number, name) in self.order.range(after.saturating_add(1)..) {
            let Some(dentry) = self.names.get(name).and_then(|child| child.dentry.as_ref()) else { continue };
            name.copy_to(&mut bytes);
            if !each(&bytes, dentry.inode.kind(), dentry.inode.number, *number) {
                break;
            }
        }
    }
}
