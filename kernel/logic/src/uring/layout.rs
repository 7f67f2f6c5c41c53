// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sizes of the rings and the places of their fields. Linux leaves the places to the kernel, which tells them at set-up.

/// Most entries of a submission ring, as on Linux.
pub const MAX_SUBMISSIONS: u32 = 32768;
/// Most entries of a completion ring, as on Linux.
pub const MAX_COMPLETIONS: u32 = 2 * MAX_SUBMISSIONS;
/// Bytes of a submission entry.
pub const ENTRY_BYTES: usize = 64;
/// Bytes of a completion.
pub const COMPLETION_BYTES: usize = 16;

/// Offsets of the rings' fields from the start of the shared memory. What the program writes and what the kernel writes are on
/// cache lines of their own.
pub mod offset {
    /// The kernel's index of the next submission.
    pub const SQ_HEAD: u32 = 0;
    /// The program's index behind the last submission.
    pub const SQ_TAIL: u32 = 64;
    /// The program's index of the next completion.
    pub const CQ_HEAD: u32 = 128;
    /// The kernel's index behind the last completion.
    pub const CQ_TAIL: u32 = 192;
    /// Number of submission entries, less one.
    pub const SQ_MASK: u32 = 256;
    /// Number of completions that fit, less one.
    pub const CQ_MASK: u32 = 260;
    /// Number of submission entries.
    pub const SQ_ENTRIES: u32 = 264;
    /// Number of completions that fit.
    pub const CQ_ENTRIES: u32 = 268;
    /// Submissions that named no entry.
    pub const SQ_DROPPED: u32 = 272;
    /// `IORING_SQ_` flags.
    pub const SQ_FLAGS: u32 = 276;
    /// `IORING_CQ_` flags, written by the program.
    pub const CQ_FLAGS: u32 = 280;
    /// Completions that were lost.
    pub const CQ_OVERFLOW: u32 = 284;
    /// The completions.
    pub const COMPLETIONS: u32 = 320;
}

/// How large a pair of rings is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Submission entries, a power of two.
    pub submissions: u32,
    /// Completions, a power of two.
    pub completions: u32,
}

impl Layout {
    /// The rings for a program that asks for `submissions` entries and perhaps for a number of completions; without one there are
    /// twice as many. With `clamp`, what is too large becomes the largest. None for what Linux refuses with EINVAL.
    pub fn new(submissions: u32, completions: Option<u32>, clamp: bool) -> Option<Self> {
        let fit = |wanted: u32, most: u32| match wanted {
            0 => None,
            wanted if wanted <= most => Some(wanted.next_power_of_two()),
            _ => clamp.then_some(most),
        };
        let submissions = fit(submissions, MAX_SUBMISSIONS)?;
        let completions = match completions {
            Some(wanted) => fit(wanted, MAX_COMPLETIONS).filter(|fits| *fits >= submissions)?,
            None => 2 * submissions,
        };
        Some(Self { submissions, completions })
    }

    /// Offset of the array of entry numbers, behind the completions.
    pub fn array(&self) -> u32 {
        offset::COMPLETIONS + self.completions * COMPLETION_BYTES as u32
    }

    /// Bytes of the shared memory with both rings.
    pub fn ring_bytes(&self) -> usize {
        self.array() as usize + self.submissions as usize * size_of::<u32>()
    }

    /// Bytes of the shared memory with the submission entries.
    pub fn entries_bytes(&self) -> usize {
        self.submissions as usize * ENTRY_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_to_powers_of_two() {
        assert_eq!(Layout::new(5, None, false), Some(Layout { submissions: 8, completions: 16 }));
        assert_eq!(Layout::new(1, Some(33), false), Some(Layout { submissions: 1, completions: 64 }));
        assert_eq!(Layout::new(8, Some(8), false), Some(Layout { submissions: 8, completions: 8 }));
    }

    #[test]
    fn what_is_too_large_is_refused_or_made_smaller() {
        assert_eq!(Layout::new(0, None, true), None);
        assert_eq!(Layout::new(8, Some(0), true), None);
        assert_eq!(Layout::new(8, Some(4), false), None);
        assert_eq!(Layout::new(MAX_SUBMISSIONS + 1, None, false), None);
        assert_eq!(Layout::new(8, Some(u32::MAX), false), None);
        let largest = Layout { submissions: MAX_SUBMISSIONS, completions: MAX_COMPLETIONS };
        assert_eq!(Layout::new(u32::MAX, Some(u32::MAX), true), Some(largest));
    }

    #[test]
    fn nothing_overlaps() {
        let layout = Layout::new(64, None, false).unwrap();
        const { assert!(offset::CQ_OVERFLOW + 4 <= offset::COMPLETIONS && offset::COMPLETIONS % 64 == 0) };
        assert_eq!(layout.array(), 320 + 128 * 16);
        assert_eq!((layout.ring_bytes(), layout.entries_bytes()), (320 + 128 * 16 + 64 * 4, 4096));
    }
}
