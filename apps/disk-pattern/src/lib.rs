// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the disk tests write. A program in a machine writes in rounds and flushes after each; whoever reads the disk later,
//! the host or another kernel, knows from the seed and the number of the last round that was flushed what has to be there.
//!
//! ```
//! use disk_pattern::{Pattern, SECTOR};
//! let pattern = Pattern::new(7, 8192).unwrap();
//! let mut disk = vec![0; 8192 * SECTOR];
//! for extent in pattern.extents(0) {
//!     let bytes = &mut disk[extent.first as usize * SECTOR..][..extent.sectors as usize * SECTOR];
//!     pattern.fill(0, extent.first, bytes);
//! }
//! assert_eq!(pattern.verify(disk.as_slice(), Some(0)).unwrap().newer, 0);
//! assert!(pattern.verify(disk.as_slice(), Some(1)).is_err(), "round 1 was never written");
//! ```

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, Read};

/// Bytes of a sector as the pattern sees it, whatever the disk's own are: each can be judged for itself.
pub const SECTOR: usize = 512;
/// Pieces of a disk that each round writes to, one place in each.
pub const AREAS: u64 = 16;
/// Sectors of the longest place: 128 KiB, the most that one request moves.
const LONGEST: u64 = 256;
/// Sectors that a place's beginning and length are multiples of: disks have sectors of up to 4 KiB.
const GRAIN: u64 = 8;
/// The first bytes of every sector that was written.
const MAGIC: [u8; 8] = *b"exo-disk";

/// A place on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first sector.
    pub first: u64,
    /// How many.
    pub sectors: u64,
}

impl Extent {
    /// The numbers of its sectors.
    pub fn numbers(self) -> impl Iterator<Item = u64> {
        self.first..self.first + self.sectors
    }
}

/// What is to be written to a disk.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    seed: u64,
    sectors: u64,
}

/// What was found on a disk that is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Sectors that were flushed and are there.
    pub flushed: u64,
    /// Sectors of the round that was under way.
    pub newer: u64,
}

/// Something on a disk that must not be.
#[derive(Debug)]
pub enum Damage {
    /// The disk could not be read.
    Unreadable(io::Error),
    /// A sector has content that nobody wrote there.
    Torn {
        /// The sector.
        sector: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A sector has older content than was flushed.
    Lost {
        /// The sector.
        sector: u64,
        /// The round of its content; none if it was never written.
        found: Option<u64>,
        /// The round that it was last written in, of those that were flushed.
        flushed: u64,
    },
    /// A sector has content of a round that did not write to it.
    Strange {
        /// The sector.
        sector: u64,
        /// The round.
        found: u64,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "the disk cannot be read: {error}"),
            Self::Torn { sector, what } => write!(f, "sector {sector}: {what}"),
            Self::Lost { sector, found: None, flushed } => {
                write!(f, "sector {sector} is empty; round {flushed} wrote it and was flushed")
            }
            Self::Lost { sector, found: Some(found), flushed } => {
                write!(f, "sector {sector} has the content of round {found}; round {flushed} was flushed")
            }
            Self::Strange { sector, found } => {
                write!(f, "sector {sector} has the content of round {found}, which did not write it last")
            }
        }
    }
}

impl std::error::Error for Damage {}

impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// SplitMix64: a number from a number, by Sebastiano Vigna (public domain).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Pattern {
    /// The pattern of `seed` for a disk of `sectors` sectors of [`SECTOR`] bytes; none if the disk is too small.
    pub fn new(seed: u64, sectors: u64) -> Option<Self> {
        (sectors / AREAS >= 2 * LONGEST).then_some(Self { seed, sectors })
    }

    /// Where round `round` writes: [`AREAS`] places that do not touch each other.
    pub fn extents(&self, round: u64) -> impl Iterator<Item = Extent> + use<> {
        let (seed, area) = (self.seed, self.sectors / AREAS / GRAIN * GRAIN);
        (0..AREAS).map(move |index| {
            let random = mix(mix(seed ^ mix(round)) ^ index);
            // Short places are as frequent as long ones.
            let most = LONGEST >> (random % 6);
            let sectors = (1 + (random >> 8) % (most / GRAIN)) * GRAIN;
            let start = (random >> 24) % ((area - sectors) / GRAIN) * GRAIN;
            Extent { first: index * area + start, sectors }
        })
    }

    /// Fills `bytes` with what round `round` writes from sector `first` on.
    pub fn fill(&self, round: u64, first: u64, bytes: &mut [u8]) {
        for (sector, bytes) in (first..).zip(bytes.chunks_exact_mut(SECTOR)) {
            let words = [u64::from_le_bytes(MAGIC), self.seed, sector, round].into_iter();
            let mut state = mix(self.seed ^ mix(sector) ^ mix(!round));
            let filler = std::iter::repeat_with(|| {
                state = mix(state);
                state
            });
            for (to, word) in bytes.chunks_exact_mut(8).zip(words.chain(filler)) {
                to.copy_from_slice(&word.to_le_bytes());
            }
            let (content, sum) = bytes.split_at_mut(SECTOR - 8);
            sum.copy_from_slice(&checksum(content).to_le_bytes());
        }
    }

    /// The round that a sector's content is of; none if nobody has written it.
    ///
    /// # Errors
    /// [`Damage::Torn`] if it is neither empty nor as it was written there.
    pub fn round_of(&self, sector: u64, bytes: &[u8; SECTOR]) -> Result<Option<u64>, Damage> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let torn = |what| Damage::Torn { sector, what };
        let word = |index: usize| {
            let bytes = bytes.get(8 * index..8 * index + 8).and_then(|bytes| bytes.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        if word(0) != u64::from_le_bytes(MAGIC) {
            return Err(torn("its content is none of this test's"));
        }
        if word(SECTOR / 8 - 1) != checksum(&bytes[..SECTOR - 8]) {
            return Err(torn("its checksum is wrong"));
        }
        if (word(1), word(2)) != (self.seed, sector) {
            return Err(torn("its content belongs to another place or disk"));
        }
        Ok(Some(word(3)))
    }

    /// Reads a disk from its beginning and judges it, when rounds up to `flushed` were surely flushed. Later ones may have been too:
    /// as each begins after the one before was flushed, all before the latest that is found count as flushed.
    ///
    /// # Errors
    /// The first [`Damage`].
    pub fn verify(&self, disk: impl Read, flushed: Option<u64>) -> Result<Found, Damage> {
        let rounds = self.rounds(disk)?;
        let latest = rounds.iter().flatten().max();
        // How many rounds were flushed.
        let flushed = flushed.map_or(0, |last| last + 1).max(latest.copied().unwrap_or(0));
        let mut due = HashMap::new();
        for round in 0..flushed {
            due.extend(self.extents(round).flat_map(Extent::numbers).map(|sector| (sector, round)));
        }
        let under_way: HashSet<u64> = self.extents(flushed).flat_map(Extent::numbers).collect();
        let mut found = Found { flushed: 0, newer: 0 };
        for (sector, round) in (0..).zip(rounds) {
            match (round, due.get(&sector).copied()) {
                (round, due) if round == due => found.flushed += u64::from(due.is_some()),
                (Some(round), _) if round == flushed && under_way.contains(&sector) => found.newer += 1,
                (found, Some(flushed)) if found.is_none_or(|found| found < flushed) => {
                    return Err(Damage::Lost { sector, found, flushed });
                }
                (found, _) => return Err(Damage::Strange { sector, found: found.unwrap_or_default() }),
            }
        }
        Ok(found)
    }

    /// The round of every sector.
    fn rounds(&self, mut disk: impl Read) -> Result<Vec<Option<u64>>, Damage> {
        let mut rounds = Vec::new();
        let mut bytes = vec![0; SECTOR << 8];
        let mut sector = 0;
        while sector < self.sectors {
            let count = (self.sectors - sector).min(1 << 8) as usize;
            let part = &mut bytes[..count * SECTOR];
            disk.read_exact(part)?;
            for bytes in part.chunks_exact(SECTOR) {
                rounds.push(self.round_of(sector, bytes.try_into().map_err(io::Error::other)?)?);
                sector += 1;
            }
        }
        Ok(rounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTORS: u64 = 16384;

    fn written(pattern: &Pattern, rounds: std::ops::Range<u64>) -> Vec<u8> {
        let mut disk = vec![0; SECTORS as usize * SECTOR];
        for round in rounds {
            for extent in pattern.extents(round) {
                let start = extent.first as usize * SECTOR;
                pattern.fill(round, extent.first, &mut disk[start..start + extent.sectors as usize * SECTOR]);
            }
        }
        disk
    }

    #[test]
    fn places_of_a_round_lie_apart_and_on_the_disk() {
        let pattern = Pattern::new(3, SECTORS).unwrap();
        for round in 0..1000 {
            let mut end = 0;
            for extent in pattern.extents(round) {
                assert!(extent.first >= end && extent.sectors > 0 && extent.sectors <= LONGEST);
                assert_eq!((extent.first % GRAIN, extent.sectors % GRAIN), (0, 0));
                end = extent.first + extent.sectors;
            }
            assert!(end <= SECTORS);
        }
        assert!(Pattern::new(3, 100).is_none());
    }

    #[test]
    fn a_disk_that_is_as_it_should_be_is_accepted_also_in_the_middle_of_a_round() {
        let pattern = Pattern::new(1, SECTORS).unwrap();
        assert_eq!(
            pattern.verify(written(&pattern, 0..0).as_slice(), None).unwrap(),
            Found { flushed: 0, newer: 0 }
        );
        let disk = written(&pattern, 0..5);
        assert_eq!(pattern.verify(disk.as_slice(), Some(4)).unwrap().newer, 0);
        assert!(pattern.verify(disk.as_slice(), Some(3)).unwrap().newer > 0);
        assert!(pattern.verify(disk.as_slice(), None).unwrap().newer > 0, "rounds 0 to 3 count as flushed");
    }

    #[test]
    fn what_was_lost_moved_or_torn_is_found() {
        let pattern = Pattern::new(1, SECTORS).unwrap();
        let disk = written(&pattern, 0..5);
        assert!(matches!(pattern.verify(disk.as_slice(), Some(5)), Err(Damage::Lost { .. })));
        let (first, last) = (written(&pattern, 0..2), written(&pattern, 0..4));
        let begun = pattern.extents(3).next().unwrap().first as usize * SECTOR;
        let mut early = first;
        early[begun..begun + SECTOR].copy_from_slice(&last[begun..begun + SECTOR]);
        assert!(
            matches!(pattern.verify(early.as_slice(), Some(1)), Err(Damage::Lost { .. })),
            "round 3 without round 2"
        );
        let mut elsewhere = disk.clone();
        let quiet = (0..SECTORS)
            .find(|s| (0..6).all(|r| !pattern.extents(r).flat_map(Extent::numbers).any(|n| n == *s)));
        let quiet = quiet.unwrap();
        pattern.fill(4, quiet, &mut elsewhere[quiet as usize * SECTOR..][..SECTOR]);
        assert!(matches!(pattern.verify(elsewhere.as_slice(), Some(4)), Err(Damage::Strange { .. })));
        let other = Pattern::new(2, SECTORS).unwrap();
        assert!(other.verify(disk.as_slice(), Some(4)).is_err());
        assert!(matches!(pattern.verify(&disk[..1000], Some(4)), Err(Damage::Unreadable(_))));

        let place = pattern.extents(4).next().unwrap().first as usize * SECTOR;
        let mut damaged = disk.clone();
        damaged[place + 100] ^= 1;
        assert!(matches!(pattern.verify(damaged.as_slice(), Some(4)), Err(Damage::Torn { .. })));
        let mut moved = disk.clone();
        moved.copy_within(place..place + SECTOR, place + SECTOR);
        assert!(matches!(pattern.verify(moved.as_slice(), Some(4)), Err(Damage::Torn { .. })));
        let mut empty = disk;
        empty[place..place + SECTOR].fill(0);
        assert!(matches!(pattern.verify(empty.as_slice(), Some(4)), Err(Damage::Lost { found: None, .. })));
    }
}
