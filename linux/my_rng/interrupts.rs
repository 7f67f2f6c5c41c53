// SPDX-License-Identifier: GPL-2.0

//! Interrupt vectors, and the wait queues on which callers sleep until an interrupt comes.
//!
//! A sleeper checks its condition under the lock that the handler takes before it wakes: no
//! interrupt falls between the two.

use crate::{
    parameters::QueueAssignment,
    shim, //
};
use core::ptr;
use kernel::{
    bindings,
    device::Bound,
    irq, new_spinlock_irq, pci,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        poll::{
            PollCondVar,
            PollCondVarBox, //
        },
        Arc,
        CondVarTimeoutResult,
        SpinLockIrq, //
    },
    time::{
        delay::fsleep,
        msecs_to_jiffies,
        Delta,
        Instant,
        Monotonic, //
    },
};

/// How long to sleep before looking at the device. Nobody needs this while the device works: it
/// bounds the time until a program learns that the device has died.
const LIVENESS_INTERVAL_MS: u32 = 250;

/// The time in which a vector of a mapped queue may send so many interrupts as the parameter
/// `mapped_interrupts` says; after more, it is masked for that long.
const THROTTLE_INTERVAL: Delta = Delta::from_millis(1);

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

/// The callers that wait for one interrupt vector.
#[pin_data]
pub(crate) struct VectorWaitQueue {
    /// Its lock orders sleeping against waking.
    #[pin]
    interrupts: SpinLockIrq<Interrupts>,
    /// Freed after a grace period, so that dropping the vectors need not wait for one each.
    wake: PollCondVarBox,
}

struct Interrupts {
    count: u64,
    /// When the present [`THROTTLE_INTERVAL`] began, and how many came since.
    interval_start: Instant<Monotonic>,
    in_interval: u32,
    /// How many may come in it.
    limit: u32,
}

impl Interrupts {
    /// Counts one. Returns whether no more may come in this interval.
    fn count(&mut self) -> bool {
        self.count = self.count.wrapping_add(1);
        if self.interval_start.elapsed() > THROTTLE_INTERVAL {
            self.interval_start = Instant::now();
            self.in_interval = 0;
        }
        self.in_interval += 1;
        self.in_interval >= self.limit
    }
}

impl VectorWaitQueue {
    fn new(limit: u32) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                interrupts <- new_spinlock_irq!(Interrupts {
                    count: 0,
                    interval_start: Instant::now(),
                    in_interval: 0,
                    limit,
                }),
                wake: PollCondVarBox::new(c"my_rng", kernel::static_lock_class!())?,
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
        self.interrupts.lock().count
    }

    /// Counts an interrupt and wakes everybody. Returns whether no more may come for now.
    fn interrupt(&self) -> bool {
        let is_enough = self.interrupts.lock().count();
        self.wake.notify_all();
        is_enough
    }
}

/// The wait queues of all vectors of a device. `poll(2)` may leave its callers in them for as long
/// as a file is open; so open files keep this.
pub(crate) type VectorWaitQueues = Arc<KVec<Arc<VectorWaitQueue>>>;

/// The handler of a vector of the driver's own queues.
struct Handler(Arc<VectorWaitQueue>);

impl irq::Handler for Handler {
    fn handle(&self) -> irq::IrqReturn {
        self.0.interrupt();
        irq::IrqReturn::Handled
    }
}

/// The handler of a vector of mapped queues, which limits how often programs interrupt a CPU.
struct ThrottledHandler {
    wait_queue: Arc<VectorWaitQueue>,
    irq: u32,
    /// Set before the handler is unregistered: the vector stays masked.
    is_closing: Arc<AtomicFlag>,
}

impl irq::ThreadedHandler for ThrottledHandler {
    fn handle(&self) -> irq::ThreadedIrqReturn {
        if !self.wait_queue.interrupt() {
            return irq::ThreadedIrqReturn::Handled;
        }
        // SAFETY: Our own interrupt. What comes while it is masked is delivered afterwards.
        unsafe { bindings::disable_irq_nosync(self.irq) };
        irq::ThreadedIrqReturn::WakeThread
    }

