// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks: written in rounds with content that can be judged later, judged, and used until they are gone.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write as _, stdout};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use disk_pattern::{Extent, Pattern, SECTOR};

use crate::{Outcome, failed};

/// Threads that write at the same time, or use a disk until it is gone.
const THREADS: usize = 4;

/// What the command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// The disk.
    pub(crate) path: PathBuf,
    /// What the content is drawn from.
    pub(crate) seed: u64,
    /// Rounds to write.
    pub(crate) rounds: u64,
    /// Rounds that were flushed.
    pub(crate) flushed: u64,
}

impl Options {
    fn open(&self) -> Result<(File, u64), Box<dyn std::error::Error + Send + Sync>> {
        let mut disk = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .map_err(|error| format!("{}: {error}", self.path.display()))?;
        let bytes = disk.seek(SeekFrom::End(0))?;
        disk.rewind()?;
        Ok((disk, bytes / SECTOR as u64))
    }

    fn pattern(&self, sectors: u64) -> Result<Pattern, Box<dyn std::error::Error + Send + Sync>> {
        Pattern::new(self.seed, sectors).ok_or_else(|| failed(format!("{sectors} sectors are too few")))
    }
}

/// Writes round after round, several places at a time, flushes after each and says so.
pub(crate) fn write(options: &Options) -> Outcome {
    let (disk, sectors) = options.open()?;
    let pattern = options.pattern(sectors)?;
    for round in 0..options.rounds {
        let extents: Vec<Extent> = pattern.extents(round).collect();
        std::thread::scope(|scope| {
            let parts = extents.chunks(extents.len().div_ceil(THREADS));
            let threads: Vec<_> =
                parts.map(|part| scope.spawn(|| write_part(&disk, pattern, round, part))).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| failed("a thread panicked"))?)
        })?;
        disk.sync_all()?;
        println!("{}: flushed {round}", options.path.display());
        stdout().flush()?;
    }
    Ok(())
}

fn write_part(disk: &File, pattern: Pattern, round: u64, part: &[Extent]) -> Outcome {
    let mut bytes = Vec::new();
    for extent in part {
        bytes.resize(extent.sectors as usize * SECTOR, 0);
        pattern.fill(round, extent.first, &mut bytes);
        disk.write_all_at(&bytes, extent.first * SECTOR as u64)?;
    }
    Ok(())
}

/// Reads the whole disk and judges it. `--flushed` says how many rounds were flushed.
pub(crate) fn verify(options: &Options) -> Outcome {
    let (disk, sectors) = options.open()?;
    let found = options
        .pattern(sectors)?
        .verify(disk.take(sectors * SECTOR as u64), options.flushed.checked_sub(1))?;
    println!("{} sectors as they were flushed", found.flushed);
    Ok(())
}

/// Reads and writes, several threads at a time, until the disk gives errors; says when it has begun, and how it ended.
pub(crate) fn use_until_error(options: &Options) -> Outcome {
    let (disk, sectors) = options.open()?;
    let pattern = options.pattern(sectors)?;
    println!("using");
    stdout().flush()?;
    let errors: Vec<std::io::Error> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64)
            .map(|thread| {
                scope.spawn({
                    let disk = &disk;
                    move || use_until(disk, pattern, thread)
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    for error in errors {
        println!("ended by {}", error.raw_os_error().unwrap_or_default());
    }
    Ok(())
}

fn use_until(disk: &File, pattern: Pattern, thread: u64) -> std::io::Error {
    let mut bytes = Vec::new();
    let mut round = thread;
    loop {
        for extent in pattern.extents(round) {
            bytes.resize(extent.sectors as usize * SECTOR, 0);
            let at = extent.first * SECTOR as u64;
            pattern.fill(round, extent.first, &mut bytes);
            let done = if round % 2 == 0 {
                disk.write_all_at(&bytes, at)
            } else {
                disk.read_exact_at(&mut bytes, at)
            };
            if let Err(error) = done {
                return error;
            }
        }
        round += THREADS as u64;
    }
}
