// SPDX-License-Identifier: MIT OR Apache-2.0
//! virtio-rng: a virtual machine's source of entropy, which fills the buffers that it is given.
//! Source: VIRTIO 1.2, 5.4 (entropy device).
//!
//! The device has a few pages at a time. What it has filled is handed out in the order in which it came, once, and is overwritten
//! before the page is the device's again: one that says it has filled a page and did not gives zeros, and never what somebody
//! else was given.

#[cfg(test)]
mod tests;

use core::{
    any::Any,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use alloc::{
    collections::VecDeque,
    format,
    string::String,
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_platform::{InterruptHandler, InterruptKind, PAGE_SIZE, SharedPage, SpinLock, pci};

use crate::{
    Device, Driver, DriverError, DriverType,
    bus::{DriverInfo, Found, Match},
    random::{Awaited, Drawn, Listener, RandomDevice, RandomError, Sink},
    virtio::{Doorbell, Layout, MODERN, Part, Queue, Transport, Used, VENDOR, feature},
};

/// Type of the device (5.4.1).
const ENTROPY: u16 = 4;
/// The device number of those that can also be driven in the way of before version 1 (4.1.2.1).
const TRANSITIONAL: u16 = 0x1005;

/// What the bus knows of this driver.
pub static VIRTIO_RNG: DriverInfo = DriverInfo {
    name: "virtio-rng",
    matches: &[
        Match::PciIdentity { vendor: VENDOR, device: MODERN + ENTROPY },
        Match::PciIdentity { vendor: VENDOR, device: TRANSITIONAL },
    ],
    probe,
};

/// The number of its only queue (5.4.2).
const REQUESTS: u16 = 0;
/// Most pages that the device has at a time; QEMU's has a queue of eight.
const SLOTS_MAX: u16 = 8;

/// The device has broken the rules; the queue is of no more use.
#[derive(Debug)]
struct Broken;

impl From<Broken> for RandomError {
    fn from(_: Broken) -> Self {
        Self::Failed
    }
}

/// Bytes of a page that nobody has taken.
struct Filled {
    slot: u16,
    start: usize,
    end: usize,
}

/// The queue, and a page for each of its slots.
struct Requests {
    queue: Queue,
    doorbell: Doorbell,
    pages: Vec<SharedPage>,
    /// For each slot: the device has it.
    outstanding: Vec<bool>,
    /// Never more than there are slots.
    filled: VecDeque<Filled>,
    is_broken: bool,
}

impl Requests {
    fn new(transport: &Transport, vector: Option<u16>, has_event_index: bool) -> Result<Self, DriverError> {
        let largest = transport.queue_size(REQUESTS).min(SLOTS_MAX);
        let size = largest.checked_ilog2().map(|log| 1u16 << log);
        let size = size.ok_or(DriverError::Device("it lacks its queue"))?;
        let queue = Queue::new(Layout { size, chain: 1, is_indirect: false, has_event_index }, None)?;
        let pages = (0..size).map(|_| SharedPage::new()).collect::<Result<Vec<_>, _>>()?;
        let doorbell = transport.set_queue(REQUESTS, &queue, vector)?;
        let outstanding = alloc::vec![false; size.into()];
        let filled = VecDeque::with_capacity(size.into());
        Ok(Self { queue, doorbell, pages, outstanding, filled, is_broken: false })
    }

    /// Gives a slot's page to the device, with nothing in it that anybody was given.
    fn give(&mut self, slot: u16) {
        let index = usize::from(slot);
        let (Some(page), Some(outstanding)) = (self.pages.get(index), self.outstanding.get_mut(index)) else {
            return;
        };
        (0..PAGE_SIZE).step_by(size_of::<u64>()).for_each(|offset| page.store64(offset, 0));
        let part = Part { address: page.address(), length: PAGE_SIZE as u32, is_written: true };
        *outstanding = self.queue.push(slot, core::iter::once(part));
    }

    fn publish(&mut self) {
        if self.queue.publish() {
            self.doorbell.ring();
        }
    }

    /// Notes what the device has filled.
    fn collect(&mut self) -> Result<(), Broken> {
        // A device that gives back empty pages as fast as it gets them comes to an end here, too.
        for _ in 0..self.pages.len() {
            if self.is_broken {
                return Err(Broken);
            }
            let Some(used) = self.queue.pop() else { break };
            if self.note(&used).is_err() {
                self.is_broken = true;
            }
        }
        self.publish();
        if self.is_broken { Err(Broken) } else { Ok(()) }
    }

    fn note(&mut self, used: &Used) -> Result<(), Broken> {
        let Used::Slot { slot, written } = *used else { return Err(Broken) };
        match self.outstanding.get_mut(usize::from(slot)) {
            Some(outstanding) if *outstanding => *outstanding = false,
            _ => return Err(Broken),
        }
        match written as usize {
            0 => self.give(slot),
            end if end <= PAGE_SIZE => self.filled.push_back(Filled { slot, start: 0, end }),
            _ => return Err(Broken),
        }
        Ok(())
    }

    fn draw(&mut self, limit: usize, sink: &mut Sink<'_>) -> Drawn {
        let mut drawn = Drawn::default();
        while let (false, Some(first)) = (drawn.refused || drawn.bytes >= limit, self.filled.front_mut()) {
            let part = (first.end - first.start).min(limit - drawn.bytes);
            let Some(page) = self.pages.get(usize::from(first.slot)) else { break };
            let taken = sink(page, first.start, part).min(part);
            drawn.bytes += taken;
            drawn.refused = taken < part;
            first.start += part;
            if first.start >= first.end {
                let slot = first.slot;
                self.filled.pop_front();
                self.give(slot);
            }
        }
        self.publish();
        drawn
    }
}

/// What there is while the device works.
struct Running {
    transport: Transport,
    requests: SpinLock<Requests>,
    /// Interrupts come by a line, which must be asked why.
    by_line: bool,
}

/// A device.
pub struct VirtioRng {
    name: String,
    function: pci::Function,
    running: SpinLock<Option<Arc<Running>>>,
    interrupts: SpinLock<Option<pci::Interrupts>>,
    listener: SpinLock<Option<Arc<dyn Listener>>>,
    bytes: AtomicU64,
    is_gone: AtomicBool,
    me: Weak<VirtioRng>,
}

fn probe(found: &Found) -> Result<Arc<dyn Driver>, DriverError> {
    let function = found.pci()?;
    // It is looked at; the start finds the registers anew.
    Transport::new(function)?;
    Ok(VirtioRng::new(function))
}

impl VirtioRng {
    /// The driver of a function that is such a device.
    pub fn new(function: &pci::Function) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            name: format!("virtio-rng-{}", function.address()),
            function: function.clone(),
            running: SpinLock::new(None),
            interrupts: SpinLock::new(None),
            listener: SpinLock::new(None),
            bytes: AtomicU64::new(0),
            is_gone: AtomicBool::new(false),
            me: me.clone(),
        })
    }

    /// Bytes that were handed out.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn running(&self) -> Result<Arc<Running>, RandomError> {
        let running = self.running.lock().clone();
        running.filter(|_| !self.is_gone.load(Ordering::Relaxed)).ok_or(RandomError::Gone)
    }

    fn set_up(&self) -> Result<(), DriverError> {
        let transport = Transport::new(&self.function)?;
        let features = transport.negotiate(feature::EVENT_INDEX)?;
        let me = self.me.upgrade().ok_or(DriverError::NotReady)?;
        let interrupts = transport.interrupts(1, me)?;
        let by_line = interrupts.kind() == InterruptKind::Line;
        let vector = Transport::vector(&interrupts, REQUESTS);
        let mut requests = Requests::new(&transport, vector, features & feature::EVENT_INDEX != 0)?;
        for slot in 0..requests.queue.layout().slots() {
            requests.give(slot);
        }
        transport.start();
        requests.publish();
        *self.interrupts.lock() = Some(interrupts);
        let running = Running { transport, requests: SpinLock::new(requests), by_line };
        *self.running.lock() = Some(Arc::new(running));
        Ok(())
    }

    fn tell(&self) {
        let listener = self.listener.lock().clone();
        if let Some(listener) = listener {
            listener.happened();
        }
    }
}

