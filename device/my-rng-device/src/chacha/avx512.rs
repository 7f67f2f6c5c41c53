// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sixteen blocks at a time, with AVX-512F.

#![expect(
    clippy::indexing_slicing,
    reason = "arrays of fixed sizes, with indices that are literals or loops over them"
)]
#![expect(clippy::incompatible_msrv, reason = "build.rs leaves this file out where the compiler is too old")]

use std::arch::x86_64::*;

use super::rounds::{quarter_rounds, twenty_rounds};
use super::{BLOCK, CONSTANTS};

/// Blocks at a time.
const LANES: usize = 16;

/// Fills as much of `bytes` as sixteen blocks at a time can, with blocks from number `counter` on. Gives how much that is.
///
/// # Safety
/// The processor must have AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn fill(key: &[u32; 8], counter: u32, bytes: &mut [u8]) -> usize {
    let mut done = 0;
    // SAFETY: the caller vouches for AVX-512F. Each store is of 64 bytes inside `group`, which has 16 times 64: the
    // greatest offset is 15 × 64.
    unsafe {
        let all = |word: u32| _mm512_set1_epi32(word as i32);
        let mut first = [_mm512_setzero_si512(); 16];
        for (vector, word) in first.iter_mut().zip(CONSTANTS.iter().chain(key)) {
            *vector = all(*word);
        }
        let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        first[12] = _mm512_add_epi32(all(counter), lanes);
        for group in bytes.chunks_exact_mut(LANES * BLOCK) {
            let mut x = first;
            twenty_rounds!(
                x,
                _mm512_add_epi32,
                _mm512_xor_si512,
                _mm512_rol_epi32::<16>,
                _mm512_rol_epi32::<12>,
                _mm512_rol_epi32::<8>,
                _mm512_rol_epi32::<7>
            );
            for (word, first) in x.iter_mut().zip(first) {
                *word = _mm512_add_epi32(*word, first);
            }
            for (block, row) in transpose(&x).into_iter().enumerate() {
                _mm512_storeu_si512(group.as_mut_ptr().add(block * BLOCK).cast(), row);
            }
            first[12] = _mm512_add_epi32(first[12], all(LANES as u32));
            done += LANES * BLOCK;
        }
    }
    done
}

/// Makes sixteen vectors with one word of sixteen blocks each into sixteen with all words of one block each.
///
/// # Safety
/// The processor must have AVX-512F.
#[inline(always)]
unsafe fn transpose(x: &[__m512i; 16]) -> [__m512i; LANES] {
    // SAFETY: the caller vouches for AVX-512F.
    unsafe {
        let zero = _mm512_setzero_si512();
        // Within each quarter of a vector, which is a block's: four words in a row. `rows[4 * q + r]` has, in its quarter
        // number `i`, words 4q to 4q + 3 of block 4i + r.
        let mut rows = [zero; 16];
        for (quarter, x) in x.chunks_exact(4).enumerate() {
            let (a, b) = (_mm512_unpacklo_epi32(x[0], x[1]), _mm512_unpackhi_epi32(x[0], x[1]));
            let (c, d) = (_mm512_unpacklo_epi32(x[2], x[3]), _mm512_unpackhi_epi32(x[2], x[3]));
            rows[4 * quarter] = _mm512_unpacklo_epi64(a, c);
            rows[4 * quarter + 1] = _mm512_unpackhi_epi64(a, c);
            rows[4 * quarter + 2] = _mm512_unpacklo_epi64(b, d);
            rows[4 * quarter + 3] = _mm512_unpackhi_epi64(b, d);
        }
        // Then the quarters: of the same block, from four vectors.
        const EVEN: i32 = 0b10_00_10_00;
        const ODD: i32 = 0b11_01_11_01;
        let mut blocks = [zero; LANES];
        for r in 0..4 {
            let (first, second) = (rows[r], rows[4 + r]);
            let (third, fourth) = (rows[8 + r], rows[12 + r]);
            let low_even = _mm512_shuffle_i32x4::<EVEN>(first, second);
            let low_odd = _mm512_shuffle_i32x4::<ODD>(first, second);
            let high_even = _mm512_shuffle_i32x4::<EVEN>(third, fourth);
            let high_odd = _mm512_shuffle_i32x4::<ODD>(third, fourth);
            blocks[r] = _mm512_shuffle_i32x4::<EVEN>(low_even, high_even);
            blocks[4 + r] = _mm512_shuffle_i32x4::<EVEN>(low_odd, high_odd);
            blocks[8 + r] = _mm512_shuffle_i32x4::<ODD>(low_even, high_even);
            blocks[12 + r] = _mm512_shuffle_i32x4::<ODD>(low_odd, high_odd);
        }
        blocks
    }
}
