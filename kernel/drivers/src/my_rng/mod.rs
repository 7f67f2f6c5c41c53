// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `my_rng` device (`abi/my-rng-abi` is its contract): random bytes that it writes to memory by itself, one queue for each CPU;
//! numbers of a stream that can be seeded; and queues that programs read themselves.
//!
//! The first queues are the entropy stream's, the next is the seedable stream's, the rest are for programs.

mod hardware;
mod own;
mod pages;
mod queue;
mod stream;
#[cfg(test)]
mod tests;

use core::{
    any::Any,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use alloc::{format, string::String, sync::Arc, vec::Vec};

use exo_platform::{
    InterruptHandler, SpinLock, cpu_count, cpu_index, now_ns,
    pci::{self, Config as _},
};
use my_rng_abi::{
    queue::{STREAM_ENTROPY, STREAM_SEEDABLE},
    registers::{DEVICE_ID, REGISTER_BAR, VENDOR_ID},
};
use my_rng_ring::Layout;

use crate::{
    Device, Driver, DriverError, DriverType,
    bus::{Access, DriverInfo, Found, Match},
    random::{Awaited, Drawn, Listener, RandomDevice, RandomError, Sink},
};
use hardware::Hardware;
use own::Own;
use queue::Queue;
use stream::Stream;

pub use own::{OwnQueue, OwnState};
pub use stream::Delivery;

/// What the bus knows of this driver.
pub static MY_RNG: DriverInfo = DriverInfo {
    name: "my_rng",
    matches: &[Match::PciIdentity { vendor: VENDOR_ID, device: DEVICE_ID }],
    probe,
};

/// Buffers of a queue, a page each: 1 MiB, as the Linux driver has it.
const DEPTH: u32 = 256;
/// What is fetched of the seedable stream before anybody asks is lost at the next seed, so that queue is short.
const NUMBERS_DEPTH: u32 = 16;
const BUFFER_SIZE: u32 = exo_platform::PAGE_SIZE as u32;
/// Most queues that programs may have.
const OWN_QUEUES: u32 = 4;
/// How long the device is believed to be there after it was looked at last, in nanoseconds.
const PRESENCE_CHECK_NS: u64 = 200_000_000;

/// Passes the interrupts of the device on to its listener.
#[derive(Default)]
struct InterruptRelay {
    listener: SpinLock<Option<Arc<dyn Listener>>>,
    interrupts: AtomicU64,
}

impl InterruptRelay {
    fn notify(&self) {
        let listener = self.listener.lock().clone();
        if let Some(listener) = listener {
            listener.happened();
        }
    }
}

impl InterruptHandler for InterruptRelay {
    fn interrupt(&self, _index: usize) {
        self.interrupts.fetch_add(1, Ordering::Relaxed);
        self.notify();
    }
}

/// What /proc tells of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Queues of the entropy stream that the driver reads.
    pub queues: usize,
    /// Buffers of each.
    pub depth: u32,
    /// Queues that programs have.
    pub own_in_use: usize,
    /// Queues that programs can have.
    pub own: usize,
    /// Interrupts so far.
    pub interrupts: u64,
    /// How often the device was woken.
    pub doorbells: u64,
}

/// A device.
pub struct MyRng {
    name: String,
    function: pci::Function,
    hardware: Hardware,
    /// The entropy stream's queues, numbers from 0.
    entropy: Vec<Queue<()>>,
    /// The seedable stream's.
    numbers: Option<Queue<Stream>>,
    own: Own,
    relay: Arc<InterruptRelay>,
    interrupts: SpinLock<Option<pci::Interrupts>>,
    me: alloc::sync::Weak<MyRng>,
    ready: AtomicBool,
    looked: AtomicU64,
}

fn probe(found: &Found) -> Result<Arc<dyn Driver>, DriverError> {
    Ok(MyRng::new(found.pci()?)?)
}

fn layout(depth: u32) -> Result<Layout, DriverError> {
    Layout::new(depth, BUFFER_SIZE).ok_or(DriverError::NoMemory)
}

