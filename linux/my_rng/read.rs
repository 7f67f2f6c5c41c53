// SPDX-License-Identifier: GPL-2.0

//! `read(2)`: bytes of the entropy stream, straight from where the device wrote them.
//!
//! Copying happens under a ring's lock and inside of `Revocable::access()`, so it must not wait for
//! the program's memory, which may be on a disk, or served by some other program. It is done with
//! page faults switched off; when memory is missing, that is seen to outside, and then we come
//! back.

use crate::{
    chardev::fops::Wait,
    device::SharedDevice, //
};
use kernel::{
    bindings,
    current,
    iov::IovIterDest,
    prelude::*, //
};

/// How much is copied under a lock at a time: long enough to be worth the lock, short enough for
/// others to wait.
const CHUNK: usize = 256 << 10;

/// How often memory may vanish again right after it was brought in.
const FAULT_IN_RETRIES: u32 = 100;

/// Fills `iov` with random bytes and returns how many there were room for; fewer only if something
/// happened that ends the call.
///
/// # Errors
///
/// If nothing was copied: [`EAGAIN`] when it would have to wait and may not, [`ERESTARTSYS`] for a
/// signal, [`EFAULT`] when the memory is not there, [`ENODEV`] when the device is gone, [`EIO`]
/// when its queues have failed, [`EOPNOTSUPP`] when it has none.
pub(crate) fn read(device: &SharedDevice, iov: &mut IovIterDest<'_>, wait: Wait) -> Result<usize> {
    let wanted = iov.len();
    let ended = fill(device, iov, wait);
    let copied = wanted - iov.len();

    match ended {
        Err(error) if copied == 0 => Err(error),
        _ => Ok(copied),
    }
}

fn fill(device: &SharedDevice, iov: &mut IovIterDest<'_>, wait: Wait) -> Result {
    // Whether memory was missing last time: then more will be.
    let mut must_fault_in = false;
    let mut vanished = 0;

    while !iov.is_empty() {
        let mut chunk = iov.len().min(CHUNK);
        if must_fault_in {
            chunk = fault_in(iov, chunk)?;
        }

        let drawn = device.access(|device| {
            device.read(chunk, wait != Wait::Never, |pages, piece| {
                pages.copy_to_program(piece.offset, piece.length, iov)
            })
        })?;

        if drawn.faulted {
            if drawn.bytes == 0 && must_fault_in {
                vanished += 1;
                if vanished > FAULT_IN_RETRIES {
                    return Err(EFAULT);
                }
            }
            must_fault_in = true;
        } else if drawn.bytes == 0 {
            if wait != Wait::Data {
                return Err(EAGAIN);
            }
            device.access(|device| device.wait_for_bytes(chunk, || false))?;
        }
        // The device fills its queues as fast as they are read: this could go on for long.
        if wait == Wait::Never && drawn.bytes != 0 {
            return Ok(());
        }
        if !iov.is_empty() && current!().signal_pending() {
            return Err(ERESTARTSYS);
        }
    }
    Ok(())
}

/// Makes sure that the first bytes of the program's memory are there. Returns how many, up to
/// `length`.
///
/// # Errors
///
/// [`EFAULT`] when there are none.
fn fault_in(iov: &mut IovIterDest<'_>, length: usize) -> Result<usize> {
    // SAFETY: A valid destination by its type.
    let missing = unsafe { bindings::fault_in_iov_iter_writeable(iov.as_raw(), length) };
    match length.saturating_sub(missing) {
        0 => Err(EFAULT),
        there => Ok(there),
    }
}
