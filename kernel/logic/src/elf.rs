// SPDX-License-Identifier: MIT OR Apache-2.0
//! What exec needs of an ELF file: a plan of what to map where, and which interpreter (the dynamic linker) it asks for.

use alloc::vec::Vec;

use elf::{
    abi::{EM_X86_64, ET_DYN, ET_EXEC, PF_R, PF_W, PF_X, PT_INTERP, PT_LOAD, PT_PHDR},
    endian::LittleEndian,
    file::{Class, parse_ident},
    segment::ProgramHeader,
};

use crate::areas::Flags;

const PAGE: u64 = 4096;
/// Bytes of the ELF header.
pub const HEADER: usize = 64;
/// Bytes of a program header.
const PROGRAM_HEADER: usize = 56;
/// More program headers than any linker makes.
const MAX_HEADERS: u16 = 64;
/// Bytes of an interpreter's name with the zero at its end, as on Linux: at least one letter, and no more than a path may have.
const INTERPRETER_NAME: core::ops::RangeInclusive<u64> = 2..=4096;
/// The largest alignment of a segment that is honoured: a movable program starts at a multiple of it.
const MOST_ALIGNED: u64 = 1 << 30;

/// Why a file is not a program for this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not an ELF file for x86-64, or damaged.
    NotElf,
    /// A segment lies outside the user's address space or the file.
    BadSegment,
}

/// A range to map, page aligned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The first address, before relocation of the whole.
    pub start: u64,
    /// One past the last address that comes from the file.
    pub file_end: u64,
    /// Where the zeros begin, to the byte: from here to the end of the page the file's bytes do not count.
    pub zero_from: u64,
    /// One past the last address.
    pub end: u64,
    /// Offset in the file that `start` shows.
    pub offset: u64,
    /// Protection.
    pub flags: Flags,
}

/// Where a file has the name of the interpreter that it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterpreterName {
    /// Offset of the name.
    pub offset: u64,
    /// Its bytes, with the zero at its end.
    pub size: usize,
}

/// The name in `bytes`, which are all that the file has for it; none if no zero is at their end.
pub fn interpreter_name(bytes: &[u8]) -> Option<&[u8]> {
    let (0, name) = bytes.split_last()? else { return None };
    // As on Linux, an earlier zero ends the name.
    name.split(|byte| *byte == 0).next()
}

/// What to do to run a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Entry address before relocation: any number, as the file has it.
    pub entry: u64,
    /// Whether the program can be moved to any address.
    pub movable: bool,
    /// Address of the program headers before relocation, and their number.
    pub headers: (u64, u16),
    /// The segments in the file's order.
    pub segments: Vec<Segment>,
    /// What a movable program's addresses are moved by is a multiple of this power of two.
    pub alignment: u64,
    /// The interpreter that starts in the program's place.
    pub interpreter: Option<InterpreterName>,
}

impl Plan {
    /// The lowest address before relocation, and one past the last.
    pub fn span(&self) -> (u64, u64) {
        let start = self.segments.iter().map(|segment| segment.start).min();
        let end = self.segments.iter().map(|segment| segment.end).max();
        (start.unwrap_or(0), end.unwrap_or(0))
    }
}

/// How many bytes from the file's start [`plan`] needs.
pub const HEAD: usize = 4096;

