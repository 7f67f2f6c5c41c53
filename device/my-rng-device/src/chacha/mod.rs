// SPDX-License-Identifier: MIT OR Apache-2.0
//! ChaCha20 (RFC 8439) as a stream of bytes, as fast as the processor allows.
//!
//! The entropy stream is this and a copy, so its speed is the device's. The crates of RustCrypto and of the rand project
//! work on the four rows of a block or two at a time and give some 1 GB/s; with one word of 8 or 16 blocks in each
//! vector register, nothing has to be moved within registers until the end, which is three and five times as fast (AMD
//! Zen 4). What is no multiple of that, and processors without AVX2, are left to RustCrypto's crate.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "vector instructions, in two small functions")
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(all(target_arch = "x86_64", rustc_1_89))]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod rounds;

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};

/// Bytes of a block.
pub const BLOCK: usize = 64;

/// A key.
pub type Key = [u8; 32];

/// The first four words of a block: "expand 32-byte k".
#[cfg(target_arch = "x86_64")]
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Fills `bytes` with the keystream of `key` and a nonce of zeros, from block number `counter` on. The block numbers
/// stay below 2³².
pub fn keystream(key: &Key, counter: u32, bytes: &mut [u8]) {
    let done = wide(key, counter, bytes);
    let (blocks, rest) = (done / BLOCK, bytes.get_mut(done..).unwrap_or_default());
    if !rest.is_empty() {
        one_by_one(key, u64::from(counter).saturating_add(blocks as u64), rest);
    }
}

/// What does most of the work on this processor, in a word.
pub fn implementation() -> &'static str {
    #[cfg(all(target_arch = "x86_64", rustc_1_89))]
    if is_x86_feature_detected!("avx512f") {
        return "AVX-512";
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        return "AVX2";
    }
    "the chacha20 crate"
}

/// Any length, on any processor.
fn one_by_one(key: &Key, block: u64, bytes: &mut [u8]) {
    let mut cipher = ChaCha20::new(&(*key).into(), &[0; 12].into());
    cipher.seek(block.saturating_mul(BLOCK as u64));
    cipher.write_keystream(bytes);
}

/// Fills as much of `bytes` as can be filled many blocks at a time. Gives how much that is, in bytes, a multiple of
/// [`BLOCK`].
#[cfg(target_arch = "x86_64")]
fn wide(key: &Key, counter: u32, bytes: &mut [u8]) -> usize {
    let words = words(key);
    #[cfg(rustc_1_89)]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512F.
        return unsafe { avx512::fill(&words, counter, bytes) };
    }
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { avx2::fill(&words, counter, bytes) };
    }
    0
}

#[cfg(not(target_arch = "x86_64"))]
fn wide(_: &Key, _: u32, _: &mut [u8]) -> usize {
    0
}

#[cfg(target_arch = "x86_64")]
fn words(key: &Key) -> [u32; 8] {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(key.chunks_exact(size_of::<u32>())) {
        *word = bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
        28, 29, 30, 31,
    ];

    /// RFC 8439, appendix A.1, test vectors 1 and 2: key and nonce of zeros, blocks 0 and 1.
    #[test]
    fn the_keystream_is_that_of_the_rfc() {
        const ZERO: [u8; 64] = [
            0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28,
            0xbd, 0xd2, 0x19, 0xb8, 0xa0, 0x8d, 0xed, 0x1a, 0xa8, 0x36, 0xef, 0xcc, 0x8b, 0x77, 0x0d, 0xc7,
            0xda, 0x41, 0x59, 0x7c, 0x51, 0x57, 0x48, 0x8d, 0x77, 0x24, 0xe0, 0x3f, 0xb8, 0xd8, 0x4a, 0x37,
            0x6a, 0x43, 0xb8, 0xf4, 0x15, 0x18, 0xa1, 0x1c, 0xc3, 0x87, 0xb6, 0x69, 0xb2, 0xee, 0x65, 0x86,
        ];
        const ONE: [u8; 16] =
            [0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a, 0x98, 0xba, 0x97, 0x7c, 0x73, 0x2d, 0x08, 0x0d];
        for length in [64 + 16, 512, 1024, 4096] {
            let mut bytes = vec![0; length];
            keystream(&[0; 32], 0, &mut bytes);
            assert_eq!(bytes[..64], ZERO, "{length} bytes");
            assert_eq!(bytes[64..][..16], ONE, "{length} bytes");
        }
    }

    #[test]
    fn every_length_and_counter_gives_the_same_stream() {
        let mut reference = vec![0; 8192];
        one_by_one(&KEY, 0, &mut reference);
        for length in (0..=4096).step_by(13).chain([512, 1024, 1536, 2048, 4096]) {
            for first in [0, 1, 7, 16, 63] {
                let mut bytes = vec![0; length];
                keystream(&KEY, first, &mut bytes);
                let start = first as usize * BLOCK;
                assert_eq!(bytes, reference[start..start + length], "{length} bytes from block {first}");
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn each_instruction_set_gives_the_same_stream() {
        let mut reference = vec![0; 4096];
        one_by_one(&KEY, 0xffff_ff00, &mut reference);
        if is_x86_feature_detected!("avx2") {
            let mut bytes = vec![0; 4096 + 100];
            // SAFETY: the processor has AVX2.
            let done = unsafe { avx2::fill(&words(&KEY), 0xffff_ff00, &mut bytes) };
            assert_eq!((done, &bytes[..4096]), (4096, &reference[..]));
            assert_eq!(bytes[4096..], [0; 100]);
        }
        #[cfg(rustc_1_89)]
        if is_x86_feature_detected!("avx512f") {
            let mut bytes = vec![0; 4096 + 1000];
            // SAFETY: the processor has AVX-512F.
            let done = unsafe { avx512::fill(&words(&KEY), 0xffff_ff00, &mut bytes) };
            assert_eq!((done, &bytes[..4096]), (4096, &reference[..]));
            assert_eq!(bytes[4096..], [0; 1000]);
        }
    }
}
