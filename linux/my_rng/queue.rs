// SPDX-License-Identifier: GPL-2.0

//! One queue that the driver itself reads: its ring under a lock, those who wait for it, and what
//! is counted.

use crate::{
    abi::{
        queue,
        ring::{
            self,
            Fault,
            Layout,
            Ring, //
        },
    },
    dma_memory::{
        DmaMemory,
        QueuePages, //
    },
    hardware::{
        Hardware,
        QueueConfig, //
    },
    interrupts::{
        VectorWaitQueue, //
        WakeReason,
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            AtomicFlag,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
};

/// What is counted for a queue. Only ever grows.
#[derive(Default)]
pub(crate) struct Counters {
    /// Bytes that were taken out.
    pub(crate) bytes: Counter,
    /// How often the device had to be woken.
    pub(crate) doorbells: Counter,
    /// How often somebody had to sleep.
    pub(crate) waits: Counter,
    /// How often the queue failed.
    pub(crate) errors: Counter,
}

/// A number that only grows.
pub(crate) struct Counter(Atomic<u64>);

impl Default for Counter {
    fn default() -> Self {
        Self(Atomic::new(0))
    }
}

impl Counter {
    /// Counts `number` more.
    pub(crate) fn add(&self, number: u64) {
        self.0.fetch_add(number, Relaxed);
    }

    /// Returns the sum.
    pub(crate) fn sum(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A queue that the driver itself reads. `T` is what else its lock protects.
#[pin_data]
pub(crate) struct Queue<T> {
    config: QueueConfig,
    pages: Arc<QueuePages>,
    wait_queue: Arc<VectorWaitQueue>,
    /// Set when the queue has failed. It stays so until it is started anew.
    failed: AtomicFlag,
    counters: Counters,
    #[pin]
    reader: Mutex<Reader<T>>,
}

/// What the lock of a queue protects.
pub(crate) struct Reader<T> {
    pub(crate) ring: Ring<Arc<QueuePages>>,
    pub(crate) more: T,
}

impl<T: Unpin + 'static> Queue<T> {
    /// Makes a queue that is not started yet.
    pub(crate) fn new(
        (number, stream): (u32, u32),
        memory: &DmaMemory,
        (vector, wait_queue): (u32, &Arc<VectorWaitQueue>),
        more: T,
    ) -> Result<Pin<KBox<Self>>> {
        let pages = memory.pages();
        let config = queue_config(number, stream, memory, vector);
        let ring = Ring::new(pages.clone(), pages.layout());

        KBox::pin_init(
            pin_init!(Self {
                config,
                pages: pages.clone(),
                wait_queue: wait_queue.clone(),
                failed: AtomicFlag::new(false),
                counters: Counters::default(),
                reader <- new_mutex!(Reader { ring, more }),
            }),
            GFP_KERNEL,
        )
    }

    /// How the device was told to lay it out.
    pub(crate) fn config(&self) -> &QueueConfig {
        &self.config
    }

    /// The queue's number.
    pub(crate) fn number(&self) -> u32 {
        self.config.number
    }

    /// The queue's memory.
    pub(crate) fn pages(&self) -> &Arc<QueuePages> {
        &self.pages
    }

    /// How large the queue is.
    pub(crate) fn layout(&self) -> Layout {
        self.pages.layout()
    }

    /// Where its interrupts arrive.
    pub(crate) fn wait_queue(&self) -> &Arc<VectorWaitQueue> {
        &self.wait_queue
    }

    /// What was counted.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The right to read the queue.
    pub(crate) fn reader(&self) -> &Mutex<Reader<T>> {
        &self.reader
    }

    /// Notes that the queue is of no more use.
    pub(crate) fn set_failed(&self) {
        self.failed.store(true, Relaxed);
    }

    /// Whether the queue is of no more use.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// Lets the device fill the queue, from its beginning.
    ///
    /// # Errors
    ///
    /// Those of [`Hardware::start_queue`].
    pub(crate) fn start(&self, reader: &mut Reader<T>, hardware: &Hardware<'_>) -> Result {
        reader.ring.reset();
        hardware.start_queue(&self.config)?;
        self.failed.store(false, Relaxed);
        self.give_back(reader, hardware);
        Ok(())
    }

    /// Gives buffers that were taken back to the device, if it is time.
    pub(crate) fn give_back(&self, reader: &mut Reader<T>, hardware: &Hardware<'_>) {
        if reader.ring.give_back() {
            self.counters.doorbells.add(1);
            hardware.ring_doorbell(self.config.number);
        }
    }

    /// Notes that the queue has failed, and returns what programs get.
    pub(crate) fn fail(&self, fault: Fault, hardware: &Hardware<'_>) -> Error {
        if !self.failed.xchg(true, Relaxed) {
            self.counters.errors.add(1);
            dev_err!(
                hardware.pdev(),
                "queue {}: {}\n",
                self.config.number,
                reason(fault)
            );
        }
        EIO
    }

    /// Asks for an interrupt when `bytes` more are there, then sleeps until then, or until `leave`.
    /// What it waited for may be there afterwards or not: somebody else may have taken it.
    ///
    /// # Errors
    ///
    /// [`EIO`] when the queue has failed, or those of [`Queue::sleep_until`].
    pub(crate) fn wait(
        &self,
        bytes: usize,
        hardware: &Hardware<'_>,
        leave: impl FnOnce() -> bool,
    ) -> Result {
        let asked = self.ask_for_interrupt(&mut self.reader.lock(), bytes, hardware)?;
        match asked {
            Some(count) => self.sleep_until(count, hardware, leave),
            None => Ok(()),
        }
    }

    /// For `poll(2)`: whether something is there. If not, an interrupt comes when there is.
    ///
    /// # Errors
    ///
    /// [`EIO`] when the queue has failed.
    pub(crate) fn is_ready_or_asks(&self, hardware: &Hardware<'_>) -> Result<bool> {
        match self.ask_for_interrupt(&mut self.reader.lock(), 0, hardware)? {
            // What came before the device saw that an interrupt is wanted came without one.
            Some(count) => Ok(ring::is_reached(&self.pages, count)),
            None => Ok(true),
        }
    }

    /// Sleeps until the completion for which an interrupt was asked, or until `leave`.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer any more, [`ERESTARTSYS`] for a signal.
    pub(crate) fn sleep_until(
        &self,
        count: u32,
        hardware: &Hardware<'_>,
        leave: impl FnOnce() -> bool,
    ) -> Result {
        self.counters.waits.add(1);
        match self
            .wait_queue
            .wait_unless(|| leave() || ring::is_reached(&self.pages, count))
        {
            WakeReason::Woken => Ok(()),
            WakeReason::Timeout => hardware.check_alive(),
            WakeReason::Signal => Err(ERESTARTSYS),
        }
    }

    /// Asks for an interrupt when `bytes` more are there, and posts what was taken. `None` if
    /// something is there already.
    ///
    /// # Errors
    ///
    /// [`EIO`] when the queue has failed.
    pub(crate) fn ask_for_interrupt(
        &self,
        reader: &mut Reader<T>,
        bytes: usize,
        hardware: &Hardware<'_>,
    ) -> Result<Option<u32>> {
        match reader.ring.has_some() {
            Ok(false) => (),
            Ok(true) => return Ok(None),
            Err(fault) => return Err(self.fail(fault, hardware)),
        }
        self.give_back(reader, hardware);

        // At most half of the queue: while we copy one half, the device fills the other.
        let half = (self.layout().depth() / 2).max(1);
        let size = self.layout().buffer_size() as usize;
        // CAST: Lossless, not more than `half`.
        let buffers = (bytes >> size.trailing_zeros()).min(half as usize) as u32;
        Ok(Some(reader.ring.ask_for_interrupt(buffers)))
    }
}

/// Says to the device how a queue is laid out.
pub(crate) fn queue_config(
    number: u32,
    stream: u32,
    memory: &DmaMemory,
    vector: u32,
) -> QueueConfig {
    QueueConfig {
        number,
        stream,
        depth: memory.pages().layout().depth(),
        vector,
        descriptors: memory.descriptors_address(),
        state: memory.state_address(),
    }
}

fn reason(fault: Fault) -> &'static str {
    match fault {
        Fault::Count => "the device completed buffers that it does not have",
        Fault::Stopped(queue::ERROR_COUNT) => "stopped by the device: invalid count",
        Fault::Stopped(queue::ERROR_DESCRIPTOR) => "stopped by the device: invalid descriptor",
        Fault::Stopped(queue::ERROR_ADDRESS) => "stopped by the device: address not accessible",
        Fault::Stopped(_) => "stopped by the device: unknown error",
    }
}
