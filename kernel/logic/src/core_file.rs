// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts of a core file (elf(5), core(5)), laid out as Linux lays them out for x86-64: headers, notes and their structures.

use alloc::vec::Vec;

use crate::areas::Flags;

/// Bytes of a page: what is in memory starts at a multiple of it in the file.
pub const PAGE: u64 = 4096;
const HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;

/// Kinds of notes (`linux/elf.h`).
pub mod kind {
    /// A thread's registers.
    pub const STATUS: u32 = 1;
    /// Its floating-point registers, as FXSAVE stores them.
    pub const FLOATING_POINT: u32 = 2;
    /// The process.
    pub const PROCESS: u32 = 3;
    /// The auxiliary vector.
    pub const AUXILIARY: u32 = 6;
    /// All that XSAVE stores; named `LINUX`.
    pub const EXTENDED_STATE: u32 = 0x202;
    /// Files that are mapped.
    pub const FILES: u32 = 0x4649_4c45;
    /// The signal.
    pub const SIGNAL: u32 = 0x5349_4749;
}

/// A range of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Its first address.
    pub start: u64,
    /// The address behind it.
    pub end: u64,
    /// How many bytes from its start are in the file.
    pub stored: u64,
    /// What may be done with it.
    pub flags: Flags,
}

/// What a process and a thread have in common here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// The thread or the process.
    pub own: u32,
    /// The parent.
    pub parent: u32,
    /// The process group.
    pub group: u32,
    /// The session.
    pub session: u32,
}

impl Ids {
    fn push_to(&self, out: &mut Vec<u8>) {
        for id in [self.own, self.parent, self.group, self.session] {
            out.extend(id.to_le_bytes());
        }
    }
}

/// A thread (`struct elf_prstatus`).
#[derive(Clone, Debug)]
pub struct ThreadStatus {
    /// The signal that ends the process.
    pub signal: u32,
    /// Signals that wait for the thread, and those that it blocks.
    pub pending: u64,
    /// See [`pending`](Self::pending).
    pub blocked: u64,
    /// Who it is.
    pub ids: Ids,
    /// CPU time in nanoseconds: in user mode, in the kernel, the same of children that ended.
    pub times: [u64; 4],
    /// The registers in the order of `struct user_regs_struct`.
    pub registers: [u64; 27],
    /// The file has its floating-point registers.
    pub has_floating_point: bool,
}

impl ThreadStatus {
    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(336);
        // si_signo, si_code, si_errno; then the signal that ends the process, and padding.
        out.extend([self.signal, 0, 0, self.signal].iter().flat_map(|word| word.to_le_bytes()));
        out.extend(self.pending.to_le_bytes());
        out.extend(self.blocked.to_le_bytes());
        self.ids.push_to(&mut out);
        for ns in self.times {
            out.extend((ns / 1_000_000_000).to_le_bytes());
            out.extend((ns % 1_000_000_000 / 1000).to_le_bytes());
        }
        out.extend(self.registers.iter().flat_map(|register| register.to_le_bytes()));
        out.extend(u64::from(self.has_floating_point).to_le_bytes());
        out
    }
}

/// A process (`struct elf_prpsinfo`).
#[derive(Clone, Debug)]
pub struct ProcessSummary<'a> {
    /// The nice value.
    pub nice: i8,
    /// Real user and group.
    pub user: u32,
    /// See [`user`](Self::user).
    pub group: u32,
    /// Who it is.
    pub ids: Ids,
    /// Its name, of which 15 bytes count.
    pub name: &'a [u8],
    /// Its arguments, with blanks between them, of which 79 bytes count.
    pub arguments: &'a [u8],
}

impl ProcessSummary<'_> {
    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(136);
        // State 0 is R, running; it is no zombie.
        out.extend([0, b'R', 0, self.nice as u8, 0, 0, 0, 0]);
        out.extend([0; 8]);
        out.extend(self.user.to_le_bytes());
        out.extend(self.group.to_le_bytes());
        self.ids.push_to(&mut out);
        push_cut(&mut out, self.name, 16);
        push_cut(&mut out, self.arguments, 80);
        out
    }
}

/// Pushes `bytes` in a field of `size` bytes, of which the last stays zero.
fn push_cut(out: &mut Vec<u8>, bytes: &[u8], size: usize) {
    let end = out.len() + size;
    out.extend(bytes.iter().take(size - 1));
    out.resize(end, 0);
}

