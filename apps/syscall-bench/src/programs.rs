// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes and programs from start to end.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use crate::rate;
use crate::system::{self, Child};
use bench_report::{Failure, nanoseconds};

/// The option with which this program ends at once. Nobody else has a use for it.
pub(crate) const NOTHING: &CStr = c"--nothing";

pub(crate) fn fork_exit_wait(window: Duration) -> Result<f64, Failure> {
    rate::on_one_cpu(|| repeat(window, || 0))
}

/// A child that becomes this very program, which ends at once: with fork, exit and wait.
pub(crate) fn execve(window: Duration) -> Result<f64, Failure> {
    // A test program knows nothing of the option; there the shell's `true` stands for it.
    let program = if cfg!(test) { "/bin/true".into() } else { std::env::current_exe()? };
    let program = CString::new(program.into_os_string().into_vec())?;
    rate::on_one_cpu(|| repeat(window, || system::become_program(&program, NOTHING)))
}

fn repeat(window: Duration, work: impl Fn() -> u8) -> Result<f64, Failure> {
    nanoseconds(window, |count| {
        for _ in 0..count {
            let status = Child::fork(&work)?.wait()?;
            if status != 0 {
                return Err(format!("the child ended with status {status}").into());
            }
        }
        Ok(())
    })
}