impl MyRng {
    /// The driver of a function that is one of these devices.
    ///
    /// # Errors
    /// [`DriverError::Declined`] if its registers are not what its identity promises.
    pub fn new(function: &pci::Function) -> Result<Arc<Self>, DriverError> {
        let name = format!("my_rng-{}", function.address());
        // Its registers answer only when it is enabled.
        let command = function.config().read16(pci::register::COMMAND);
        function.enable();
        let hardware = Hardware::new(function.bar(REGISTER_BAR)?);
        let identified = hardware.identify();
        if identified.is_err() {
            function.config().write16(pci::register::COMMAND, command);
        }
        identified?;
        // One queue is for the seedable stream, and one is kept for programs if there are enough.
        let available = hardware.queue_count();
        let spare = available.saturating_sub(2).min(1);
        let cpus = u32::try_from(cpu_count()).unwrap_or(u32::MAX);
        let entropy_count = if available < 2 { 0 } else { cpus.min(available - 1 - spare).max(1) };
        let entropy = (0..entropy_count)
            .map(|number| Queue::new(number, STREAM_ENTROPY, layout(DEPTH)?, ()))
            .collect::<Result<Vec<_>, DriverError>>()?;
        let (mut numbers, mut first_own) = (None, 0..0);
        if entropy_count > 0 {
            let stream = Stream::default();
            numbers = Some(Queue::new(entropy_count, STREAM_SEEDABLE, layout(NUMBERS_DEPTH)?, stream)?);
            let first = entropy_count + 1;
            first_own = first..available.min(first + OWN_QUEUES);
        }
        let own = Own::new(first_own, layout(DEPTH)?);
        Ok(Arc::new_cyclic(|me| Self {
            name,
            function: function.clone(),
            hardware,
            entropy,
            numbers,
            own,
            relay: Arc::default(),
            interrupts: SpinLock::new(None),
            me: me.clone(),
            ready: AtomicBool::new(false),
            looked: AtomicU64::new(0),
        }))
    }

    /// What there is, and what was counted.
    pub fn statistics(&self) -> Statistics {
        let (own_in_use, own) = self.own.in_use();
        Statistics {
            queues: self.entropy.len(),
            depth: DEPTH,
            own_in_use,
            own,
            interrupts: self.relay.interrupts.load(Ordering::Relaxed),
            doorbells: self.hardware.doorbells(),
        }
    }

    fn vector_of(&self, queue: u32) -> u32 {
        let count = self.interrupts.lock().as_ref().map_or(1, pci::Interrupts::count);
        queue.checked_rem(u32::try_from(count).unwrap_or(1)).unwrap_or(0)
    }

    /// The entropy stream's queues, beginning with that of this CPU.
    fn mine_first(&self) -> impl Iterator<Item = &Queue<()>> {
        let mine = cpu_index().checked_rem(self.entropy.len()).unwrap_or(0);
        let (before, from_mine) = self.entropy.split_at_checked(mine).unwrap_or_default();
        from_mine.iter().chain(before)
    }

    /// Whether the device still answers, if nobody has looked for a while.
    fn look_now_and_then(&self) -> Result<(), RandomError> {
        let now = now_ns();
        // Two who look at the same time do no harm.
        if now.saturating_sub(self.looked.load(Ordering::Relaxed)) < PRESENCE_CHECK_NS {
            return Ok(());
        }
        self.looked.store(now, Ordering::Relaxed);
        self.look()
    }

    /// Restarts the seedable stream. What was fetched too early is dropped: the queue is stopped first, so that nothing of the old
    /// sequence comes later.
    ///
    /// # Errors
    /// [`RandomError::Gone`], [`RandomError::Failed`] if the queue does not stop.
    pub fn seed(&self, seed: u32) -> Result<(), RandomError> {
        self.restart(|| self.hardware.seed(seed))
    }

    /// The same with a longer seed, or in another stream of it, or to a position, as `command` says (the register
    /// [`SEED_COMMAND`](my_rng_abi::registers::SEED_COMMAND)). The stream is not disturbed for what the generator does not take.
    ///
    /// # Errors
    /// [`RandomError::Unsupported`] for that; else as [`seed`](Self::seed).
    pub fn command_seed(&self, command: u32, words: &[u32], stream: u64) -> Result<(), RandomError> {
        self.hardware.check_seed_command(command)?;
        self.restart(|| self.hardware.command_seed(command, words, stream))
    }

    fn restart(&self, restart: impl FnOnce() -> Result<(), RandomError>) -> Result<(), RandomError> {
        match &self.numbers {
            Some(queue) => stream::restart(queue, &self.hardware, restart)?,
            None => restart()?,
        }
        // Who waits has asked for an interrupt that will not come.
        self.relay.notify();
        Ok(())
    }

    /// Draws `N` numbers of 32 bits of the seedable stream and hands them to `deliver`, which says whether it could deliver them. If
    /// not, the next draw gets them. [`Delivery::Empty`] asks for [`await_numbers`](Self::await_numbers) and another try.
    ///
    /// # Errors
    /// [`RandomError::Gone`].
    #[inline]
    pub fn draw_numbers<const N: usize>(
        &self,
        deliver: impl FnOnce([u32; N]) -> bool,
    ) -> Result<Delivery, RandomError> {
        match &self.numbers {
            Some(queue) => stream::draw(queue, &self.hardware, deliver),
            None => {
                let mut numbers = [0; N];
                self.hardware.draw(&mut numbers)?;
                // A number cannot be put back into a register.
                Ok(if deliver(numbers) { Delivery::Done } else { Delivery::Refused })
            }
        }
    }

    /// Lets the device fetch numbers if it does not, and asks to be told when there are some. None if there are.
    ///
    /// # Errors
    /// [`RandomError::Gone`], [`RandomError::Failed`].
    pub fn await_numbers(&self) -> Result<Option<Awaited>, RandomError> {
        let queue = self.numbers.as_ref().ok_or(RandomError::Unsupported)?;
        stream::start(queue, &self.hardware, self.vector_of(queue.number()))?;
        queue.ask(0, &self.hardware)
    }

