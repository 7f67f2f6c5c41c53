// SPDX-License-Identifier: GPL-2.0

//! The seedable stream: numbers that the device wrote to memory before anybody asked for them.
//!
//! Programs see exactly the sequence that the registers would give. What was fetched too early is
//! dropped when the stream is restarted: the queue is stopped *first*, then the device is given the
//! seed, so that nothing of the old sequence comes later.

use crate::{
    abi::{
        queue::STREAM_SEEDABLE,
        registers::{
            SEED_BITS_32,
            SEED_SEEK,
            SEED_WITH_STREAM,
            SEED_WORD_COUNT, //
        },
        ring::Layout, //
    },
    dma_memory::DmaMemory,
    hardware::Hardware,
    interrupts::IrqVectors,
    queue::{
        Counters,
        Queue,
        Reader, //
    },
};
use kernel::{
    device::Bound,
    pci,
    prelude::*, //
};

/// Bytes of a number.
const SIZE: usize = size_of::<u32>();

/// The queue of the seedable stream.
pub(crate) struct SeedableStream {
    queue: Pin<KBox<Queue<StreamState>>>,
}

/// Where in the stream we are, besides the ring.
struct StreamState {
    /// Whether the device fills the queue. It begins when the first number is drawn: until then,
    /// and after a restart, the registers of the classic interface are at the same place as we.
    is_running: bool,
    /// Whether the device is gone.
    is_closed: bool,
    /// Numbers that were taken out and could not be delivered, the next one last.
    undelivered: [u32; 2],
    undelivered_count: usize,
    /// Numbers that were taken out before the machine was suspended, the next one last.
    saved: KVVec<u32>,
    /// Numbers that programs have got already, and that the device will give once more.
    skip: u64,
    /// Numbers that were taken out since the stream was restarted.
    position: u64,
    /// How the stream was restarted last.
    origin: Origin,
    /// Numbers that were delivered.
    delivered: u64,
}

/// From where the numbers of the stream are counted: what a device that was reset must be told.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    /// The last SEED, with which the stream begins anew when another generator is chosen. Without
    /// one that is where the device was when it was bound; after a reset, its own seed.
    pub(crate) seed: Option<u32>,
    /// The longer seed that came after that.
    pub(crate) wide_seed: Option<SeedCommand>,
    /// The position to which the stream was moved after that.
    pub(crate) position: Option<SeedCommand>,
}

/// A command of the device's `SEED_COMMAND` register.
#[derive(Clone, Copy)]
pub(crate) struct SeedCommand {
    pub(crate) command: u32,
    pub(crate) words: [u32; SEED_WORD_COUNT],
    pub(crate) stream: u64,
}

impl Origin {
    /// Where a device is that was just bound.
    pub(crate) const BOUND: Self = Self {
        seed: None,
        wide_seed: None,
        position: None,
    };

    /// After SEED.
    pub(crate) fn seeded(self, seed: u32) -> Self {
        Self {
            seed: Some(seed),
            ..Self::BOUND
        }
    }

    /// After another generator was chosen.
    pub(crate) fn generator_chosen(self) -> Self {
        Self {
            seed: self.seed,
            ..Self::BOUND
        }
    }

    /// After a longer seed, or a seek.
    pub(crate) fn commanded(self, command: SeedCommand) -> Self {
        if command.command == SEED_SEEK {
            Self {
                position: Some(command),
                ..self
            }
        } else {
            // One of 32 bits is a SEED, if of another stream perhaps.
            let is_short = command.command & !SEED_WITH_STREAM == SEED_BITS_32;
            let [word, ..] = command.words;
            Self {
                seed: if is_short { Some(word) } else { self.seed },
                wide_seed: Some(command),
                position: None,
            }
        }
    }
}

