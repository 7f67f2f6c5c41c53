// SPDX-License-Identifier: MIT OR Apache-2.0
//! One `cargo exo` at a time where two would harm each other; the second says what it waits for.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::{interrupt, ui};

/// How often a waiting process looks again. Polling, because a blocking `flock` could not be interrupted cleanly.
const POLL: Duration = Duration::from_millis(200);

/// Held until dropped, or until the process ends however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock at `path` for the work that `purpose` names ("makes the tool tree").
    pub(crate) fn take(path: &Path, purpose: &str) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(|| format!("cannot open the lock {}", path.display()))?;
        let mut told = false;
        loop {
            interrupt::check()?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut locked) => {
                    let holder = format!("process {}, which {purpose}\n", std::process::id());
                    locked
                        .set_len(0)
                        .and_then(|()| locked.seek(SeekFrom::Start(0)))
                        .context("cannot write the lock")?;
                    locked.write_all(holder.as_bytes()).context("cannot write the lock")?;
                    return Ok(Self { _file: locked });
                }
                Err((unlocked, Errno::EWOULDBLOCK)) => {
                    file = unlocked;
                    if !told {
                        told = true;
                        let holder = holder(&mut file);
                        // Of what another test of this process does, nobody needs to hear.
                        if !holder.contains(&format!("process {},", std::process::id())) {
                            ui::note(&format!("waiting for {holder}"));
                        }
                    }
                    std::thread::sleep(POLL);
                }
                Err((_, error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
        }
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(200).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => format!("another cargo exo ({})", text.trim()),
        _ => "another cargo exo".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn the_second_waits_until_the_first_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locks/x");
        let first = Lock::take(&path, "does the first thing").unwrap();
        let released = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                let _lock = Lock::take(&path, "does the second thing").unwrap();
                released.load(Ordering::SeqCst)
            });
            std::thread::sleep(POLL * 3);
            released.store(true, Ordering::SeqCst);
            drop(first);
            assert!(second.join().unwrap(), "the second had the lock while the first held it");
        });
        assert!(std::fs::read_to_string(&path).unwrap().contains("the second thing"));
    }
}
