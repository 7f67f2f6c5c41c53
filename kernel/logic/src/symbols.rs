// SPDX-License-Identifier: MIT OR Apache-2.0
//! The compact symbol table in the kernel's image, for back traces. The `exo-symbols` tool writes it into the space that
//! the image keeps free, the crash report reads it.
//!
//! Layout, little endian: magic (8 bytes), count (u32), base (u64), then `count` pairs of u32 (offset from base, offset
//! of the name in the name bytes), sorted; then the name bytes, each name with its length (u8) in front.

/// Bytes that the image keeps free for the table.
pub const SPACE: usize = 448 * 1024;
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

/// The length to which names are shortened, in bytes, if the table is too small for longer ones: first and last try.
#[cfg(any(test, feature = "std"))]
const NAME_LENGTHS: (usize, usize) = (120, 40);

/// Makes a table of at most `space` bytes from functions as (address, name); names are shortened as far as needed. None
/// if there are too many functions even then.
#[cfg(any(test, feature = "std"))]
pub fn build(
    mut functions: std::vec::Vec<(u64, std::string::String)>,
    space: usize,
) -> Option<std::vec::Vec<u8>> {
    functions.sort();
    functions.dedup_by_key(|f| f.0);
    let (longest, shortest) = NAME_LENGTHS;
    (shortest..=longest).rev().step_by(10).find_map(|limit| build_with(&functions, limit, space))
}

#[cfg(any(test, feature = "std"))]
fn build_with(
    functions: &[(u64, std::string::String)],
    limit: usize,
    space: usize,
) -> Option<std::vec::Vec<u8>> {
    let base = functions.first().map_or(0, |f| f.0);
    let mut names = std::vec::Vec::new();
    let mut out = MAGIC.to_vec();
    out.extend(u32::try_from(functions.len()).ok()?.to_le_bytes());
    out.extend(base.to_le_bytes());
    for (address, name) in functions {
        let cut = (0..=limit.min(name.len())).rev().find(|&cut| name.is_char_boundary(cut))?;
        let name = name.as_bytes().get(..cut)?;
        out.extend(u32::try_from(address - base).ok()?.to_le_bytes());
        out.extend(u32::try_from(names.len()).ok()?.to_le_bytes());
        names.push(u8::try_from(name.len()).ok()?);
        names.extend(name);
    }
    out.extend(names);
    (out.len() <= space).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_function_around_an_address() {
        let bytes = build(vec![(0x2000, "second".into()), (0x1000, "first".into())], SPACE).unwrap();
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
        let functions: std::vec::Vec<_> = functions;
        let bytes = build(functions.clone(), 24_600).unwrap();
        assert!(bytes.len() <= 24_600);
        let table = SymbolTable::new(&bytes).unwrap();
        assert_eq!(table.find(0x100), Some(("a::rather::long::function::name::number_", 0)));
    }

    #[test]
    fn leaves_out_no_function() {
        let functions: std::vec::Vec<_> =
            (0..500).map(|i| (i * 16, format!("function_number_{i}"))).collect();
        assert_eq!(build(functions.clone(), 8000), None);
        let bytes = build(functions, 20_000).unwrap();
        assert_eq!(SymbolTable::new(&bytes).unwrap().find(499 * 16 + 3), Some(("function_number_499", 3)));
    }
}
