// SPDX-License-Identifier: GPL-2.0

//! The seedable stream: numbers that the device wrote to memory before anybody asked for them.
//!
//! Programs see exactly the sequence that the registers would give. What was fetched too early is
//! dropped when the stream is restarted: the queue is stopped *first*, then the device is given the
//! seed, so that nothing of the old sequence comes later.
//!
//! Draws take numbers from a [`Window`] on the ring, without a lock. A draw that finds too few in
//! it takes the queue's lock and opens the next window, of a quarter of the ring. The buffers of a
//! window are posted again when all of it was drawn.

use crate::{
    abi::{
        queue::STREAM_SEEDABLE,
        ring::Layout,
        window::{
            Position,
            Taken,
            Window, //
        }, //
    },
    dma_memory::{
        DmaMemory,
        QueuePages, //
    },
    hardware::Hardware,
    interrupts::IrqVectors,
    queue::{
        Counters,
        Queue,
        Reader, //
    },
    stream_origin::Origin,
};
use core::ops::Range;
use kernel::{
    device::Bound,
    pci,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        Arc, //
    }, //
};

/// Bytes of a number.
const SIZE: usize = size_of::<u32>();

/// The part of the ring that a window covers: small enough for the device to fill the rest while it
/// is used up.
const WINDOWS_IN_RING: usize = 4;

/// The word of the window.
struct AtomicPosition(Atomic<u64>);

impl Position for AtomicPosition {
    #[inline]
    fn load_acquire(&self) -> u64 {
        self.0.load(Acquire)
    }

    fn store_release(&self, value: u64) {
        self.0.store(value, Release);
    }

    #[inline]
    fn compare_exchange(&self, old: u64, new: u64) -> bool {
        self.0.cmpxchg(old, new, Full).is_ok()
    }
}

/// The queue of the seedable stream.
pub(crate) struct SeedableStream {
    /// Counts numbers; the position modulo the size of the ring is where in it a number lies.
    window: Window<AtomicPosition>,
    pages: Arc<QueuePages>,
    /// Clears what is no offset in the ring, whose size is a power of two.
    offset_mask: usize,
    queue: Pin<KBox<Queue<StreamState>>>,
}

/// Where in the stream we are, besides the ring and the window.
struct StreamState {
    /// Whether the device fills the queue. It begins when the first number is drawn: until then,
    /// and after a restart, the registers of the classic interface are at the same place as we.
    is_running: bool,
    /// Whether the device is gone.
    is_closed: bool,
    /// Numbers that come before all others, the next one last: what was left of a window that had
    /// too few for a draw, and what was fetched before the machine was suspended. While there are
    /// some, the window is empty.
    backlog: KVVec<u32>,
    /// Numbers that the device will give once more, although programs had them already.
    skip: u64,
    /// What was taken out of the ring, but is not in the window yet.
    loaded: Range<u64>,
    /// Numbers that were taken out of the ring, but those that were skipped.
    taken: u64,
    /// How many of these were dropped.
    dropped: u64,
    /// What `taken` was when the stream was restarted last.
    restarted_at: u64,
    /// How the stream was restarted last.
    origin: Origin,
}

/// What came of [`SeedableStream::refill`].
#[derive(PartialEq, Eq)]
pub(crate) enum Refill {
    /// There are numbers to be drawn.
    Ready,
    /// The numbers were delivered.
    Delivered,
    /// They could not be, and will be drawn by the next.
    Undelivered,
    /// There are not enough numbers yet.
    Empty,
}

