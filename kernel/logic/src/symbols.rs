// SPDX-License-Identifier: MIT OR Apache-2.0
//! The compact symbol table in the kernel's image, for back traces. The `exo-symbols` tool writes it into the space that
//! the image keeps free, the crash report reads it.
//!
//! Layout, little endian: magic (8 bytes), count (u32), base (u64), then `count` pairs of u32 (offset from base, offset
//! of the name in the name bytes), sorted; then the name bytes, each name with its length (u8) in front.

/// Bytes that the image keeps free for the table.
pub const SPACE: usize = 128 * 1024;
const MAGIC: &[u8; 8] = b"EXOSYMS1";
const HEADER: usize = 20;

/// A table in memory.
#[derive(Clone, Copy, Debug)]
pub struct SymbolTable<'a> {
    base: u64,
    pairs: &'a [u8],
    names: &'a [u8],
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

impl<'a> SymbolTable<'a> {
    /// Reads a table; none if there is none.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        if bytes.get(..8)? != MAGIC {
            return None;
        }
        let count = u32_at(bytes, 8)? as usize;
        let base = u64::from_le_bytes(bytes.get(12..HEADER)?.try_into().ok()?);
        let end = HEADER.checked_add(count.checked_mul(8)?)?;
        Some(Self { base, pairs: bytes.get(HEADER..end)?, names: bytes.get(end..)? })
    }

    /// The function that `address` is in, and how far in.
    pub fn find(&self, address: u64) -> Option<(&'a str, u64)> {
        let offset = u32::try_from(address.checked_sub(self.base)?).ok()?;
        let (mut low, mut high) = (0, self.pairs.len() / 8);
        while low < high {
            let middle = (low + high) / 2;
            if u32_at(self.pairs, middle * 8)? <= offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let at = low.checked_sub(1)? * 8;
        let name = u32_at(self.pairs, at + 4)? as usize;
        let length = usize::from(*self.names.get(name)?);
        let name = core::str::from_utf8(self.names.get(name + 1..name + 1 + length)?).ok()?;
        Some((name, u64::from(offset - u32_at(self.pairs, at)?)))
    }
}

/// Makes a table of at most `space` bytes from functions as (address, name); shortens names, and leaves out the last
/// functions if even then they do not fit.
#[cfg(any(test, feature = "std"))]
pub fn build(mut functions: std::vec::Vec<(u64, std::string::String)>, space: usize) -> std::vec::Vec<u8> {
    use std::vec::Vec;
    functions.sort();
    functions.dedup_by_key(|f| f.0);
    let base = functions.first().map_or(0, |f| f.0);
    let mut limit = 80;
    loop {
        let mut names = Vec::new();
        let mut pairs = Vec::new();
        let mut count = 0u32;
        for (address, name) in &functions {
            let mut cut = name.len().min(limit);
            while !name.is_char_boundary(cut) {
                cut -= 1;
            }
            if HEADER + pairs.len() + 8 + names.len() + 1 + cut > space {
                break;
            }
            pairs.extend(((address - base) as u32).to_le_bytes());
            pairs.extend((names.len() as u32).to_le_bytes());
            names.push(cut as u8);
            names.extend(&name.as_bytes()[..cut]);
            count += 1;
        }
        if count as usize == functions.len() || limit <= 20 {
            let mut out = MAGIC.to_vec();
            out.extend(count.to_le_bytes());
            out.extend(base.to_le_bytes());
            out.extend(pairs);
            out.extend(names);
            return out;
        }
        limit -= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_function_around_an_address() {
        let bytes = build(vec![(0x2000, "second".into()), (0x1000, "first".into())], SPACE);
        let table = SymbolTable::new(&bytes).unwrap();
        assert_eq!(table.find(0xfff), None);
        assert_eq!(table.find(0x1000), Some(("first", 0)));
        assert_eq!(table.find(0x1fff), Some(("first", 0xfff)));
        assert_eq!(table.find(0x2345), Some(("second", 0x345)));
    }

    #[test]
    fn an_unfilled_space_is_no_table() {
        assert!(SymbolTable::new(&[0xff; 64]).is_none());
        assert!(SymbolTable::new(b"EXOSYMS1\xff\xff\xff\xff").is_none());
    }

    #[test]
    fn keeps_within_its_space() {
        let functions =
            (0..500).map(|i| (i * 16, format!("a::rather::long::function::name::number_{i}"))).collect();
        let bytes = build(functions, 8000);
        assert!(bytes.len() <= 8000);
        assert!(SymbolTable::new(&bytes).unwrap().find(0x100).unwrap().0.starts_with("a::rather"));
    }
}
