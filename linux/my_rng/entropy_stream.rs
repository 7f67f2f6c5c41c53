// SPDX-License-Identifier: GPL-2.0

//! The entropy stream: one queue a CPU, from which `read(2)` and the kernel's own pool are fed.
//!
//! A reader takes the queue of the CPU that it runs on. If somebody else is just reading that one,
//! or it is empty, the reader tries the others before it waits; so nobody waits for a lock while
//! there are bytes.
//!
//! A byte is taken out of a ring *before* it is copied, under the ring's lock. Whatever becomes of
//! the copy, it is not given out again.

use crate::{
    abi::{
        queue::STREAM_ENTROPY,
        ring::{
            Layout,
            Piece, //
        },
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
};
use kernel::{
    cpu::CpuId,
    device::Bound,
    page::PAGE_SIZE,
    pci,
    prelude::*, //
};

/// The queues of the entropy stream, numbers `0..len` of the device.
///
/// # Invariants
///
/// There is at least one.
pub(crate) struct EntropyStream {
    queues: KVec<Pin<KBox<Queue<()>>>>,
}

/// What came out of the queues.
pub(crate) struct ReadOutcome {
    /// Number of bytes that the sink took.
    pub(crate) bytes: usize,
    /// Whether it left some, which are lost.
    pub(crate) faulted: bool,
}

impl EntropyStream {
    /// Makes the queues. Their memory goes to `memory`, to be kept until the device has stopped.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if `count` is 0, or those of [`DmaMemory::new`].
    ///
    /// # Safety
    ///
    /// That memory must be dropped before the device is unbound.
    pub(crate) unsafe fn new(
        pdev: &pci::Device<Bound>,
        count: u32,
        layout: Layout,
        vectors: &IrqVectors<'_>,
        memory: &mut KVec<(u32, DmaMemory)>,
    ) -> Result<Self> {
        let mut queues = KVec::new();
        for number in 0..count {
            // SAFETY: As the caller promises.
            let mapped = unsafe { DmaMemory::new(pdev.as_ref(), layout) }?;
            let vector = vectors.for_queue(number)?;
            queues.push(
                Queue::new((number, STREAM_ENTROPY), &mapped, vector, ())?,
                GFP_KERNEL,
            )?;
            memory.push((number, mapped), GFP_KERNEL)?;
        }
        if queues.is_empty() {
            return Err(EINVAL);
        }
        // INVARIANT: Checked above.
        Ok(Self { queues })
    }

    /// Starts all queues.
    ///
    /// # Errors
    ///
    /// Those of [`Queue::start`].
    pub(crate) fn start(&self, hardware: &Hardware<'_>) -> Result {
        for queue in &self.queues {
            queue.start(&mut queue.reader().lock(), hardware)?;
        }
        Ok(())
    }

    /// Stops all queues and starts them again, so that nobody gets what they hold. Nothing is read
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// Those of [`Hardware::stop_queue`] and [`Queue::start`]; a queue that does not stop stays
    /// unused.
    pub(crate) fn restart(&self, hardware: &Hardware<'_>) -> Result {
        let mut result = Ok(());
        for queue in &self.queues {
            let mut reader = queue.reader().lock();
            let restarted = hardware
                .stop_queue(queue.number())
                .and_then(|()| queue.start(&mut reader, hardware));
            if restarted.is_err() {
                queue.set_failed();
            }
            drop(reader);
            // Sleepers have asked for an interrupt that will not come.
            queue.wait_queue().wake_all();
            result = result.and(restarted);
        }
        result
    }

    /// Number of queues.
    pub(crate) fn count(&self) -> usize {
        self.queues.len()
    }

    /// Buffers of a queue.
    pub(crate) fn depth(&self) -> u32 {
        self.queues
            .first()
            .map_or(0, |queue| queue.layout().depth())
    }

    /// What was counted, for each queue.
    pub(crate) fn counters(&self) -> impl Iterator<Item = &Counters> {
        self.queues.iter().map(|queue| queue.counters())
    }

    /// Takes up to `limit` bytes without waiting for more and hands them to `sink` in parts, which
    /// says how many it took; a part that it does not take whole is the last, and its rest is lost.
    ///
    /// Queues that others are reading are tried last, and only if this `may_lock`: there may be
    /// bytes in them.
    ///
    /// # Errors
    ///
    /// [`EIO`] when all queues have failed.
    pub(crate) fn draw(
        &self,
        hardware: &Hardware<'_>,
        limit: usize,
        may_lock: bool,
        mut sink: impl FnMut(&QueuePages, Piece) -> usize,
    ) -> Result<ReadOutcome> {
        let mut result = Err(EIO);
        let mut is_contended = false;
        for queue in self.local_queue_first() {
            let Some(mut reader) = queue.reader().try_lock() else {
                is_contended = true;
                result = result.or(Ok(ReadOutcome::NOTHING));
                continue;
            };
            match draw_from(queue, &mut reader, hardware, limit, &mut sink) {
                Ok(drawn) if drawn.is_nothing() => result = result.or(Ok(ReadOutcome::NOTHING)),
                Ok(drawn) => return Ok(drawn),
                Err(_) => (),
            }
        }
        if !(is_contended && may_lock) {
            return result;
        }
        for queue in self.local_queue_first() {
            match draw_from(
                queue,
                &mut queue.reader().lock(),
                hardware,
                limit,
                &mut sink,
            ) {
                Ok(drawn) if !drawn.is_nothing() => return Ok(drawn),
                _ => (),
            }
        }
        result
    }

    /// Sleeps until some of `bytes` bytes may be there, or until `leave` says so.
    ///
    /// # Errors
    ///
    /// Those of [`Queue::wait`].
    pub(crate) fn wait(
        &self,
        bytes: usize,
        hardware: &Hardware<'_>,
        leave: impl FnOnce() -> bool,
    ) -> Result {
        self.queue_to_wait_on()?.wait(bytes, hardware, leave)
    }

    /// The queue to wait for: that of this CPU, unless it has failed.
    ///
    /// # Errors
    ///
    /// [`EIO`] when all queues have failed.
    pub(crate) fn queue_to_wait_on(&self) -> Result<&Queue<()>> {
        self.local_queue_first()
            .find(|queue| !queue.has_failed())
            .ok_or(EIO)
    }

    /// All queues, beginning with that of this CPU.
    fn local_queue_first(&self) -> impl Iterator<Item = &Queue<()>> {
        // CAST: Lossless, `usize` has at least 32 bits. It does not matter if we are moved to
        // another CPU meanwhile.
        let cpu = CpuId::current().as_u32() as usize;
        let mine = cpu.checked_rem(self.queues.len()).unwrap_or(0);
        let (before, from_mine) = self.queues.split_at(mine);
        Iterator::chain(from_mine.iter(), before).map(|queue| &**queue)
    }
}

impl ReadOutcome {
    const NOTHING: Self = Self {
        bytes: 0,
        faulted: false,
    };

    fn is_nothing(&self) -> bool {
        self.bytes == 0 && !self.faulted
    }
}

fn draw_from(
    queue: &Queue<()>,
    reader: &mut Reader<()>,
    hardware: &Hardware<'_>,
    limit: usize,
    sink: &mut impl FnMut(&QueuePages, Piece) -> usize,
) -> Result<ReadOutcome> {
    let mut drawn = ReadOutcome::NOTHING;

    while drawn.bytes < limit {
        // A page at a time, so that no more than that is lost if the program's memory is not there.
        match reader.ring.take((limit - drawn.bytes).min(PAGE_SIZE)) {
            Ok(Some(piece)) => {
                let taken = sink(queue.pages(), piece).min(piece.length);
                drawn.bytes += taken;
                if taken < piece.length {
                    drawn.faulted = true;
                    break;
                }
            }
            Ok(None) => break,
            Err(fault) => {
                let error = queue.fail(fault, hardware);
                if drawn.bytes == 0 {
                    return Err(error);
                }
                break;
            }
        }
    }
    queue.give_back(reader, hardware);
    // CAST: Lossless.
    queue.counters().bytes.add(drawn.bytes as u64);
    Ok(drawn)
}
