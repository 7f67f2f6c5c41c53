// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hashes of names in directories with an index. Source: Linux `Documentation/filesystems/ext4/directory.rst`, "Hash Tree
//! Directories"; MD4 is RFC 1320 with two of four parts of each round's output, TEA is Wheeler and Needham's.

/// Which hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hasher {
    kind: Kind,
    unsigned: bool,
    seed: [u32; 4],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Legacy,
    HalfMd4,
    Tea,
}

/// The hash that stands for the end, which no name has.
const END: u32 = 0x7fff_ffff << 1;

impl Hasher {
    /// The one with a number in the format: 0 to 2, and 3 to 5 for those that take characters as unsigned whatever the superblock says.
    pub(crate) fn new(version: u8, unsigned: bool, seed: [u32; 4]) -> Option<Self> {
        let kind = match version {
            0 | 3 => Kind::Legacy,
            1 | 4 => Kind::HalfMd4,
            2 | 5 => Kind::Tea,
            _ => return None,
        };
        // A seed of zeros stands for MD4's own start.
        let seed = if seed == [0; 4] { [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476] } else { seed };
        Some(Self { kind, unsigned: unsigned || version >= 3, seed })
    }

    /// A name's hash: an even number.
    pub(crate) fn hash(&self, name: &[u8]) -> u32 {
        let mut state = self.seed;
        let hash = match self.kind {
            Kind::Legacy => self.legacy(name),
            Kind::HalfMd4 => {
                let mut rest = name;
                while !rest.is_empty() {
                    half_md4(&mut state, &self.words::<8>(rest));
                    rest = rest.get(32..).unwrap_or_default();
                }
                state[1]
            }
            Kind::Tea => {
                let mut rest = name;
                while !rest.is_empty() {
                    tea(&mut state, &self.words::<4>(rest));
                    rest = rest.get(16..).unwrap_or_default();
                }
                state[0]
            }
        } & !1;
        if hash == END { END - 2 } else { hash }
    }

    fn char(&self, byte: u8) -> u32 {
        if self.unsigned { u32::from(byte) } else { i32::from(byte as i8) as u32 }
    }

    fn legacy(&self, name: &[u8]) -> u32 {
        let (mut before, mut hash) = (0x37ab_e8f9_u32, 0x12a3_fe2d_u32);
        for &byte in name {
            let mut next = before.wrapping_add(hash ^ self.char(byte).wrapping_mul(7_152_373));
            if next & 0x8000_0000 != 0 {
                next = next.wrapping_sub(0x7fff_ffff);
            }
            (before, hash) = (hash, next);
        }
        hash << 1
    }

    /// The first bytes of what is left of a name as words, filled up with its length.
    fn words<const N: usize>(&self, rest: &[u8]) -> [u32; N] {
        let len = rest.len() as u32;
        let pad = len | (len << 8);
        let pad = pad | (pad << 16);
        let mut chunks = rest.chunks(4);
        core::array::from_fn(|_| {
            let mut word = pad;
            for &byte in chunks.next().unwrap_or_default() {
                word = self.char(byte).wrapping_add(word << 8);
            }
            word
        })
    }
}

fn half_md4(state: &mut [u32; 4], words: &[u32; 8]) {
    let [mut a, mut b, mut c, mut d] = *state;
    let choose = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    let majority = |x: u32, y: u32, z: u32| (x & y).wrapping_add((x ^ y) & z);
    let parity = |x: u32, y: u32, z: u32| x ^ y ^ z;
    let mut round = |mix: &dyn Fn(u32, u32, u32) -> u32, order: [usize; 8], add: u32, turns: [u32; 4]| {
        for (step, index) in order.into_iter().enumerate() {
            let word = words.get(index).copied().unwrap_or(0).wrapping_add(add);
            let turn = turns.get(step % 4).copied().unwrap_or(0);
            let new = a.wrapping_add(mix(b, c, d)).wrapping_add(word).rotate_left(turn);
            // The next step changes what was d.
            (a, b, c, d) = (d, new, b, c);
        }
    };
    round(&choose, [0, 1, 2, 3, 4, 5, 6, 7], 0, [3, 7, 11, 19]);
    round(&majority, [1, 3, 5, 7, 0, 2, 4, 6], 0x5a82_7999, [3, 5, 9, 13]);
    round(&parity, [3, 7, 2, 6, 1, 5, 0, 4], 0x6ed9_eba1, [3, 9, 11, 15]);
    for (state, new) in state.iter_mut().zip([a, b, c, d]) {
        *state = state.wrapping_add(new);
    }
}

fn tea(state: &mut [u32; 4], [a, b, c, d]: &[u32; 4]) {
    let [mut x, mut y, ..] = *state;
    let mut sum = 0_u32;
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9e37_79b9);
        x = x.wrapping_add((y << 4).wrapping_add(*a) ^ y.wrapping_add(sum) ^ (y >> 5).wrapping_add(*b));
        y = y.wrapping_add((x << 4).wrapping_add(*c) ^ x.wrapping_add(sum) ^ (x >> 5).wrapping_add(*d));
    }
    state[0] = state[0].wrapping_add(x);
    state[1] = state[1].wrapping_add(y);
}