/// How a draw ended.
#[derive(PartialEq, Eq)]
pub(crate) enum DrawOutcome {
    /// The number was delivered.
    Delivered,
    /// It could not be, and will be drawn by the next.
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
                undelivered: [0; 2],
                undelivered_count: 0,
                saved: KVVec::new(),
                skip: 0,
                position: 0,
                origin: Origin::BOUND,
                delivered: 0,
            },
        )?;
        memory.push((number, mapped), GFP_KERNEL)?;
        Ok(Self { queue })
    }

    /// What was counted, but the bytes.
    pub(crate) fn counters(&self) -> &Counters {
        self.queue.counters()
    }

    /// Bytes that programs were given.
    pub(crate) fn bytes(&self) -> u64 {
        // Counted under the lock that a draw needs anyway.
        let numbers = self.queue.reader().lock().more.delivered;
        numbers.wrapping_mul(SIZE as u64)
    }

    /// Draws `N` numbers of 32 bits and hands them to `deliver`, which says whether it could
    /// deliver them; it is called under a lock and must not sleep. If it could not, the next draw
    /// gets them.
    ///
    /// This touches nothing but memory that is ours, so it needs no
    /// [`Revocable`](crate::chardev::Revocable). Also returns whether the device must be woken
    /// ([`SeedableStream::wake_device`]).
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device is gone.
    #[inline]
    pub(crate) fn draw<const N: usize>(
        &self,
        deliver: impl FnOnce([u32; N]) -> bool,
    ) -> Result<(DrawOutcome, bool)> {
        let mut reader = self.queue.reader().lock();
        let mut numbers = [0; N];

        if reader.more.is_closed {
            return Err(ENODEV);
        }
        let have = self.take(&mut reader, &mut numbers);
        if have < N {
            reader
                .more
                .put_back(numbers.get(..have).unwrap_or_default());
            return Ok((DrawOutcome::Empty, false));
        }
        // After the numbers were read, and in good time before there are none left.
        let wake = reader.ring.give_back();

        if !deliver(numbers) {
            reader.more.put_back(&numbers);
            return Ok((DrawOutcome::Undelivered, wake));
        }
        // CAST: Lossless.
        reader.more.delivered = reader.more.delivered.wrapping_add(N as u64);
        Ok((DrawOutcome::Delivered, wake))
    }

    /// Rings the doorbell.
    pub(crate) fn wake_device(&self, hardware: &Hardware<'_>) {
        self.queue.counters().doorbells.add(1);
        hardware.ring_doorbell(self.queue.number());
    }

    /// Nobody draws any more: the device goes.
    pub(crate) fn close(&self) {
        self.queue.reader().lock().more.is_closed = true;
    }

    /// Lets the device fetch numbers if it does not, then sleeps until there may be some, or until
    /// `leave` says so.
    ///
    /// # Errors
    ///
    /// [`EIO`] when the queue has failed, or those of [`Queue::wait`].
    pub(crate) fn fetch(&self, hardware: &Hardware<'_>, leave: impl FnOnce() -> bool) -> Result {
        {
            let mut reader = self.queue.reader().lock();
            if !reader.more.is_running {
                self.queue.start(&mut reader, hardware)?;
                reader.more.is_running = true;
            }
        }
        // For any number, not for many: whoever draws wants the next one soon.
        self.queue.wait(0, hardware, leave)
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
            reader.ring.reset();
        }
        reader.more.undelivered_count = 0;
        reader.more.saved.clear();
        let restarted = restart();
        if restarted.is_ok() {
            reader.more.skip = 0;
            reader.more.position = 0;
            reader.more.origin = origin(reader.more.origin);
        }
        drop(reader);

        // They asked for an interrupt that will not come.
        self.queue.wait_queue().wake_all();
        restarted
    }

    /// Takes the next numbers out of the stream. Returns how many there were.
    #[inline]
    fn take(&self, reader: &mut Reader<StreamState>, numbers: &mut [u32]) -> usize {
        let wanted = numbers.len();
        let mut have = 0;

        while have < wanted {
            if reader.more.has_backlog() {
                match self.next_of_backlog(reader) {
                    Some(Some(number)) => {
                        if let Some(place) = numbers.get_mut(have) {
                            *place = number;
                        }
                        have += 1;
                        continue;
                    }
                    Some(None) => (),
                    None => break,
                }
            }
            // Numbers do not lie across buffers. What is wrong with the queue, if something is,
            // `fetch` will find out.
            let Ok(Some(piece)) = reader.ring.take((wanted - have) * SIZE) else {
                break;
            };
            let count = piece.length / SIZE;
            // CAST: Lossless.
            reader.more.position = reader.more.position.wrapping_add(count as u64);
            for offset in (piece.offset..piece.offset + piece.length).step_by(SIZE) {
                // No number is made up for one that is not there.
                let Some(number) = self.queue.pages().word(offset) else {
                    return have;
                };
                if let Some(place) = numbers.get_mut(have) {
                    *place = number;
                }
                have += 1;
            }
        }
        have
    }

    /// Takes a number that was taken out before, or skips those that programs have got already.
    /// Returns `Some(None)` when the next number is in the ring, `None` when more must be skipped
    /// than is there.
    #[cold]
    fn next_of_backlog(&self, reader: &mut Reader<StreamState>) -> Option<Option<u32>> {
        if let Some(number) = reader.more.take_back().or_else(|| reader.more.saved.pop()) {
            return Some(Some(number));
        }
        while reader.more.skip != 0 {
            // CAST: Lossless.
            let bytes = reader.more.skip.saturating_mul(SIZE as u64);
            let limit = usize::try_from(bytes).unwrap_or(usize::MAX);
            // The ring's buffers hold whole numbers, so does each piece.
            let piece = reader.ring.take(limit).ok()??;
            // CAST: Lossless.
            reader.more.skip -= (piece.length / SIZE) as u64;
        }
        Some(None)
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
        // Room for all that the ring can hold, and that was saved before.
        let count = self.queue.layout().size() / SIZE;
        let mut fetched = KVVec::with_capacity(count + reader.more.saved.len(), GFP_KERNEL)?;
        hardware.stop_queue(self.queue.number())?;

        while reader.more.skip == 0 {
            match reader.ring.take(SIZE) {
                Ok(Some(piece)) => {
                    let number = self.queue.pages().word(piece.offset).ok_or(EIO)?;
                    if fetched.push_within_capacity(number).is_err() {
                        break;
                    }
                }
                _ => break,
            }
        }
        reader.more.position = reader.more.position.wrapping_add(fetched.len() as u64);
        fetched.reverse();
        // Those of an earlier suspend come first, so they are at the end.
        for number in &reader.more.saved {
            let _ = fetched.push_within_capacity(*number);
        }
        reader.more.saved = fetched;
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
        reader.more.skip = reader.more.position;
        Ok(())
    }
}

impl StreamState {
    /// Whether something comes before the numbers in the ring.
    #[inline]
    fn has_backlog(&self) -> bool {
        self.undelivered_count != 0 || !self.saved.is_empty() || self.skip != 0
    }

    /// Puts numbers back; the first will be drawn first.
    fn put_back(&mut self, numbers: &[u32]) {
        for number in numbers.iter().rev() {
            if let Some(place) = self.undelivered.get_mut(self.undelivered_count) {
                *place = *number;
                self.undelivered_count += 1;
            }
        }
    }

    fn take_back(&mut self) -> Option<u32> {
        let last = self.undelivered_count.checked_sub(1)?;
        self.undelivered_count = last;
        self.undelivered.get(last).copied()
    }
}
