// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where strings end.

const WORD: usize = size_of::<u64>();
/// The lowest and the highest bit of each byte.
const LOW: u64 = u64::from_ne_bytes([0x01; WORD]);
const HIGH: u64 = u64::from_ne_bytes([0x80; WORD]);

/// Where the first zero byte is. Eight bytes are looked at at once, as most paths are not much longer: `core`'s own search goes through its
/// last sixteen byte by byte.
#[inline]
#[must_use]
pub fn find_zero(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.split_at(bytes.len() / WORD * WORD);
    for (number, word) in words.chunks_exact(WORD).enumerate() {
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        // The lowest bit is that of the first zero byte; what is above it may be wrong.
        let zeros = word.wrapping_sub(LOW) & !word & HIGH;
        if zeros != 0 {
            return Some(number * WORD + zeros.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|&byte| byte == 0).map(|at| words.len() + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_zero_is_found_wherever_it_is() {
        for length in 0..40 {
            for fill in [0x01, 0x7f, 0x80, 0xff] {
                let mut bytes = [fill; 40];
                assert_eq!(find_zero(&bytes[..length]), None);
                for zero in (0..length).rev() {
                    bytes[zero] = 0;
                    assert_eq!(find_zero(&bytes[..length]), Some(zero), "{length} bytes of {fill:#x}");
                }
            }
        }
    }
}