impl SeedableStream {
    /// Makes the queue. Its memory goes to `memory`, to be kept until the device has stopped.
    ///
    /// # Errors
    ///
    /// Those of [`DmaMemory::new`].
    ///
    /// # Safety
    ///
    /// That memory must be dropped before the device is unbound.
    pub(crate) unsafe fn new(
        pdev: &pci::Device<Bound>,
        number: u32,
        layout: Layout,
        vectors: &IrqVectors<'_>,
        memory: &mut KVec<(u32, DmaMemory)>,
    ) -> Result<Self> {
        // SAFETY: As the caller promises.
        let mapped = unsafe { DmaMemory::new(pdev.as_ref(), layout) }?;
        let queue = Queue::new(
            (number, STREAM_SEEDABLE),
            &mapped,
            vectors.for_queue(number)?,
            StreamState {
                is_running: false,
                is_closed: false,
                backlog: KVVec::new(),
                skip: 0,
                loaded: 0..0,
                taken: 0,
                dropped: 0,
                restarted_at: 0,
                origin: Origin::BOUND,
            },
        )?;
        let pages = mapped.pages().clone();
        memory.push((number, mapped), GFP_KERNEL)?;
        Ok(Self {
            window: Window::new(AtomicPosition(Atomic::new(0))),
            pages,
            offset_mask: layout.size() - 1,
            queue,
        })
    }

    /// What was counted, but the bytes.
    pub(crate) fn counters(&self) -> &Counters {
        self.queue.counters()
    }

    /// Bytes that programs were given.
    pub(crate) fn bytes(&self) -> u64 {
        let reader = self.queue.reader().lock();
        let kept = reader.more.dropped.wrapping_add(self.undrawn(&reader));
        // CAST: Lossless.
        reader
            .more
            .taken
            .wrapping_sub(kept)
            .wrapping_mul(SIZE as u64)
    }

    /// Draws `N` numbers of 32 bits and hands them to `deliver`, which says whether it could
    /// deliver them and may sleep. If it could not, nobody has drawn them.
    ///
    /// If somebody else draws at the same time, `deliver` may be called again with other numbers:
    /// those of the last call count.
    ///
    /// This touches nothing but memory that is ours, so it needs no
    /// [`Revocable`](crate::chardev::Revocable).
    #[inline]
    pub(crate) fn draw<const N: usize>(&self, deliver: impl Fn([u32; N]) -> bool) -> Taken<()> {
        // CAST: Lossless.
        self.window.take(N as u16, |position| {
            deliver(self.numbers(position)?).then_some(())
        })
    }

    /// Sees to it that `N` numbers can be drawn. If some come that are not in the ring, these are
    /// handed to `deliver`, which is called under a lock and must not sleep.
    ///
    /// Also returns whether the device must be woken ([`SeedableStream::wake_device`]).
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device is gone, [`ENOMEM`].
    #[cold]
    pub(crate) fn refill<const N: usize>(
        &self,
        deliver: impl FnOnce([u32; N]) -> bool,
    ) -> Result<(Refill, bool)> {
        let mut reader = self.queue.reader().lock();
        if reader.more.is_closed {
            return Err(ENODEV);
        }
        if self.window.len() >= N {
            return Ok((Refill::Ready, false));
        }
        self.put_rest_aside(&mut reader, N)?;

        let mut numbers = [0; N];
        let mut old = 0;
        for (number, next) in numbers.iter_mut().zip(reader.more.backlog.iter().rev()) {
            *number = *next;
            old += 1;
        }
        // CAST: Lossless.
        let new = (N - old) as u64;
        let wake = new != 0 && reader.more.loaded.is_empty() && self.load(&mut reader);

        if old != 0 {
            let positions = reader.more.loaded.clone();
            if positions.end - positions.start < new {
                return Ok((Refill::Empty, wake));
            }
            for (number, position) in numbers.iter_mut().skip(old).zip(positions) {
                *number = self.number(position).ok_or(EIO)?;
            }
            if !deliver(numbers) {
                return Ok((Refill::Undelivered, wake));
            }
            reader.more.loaded.start += new;
            let left = reader.more.backlog.len() - old;
            reader.more.backlog.truncate(left);
        }
        if reader.more.backlog.is_empty() {
            self.open_window(&mut reader);
        }
        let outcome = match old {
            0 if self.window.is_empty() => Refill::Empty,
            0 => Refill::Ready,
            _ => Refill::Delivered,
        };
        Ok((outcome, wake))
    }

    /// Rings the doorbell.
    pub(crate) fn wake_device(&self, hardware: &Hardware<'_>) {
        self.queue.counters().doorbells.add(1);
        hardware.ring_doorbell(self.queue.number());
    }