/// Reads the plan from `head`, the first [`HEAD`] bytes (or all) of a file of `size` bytes. Addresses are below `limit`.
pub fn plan(head: &[u8], size: u64, limit: u64) -> Result<Plan, Error> {
    let ident = head.get(..16).ok_or(Error::NotElf)?;
    let (endian, class, ..) = parse_ident::<LittleEndian>(ident).map_err(|_| Error::NotElf)?;
    if class != Class::ELF64 {
        return Err(Error::NotElf);
    }
    let rest = head.get(16..HEADER).ok_or(Error::NotElf)?;
    let parsed = (endian, class, 0, 0);
    let header = elf::file::FileHeader::parse_tail(parsed, rest).map_err(|_| Error::NotElf)?;
    let movable = match header.e_type {
        ET_EXEC => false,
        ET_DYN => true,
        _ => return Err(Error::NotElf),
    };
    if header.e_machine != EM_X86_64
        || usize::from(header.e_phentsize) != PROGRAM_HEADER
        || !(1..=MAX_HEADERS).contains(&header.e_phnum)
    {
        return Err(Error::NotElf);
    }
    let table = usize::try_from(header.e_phoff).map_err(|_| Error::NotElf)?;
    let mut segments = Vec::new();
    let mut headers = None;
    let mut interpreter = None;
    let mut alignment = PAGE;
    for index in 0..usize::from(header.e_phnum) {
        let at = table.checked_add(index * PROGRAM_HEADER).ok_or(Error::NotElf)?;
        let bytes = at.checked_add(PROGRAM_HEADER).and_then(|end| head.get(at..end)).ok_or(Error::NotElf)?;
        let parsed = <ProgramHeader as elf::parse::ParseAt>::parse_at(endian, class, &mut 0, bytes);
        let segment = parsed.map_err(|_| Error::NotElf)?;
        match segment.p_type {
            // The first one counts.
            PT_INTERP if interpreter.is_none() => {
                if !INTERPRETER_NAME.contains(&segment.p_filesz) {
                    return Err(Error::NotElf);
                }
                interpreter =
                    Some(InterpreterName { offset: segment.p_offset, size: segment.p_filesz as usize });
            }
            PT_PHDR => headers = Some(segment.p_vaddr),
            PT_LOAD if segment.p_memsz > 0 => {
                if let Some(offset) = header.e_phoff.checked_sub(segment.p_offset) {
                    if offset < segment.p_filesz && headers.is_none() {
                        headers = segment.p_vaddr.checked_add(offset);
                    }
                }
                if segment.p_align.is_power_of_two() && segment.p_align <= MOST_ALIGNED {
                    alignment = alignment.max(segment.p_align);
                }
                segments.push(load(&segment, size, limit)?);
            }
            _ => {}
        }
    }
    if segments.is_empty() {
        return Err(Error::BadSegment);
    }
    let headers = (headers.unwrap_or(0), header.e_phnum);
    Ok(Plan { entry: header.e_entry, movable, headers, segments, alignment, interpreter })
}