    /// A queue for a program to read by itself. It is the program's until what this gives is dropped.
    ///
    /// # Errors
    /// [`RandomError::Busy`], [`RandomError::Unsupported`], [`RandomError::NoMemory`], [`RandomError::Gone`].
    pub fn open_queue(&self) -> Result<OwnQueue, RandomError> {
        let device = self.me.upgrade().ok_or(RandomError::Gone)?;
        self.own.open(device)
    }

    fn wake_own(&self, number: u32) {
        self.hardware.ring_doorbell(number);
    }

    /// Ends everything: nobody is left waiting, and no queue is written to.
    fn stop(&self) {
        self.ready.store(false, Ordering::Relaxed);
        let mut stopped = true;
        for queue in &self.entropy {
            stopped &= queue.stop(&self.hardware);
        }
        if let Some(queue) = &self.numbers {
            queue.reader().lock().more.close();
            stopped &= queue.stop(&self.hardware);
        }
        stopped &= self.own.stop_all(&self.hardware);
        if !stopped {
            // What it may still write to is left to it for ever.
            self.function.disable();
            self.entropy.iter().for_each(Queue::abandon);
            self.numbers.iter().for_each(Queue::abandon);
            self.own.abandon();
        }
        self.relay.notify();
    }
}

impl Driver for MyRng {
    fn driver_type(&self) -> DriverType {
        DriverType::Random
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn init(&self) -> Result<(), DriverError> {
        let access = Access::grant(&self.function);
        let wanted = self.entropy.len() + self.own.count() + 1;
        let interrupts = self.function.interrupts(wanted, self.relay.clone())?;
        *self.interrupts.lock() = Some(interrupts);
        for queue in &self.entropy {
            let vector = self.vector_of(queue.number());
            queue.start(&mut queue.reader().lock(), &self.hardware, vector).map_err(|_| {
                *self.interrupts.lock() = None;
                DriverError::Device("it refuses its own queues")
            })?;
        }
        access.keep();
        self.ready.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn shutdown(&self) -> Result<(), DriverError> {
        self.stop();
        *self.interrupts.lock() = None;
        // Who listens most likely holds on to us: neither would ever go.
        *self.relay.listener.lock() = None;
        self.function.disable();
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && self.hardware.is_there().is_ok()
    }

    fn devices(&self) -> Vec<Device> {
        match self.me.upgrade() {
            Some(device) if self.ready.load(Ordering::Relaxed) => Vec::from([Device::Random(device)]),
            _ => Vec::new(),
        }
    }

    fn tick(&self, _now_ns: u64) {
        if self.ready.load(Ordering::Relaxed) && self.look_now_and_then().is_err() {
            // Who maps a queue is told there; everybody else finds out when woken.
            self.own.say_gone();
            self.relay.notify();
        }
    }

    fn removed(&self) {
        self.hardware.give_up();
        self.ready.store(false, Ordering::Relaxed);
        self.own.say_gone();
        self.relay.notify();
    }
}

impl RandomDevice for MyRng {
    fn name(&self) -> &str {
        &self.name
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        *self.relay.listener.lock() = Some(listener);
    }

    fn draw(&self, limit: usize, sink: &mut Sink<'_>) -> Result<Drawn, RandomError> {
        self.hardware.was_there()?;
        let mut result =
            Err(if self.entropy.is_empty() { RandomError::Unsupported } else { RandomError::Failed });
        for queue in self.mine_first() {
            // If somebody else is just reading it, another may have some.
            let Some(mut reader) = queue.reader().try_lock() else {
                result = result.or(Ok(Drawn::default()));
                continue;
            };
            match queue.draw(&mut reader, &self.hardware, limit, sink) {
                Ok(drawn) if drawn == Drawn::default() => result = result.or(Ok(drawn)),
                Ok(drawn) => return Ok(drawn),
                Err(_) => {}
            }
        }
        result
    }

    fn await_bytes(&self, bytes: usize) -> Result<Option<Awaited>, RandomError> {
        self.look_now_and_then()?;
        let queue = self.mine_first().find(|queue| !queue.has_failed()).ok_or(RandomError::Failed)?;
        queue.ask(bytes, &self.hardware)
    }

    fn is_reached(&self, awaited: Awaited) -> bool {
        if self.hardware.was_there().is_err() {
            return true;
        }
        let entropy = usize::try_from(awaited.queue).ok().and_then(|number| self.entropy.get(number));
        match (entropy, &self.numbers) {
            (Some(queue), _) => queue.is_reached(awaited.count),
            (None, Some(queue)) => queue.is_reached(awaited.count),
            (None, None) => true,
        }
    }

    fn look(&self) -> Result<(), RandomError> {
        self.hardware.is_there()
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
