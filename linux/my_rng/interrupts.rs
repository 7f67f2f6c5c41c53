// SPDX-License-Identifier: GPL-2.0

//! Interrupts, and those who sleep until one comes.
//!
//! Each interrupt vector has its [`VectorWaitQueue`]. A sleeper decides under its lock that there is nothing
//! yet, and the handler takes that lock before it wakes: so no interrupt falls between the two.

use core::ptr;
use kernel::{
    device::Bound,
    irq,
    new_spinlock_irq,
    pci,
    prelude::*,
    sync::{
        poll::PollCondVar,
        Arc,
        CondVarTimeoutResult,
        SpinLockIrq, //
    },
    time::msecs_to_jiffies, //
};

/// How long to sleep before looking at the device. Nobody needs this while the device works: it
/// bounds the time until a program learns that the device has died.
const LIVENESS_INTERVAL_MS: u32 = 250;

/// Why somebody who slept is awake.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WakeReason {
    /// There is something, or there may be.
    Woken,
    /// Nothing has happened for [`LIVENESS_INTERVAL_MS`].
    Timeout,
    /// A signal came.
    Signal,
}

/// What happens on one interrupt vector.
#[pin_data]
pub(crate) struct VectorWaitQueue {
    /// How many interrupts there were. Its lock orders sleeping against waking.
    #[pin]
    interrupts: SpinLockIrq<u64>,
    #[pin]
    wake: PollCondVar,
}

impl VectorWaitQueue {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                interrupts <- new_spinlock_irq!(0),
                wake <- kernel::new_poll_condvar!(),
            }),
            GFP_KERNEL,
        )
    }

    /// Sleeps unless `ready` says that there is nothing to sleep for. `ready` must not sleep.
    pub(crate) fn wait_unless(&self, ready: impl FnOnce() -> bool) -> WakeReason {
        let mut interrupts = self.interrupts.lock();

        if ready() {
            return WakeReason::Woken;
        }
        match self
            .wake
            .wait_interruptible_timeout(&mut interrupts, msecs_to_jiffies(LIVENESS_INTERVAL_MS))
        {
            CondVarTimeoutResult::Signal { .. } => WakeReason::Signal,
            CondVarTimeoutResult::Timeout => WakeReason::Timeout,
            CondVarTimeoutResult::Woken { .. } => WakeReason::Woken,
        }
    }

    /// Wakes everybody.
    pub(crate) fn wake_all(&self) {
        drop(self.interrupts.lock());
        self.wake.notify_all();
    }

    /// What `poll(2)` waits on.
    pub(crate) fn poll_queue(&self) -> &PollCondVar {
        &self.wake
    }

    /// How many interrupts there were.
    pub(crate) fn interrupts(&self) -> u64 {
        *self.interrupts.lock()
    }
}

/// The wait_queues of all vectors of a device. `poll(2)` may leave its callers in their queues for as long
/// as a file is open; so open files keep this.
pub(crate) type VectorWaitQueues = Arc<KVec<Arc<VectorWaitQueue>>>;

/// The interrupt handler of a vector.
struct Handler(Arc<VectorWaitQueue>);

impl irq::Handler for Handler {
    fn handle(&self) -> irq::IrqReturn {
        {
            let mut interrupts = self.0.interrupts.lock();
            *interrupts = interrupts.wrapping_add(1);
        }
        self.0.wake.notify_all();
        irq::IrqReturn::Handled
    }
}

/// The interrupt vectors of a device, each with its handler.
///
/// # Invariants
///
/// Each of `handlers` borrows from `_vectors`, which is on the heap and dropped after them.
pub(crate) struct IrqVectors<'bound> {
    handlers: KVec<Pin<KBox<irq::Registration<'bound, Handler>>>>,
    wait_queues: VectorWaitQueues,
    _vectors: KBox<pci::IrqVectorRegistration<'bound>>,
}

impl<'bound> IrqVectors<'bound> {
    /// Asks for `wanted` vectors, of MSI-X or else of MSI, and is content with less, but one.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] when the device has none, [`ENOMEM`].
    pub(crate) fn new(pdev: &'bound pci::Device<Bound>, wanted: u32) -> Result<Self> {
        let vectors = KBox::new(
            pdev.alloc_irq_vectors(
                1,
                wanted,
                pci::IrqTypes::default()
                    .with(pci::IrqType::MsiX)
                    .with(pci::IrqType::Msi),
            )?,
            GFP_KERNEL,
        )?;
        let mut handlers = KVec::with_capacity(vectors.len(), GFP_KERNEL)?;
        let mut wait_queues = KVec::with_capacity(vectors.len(), GFP_KERNEL)?;

        // SAFETY: On the heap, moved nowhere, and dropped after `handlers`: on success as declared
        // in `Self`, on an error below because locals are dropped in reverse.
        let borrowed: &'bound pci::IrqVectorRegistration<'bound> =
            unsafe { &*ptr::from_ref(&*vectors) };

        for index in 0..borrowed.len() {
            let handler = Handler(VectorWaitQueue::new()?);
            wait_queues.push(handler.0.clone(), GFP_KERNEL)?;
            // SAFETY: Kept in `handlers`, which is always dropped.
            let registration = unsafe {
                irq::Registration::new(
                    borrowed.index(index)?.into(),
                    irq::Flags::TRIGGER_NONE,
                    c"my_rng",
                    Ok(handler),
                )
            };
            handlers.push(KBox::pin_init(registration, GFP_KERNEL)?, GFP_KERNEL)?;
        }

        // INVARIANT: As said above.
        Ok(Self {
            handlers,
            wait_queues: Arc::new(wait_queues, GFP_KERNEL)?,
            _vectors: vectors,
        })
    }

    /// The vector for queue number `queue`, with its wait_queues. Queues share vectors if there are more
    /// of them.
    pub(crate) fn for_queue(&self, queue: u32) -> Result<(u32, &Arc<VectorWaitQueue>)> {
        // CAST: Lossless: `usize` has at least 32 bits, and there are at most 2048 vectors.
        let index = (queue as usize)
            .checked_rem(self.wait_queues.len())
            .ok_or(EINVAL)?;
        Ok((index as u32, self.wait_queues.get(index).ok_or(EINVAL)?))
    }

    /// The wait_queues of all vectors.
    pub(crate) fn wait_queues(&self) -> &VectorWaitQueues {
        &self.wait_queues
    }

    /// Number of vectors.
    pub(crate) fn count(&self) -> usize {
        self.handlers.len()
    }

    /// Wakes everybody on every vector.
    pub(crate) fn wake_all(&self) {
        for wait_queue in self.wait_queues.iter() {
            wait_queue.wake_all();
        }
    }

    /// How many interrupts there were.
    pub(crate) fn interrupts(&self) -> u64 {
        self.wait_queues.iter().fold(0, |sum, wait_queue| {
            sum.wrapping_add(wait_queue.interrupts())
        })
    }
}
