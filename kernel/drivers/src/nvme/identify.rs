// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Identify answers. Sources: NVM Express Base Specification 2.0, section 5.17; NVM Command Set Specification 1.0,
//! section 4.1.5.

use alloc::{string::String, vec::Vec};

use crate::block::device_text;

/// Bytes of every Identify structure.
pub(super) const BYTES: usize = 4096;

fn le<const N: usize>(page: &[u8], at: usize) -> [u8; N] {
    page.get(at..at + N).and_then(|b| b.try_into().ok()).unwrap_or([0; N])
}

fn text(page: &[u8], at: usize, length: usize) -> String {
    device_text(page.get(at..at + length).unwrap_or_default().iter().copied())
}

/// The controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ControllerInfo {
    /// Serial number.
    pub(super) serial: String,
    /// Model.
    pub(super) model: String,
    /// Bytes that one command may move; none is no limit.
    pub(super) max_transfer: Option<usize>,
    /// Whether Dataset Management, and so discard, is there.
    pub(super) has_discard: bool,
    /// Whether doorbells may be in memory.
    pub(super) has_shadow_doorbells: bool,
}

impl ControllerInfo {
    pub(super) fn parse(page: &[u8; BYTES]) -> Self {
        // MDTS is a power of two of pages; one that no machine reaches is no limit either.
        let max_transfer = match u32::from(page[77]) {
            0 => None,
            power => 4096_usize.checked_shl(power).filter(|&bytes| bytes >= 4096 && power < 32),
        };
        Self {
            serial: text(page, 4, 20),
            model: text(page, 24, 40),
            max_transfer,
            has_discard: page[520] & (1 << 2) != 0,
            has_shadow_doorbells: page[257] & 1 != 0,
        }
    }
}

/// Why a namespace cannot be used as a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It has no blocks.
    Empty,
    /// Blocks of 2^n bytes are not between 512 and 4096.
    BlockSize(u8),
    /// Each block carries metadata.
    Metadata(u16),
}

/// A namespace's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamespaceInfo {
    /// Logical blocks.
    pub(super) blocks: u64,
    /// Bytes in a logical block.
    pub(super) block_size: u32,
    /// Write-protected.
    pub(super) is_read_only: bool,
}

impl NamespaceInfo {
    pub(super) fn parse(page: &[u8; BYTES]) -> Result<Self, Unusable> {
        let blocks = u64::from_le_bytes(le(page, 0));
        if blocks == 0 {
            return Err(Unusable::Empty);
        }
        // The format's number: FLBAS bits 0 to 3, and 5 and 6 above them.
        let format = usize::from((page[26] & 0xf) | ((page[26] >> 1) & 0x30));
        let format = u32::from_le_bytes(le(page, 128 + 4 * format));
        let (metadata, power) = (format as u16, (format >> 16) as u8);
        if metadata != 0 {
            return Err(Unusable::Metadata(metadata));
        }
        if !(9..=12).contains(&power) {
            return Err(Unusable::BlockSize(power));
        }
        Ok(Self { blocks, block_size: 1 << power, is_read_only: page[99] & 1 != 0 })
    }
}

/// The namespaces in an active list: ascending numbers up to the first zero. A list that does not ascend is cut there.
pub(super) fn namespace_list(page: &[u8; BYTES]) -> Vec<u32> {
    let mut last = 0;
    page.chunks_exact(4)
        .map(|bytes| u32::from_le_bytes(le(bytes, 0)))
        .take_while(|&number| {
            let ascends = number > last;
            last = number;
            ascends
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controllers_texts_and_limits_are_read() {
        let mut page = [0; BYTES];
        page[4..24].copy_from_slice(b"serial-1            ");
        page[24..64].copy_from_slice(b"A model\xff\x00                               ");
        (page[77], page[520]) = (5, 4);
        let info = ControllerInfo::parse(&page);
        assert_eq!((info.serial.as_str(), info.model.as_str()), ("serial-1", "A model"));
        assert_eq!(info.max_transfer, Some(128 << 10));
        assert!(info.has_discard && !info.has_shadow_doorbells);
        page[257] = 1;
        assert!(ControllerInfo::parse(&page).has_shadow_doorbells);
        page[77] = 255;
        assert_eq!(ControllerInfo::parse(&page).max_transfer, None);
    }

    #[test]
    fn a_namespace_has_the_format_that_it_says_it_is_formatted_with() {
        let mut page = [0; BYTES];
        page[0] = 100;
        page[26] = 1;
        page[128 + 2] = 9;
        page[132 + 2] = 12;
        let info = NamespaceInfo::parse(&page).unwrap();
        assert_eq!(info, NamespaceInfo { blocks: 100, block_size: 4096, is_read_only: false });
        page[99] = 1;
        assert!(NamespaceInfo::parse(&page).unwrap().is_read_only);
    }

    #[test]
    fn formats_that_are_no_disk_are_declined() {
        let mut page = [0; BYTES];
        assert_eq!(NamespaceInfo::parse(&page), Err(Unusable::Empty));
        page[0] = 1;
        assert_eq!(NamespaceInfo::parse(&page), Err(Unusable::BlockSize(0)));
        page[128 + 2] = 31;
        assert_eq!(NamespaceInfo::parse(&page), Err(Unusable::BlockSize(31)));
        page[128] = 8;
        assert_eq!(NamespaceInfo::parse(&page), Err(Unusable::Metadata(8)));
    }

    #[test]
    fn a_namespace_list_ends_at_zero_and_where_it_does_not_ascend() {
        let mut page = [0; BYTES];
        (page[0], page[4], page[8]) = (1, 3, 7);
        assert_eq!(namespace_list(&page), [1, 3, 7]);
        page[8] = 3;
        assert_eq!(namespace_list(&page), [1, 3]);
        assert_eq!(namespace_list(&[0xff; BYTES]).len(), 1);
    }
}
