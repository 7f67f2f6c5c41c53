// SPDX-License-Identifier: MIT OR Apache-2.0
//! The extended attributes that an inode has. Who may use which is in [`xattr`](super::xattr).

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use exo_hal::{PAGE_SIZE, mm::frame, sync::SpinLock};

use crate::{
    errno::{Errno, Result},
    mm::Quota,
};

/// Most attributes of a file: each call looks through them with the file's lock held.
const MOST: usize = 256;
/// Most bytes of names and values of a file.
const MOST_BYTES: usize = 256 << 10;
/// What an attribute takes besides its name and value.
const OVERHEAD: usize = 96;

/// The attributes of one file, in the order of their names.
#[derive(Default)]
pub(crate) struct Attributes(SpinLock<BTreeMap<Vec<u8>, Arc<Vec<u8>>>>);

/// When an attribute is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Whether it exists or not.
    Always,
    /// EEXIST if it does (XATTR_CREATE).
    New,
    /// ENODATA if it does not (XATTR_REPLACE).
    Exists,
}

/// Bytes that are counted for attributes, in pages of the file system.
fn pages(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_SIZE)
}

fn bytes(all: &BTreeMap<Vec<u8>, Arc<Vec<u8>>>) -> usize {
    all.iter().map(|(name, value)| name.len() + value.len() + OVERHEAD).sum()
}

impl Attributes {
    /// Sets one.
    pub(super) fn set(&self, quota: &Quota, name: &[u8], value: Vec<u8>, when: When) -> Result<()> {
        let value = Arc::new(value);
        let mut all = self.0.lock();
        let old = all.get(name);
        match (when, old) {
            (When::New, Some(_)) => return Err(Errno::EEXIST),
            (When::Exists, None) => return Err(Errno::ENODATA),
            _ => {}
        }
        let before = bytes(&all);
        let without = before - old.map_or(0, |old| name.len() + old.len() + OVERHEAD);
        let after = without + name.len() + value.len() + OVERHEAD;
        if old.is_none() && all.len() >= MOST || after > MOST_BYTES {
            return Err(Errno::ENOSPC);
        }
        let more = pages(after).saturating_sub(pages(before));
        if !frame::available(pages(after)) {
            return Err(Errno::ENOMEM);
        }
        if !quota.charge_pages(more) {
            return Err(Errno::ENOSPC);
        }
        let replaced = all.insert(name.to_vec(), value);
        drop(all);
        drop(replaced);
        quota.uncharge(pages(before).saturating_sub(pages(after)));
        Ok(())
    }

    /// Removes one.
    pub(super) fn remove(&self, quota: &Quota, name: &[u8]) -> Result<()> {
        let mut all = self.0.lock();
        let before = bytes(&all);
        let removed = all.remove(name).ok_or(Errno::ENODATA)?;
        let after = bytes(&all);
        drop(all);
        drop(removed);
        quota.uncharge(pages(before) - pages(after));
        Ok(())
    }

    /// The file goes: what was counted for it is given back.
    pub(super) fn end(&mut self, quota: &Quota) {
        let all = core::mem::take(self.0.get_mut());
        if !all.is_empty() {
            quota.uncharge(pages(bytes(&all)));
        }
    }

    /// The value of one.
    pub(super) fn get(&self, name: &[u8]) -> Option<Arc<Vec<u8>>> {
        self.0.lock().get(name).cloned()
    }

    /// Hands each name to `each`.
    pub(super) fn names(&self, each: impl FnMut(&Vec<u8>)) {
        self.0.lock().keys().for_each(each);
    }
}
