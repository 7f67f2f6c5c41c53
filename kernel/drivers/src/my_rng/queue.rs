// SPDX-License-Identifier: MIT OR Apache-2.0
//! One queue that the driver itself reads: its ring under a lock.

use core::sync::atomic::{AtomicBool, Ordering};

use exo_platform::{PAGE_SIZE, SpinLock, lock_held_over_faults};
use my_rng_ring::{Layout, Ring, ring::is_reached};

use super::{
    hardware::{Hardware, SetUp},
    pages::QueuePages,
};
use crate::{
    DriverError,
    random::{Awaited, Drawn, RandomError, Sink},
};

/// A queue; `T` is what else its lock protects.
pub(super) struct Queue<T> {
    number: u32,
    stream: u32,
    pages: QueuePages,
    /// Set when the queue has failed. It stays so.
    failed: AtomicBool,
    reader: SpinLock<Reader<T>>,
}

/// What the lock of a queue protects.
pub(super) struct Reader<T> {
    pub(super) ring: Ring<QueuePages>,
    pub(super) more: T,
}

impl<T> Queue<T> {
    /// A queue that is not started yet.
    pub(super) fn new(number: u32, stream: u32, layout: Layout, more: T) -> Result<Self, DriverError> {
        let pages = QueuePages::new(layout)?;
        let ring = Ring::new(pages.clone(), layout);
        let reader = lock_held_over_faults(Reader { ring, more });
        Ok(Self { number, stream, pages, failed: AtomicBool::new(false), reader })
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Who has this may read the queue.
    pub(super) fn reader(&self) -> &SpinLock<Reader<T>> {
        &self.reader
    }

    pub(super) fn pages(&self) -> &QueuePages {
        &self.pages
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Lets the device fill the queue, from its beginning.
    pub(super) fn start(
        &self,
        reader: &mut Reader<T>,
        hardware: &Hardware,
        vector: u32,
    ) -> Result<(), RandomError> {
        reader.ring.reset();
        hardware.start_queue(&set_up(self.number, self.stream, vector, &self.pages))?;
        self.give_back(reader, hardware);
        Ok(())
    }

    /// Stops it; whether the device is known to be done with its memory.
    pub(super) fn stop(&self, hardware: &Hardware) -> bool {
        self.failed.store(true, Ordering::Relaxed);
        hardware.stop_queue(self.number).is_ok()
    }

    /// The memory is the device's for ever.
    pub(super) fn abandon(&self) {
        core::mem::forget(self.pages.clone());
    }

    /// Gives buffers that were taken back to the device, if it is time.
    #[inline]
    pub(super) fn give_back(&self, reader: &mut Reader<T>, hardware: &Hardware) {
        if reader.ring.give_back() {
            hardware.ring_doorbell(self.number);
        }
    }

    pub(super) fn fail(&self) -> RandomError {
        self.failed.store(true, Ordering::Relaxed);
        RandomError::Failed
    }

    /// Hands up to `limit` bytes that are there to `sink`. They are out of the ring before that: whatever becomes of them, nobody
    /// gets them again.
    pub(super) fn draw(
        &self,
        reader: &mut Reader<T>,
        hardware: &Hardware,
        limit: usize,
        sink: &mut Sink<'_>,
    ) -> Result<Drawn, RandomError> {
        if self.has_failed() {
            return Err(RandomError::Failed);
        }
        let mut drawn = Drawn::default();
        while drawn.bytes < limit && !drawn.refused {
            // A page at a time, so that no more than that is lost if the program's memory is not there.
            match reader.ring.take((limit - drawn.bytes).min(PAGE_SIZE)) {
                Ok(Some(piece)) => {
                    let taken = self.pages.each_part(piece.offset, piece.length, sink);
                    drawn.bytes += taken;
                    drawn.refused = taken < piece.length;
                }
                Ok(None) => break,
                Err(_) if drawn.bytes > 0 => break,
                Err(_) => return Err(self.fail()),
            }
        }
        self.give_back(reader, hardware);
        Ok(drawn)
    }

    /// Asks for an interrupt when `bytes` more are there, at most half of the queue: while we copy one half, the device fills the
    /// other. None if something is there.
    pub(super) fn ask(&self, bytes: usize, hardware: &Hardware) -> Result<Option<Awaited>, RandomError> {
        hardware.was_there()?;
        let mut reader = self.reader.lock();
        if self.has_failed() {
            return Err(RandomError::Failed);
        }
        match reader.ring.has_some() {
            Ok(false) => {}
            Ok(true) => return Ok(None),
            Err(_) => return Err(self.fail()),
        }
        self.give_back(&mut reader, hardware);
        let layout = self.pages.layout();
        let half = (layout.depth() / 2).max(1);
        let buffers = u32::try_from(bytes / layout.buffer_size() as usize).unwrap_or(half).min(half);
        Ok(Some(Awaited { queue: self.number, count: reader.ring.ask_for_interrupt(buffers) }))
    }

    /// Whether a count that [`ask`](Self::ask) gave is reached, or the queue has stopped.
    #[inline]
    pub(super) fn is_reached(&self, count: u32) -> bool {
        self.has_failed() || is_reached(&self.pages, count)
    }
}

/// How a queue's memory is told to the device.
pub(super) fn set_up(number: u32, stream: u32, vector: u32, pages: &QueuePages) -> SetUp {
    SetUp {
        number,
        stream,
        depth: pages.layout().depth(),
        vector,
        descriptors: pages.descriptors(),
        state: pages.state(),
    }
}
