// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checksums of the format: CRC-32C without the final inversion, so that one may be continued with the next structure, and the
//! CRC-16 of group descriptors without `metadata_csum`. Source: Linux `Documentation/filesystems/ext4/checksums.rst`.

use crc::{Algorithm, CRC_16_MODBUS, Crc, Table};

const CRC_32C: Algorithm<u32> = Algorithm {
    width: 32,
    poly: 0x1edc_6f41,
    init: !0,
    refin: true,
    refout: true,
    xorout: 0,
    check: !0xe306_9283,
    residue: 0,
};

static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32C);
static CRC16: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);

/// What a checksum starts with if nothing else is said.
pub(crate) const START: u32 = !0;

/// The checksum of `parts` one after the other, continuing `seed`.
pub(crate) fn crc32c(seed: u32, parts: &[&[u8]]) -> u32 {
    let mut digest = CRC32C.digest_with_initial(seed.reverse_bits());
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

/// The same for the older checksum of group descriptors.
pub(crate) fn crc16(parts: &[&[u8]]) -> u16 {
    let mut digest = CRC16.digest();
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_can_be_continued() {
        assert_eq!(crc32c(START, &[b"123456789"]), !0xe306_9283);
        let first = crc32c(START, &[b"1234"]);
        assert_eq!(crc32c(first, &[b"56", b"789"]), !0xe306_9283);
        assert_eq!(crc16(&[b"123456789"]), 0x4b37);
    }
}
