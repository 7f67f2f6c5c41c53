// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of programs: a small ELF image whose entry is code of [`user`](super::user).

/// Bytes of the ELF header, and of a program header.
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
/// Where the data of an image is mapped, behind a page that is not mapped.
pub const DATA_AT: u64 = 0x60_0000_0000;
/// What is in its data, before zeros up to [`DATA_SIZE`].
pub const DATA: &[u8] = b"data of the image";
/// Bytes of its data in memory.
pub const DATA_SIZE: u64 = 0x1800;
const PAGE: u64 = 4096;

/// A program that names an interpreter by `name`, whose last byte should be a zero. It can be moved, and its data is mapped
/// at [`DATA_AT`] and what the program is moved by.
pub fn interpreted(name: &[u8]) -> Vec<u8> {
    let mut out = elf(0);
    let at = 0x200;
    out[at..at + name.len()].copy_from_slice(name);
    // ET_DYN, and the program header of the code becomes PT_INTERP.
    out[16] = 3;
    let header = &mut out[HEADER..HEADER + PROGRAM_HEADER];
    header[0] = 3;
    header[8..16].copy_from_slice(&(at as u64).to_le_bytes());
    header[32..40].copy_from_slice(&(name.len() as u64).to_le_bytes());
    out
}

/// A static program that starts at `entry`: a page of code there, and data that can be written.
pub fn elf(entry: u64) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    out[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    // ET_EXEC, EM_X86_64, the version.
    put(16, &[2, 0, 62, 0, 1, 0, 0, 0]);
    put(24, &entry.to_le_bytes());
    put(32, &(HEADER as u64).to_le_bytes());
    // e_ehsize, e_phentsize, e_phnum.
    put(52, &[HEADER as u8, 0, PROGRAM_HEADER as u8, 0, 2, 0]);
    // PT_LOAD with its flags (4 read, 2 write, 1 execute), offset, address twice, bytes in the file and in memory, alignment.
    let mut segment = |flags: u32, offset: u64, address: u64, in_file: u64, in_memory: u64| {
        out.extend(1_u32.to_le_bytes());
        out.extend(flags.to_le_bytes());
        for word in [offset, address, address, in_file, in_memory, PAGE] {
            out.extend(word.to_le_bytes());
        }
    };
    segment(5, 0, entry & !(PAGE - 1), PAGE, PAGE);
    segment(6, PAGE, DATA_AT, DATA.len() as u64, DATA_SIZE);
    out.resize(PAGE as usize, 0xcc);
    out.extend(DATA);
    out
}
