// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers by ioctl, one a call.

use std::path::PathBuf;

use my_rng_client::Device;

use super::{Source, Step, Ways};
use crate::Failure;

/// Calls in a step.
const CALLS: u64 = 64;

/// ioctl RAND of the device at this path.
#[derive(Debug)]
pub(crate) struct Rand32(pub(crate) PathBuf);

/// ioctl RAND64 of the device at this path.
#[derive(Debug)]
pub(crate) struct Rand64(pub(crate) PathBuf);

struct Open32(Device);

struct Open64(Device);

impl Ways for Rand32 {
    fn open(&self) -> Result<Box<dyn Source>, Failure> {
        Ok(Box::new(Open32(Device::open(&self.0)?)))
    }
}

impl Ways for Rand64 {
    fn open(&self) -> Result<Box<dyn Source>, Failure> {
        Ok(Box::new(Open64(Device::open(&self.0)?)))
    }
}

impl Source for Open32 {
    fn step(&mut self) -> Result<Step, Failure> {
        let mut sum = 0_u64;
        for _ in 0..CALLS {
            sum = sum.wrapping_add(self.0.rand32()?.into());
        }
        Ok(Step { operations: CALLS, bytes: CALLS * 4, sum })
    }
}

impl Source for Open64 {
    fn step(&mut self) -> Result<Step, Failure> {
        let mut sum = 0_u64;
        for _ in 0..CALLS {
            sum = sum.wrapping_add(self.0.rand64()?);
        }
        Ok(Step { operations: CALLS, bytes: CALLS * 8, sum })
    }
}
