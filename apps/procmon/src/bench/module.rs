// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loading and unloading the module, for rows that compare with its absence.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::Failure;

/// How long whoever just closes a node may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn load(file: &Path) -> Result<(), Failure> {
    let module = File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
    rustix::system::finit_module(&module, c"", 0)
        .map_err(|error| format!("cannot load {}: {error}", file.display()).into())
}

pub(super) fn unload() -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // As rmmod: without waiting until the module is free.
        let no_wait = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits())?;
        match rustix::system::delete_module(c"procmon", no_wait) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(format!("cannot unload procmon: {error}").into());
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}