fn load(segment: &ProgramHeader, size: u64, limit: u64) -> Result<Segment, Error> {
    let file_end = segment.p_vaddr.checked_add(segment.p_filesz).ok_or(Error::BadSegment)?;
    let end = segment.p_vaddr.checked_add(segment.p_memsz).ok_or(Error::BadSegment)?;
    let in_file = segment.p_offset.checked_add(segment.p_filesz).is_some_and(|end| end <= size);
    if !in_file
        || segment.p_filesz > segment.p_memsz
        || end > limit - PAGE
        || segment.p_vaddr % PAGE != segment.p_offset % PAGE
    {
        return Err(Error::BadSegment);
    }
    let mut flags = Flags::empty();
    flags.set(Flags::READ, segment.p_flags & PF_R != 0);
    flags.set(Flags::WRITE, segment.p_flags & PF_W != 0);
    flags.set(Flags::EXECUTE, segment.p_flags & PF_X != 0);
    let start = segment.p_vaddr & !(PAGE - 1);
    Ok(Segment {
        start,
        file_end: if segment.p_filesz == 0 { start } else { file_end.next_multiple_of(PAGE) },
        zero_from: file_end,
        end: end.next_multiple_of(PAGE),
        offset: segment.p_offset & !(PAGE - 1),
        flags,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 0x7fff_ffff_f000;

    fn file(kind: u16, headers: &[(u32, u32, u64, u64, u64, u64)]) -> Vec<u8> {
        let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        out.extend(kind.to_le_bytes());
        out.extend(62u16.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        out.extend(0x401000u64.to_le_bytes());
        out.extend(64u64.to_le_bytes());
        out.extend(0u64.to_le_bytes());
        out.extend(0u32.to_le_bytes());
        for v in [64u16, 56, headers.len() as u16, 64, 0, 0] {
            out.extend(v.to_le_bytes());
        }
        for &(kind, flags, offset, address, file, memory) in headers {
            out.extend(kind.to_le_bytes());
            out.extend(flags.to_le_bytes());
            for v in [offset, address, address, file, memory, 0x1000] {
                out.extend(v.to_le_bytes());
            }
        }
        out
    }

    #[test]
    fn plans_text_and_bss() {
        let bytes = file(2, &[(1, 5, 0, 0x400000, 0x1800, 0x1800), (1, 6, 0x1900, 0x402900, 0x100, 0x2000)]);
        let plan = plan(&bytes, 0x2000, LIMIT).unwrap();
        assert!(!plan.movable);
        assert_eq!(plan.headers, (0x400040, 2));
        assert_eq!(plan.segments[0].flags, Flags::READ | Flags::EXECUTE);
        let data = &plan.segments[1];
        assert_eq!(
            (data.start, data.file_end, data.zero_from, data.end),
            (0x402000, 0x403000, 0x402a00, 0x405000)
        );
        assert_eq!(data.offset, 0x1000);
    }

    #[test]
    fn declines_what_it_cannot_run() {
        assert_eq!(plan(b"#!/bin/sh\n", 10, LIMIT), Err(Error::NotElf));
        assert_eq!(plan(&file(1, &[(1, 5, 0, 0, 1, 1)]), 0x1000, LIMIT), Err(Error::NotElf));
        for bad in [
            (1, 5, 0, LIMIT, 0x10, 0x10),
            (1, 5, 0, u64::MAX - 5, 0x10, 0x10),
            (1, 5, 0x900, 0x400900, 0x1000, 0x1000),
            (1, 5, 0x10, 0x400000, 0x10, 0x10),
            (1, 5, 0, 0x400000, 0x20, 0x10),
            (1, 5, !0xfff, 0x400000, 0x2000, 0x2000),
        ] {
            assert_eq!(plan(&file(2, &[bad]), 0x1000, LIMIT), Err(Error::BadSegment), "{bad:x?}");
        }
    }

    /// A program's text, and before that the headers that name its interpreters: their offsets and sizes.
    fn interpreted(names: &[(u64, u64)]) -> Result<Option<InterpreterName>, Error> {
        let mut headers: Vec<_> = names.iter().map(|&(at, size)| (3, 4, at, 0, size, size)).collect();
        headers.push((1, 5, 0, 0, 0x1000, 0x1000));
        plan(&file(3, &headers), 0x1000, LIMIT).map(|plan| plan.interpreter)
    }

    #[test]
    fn the_first_interpreter_counts_if_its_name_has_a_size_for_a_path() {
        assert_eq!(interpreted(&[]), Ok(None));
        let (first, longest) =
            (InterpreterName { offset: 0x200, size: 28 }, InterpreterName { offset: 0x300, size: 4096 });
        assert_eq!(interpreted(&[(0x200, 28), (0x300, 1)]), Ok(Some(first)));
        assert_eq!(interpreted(&[(0x300, 4096)]), Ok(Some(longest)));
        for size in [0, 1, 4097, u64::MAX] {
            assert_eq!(interpreted(&[(0x200, size)]), Err(Error::NotElf), "{size}");
        }
    }

    #[test]
    fn a_name_ends_with_a_zero() {
        assert_eq!(interpreter_name(b"/lib/ld.so\0"), Some(&b"/lib/ld.so"[..]));
        assert_eq!(interpreter_name(b"/lib\0ld.so\0"), Some(&b"/lib"[..]));
        for bad in [&b""[..], b"/", b"/lib/ld.so", b"/lib\0ld.so"] {
            assert_eq!(interpreter_name(bad), None);
        }
    }

    #[test]
    fn a_program_spans_its_segments_in_any_order_and_is_aligned_as_they_are() {
        let mut bytes = file(3, &[(1, 6, 0x900, 0x402900, 0x100, 0x2000), (1, 5, 0, 0x1000, 0x800, 0x800)]);
        assert_eq!(plan(&bytes, 0x2000, LIMIT).unwrap().span(), (0x1000, 0x405000));
        let aligned = |bytes: &mut Vec<u8>, by: u64| {
            bytes[64 + 48..64 + 56].copy_from_slice(&by.to_le_bytes());
            plan(bytes, 0x2000, LIMIT).unwrap().alignment
        };
        assert_eq!(aligned(&mut bytes, 0x20_0000), 0x20_0000);
        for ignored in [0, 1, 0x800, 0x2001, 1 << 31, u64::MAX] {
            assert_eq!(aligned(&mut bytes, ignored), PAGE);
        }
    }

    #[test]
    fn any_damage_is_an_error_not_a_panic() {
        let good = file(3, &[(1, 5, 0, 0, 0x78, 0x78), (6, 4, 64, 64, 112, 112)]);
        assert!(plan(&good, 0x1000, LIMIT).unwrap().movable);
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = value;
                let _ = plan(&bytes, 0x1000, LIMIT);
                let _ = plan(&bytes[..at], 0x1000, LIMIT);
            }
        }
    }
}
