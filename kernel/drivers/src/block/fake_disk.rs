// SPDX-License-Identifier: MIT OR Apache-2.0
//! The medium behind a fake controller: content, sectors that fail, and a record of what was done to it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
};

/// Something that was done to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Read(u64),
    Write(u64),
    Flush,
    Discard(u64),
}

/// Sectors that cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MediumError;

struct Inner {
    bytes: Vec<u8>,
    bad: BTreeSet<u64>,
    deeds: Vec<Deed>,
}

/// A disk.
pub(crate) struct FakeDisk {
    pub(crate) sectors: u64,
    pub(crate) sector_size: u32,
    pub(crate) is_read_only: bool,
    inner: Mutex<Inner>,
}

impl FakeDisk {
    pub(crate) fn new(sectors: u64, sector_size: u32) -> Arc<Self> {
        Self::with_protection(sectors, sector_size, false)
    }

    pub(crate) fn with_protection(sectors: u64, sector_size: u32, is_read_only: bool) -> Arc<Self> {
        let bytes = vec![0; usize::try_from(sectors).unwrap() * sector_size as usize];
        let inner = Mutex::new(Inner { bytes, bad: BTreeSet::new(), deeds: Vec::new() });
        Arc::new(Self { sectors, sector_size, is_read_only, inner })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Makes a sector fail, or good again.
    pub(crate) fn set_bad(&self, sector: u64, is_bad: bool) {
        let bad = &mut self.inner().bad;
        if is_bad {
            bad.insert(sector)
        } else {
            bad.remove(&sector)
        };
    }

    /// What was done so far.
    pub(crate) fn deeds(&self) -> Vec<Deed> {
        self.inner().deeds.clone()
    }

    fn range(&self, inner: &Inner, sector: u64, sectors: u64) -> Result<std::ops::Range<usize>, MediumError> {
        let end = sector.checked_add(sectors).filter(|end| *end <= self.sectors).ok_or(MediumError)?;
        if inner.bad.range(sector..end).next().is_some() {
            return Err(MediumError);
        }
        let size = u64::from(self.sector_size);
        Ok((sector * size) as usize..(end * size) as usize)
    }

    pub(crate) fn read(&self, sector: u64, sectors: u64) -> Result<Vec<u8>, MediumError> {
        let mut inner = self.inner();
        inner.deeds.push(Deed::Read(sector));
        let range = self.range(&inner, sector, sectors)?;
        Ok(inner.bytes[range].to_vec())
    }

    pub(crate) fn write(&self, sector: u64, bytes: &[u8]) -> Result<(), MediumError> {
        let mut inner = self.inner();
        inner.deeds.push(Deed::Write(sector));
        let range = self.range(&inner, sector, bytes.len() as u64 / u64::from(self.sector_size))?;
        if self.is_read_only {
            return Err(MediumError);
        }
        inner.bytes[range].copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn flush(&self) {
        self.inner().deeds.push(Deed::Flush);
    }

    pub(crate) fn discard(&self, sector: u64, sectors: u64) -> Result<(), MediumError> {
        let mut inner = self.inner();
        inner.deeds.push(Deed::Discard(sector));
        let range = self.range(&inner, sector, sectors)?;
        inner.bytes[range].fill(0);
        Ok(())
    }
}
