// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers that the program makes itself from a key of the kernel: `getrandom` of the vDSO, and ChaCha20.
#![expect(unsafe_code, reason = "no crate calls the vDSO's getrandom")]

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _};
use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSymbol as _};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::rand::{GetRandomFlags, getrandom};

use super::{Source, Step, Ways, sum};
use crate::Failure;

/// As of the rows that read by the buffer.
const BUFFER: usize = 64 << 10;

/// `getrandom` of the vDSO, as the C library calls it since glibc 2.41: a generator for each thread in the program's memory,
/// to which the kernel gives a new key when it takes one itself, and of which nothing is left in a child or a core dump
/// (`arch/x86/entry/vdso`, `lib/vdso/getrandom.c`). Called directly, since this program's C library may be older.
#[derive(Debug)]
pub(crate) struct VdsoGetRandom;

/// `__vdso_getrandom(buffer, length, flags, state, size of the state)`.
type Function = unsafe extern "C" fn(*mut u8, usize, u32, *mut u8, usize) -> isize;

/// What the function tells of its state when the size is given as −1: `struct vgetrandom_opaque_params`.
#[repr(C)]
#[derive(Default)]
struct StateParameters {
    size: u32,
    protection: u32,
    flags: u32,
    reserved: [u32; 13],
}

/// Finds the function in the pages that the kernel has mapped into this process.
fn find() -> Result<Function, Failure> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let range = maps.lines().find_map(|line| line.strip_suffix("[vdso]")?.split_once(' ')?.0.split_once('-'));
    let (start, end) = range.ok_or("this kernel has no vDSO")?;
    let (start, end) = (usize::from_str_radix(start, 16)?, usize::from_str_radix(end, 16)?);
    // SAFETY: The kernel maps these pages for as long as the process runs, and nobody writes to them.
    let image = unsafe { std::slice::from_raw_parts(start as *const u8, end - start) };
    let file = ElfFile64::<Endianness>::parse(image)?;
    let symbol = file.dynamic_symbols().find(|symbol| symbol.name() == Ok("__vdso_getrandom"));
    let offset = symbol.ok_or("this kernel's vDSO has no getrandom")?.address();
    let address = start + usize::try_from(offset)?;
    // SAFETY: The function of that name has this type in every kernel: programs are linked against it.
    Ok(unsafe { std::mem::transmute::<usize, Function>(address) })
}

/// The generator of a thread.
struct Generator {
    function: Function,
    state: *mut u8,
    size: usize,
    buffer: Vec<u8>,
}

impl Ways for VdsoGetRandom {
    fn open(&self) -> Result<Box<dyn Source>, Failure> {
        let function = find()?;
        let mut parameters = StateParameters::default();
        // SAFETY: With this size the function only writes the structure.
        let told = unsafe { function(std::ptr::null_mut(), 0, 0, (&raw mut parameters).cast(), usize::MAX) };
        let size = usize::try_from(parameters.size)?;
        if told != 0 || size == 0 {
            return Err(format!("the vDSO's getrandom tells nothing of its state: {told}").into());
        }
        let protection = ProtFlags::from_bits_retain(parameters.protection);
        let flags = MapFlags::from_bits_retain(parameters.flags) - MapFlags::FIXED;
        // SAFETY: A new mapping at an address that the kernel chooses.
        let state = unsafe { mmap_anonymous(std::ptr::null_mut(), size, protection, flags) }?.cast();
        Ok(Box::new(Generator { function, state, size, buffer: vec![0; BUFFER] }))
    }
}

impl Source for Generator {
    fn step(&mut self) -> Result<Step, Failure> {
        // SAFETY: The buffer may be written to, and the state is as the function has asked for, this thread's alone.
        let count =
            unsafe { (self.function)(self.buffer.as_mut_ptr(), self.buffer.len(), 0, self.state, self.size) };
        match usize::try_from(count).ok().and_then(|count| self.buffer.get(..count)) {
            Some(bytes) if !bytes.is_empty() => {
                Ok(Step { operations: 1, bytes: bytes.len() as u64, sum: sum(bytes) })
            }
            _ => Err(format!("the vDSO's getrandom returned {count}").into()),
        }
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // SAFETY: Exactly what was mapped. An error would mean a leak, no more.
        let _ = unsafe { munmap(self.state.cast(), self.size) };
    }
}

/// ChaCha20 in the program, with one key from the kernel. (A program that does this must take a new one after `fork(2)`, and
/// when its machine was cloned, which nobody tells it.)
#[derive(Debug)]
pub(crate) struct OwnChaCha20;

struct Cipher {
    cipher: ChaCha20,
    buffer: Vec<u8>,
}

impl Ways for OwnChaCha20 {
    fn open(&self) -> Result<Box<dyn Source>, Failure> {
        let mut key = [0; 32];
        let length = getrandom(&mut key, GetRandomFlags::empty())?;
        if length != key.len() {
            return Err(format!("the kernel gave {length} bytes for a key").into());
        }
        // A nonce is for messages under one key; here a key is used once. 256 GiB come before its counter ends.
        let cipher = ChaCha20::new(&key.into(), &[0; 12].into());
        Ok(Box::new(Cipher { cipher, buffer: vec![0; BUFFER] }))
    }
}

impl Source for Cipher {
    fn step(&mut self) -> Result<Step, Failure> {
        self.buffer.fill(0);
        self.cipher.try_apply_keystream(&mut self.buffer).map_err(|error| error.to_string())?;
        Ok(Step { operations: 1, bytes: BUFFER as u64, sum: sum(&self.buffer) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gives_another_buffer_each_time() {
        for way in [&VdsoGetRandom as &dyn Ways, &OwnChaCha20] {
            let mut source = match way.open() {
                Ok(source) => source,
                // Before Linux 6.11.
                Err(error) if error.to_string().contains("vDSO has no getrandom") => continue,
                Err(error) => panic!("{error}"),
            };
            let (one, other) = (source.step().unwrap(), source.step().unwrap());
            assert!(one.bytes > 0 && one.sum != other.sum);
            assert_ne!(way.open().unwrap().step().unwrap().sum, one.sum);
        }
    }
}
