// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers where the device wrote them: a queue mapped into this program, without copy and system call.

use std::path::PathBuf;

use my_rng_client::MappedRing;

use super::{Source, Step, Ways, sum};
use crate::Failure;

/// Most bytes that are looked at in one step, as much as a read asks for.
const PIECE: usize = 64 << 10;

/// A queue of the device at this path, one for each thread.
#[derive(Debug)]
pub(crate) struct Mapped(pub(crate) PathBuf);

impl Ways for Mapped {
    fn open(&self) -> Result<Box<dyn Source>, Failure> {
        Ok(Box::new(Open(MappedRing::open(&self.0)?)))
    }
}

struct Open(MappedRing);

impl Source for Open {
    fn step(&mut self) -> Result<Step, Failure> {
        let bytes = self.0.next(PIECE)?;
        Ok(Step { operations: 1, bytes: bytes.len() as u64, sum: sum(bytes) })
    }
}