    fn handle_threaded(&self) -> irq::IrqReturn {
        fsleep(THROTTLE_INTERVAL);
        if !self.is_closing.load(Relaxed) {
            // SAFETY: Our own interrupt, which `handle` has disabled once for each time that this
            // runs: while it is disabled, `handle` does not.
            unsafe { bindings::enable_irq(self.irq) };
        }
        irq::IrqReturn::Handled
    }
}

/// A registered handler. The kernel frees the interrupt when it is dropped.
enum Registered<'bound> {
    Plain {
        _registration: Pin<KBox<irq::Registration<'bound, Handler>>>,
        affinity: Option<AffinityHint>,
    },
    Throttled {
        _registration: Pin<KBox<irq::ThreadedRegistration<'bound, ThrottledHandler>>>,
        is_closing: Arc<AtomicFlag>,
    },
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        match self {
            // The kernel wants the hint to be gone before the interrupt is freed.
            Self::Plain { affinity, .. } => *affinity = None,
            Self::Throttled { is_closing, .. } => is_closing.store(true, Relaxed),
        }
    }
}

/// Keeps an interrupt on the CPU whose queue it is about, unless an administrator moves it.
struct AffinityHint(u32);

impl AffinityHint {
    fn new(irq: u32, cpu: u32) -> Self {
        // SAFETY: The mask of one CPU is static. It may be refused, as for a CPU that is offline.
        unsafe {
            bindings::__irq_apply_affinity_hint(irq, shim::my_rng_cpu_mask(cpu), true);
        }
        Self(irq)
    }
}

impl Drop for AffinityHint {
    fn drop(&mut self) {
        // SAFETY: No mask takes the hint back.
        unsafe { bindings::__irq_apply_affinity_hint(self.0, ptr::null(), false) };
    }
}

/// Asks for that many vectors or fewer.
fn allocate_vectors(
    pdev: &pci::Device<Bound>,
    most: u32,
    types: pci::IrqTypes,
) -> Result<pci::IrqVectorRegistration<'_>> {
    // The one thing that the crate for 7.2 cannot give under 7.3's name: see `../compat`.
    #[cfg(linux_7_2)]
    return pci::IrqVectorRegistration::new(pdev, 1, most, types);
    #[cfg(not(linux_7_2))]
    pdev.alloc_irq_vectors(1, most, types)
}

/// The interrupt vectors of a device, each with its handler.
///
/// # Invariants
///
/// Each of `handlers` borrows from `_names` and `_vectors`, which are on the heap and dropped after
/// it.
pub(crate) struct IrqVectors<'bound> {
    handlers: KVec<Registered<'bound>>,
    wait_queues: VectorWaitQueues,
    _names: KVec<CString>,
    _vectors: KBox<pci::IrqVectorRegistration<'bound>>,
}

