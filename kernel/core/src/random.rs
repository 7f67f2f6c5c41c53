// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random bytes for programs: ChaCha20 (RFC 8439) keyed at boot from RDRAND and the cycle counter, and rekeyed from its own
//! output after every use, so that earlier output cannot be computed from the state. Random devices stir a key's worth of their
//! bytes in every second.

use core::sync::atomic::{AtomicU64, Ordering};

use exo_hal::{cpu, sync::SpinLock, time};

use crate::{
    errno::Result,
    io_buf::{IoBuf, IoSource},
    sched::spans,
};

struct Generator {
    key: [u32; 8],
    seeded: bool,
}

static GENERATOR: SpinLock<Generator> = SpinLock::new(Generator { key: [0; 8], seeded: false });

const BLOCK: usize = 64;

fn block(key: &[u32; 8], counter: u32) -> [u8; BLOCK] {
    exo_logic::chacha::block(key, counter)
}

impl Generator {
    fn mix(&mut self) {
        // Half of the words come from each side, so that a broken RDRAND does not make the key known.
        for (index, word) in self.key.iter_mut().enumerate() {
            let hardware = cpu::hardware_random().unwrap_or_else(time::cycles);
            *word ^=
                (hardware ^ (hardware >> 32)) as u32 ^ (time::cycles() as u32).rotate_left(index as u32 * 4);
        }
        self.seeded = true;
    }

    fn rekey(&mut self) {
        let bytes = block(&self.key, 0);
        for (word, chunk) in self.key.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        }
    }
}

/// A key of one request's own: the generator is locked only for this.
fn request_key() -> [u32; 8] {
    let mut generator = GENERATOR.lock();
    if !generator.seeded {
        generator.mix();
    }
    let mut key = [0; 8];
    let bytes = block(&generator.key, 1);
    for (word, chunk) in key.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
    }
    generator.rekey();
    key
}

/// Fills `out`.
pub fn fill(out: &mut [u8]) {
    let key = request_key();
    for (counter, chunk) in (0..).zip(out.chunks_mut(BLOCK)) {
        let bytes = block(&key, counter);
        for (to, from) in chunk.iter_mut().zip(bytes) {
            *to = from;
        }
    }
}

/// Stirs `bytes` from a program in; they can only add to what is unknown.
pub fn stir(bytes: &[u8]) {
    let mut generator = GENERATOR.lock();
    for chunk in bytes.chunks(32) {
        for (word, part) in generator.key.iter_mut().zip(chunk.chunks(4)) {
            for (shift, &byte) in (0..).zip(part) {
                *word ^= u32::from(byte) << (8 * shift);
            }
        }
        generator.rekey();
    }
}

static FED: AtomicU64 = AtomicU64::new(0);

/// Stirs `bytes` from a random device in.
pub fn feed(bytes: &[u8]) {
    stir(bytes);
    FED.fetch_add(bytes.len() as u64, Ordering::Relaxed);
}

/// Bytes that came from random devices so far.
pub fn fed() -> u64 {
    FED.load(Ordering::Relaxed)
}

/// Puts random bytes; how many, if a page turned out bad half-way.
pub fn fill_all(to: &mut IoBuf<'_>) -> Result {
    to.count(|to| {
        let mut bytes = [0u8; 256];
        while !to.is_empty() {
            let part = bytes.get_mut(..to.left().min(256)).unwrap_or_default();
            fill(part);
            if to.put(part)? < part.len() || spans::point() {
                break;
            }
        }
        Ok(())
    })
}

/// Stirs all bytes that a program writes in; how many, if a page turned out bad half-way.
pub fn stir_all(from: &mut IoSource<'_>) -> Result {
    from.count(|from| {
        let mut bytes = [0; 256];
        while !from.is_empty() {
            let wanted = from.left().min(bytes.len());
            let count = from.take(bytes.get_mut(..wanted).unwrap_or_default())?;
            stir(bytes.get(..count).unwrap_or_default());
            if count < wanted || spans::point() {
                break;
            }
        }
        Ok(())
    })
}