    /// Nobody draws any more: the device goes.
    pub(crate) fn close(&self) {
        let mut reader = self.queue.reader().lock();
        reader.more.is_closed = true;
        self.discard(&mut reader);
    }

    /// Lets the device fetch numbers if it does not, then sleeps until there may be some, or until
    /// `leave` says so.
    ///
    /// # Errors
    ///
    /// [`EIO`] when the queue has failed, or those of [`Queue::wait`].
    pub(crate) fn fetch(&self, hardware: &Hardware<'_>, leave: impl FnOnce() -> bool) -> Result {
        let asked = {
            let mut reader = self.queue.reader().lock();
            // Somebody else was faster. Nothing may be posted now, either: it is being drawn.
            if !self.window.is_empty() || !reader.more.loaded.is_empty() {
                return Ok(());
            }
            if !reader.more.is_running {
                self.queue.start(&mut reader, hardware)?;
                reader.more.is_running = true;
            }
            // For any number, not for many: a draw needs the next one only.
            self.queue.ask_for_interrupt(&mut reader, 0, hardware)?
        };
        match asked {
            Some(count) => self.queue.sleep_until(count, hardware, leave),
            None => Ok(()),
        }
    }

    /// Drops what was fetched, then calls `restart`, which restarts the stream in the device;
    /// `origin` makes of where it began before where it begins then.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer, or what `restart` fails with.
    pub(crate) fn restart(
        &self,
        hardware: &Hardware<'_>,
        origin: impl FnOnce(Origin) -> Origin,
        restart: impl FnOnce() -> Result,
    ) -> Result {
        let mut reader = self.queue.reader().lock();
        if reader.more.is_running {
            hardware.stop_queue(self.queue.number())?;
            reader.more.is_running = false;
        }
        self.discard(&mut reader);
        let restarted = restart();
        if restarted.is_ok() {
            reader.more.skip = 0;
            reader.more.restarted_at = reader.more.taken;
            reader.more.origin = origin(reader.more.origin);
        }
        drop(reader);

        // They asked for an interrupt that will not come.
        self.queue.wait_queue().wake_all();
        restarted
    }

    /// Stops the queue before the device may be reset. What was fetched is kept.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], or those of [`Hardware::stop_queue`].
    pub(crate) fn suspend(&self, hardware: &Hardware<'_>) -> Result {
        let mut reader = self.queue.reader().lock();
        if !reader.more.is_running {
            return Ok(());
        }
        // Room for all that the ring can hold, and for the backlog.
        let count = self.queue.layout().size() / SIZE;
        let mut fetched = KVVec::with_capacity(count + reader.more.backlog.len(), GFP_KERNEL)?;
        hardware.stop_queue(self.queue.number())?;

        let loaded = reader.more.take_loaded();
        for position in Iterator::chain(self.window.close(), loaded) {
            let number = self.number(position).ok_or(EIO)?;
            let _ = fetched.push_within_capacity(number);
        }
        while reader.more.skip == 0 {
            match reader.ring.take(SIZE) {
                Ok(Some(piece)) => {
                    let number = self.pages.word(piece.offset).ok_or(EIO)?;
                    if fetched.push_within_capacity(number).is_err() {
                        break;
                    }
                    reader.more.taken = reader.more.taken.wrapping_add(1);
                }
                _ => break,
            }
        }
        fetched.reverse();
        for number in &reader.more.backlog {
            let _ = fetched.push_within_capacity(*number);
        }
        reader.more.backlog = fetched;
        reader.more.is_running = false;
        Ok(())
    }

    /// Makes the stream go on where it was. `restore` is called if the device was reset (or never
    /// had this queue), to bring it to where the numbers are counted from.
    ///
    /// # Errors
    ///
    /// What `restore` fails with.
    pub(crate) fn resume(
        &self,
        hardware: &Hardware<'_>,
        restore: impl FnOnce(Origin) -> Result,
    ) -> Result {
        let mut reader = self.queue.reader().lock();
        if hardware.has_layout(self.queue.config()) {
            return Ok(());
        }
        restore(reader.more.origin)?;
        reader.more.skip = reader.more.taken.wrapping_sub(reader.more.restarted_at);
        Ok(())
    }