impl InterruptHandler for VirtioRng {
    fn interrupt(&self, _index: usize) {
        let Ok(running) = self.running() else { return };
        if running.by_line && !running.transport.acknowledge() {
            // Somebody else's, on the same line.
            return;
        }
        self.tell();
    }
}

impl Driver for VirtioRng {
    fn driver_type(&self) -> DriverType {
        DriverType::Random
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn init(&self) -> Result<(), DriverError> {
        self.set_up().inspect_err(|_| {
            *self.interrupts.lock() = None;
            self.function.disable();
        })
    }

    fn shutdown(&self) -> Result<(), DriverError> {
        let running = self.running.lock().take();
        *self.interrupts.lock() = None;
        // Who listens most likely holds on to us: neither would ever go.
        let listener = self.listener.lock().take();
        let Some(running) = running else { return Ok(()) };
        let reset = running.transport.retire(running.clone());
        if let Some(listener) = listener {
            listener.happened();
        }
        reset
    }

    fn is_ready(&self) -> bool {
        self.running().is_ok_and(|running| !running.requests.lock().is_broken) && self.function.is_present()
    }

    fn devices(&self) -> Vec<Device> {
        match self.me.upgrade() {
            Some(device) if self.is_ready() => Vec::from([Device::Random(device)]),
            _ => Vec::new(),
        }
    }

    fn removed(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
        self.tell();
    }
}

impl RandomDevice for VirtioRng {
    fn name(&self) -> &str {
        &self.name
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        *self.listener.lock() = Some(listener);
    }

    fn draw(&self, limit: usize, sink: &mut Sink<'_>) -> Result<Drawn, RandomError> {
        let running = self.running()?;
        let mut requests = running.requests.lock();
        requests.collect()?;
        let drawn = requests.draw(limit, sink);
        self.bytes.fetch_add(drawn.bytes as u64, Ordering::Relaxed);
        Ok(drawn)
    }

    fn await_bytes(&self, _bytes: usize) -> Result<Option<Awaited>, RandomError> {
        let running = self.running()?;
        let mut requests = running.requests.lock();
        requests.collect()?;
        // Whatever the device gives next; how much that is, it says itself.
        Ok(requests.filled.is_empty().then_some(Awaited { queue: REQUESTS.into(), count: 1 }))
    }

    fn is_reached(&self, _awaited: Awaited) -> bool {
        let Ok(running) = self.running() else { return true };
        let mut requests = running.requests.lock();
        requests.collect().is_err() || !requests.filled.is_empty()
    }

    fn look(&self) -> Result<(), RandomError> {
        let running = self.running()?;
        if !self.function.is_present() {
            return Err(RandomError::Gone);
        }
        if running.transport.needs_reset() { Err(RandomError::Failed) } else { Ok(()) }
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
