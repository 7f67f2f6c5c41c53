// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file's name as the key of an ordered map: the first eight bytes are compared as one number, so that most comparisons on the way to
//! an entry look at nothing else.

use core::cmp::Ordering;

use alloc::{borrow::Cow, vec::Vec};

/// How many bytes are compared at once.
const FIRST: usize = size_of::<u64>();

/// A name without zero bytes. Names are in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// The first bytes, the first of all in the highest place; zero behind the end.
    first: u64,
    rest: Cow<'a, [u8]>,
}

impl<'a> Name<'a> {
    /// To look for a name. What is behind a zero byte in its first eight does not count: no caller has one.
    #[must_use]
    pub fn new(name: &'a [u8]) -> Self {
        let (start, rest) = name.split_at_checked(FIRST).unwrap_or((name, &[]));
        let first = start.iter().chain([0; FIRST].iter()).take(FIRST);
        Self {
            first: first.fold(0, |first, &byte| (first << 8) | u64::from(byte)),
            rest: Cow::Borrowed(rest),
        }
    }

    /// To keep a name.
    #[must_use]
    pub fn into_owned(self) -> Name<'static> {
        Name { first: self.first, rest: Cow::Owned(self.rest.into_owned()) }
    }

    /// Puts the name's bytes into `out`, in the place of what is there.
    pub fn copy_to(&self, out: &mut Vec<u8>) {
        let bytes = self.first.to_be_bytes();
        out.clear();
        out.extend(bytes.iter().take_while(|&&byte| byte != 0));
        out.extend_from_slice(&self.rest);
    }
}

impl Ord for Name<'_> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.first.cmp(&other.first).then_with(|| {
            if self.rest.is_empty() && other.rest.is_empty() {
                Ordering::Equal
            } else {
                self.rest.cmp(&other.rest)
            }
        })
    }
}

impl PartialOrd for Name<'_> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;

    const NAMES: [&[u8]; 12] = [
        b"",
        b".",
        b"..",
        b"Null",
        b"a",
        b"aaaaaaa",
        b"aaaaaaaa",
        b"aaaaaaaaa",
        b"aaaaaaaab",
        b"null",
        b"\x80",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ];

    #[test]
    fn names_are_in_the_order_of_their_bytes_and_come_back() {
        for one in NAMES {
            let mut bytes = b"before".to_vec();
            Name::new(one).copy_to(&mut bytes);
            assert_eq!(bytes, one);
            for other in NAMES {
                assert_eq!(Name::new(one).cmp(&Name::new(other)), one.cmp(other), "{one:?} {other:?}");
                assert_eq!(Name::new(one) == Name::new(other), one == other);
            }
        }
    }

    #[test]
    fn a_kept_name_is_found_by_a_borrowed_one() {
        let map: BTreeMap<Name<'static>, usize> =
            NAMES.iter().enumerate().map(|(at, name)| (Name::new(name).into_owned(), at)).collect();
        for (at, name) in NAMES.iter().enumerate() {
            assert_eq!(map.get(&Name::new(name)), Some(&at));
        }
        assert_eq!(map.get(&Name::new(b"aaaaaaaac")), None);
    }
}