/// Pushes a note.
pub fn push_note(out: &mut Vec<u8>, name: &[u8], kind: u32, content: &[u8]) {
    // The name's length counts the zero byte behind it.
    for word in [name.len() as u32 + 1, content.len() as u32, kind] {
        out.extend(word.to_le_bytes());
    }
    out.extend(name);
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(content);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// The first bytes of the file, for so many ranges.
pub fn header(ranges: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER as usize);
    out.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // ET_CORE, EM_X86_64, the version; no entry; where the program headers are; no sections, no flags.
    out.extend(4u16.to_le_bytes());
    out.extend(62u16.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    for word in [0, HEADER, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    // An address space has fewer areas than this number can tell.
    let count = u16::try_from(ranges + 1).unwrap_or(u16::MAX - 1);
    for half in [HEADER as u16, PROGRAM_HEADER as u16, count, 0, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    out
}

/// Where the notes begin in a file with so many ranges.
pub fn notes_at(ranges: usize) -> u64 {
    HEADER + PROGRAM_HEADER * (ranges as u64 + 1)
}

/// Where the memory begins.
pub fn memory_at(ranges: usize, notes: u64) -> u64 {
    (notes_at(ranges) + notes).next_multiple_of(PAGE)
}

/// The program header of the notes.
pub fn notes_header(ranges: usize, notes: u64) -> Vec<u8> {
    program_header(4, 0, [notes_at(ranges), 0, 0, notes, 0, 4])
}

/// The program header of a range whose bytes are at `offset`.
pub fn range_header(range: &Range, offset: u64) -> Vec<u8> {
    let bit = |flag, bit| if range.flags.contains(flag) { bit } else { 0 };
    let flags = bit(Flags::EXECUTE, 1) | bit(Flags::WRITE, 2) | bit(Flags::READ, 4);
    program_header(1, flags, [offset, range.start, 0, range.stored, range.end - range.start, PAGE])
}

/// `words`: offset, virtual and physical address, size in the file and in memory, alignment.
fn program_header(kind: u32, flags: u32, words: [u64; 6]) -> Vec<u8> {
    let mut out = Vec::with_capacity(PROGRAM_HEADER as usize);
    out.extend(kind.to_le_bytes());
    out.extend(flags.to_le_bytes());
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_linuxs_sizes() {
        let ids = Ids { own: 7, parent: 6, group: 5, session: 4 };
        let status = ThreadStatus {
            signal: 11,
            pending: 1,
            blocked: 2,
            ids,
            times: [1_500_000_000, 0, 0, 0],
            registers: core::array::from_fn(|index| index as u64),
            has_floating_point: true,
        };
        let bytes = status.bytes();
        assert_eq!(bytes.len(), 336);
        assert_eq!(bytes[12..14], 11u16.to_le_bytes());
        assert_eq!(bytes[32..36], 7u32.to_le_bytes());
        assert_eq!(bytes[48..64], [1u64.to_le_bytes(), 500_000u64.to_le_bytes()].concat());
        // RIP is the 17th register.
        assert_eq!(bytes[112 + 16 * 8..112 + 17 * 8], 16u64.to_le_bytes());
        let summary = ProcessSummary {
            nice: -5,
            user: 1,
            group: 2,
            ids,
            name: b"a name that is too long",
            arguments: &[b'x'; 100],
        };
        let bytes = summary.bytes();
        assert_eq!(bytes.len(), 136);
        assert_eq!(&bytes[40..56], b"a name that is \0");
        assert_eq!(bytes[135], 0);
    }

    #[test]
    fn notes_are_padded_to_words() {
        let mut out = Vec::new();
        push_note(&mut out, b"CORE", kind::SIGNAL, &[1, 2, 3]);
        assert_eq!(out.len(), 12 + 8 + 4);
        assert_eq!(out[..8], [5, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(&out[12..20], b"CORE\0\0\0\0");
        assert_eq!(out[20..], [1, 2, 3, 0]);
    }

    #[test]
    fn headers_say_where_things_are() {
        assert_eq!(header(2).len() as u64, HEADER);
        assert_eq!(header(2)[56..58], 3u16.to_le_bytes());
        assert_eq!(notes_at(2), 64 + 3 * 56);
        assert_eq!(memory_at(2, 4096), 8192);
        let range = Range { start: 0x1000, end: 0x4000, stored: 0x1000, flags: Flags::READ | Flags::EXECUTE };
        let bytes = range_header(&range, 8192);
        assert_eq!(bytes.len() as u64, PROGRAM_HEADER);
        assert_eq!(bytes[..8], [1, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(bytes[8..16], 8192u64.to_le_bytes());
        assert_eq!(bytes[40..48], 0x3000u64.to_le_bytes());
    }
}
