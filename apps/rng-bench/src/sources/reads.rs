// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers by the buffer: `read(2)` of a file, and `getrandom(2)`.

use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::rand::{GetRandomFlags, getrandom};

use super::{Source, Step, Ways, sum};
use crate::Failure;
use crate::hwrng::Hwrng;

/// Bytes that a program asks for at once: many enough that the call costs little, few enough for the second-level cache.
const BUFFER: usize = 64 << 10;

/// The same of `/dev/hwrng`, which hands out at most 64 bytes at a time however many were asked for; a step should not take
/// longer than a slice.
const HWRNG_BUFFER: usize = 1 << 10;

/// A file that gives numbers.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    buffer: usize,
    hwrng: Option<Hwrng>,
}

impl File {
    /// The file at `path`.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), buffer: BUFFER, hwrng: None }
    }

    /// `/dev/hwrng` with this generator selected.
    pub(crate) fn hwrng(hwrng: Hwrng) -> Self {
        Self { path: "/dev/hwrng".into(), buffer: HWRNG_BUFFER, hwrng: Some(hwrng) }
    }
}

struct OpenFile {
    file: std::fs::File,
    buffer: Vec<u8>,
}

impl Ways for File {
    fn select(&self) -> Result<(), Failure> {
        self.hwrng.as_ref().map_or(Ok(()), Hwrng::select)
    }

    fn open(&self) -> Result<Box<dyn Source>, Failure> {
        let file =
            std::fs::File::open(&self.path).map_err(|error| format!("{}: {error}", self.path.display()))?;
        Ok(Box::new(OpenFile { file, buffer: vec![0; self.buffer] }))
    }
}

impl Source for OpenFile {
    fn step(&mut self) -> Result<Step, Failure> {
        let length = self.file.read(&mut self.buffer)?;
        got(&self.buffer, length)
    }
}

/// A file in memory as long as the buffer, read from its start each time: the kernel's cheapest copy to a program, which every
/// `read(2)` that gives more than zeros needs. (Zeros are written without being read from anywhere.)
#[derive(Debug)]
pub(crate) struct MemoryFile;

struct OpenMemoryFile {
    file: std::fs::File,
    buffer: Vec<u8>,
}

impl Ways for MemoryFile {
    fn open(&self) -> Result<Box<dyn Source>, Failure> {
        let file = std::fs::File::from(memfd_create("rng-bench", MemfdFlags::CLOEXEC)?);
        file.write_all_at(&[0x5a; BUFFER], 0)?;
        Ok(Box::new(OpenMemoryFile { file, buffer: vec![0; BUFFER] }))
    }
}

impl Source for OpenMemoryFile {
    fn step(&mut self) -> Result<Step, Failure> {
        let length = self.file.read_at(&mut self.buffer, 0)?;
        got(&self.buffer, length)
    }
}

/// The kernel's own generator.
#[derive(Debug)]
pub(crate) struct GetRandom;

struct Buffer(Vec<u8>);

impl Ways for GetRandom {
    fn open(&self) -> Result<Box<dyn Source>, Failure> {
        Ok(Box::new(Buffer(vec![0; BUFFER])))
    }
}

impl Source for Buffer {
    fn step(&mut self) -> Result<Step, Failure> {
        let length = getrandom(&mut self.0, GetRandomFlags::empty())?;
        got(&self.0, length)
    }
}

/// Looks at the `length` bytes that a call has written to `buffer`.
fn got(buffer: &[u8], length: usize) -> Result<Step, Failure> {
    match buffer.get(..length) {
        Some(bytes) if !bytes.is_empty() => Ok(Step { operations: 1, bytes: length as u64, sum: sum(bytes) }),
        _ => Err(format!("a call gave {length} bytes; expected 1 to {}", buffer.len()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_buffers_come_from_zero_and_the_kernel() {
        let zero = File::new("/dev/zero").open().unwrap().step().unwrap();
        assert_eq!(zero, Step { operations: 1, bytes: BUFFER as u64, sum: 0 });
        let random = GetRandom.open().unwrap().step().unwrap();
        assert!(random.bytes > 0 && random.sum != 0);
    }

    #[test]
    fn each_read_of_the_file_in_memory_gives_all_of_it() {
        let mut source = MemoryFile.open().unwrap();
        for _ in 0..3 {
            let step = source.step().unwrap();
            assert!(step.bytes == BUFFER as u64 && step.sum != 0, "{step:?}");
        }
    }

    #[test]
    fn an_end_of_the_file_is_an_error() {
        let error = File::new("/dev/null").open().unwrap().step().unwrap_err();
        assert_eq!(error.to_string(), format!("a call gave 0 bytes; expected 1 to {BUFFER}"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let Err(error) = File::new("/dev/not_there").open() else { panic!("it is not there") };
        assert!(error.to_string().starts_with("/dev/not_there: "), "{error}");
    }
}
