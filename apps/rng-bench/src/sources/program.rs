// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers that the program makes itself from a key of the kernel: the C library's `getrandom` by the vDSO, and ChaCha20.
#![expect(unsafe_code, reason = "no crate calls the C library's getrandom() rather than the kernel's")]

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _};
use rustix::rand::{GetRandomFlags, getrandom};

use super::{Source, Step, Ways, sum};
use crate::Failure;

/// As of the rows that read by the buffer.
const BUFFER: usize = 64 << 10;

/// `getrandom(3)`: since version 2.41 glibc has a generator for each thread by the vDSO, which the kernel tells when to take a
/// new key.
#[derive(Debug)]
pub(crate) struct VdsoGetRandom;

struct Buffer(Vec<u8>);

impl Ways for VdsoGetRandom {
    fn open(&self) -> Result<Box<dyn Source>, Failure> {
        Ok(Box::new(Buffer(vec![0; BUFFER])))
    }
}

impl Source for Buffer {
    fn step(&mut self) -> Result<Step, Failure> {
        // SAFETY: The buffer may be written to.
        let count = unsafe { libc::getrandom(self.0.as_mut_ptr().cast(), self.0.len(), 0) };
        match usize::try_from(count).ok().and_then(|count| self.0.get(..count)) {
            Some(bytes) if !bytes.is_empty() => {
                Ok(Step { operations: 1, bytes: bytes.len() as u64, sum: sum(bytes) })
            }
            _ => Err(std::io::Error::last_os_error().into()),
        }
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
            let mut source = way.open().unwrap();
            let (one, other) = (source.step().unwrap(), source.step().unwrap());
            assert!(one.bytes > 0 && one.sum != other.sum);
            assert_ne!(way.open().unwrap().step().unwrap().sum, one.sum);
        }
    }
}
