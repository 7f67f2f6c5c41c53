// SPDX-License-Identifier: MIT OR Apache-2.0
//! Eight blocks at a time, with AVX2.

#![expect(
    clippy::indexing_slicing,
    reason = "arrays of fixed sizes, with indices that are literals or loops over them"
)]

use std::arch::x86_64::*;

use super::rounds::{quarter_rounds, twenty_rounds};
use super::{BLOCK, CONSTANTS};

/// Blocks at a time.
const LANES: usize = 8;
/// Bytes of a vector.
const VECTOR: usize = 32;

/// Fills as much of `bytes` as eight blocks at a time can, with blocks from number `counter` on. Gives how much that is.
///
/// # Safety
/// The processor must have AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn fill(key: &[u32; 8], counter: u32, bytes: &mut [u8]) -> usize {
    let mut done = 0;
    // SAFETY: the caller vouches for AVX2. Each store is of 32 bytes inside `group`, which has 8 times 64: the greatest
    // offset is 7 × 64 + 32.
    unsafe {
        let all = |word: u32| _mm256_set1_epi32(word as i32);
        let mut first = [_mm256_setzero_si256(); 16];
        for (vector, word) in first.iter_mut().zip(CONSTANTS.iter().chain(key)) {
            *vector = all(*word);
        }
        first[12] = _mm256_add_epi32(all(counter), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        for group in bytes.chunks_exact_mut(LANES * BLOCK) {
            let mut x = first;
            twenty_rounds!(x, _mm256_add_epi32, _mm256_xor_si256, by_16, by::<12, 20>, by_8, by::<7, 25>);
            for (word, first) in x.iter_mut().zip(first) {
                *word = _mm256_add_epi32(*word, first);
            }
            for (half, words) in x.chunks_exact(LANES).enumerate() {
                for (block, row) in transpose(words).into_iter().enumerate() {
                    _mm256_storeu_si256(group.as_mut_ptr().add(block * BLOCK + half * VECTOR).cast(), row);
                }
            }
            first[12] = _mm256_add_epi32(first[12], all(LANES as u32));
            done += LANES * BLOCK;
        }
    }
    done
}

/// Rotates each word left by `LEFT` bits; `RIGHT` is what is left of 32.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
unsafe fn by<const LEFT: i32, const RIGHT: i32>(x: __m256i) -> __m256i {
    // SAFETY: the caller vouches for AVX2.
    unsafe { _mm256_or_si256(_mm256_slli_epi32::<LEFT>(x), _mm256_srli_epi32::<RIGHT>(x)) }
}

/// Rotates each word left by 16 bits, which is a permutation of its bytes.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
unsafe fn by_16(x: __m256i) -> __m256i {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        let words = _mm_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
        _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(words))
    }
}

/// Rotates each word left by 8 bits.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
unsafe fn by_8(x: __m256i) -> __m256i {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        let words = _mm_setr_epi8(3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14);
        _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(words))
    }
}

/// Makes eight vectors with one word of eight blocks each into eight with eight words of one block each.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
unsafe fn transpose(x: &[__m256i]) -> [__m256i; LANES] {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        let (a, b) = (_mm256_unpacklo_epi32(x[0], x[1]), _mm256_unpackhi_epi32(x[0], x[1]));
        let (c, d) = (_mm256_unpacklo_epi32(x[2], x[3]), _mm256_unpackhi_epi32(x[2], x[3]));
        let (e, f) = (_mm256_unpacklo_epi32(x[4], x[5]), _mm256_unpackhi_epi32(x[4], x[5]));
        let (g, h) = (_mm256_unpacklo_epi32(x[6], x[7]), _mm256_unpackhi_epi32(x[6], x[7]));
        let (ac, ac_high) = (_mm256_unpacklo_epi64(a, c), _mm256_unpackhi_epi64(a, c));
        let (bd, bd_high) = (_mm256_unpacklo_epi64(b, d), _mm256_unpackhi_epi64(b, d));
        let (eg, eg_high) = (_mm256_unpacklo_epi64(e, g), _mm256_unpackhi_epi64(e, g));
        let (fh, fh_high) = (_mm256_unpacklo_epi64(f, h), _mm256_unpackhi_epi64(f, h));
        const LOW: i32 = 0x20;
        const HIGH: i32 = 0x31;
        [
            _mm256_permute2x128_si256::<LOW>(ac, eg),
            _mm256_permute2x128_si256::<LOW>(ac_high, eg_high),
            _mm256_permute2x128_si256::<LOW>(bd, fh),
            _mm256_permute2x128_si256::<LOW>(bd_high, fh_high),
            _mm256_permute2x128_si256::<HIGH>(ac, eg),
            _mm256_permute2x128_si256::<HIGH>(ac_high, eg_high),
            _mm256_permute2x128_si256::<HIGH>(bd, fh),
            _mm256_permute2x128_si256::<HIGH>(bd_high, fh_high),
        ]
    }
}