    /// Returns the numbers from a position on.
    #[inline]
    fn numbers<const N: usize>(&self, position: u64) -> Option<[u32; N]> {
        let mut numbers = [0; N];
        for (index, number) in (0..).zip(&mut numbers) {
            *number = self.number(position.wrapping_add(index))?;
        }
        Some(numbers)
    }

    /// Returns the number at a position.
    #[inline]
    fn number(&self, position: u64) -> Option<u32> {
        // CAST: Only the lower bits count.
        let offset = (position as usize).wrapping_mul(SIZE) & self.offset_mask;
        self.pages.word(offset)
    }

    /// Puts what is left in the window into the backlog, if that is less than `count` numbers.
    fn put_rest_aside(&self, reader: &mut Reader<StreamState>, count: usize) -> Result {
        if self.window.is_empty() {
            return Ok(());
        }
        reader.more.backlog.reserve(count, GFP_KERNEL)?;
        // There is no backlog while there is a window.
        for position in self.window.close() {
            let number = self.number(position).ok_or(EIO)?;
            let _ = reader.more.backlog.push_within_capacity(number);
        }
        reader.more.backlog.reverse();
        Ok(())
    }

    /// Takes the next piece out of the ring, when all of the last was used up. Returns whether the
    /// device must be woken.
    fn load(&self, reader: &mut Reader<StreamState>) -> bool {
        if !reader.more.is_running {
            return false;
        }
        let wake = reader.ring.give_back();
        let size = self.queue.layout().size();

        // What is wrong with the queue, if something is, `fetch` will find out.
        while reader.more.skip != 0 {
            // CAST: Lossless.
            let bytes = reader.more.skip.saturating_mul(SIZE as u64);
            let limit = usize::try_from(bytes).unwrap_or(usize::MAX);
            let Ok(Some(piece)) = reader.ring.take(limit) else {
                return wake;
            };
            // The ring's buffers hold whole numbers, so does each piece.
            // CAST: Lossless.
            reader.more.skip -= (piece.length / SIZE) as u64;
        }
        let most = Window::<AtomicPosition>::MOST * SIZE;
        let Ok(Some(piece)) = reader.ring.take((size / WINDOWS_IN_RING).min(most)) else {
            return wake;
        };
        // CAST: All lossless.
        let (first, count) = ((piece.offset / SIZE) as u64, (piece.length / SIZE) as u64);
        // The next position that lies where the piece begins.
        let unused = reader.more.loaded.end;
        let in_ring = (size / SIZE) as u64;
        let start = unused.wrapping_add(first.wrapping_sub(unused) & (in_ring - 1));
        reader.more.loaded = start..start.wrapping_add(count);
        reader.more.taken = reader.more.taken.wrapping_add(count);
        wake
    }

    /// Lets everybody draw what was loaded.
    fn open_window(&self, reader: &mut Reader<StreamState>) {
        let loaded = reader.more.take_loaded();
        if !loaded.is_empty() {
            self.window.open(loaded);
        }
    }

    /// How many numbers were taken out of the ring and not drawn.
    fn undrawn(&self, reader: &Reader<StreamState>) -> u64 {
        let loaded = &reader.more.loaded;
        // CAST: Lossless.
        let here = (self.window.len() + reader.more.backlog.len()) as u64;
        here.wrapping_add(loaded.end.wrapping_sub(loaded.start))
    }

    /// Drops the numbers that were taken out of the ring and not drawn.
    fn discard(&self, reader: &mut Reader<StreamState>) {
        let rest = self.window.close();
        let undrawn = self.undrawn(reader).wrapping_add(rest.end - rest.start);
        reader.more.dropped = reader.more.dropped.wrapping_add(undrawn);
        reader.more.take_loaded();
        reader.more.backlog.clear();
    }
}

impl StreamState {
    /// Returns what was loaded, and leaves nothing of it.
    fn take_loaded(&mut self) -> Range<u64> {
        let loaded = self.loaded.clone();
        self.loaded.start = loaded.end;
        loaded
    }
}
