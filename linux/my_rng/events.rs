// SPDX-License-Identifier: GPL-2.0

//! Interrupts, and those who sleep until one comes.
//!
//! Each interrupt vector has its [`Events`]. A sleeper decides under its lock that there is nothing
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
const LOOK_AFTER_MS: u32 = 250;

/// Why somebody who slept is awake.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awake {
    /// There is something, or there may be.
    Event,
    /// Nothing has happened for [`LOOK_AFTER_MS`].
    TimeUp,
    /// A signal came.
    Signal,
}

/// What happens on one interrupt vector.
#[pin_data]
pub(crate) struct Events {
    /// How many interrupts there were. Its lock orders sleeping against waking.
    #[pin]
    interrupts: SpinLockIrq<u64>,
    #[pin]
    wake: PollCondVar,
}

impl Events {
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
    pub(crate) fn sleep_unless(&self, ready: impl FnOnce() -> bool) -> Awake {
        let mut interrupts = self.interrupts.lock();

        if ready() {
            return Awake::Event;
        }
        match self
            .wake
            .wait_interruptible_timeout(&mut interrupts, msecs_to_jiffies(LOOK_AFTER_MS))
        {
            CondVarTimeoutResult::Signal { .. } => Awake::Signal,
            CondVarTimeoutResult::Timeout => Awake::TimeUp,
            CondVarTimeoutResult::Woken { .. } => Awake::Event,
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

/// The events of all vectors of a device. `poll(2)` may leave its callers in their queues for as long
/// as a file is open; so open files keep this.
pub(crate) type AllEvents = Arc<KVec<Arc<Events>>>;

/// The interrupt handler of a vector.
struct Handler(Arc<Events>);

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
pub(crate) struct Vectors<'bound> {
    handlers: KVec<Pin<KBox<irq::Registration<'bound, Handler>>>>,
    events: AllEvents,
    _vectors: KBox<pci::IrqVectorRegistration<'bound>>,
}

impl<'bound> Vectors<'bound> {
    /// Asks for `wanted` vectors, of MSI-X or else of MSI, and is content with less, but one.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] when the device has none, [`ENOMEM`].
    pub(crate) fn new(pdev: &'bound pci::Device<Bound>, wanted: u32) -> Result<Self> {
        let vectors = KBox::new(
            pdev.alloc_irq_vectors(1, wanted, pci::IrqTypes::default()
                    .with(pci::IrqType::MsiX)
                    .with(pci::IrqType::Msi))?,
            GFP_KERNEL,
        )?;
        let mut handlers = KVec::with_capacity(vectors.len(), GFP_KERNEL)?;
        let mut events = KVec::with_capacity(vectors.len(), GFP_KERNEL)?;

        // SAFETY: On the heap, moved nowhere, and dropped after `handlers`: on success as declared
        // in `Self`, on an error below because locals are dropped in reverse.
        let borrowed: &'bound pci::IrqVectorRegistration<'bound> =
            unsafe { &*ptr::from_ref(&*vectors) };

        for index in 0..borrowed.len() {
            let handler = Handler(Events::new()?);
            events.push(handler.0.clone(), GFP_KERNEL)?;
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
            events: Arc::new(events, GFP_KERNEL)?,
            _vectors: vectors,
        })
    }

    /// The vector for queue number `queue`, with its events. Queues share vectors if there are more
    /// of them.
    pub(crate) fn of_queue(&self, queue: u32) -> Result<(u32, &Arc<Events>)> {
        // CAST: Lossless: `usize` has at least 32 bits, and there are at most 2048 vectors.
        let index = (queue as usize)
            .checked_rem(self.events.len())
            .ok_or(EINVAL)?;
        Ok((index as u32, self.events.get(index).ok_or(EINVAL)?))
    }

    /// The events of all vectors.
    pub(crate) fn events(&self) -> &AllEvents {
        &self.events
    }

    /// Number of vectors.
    pub(crate) fn count(&self) -> usize {
        self.handlers.len()
    }

    /// Wakes everybody on every vector.
    pub(crate) fn wake_all(&self) {
        for events in self.events.iter() {
            events.wake_all();
        }
    }

    /// How many interrupts there were.
    pub(crate) fn interrupts(&self) -> u64 {
        self.events
            .iter()
            .fold(0, |sum, events| sum.wrapping_add(events.interrupts()))
    }
}