impl<'bound> IrqVectors<'bound> {
    /// Asks for a vector for each queue, of MSI-X or else of MSI, and is content with less, but
    /// one. Those of mapped queues interrupt `interrupt_limit` times a millisecond at most.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] when the device has none, [`ENOMEM`].
    pub(crate) fn new(
        pdev: &'bound pci::Device<Bound>,
        queues: &QueueAssignment,
        interrupt_limit: u32,
        device_name: &CStr,
    ) -> Result<Self> {
        let types = pci::IrqTypes::default()
            .with(pci::IrqType::MsiX)
            .with(pci::IrqType::Msi);
        let vectors = KBox::new(allocate_vectors(pdev, queues.total(), types)?, GFP_KERNEL)?;
        // CAST: At most 2048.
        let count = vectors.len() as u32;
        let mut names = KVec::with_capacity(vectors.len(), GFP_KERNEL)?;
        for index in 0..count {
            let (use_of_queue, number) = queues.use_of(index);
            let name = CString::try_from_fmt(fmt!("{device_name}-{use_of_queue}{number}"))?;
            names.push(name, GFP_KERNEL)?;
        }
        let mut handlers = KVec::with_capacity(vectors.len(), GFP_KERNEL)?;
        let mut wait_queues = KVec::with_capacity(vectors.len(), GFP_KERNEL)?;

        // SAFETY: On the heap, moved nowhere, and dropped after `handlers`: on success as declared
        // in `Self`, on an error below because locals are dropped in reverse.
        let borrowed: &'bound pci::IrqVectorRegistration<'bound> =
            unsafe { &*ptr::from_ref(&*vectors) };

        for (index, name) in (0..count).zip(&names) {
            // SAFETY: As above.
            let name: &'static CStr = unsafe { &*ptr::from_ref::<CStr>(name) };
            let request: irq::IrqRequest<'bound> = borrowed.index(index as usize)?.into();
            let wait_queue = VectorWaitQueue::new(interrupt_limit)?;
            wait_queues.push(wait_queue.clone(), GFP_KERNEL)?;

            // Queues beyond the number of vectors share them: see `for_queue`.
            let is_mapped = (index..queues.total())
                .step_by(vectors.len())
                .any(|queue| queues.mapped_numbers().contains(&queue));
            let handler = if is_mapped {
                Registered::throttled(request, name, wait_queue)?
            } else {
                Registered::plain(request, name, wait_queue, queues.cpu_of(index))?
            };
            handlers.push(handler, GFP_KERNEL)?;
        }

        // INVARIANT: As said above.
        Ok(Self {
            handlers,
            wait_queues: Arc::new(wait_queues, GFP_KERNEL)?,
            _names: names,
            _vectors: vectors,
        })
    }

    /// The vector for queue number `queue`, with its wait queue. Queues share vectors if there are
    /// more of them.
    pub(crate) fn for_queue(&self, queue: u32) -> Result<(u32, &Arc<VectorWaitQueue>)> {
        // CAST: Lossless: `usize` has at least 32 bits, and there are at most 2048 vectors.
        let index = (queue as usize)
            .checked_rem(self.wait_queues.len())
            .ok_or(EINVAL)?;
        Ok((index as u32, self.wait_queues.get(index).ok_or(EINVAL)?))
    }

    /// The wait queues of all vectors.
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

impl<'bound> Registered<'bound> {
    fn plain(
        request: irq::IrqRequest<'bound>,
        name: &'static CStr,
        wait_queue: Arc<VectorWaitQueue>,
        cpu: Option<u32>,
    ) -> Result<Self> {
        let irq = request.irq();
        let handler = Ok(Handler(wait_queue));
        let flags = irq::Flags::TRIGGER_NONE;
        // SAFETY: Kept in `IrqVectors`, which is always dropped.
        let registration = unsafe { irq::Registration::new(request, flags, name, handler) };
        Ok(Self::Plain {
            _registration: KBox::pin_init(registration, GFP_KERNEL)?,
            affinity: cpu.map(|cpu| AffinityHint::new(irq, cpu)),
        })
    }

    fn throttled(
        request: irq::IrqRequest<'bound>,
        name: &'static CStr,
        wait_queue: Arc<VectorWaitQueue>,
    ) -> Result<Self> {
        let is_closing = Arc::new(AtomicFlag::new(false), GFP_KERNEL)?;
        let handler = Ok(ThrottledHandler {
            wait_queue,
            irq: request.irq(),
            is_closing: is_closing.clone(),
        });
        let flags = irq::Flags::TRIGGER_NONE;
        // SAFETY: Kept in `IrqVectors`, which is always dropped.
        let registration = unsafe { irq::ThreadedRegistration::new(request, flags, name, handler) };
        Ok(Self::Throttled {
            _registration: KBox::pin_init(registration, GFP_KERNEL)?,
            is_closing,
        })
    }
}
