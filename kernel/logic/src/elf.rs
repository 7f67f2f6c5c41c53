// SPDX-License-Identifier: MIT OR Apache-2.0
//! What exec needs of an ELF file: a plan of what to map where. Static programs, position dependent or not; a program
//! that asks for an interpreter (a dynamically linked one) is declined.

use alloc::vec::Vec;

use elf::{
    abi::{EM_X86_64, ET_DYN, ET_EXEC, PF_R, PF_W, PF_X, PT_INTERP, PT_LOAD, PT_PHDR},
    endian::LittleEndian,
    file::{Class, parse_ident},
    segment::ProgramHeader,
};

use crate::areas::Flags;

const PAGE: u64 = 4096;
/// Bytes of the ELF header, and of one program header.
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
/// More program headers than any linker makes.
const MAX_HEADERS: u16 = 64;

/// Why a file is not a program for this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not an ELF file for x86-64, or damaged.
    NotElf,
    /// Asks for an interpreter, whose name is in the file.
    Dynamic {
        /// Offset of the name.
        at: u64,
        /// Its bytes, with the zero at its end.
        size: u64,
    },
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
    for index in 0..usize::from(header.e_phnum) {
        let at = table.checked_add(index * PROGRAM_HEADER).ok_or(Error::NotElf)?;
        let bytes = at.checked_add(PROGRAM_HEADER).and_then(|end| head.get(at..end)).ok_or(Error::NotElf)?;
        let parsed = <ProgramHeader as elf::parse::ParseAt>::parse_at(endian, class, &mut 0, bytes);
        let segment = parsed.map_err(|_| Error::NotElf)?;
        match segment.p_type {
            PT_INTERP => return Err(Error::Dynamic { at: segment.p_offset, size: segment.p_filesz }),
            PT_PHDR => headers = Some(segment.p_vaddr),
            PT_LOAD if segment.p_memsz > 0 => {
                if let Some(offset) = header.e_phoff.checked_sub(segment.p_offset) {
                    if offset < segment.p_filesz && headers.is_none() {
                        headers = segment.p_vaddr.checked_add(offset);
                    }
                }
                segments.push(load(&segment, size, limit)?);
            }
            _ => {}
        }
    }
    if segments.is_empty() {
        return Err(Error::BadSegment);
    }
    Ok(Plan { entry: header.e_entry, movable, headers: (headers.unwrap_or(0), header.e_phnum), segments })
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
        assert_eq!(
            plan(&file(2, &[(3, 4, 0x200, 0, 28, 28)]), 0x1000, LIMIT),
            Err(Error::Dynamic { at: 0x200, size: 28 })
        );
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
