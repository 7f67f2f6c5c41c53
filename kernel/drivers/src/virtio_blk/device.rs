// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk: its start, its recovery when it is stuck, its end.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use alloc::{string::String, sync::Arc, vec, vec::Vec};

use exo_platform::{
    InterruptHandler, InterruptKind, MAX_TRANSFER, PAGE_SIZE, SpinLock, cpu_count, node_of_cpu, now_ns, pci,
};

use super::{
    format::{Config, SECTOR, feature},
    queue::{RequestQueue, Rules},
};
use crate::{
    DriverError,
    block::{
        Cause, Controller, DeviceName, Geometry, Refused, Request, Requests, Tag, device_text, queue_of,
    },
    bus::wait_until,
    virtio::{self, Layout, Transport},
};

/// Features that this driver can use.
const WANTED: u64 = feature::SIZE_MAX
    | feature::SEGMENTS_MAX
    | feature::READ_ONLY
    | feature::BLOCK_SIZE
    | feature::FLUSH
    | feature::QUEUES
    | feature::DISCARD
    | virtio::feature::INDIRECT
    | virtio::feature::EVENT_INDEX;
/// Parts of a request's data: the pages that the largest buffer touches.
const MOST_PARTS: u32 = (MAX_TRANSFER / PAGE_SIZE + 1) as u32;
/// Descriptors of a queue that are used at most, if a request takes one ...
const MOST_DESCRIPTORS: u16 = 256;
/// ... and if it takes one for each part.
const MOST_CHAINED: u16 = 2048;
/// Resets without a completion between them after which the device is given up.
const MAX_RESETS: u32 = 3;
/// How long the device may take to say its serial number.
const SERIAL_NS: u64 = 1_000_000_000;
/// How long requests may take to end when the driver is stopped.
const SHUTDOWN_NS: u64 = 2_000_000_000;
/// Between two looks at that.
const PAUSE_NS: u64 = 10_000;

/// What interrupts need: they may come as long as the interrupts' owner lives, which the queues must not depend on.
struct Queues {
    all: Vec<RequestQueue>,
    transport: Arc<Transport>,
    /// Interrupts that there are; 0 stands for one that is no message from a table.
    vectors: AtomicUsize,
    /// Requests that have ended, to tell a device that works from one that does not.
    ended: AtomicUsize,
}

impl InterruptHandler for Queues {
    fn interrupt(&self, index: usize) {
        let vectors = self.vectors.load(Ordering::Relaxed);
        if vectors == 0 {
            // A line stays active until this is read.
            self.transport.acknowledge();
        }
        for queue in self.all.iter().skip(index).step_by(vectors.max(1)) {
            self.note(queue.poll());
        }
    }
}

impl Queues {
    fn note(&self, ended: usize) -> usize {
        if ended > 0 {
            self.ended.fetch_add(ended, Ordering::Relaxed);
        }
        ended
    }
}

struct State {
    /// Resets since the device last completed anything.
    resets: u32,
    ended: usize,
    is_over: bool,
}

/// A disk.
pub(super) struct Disk {
    name: DeviceName,
    geometry: Geometry,
    /// What was agreed on.
    features: u64,
    serial: String,
    transport: Arc<Transport>,
    queues: Arc<Queues>,
    interrupts: SpinLock<Option<pci::Interrupts>>,
    state: SpinLock<State>,
    is_present: AtomicBool,
}

impl Disk {
    /// Starts the device. After an error it was not told to begin, or has been reset.
    fn set_up(name: DeviceName, transport: &Arc<Transport>) -> Result<Arc<Self>, DriverError> {
        let features = transport.negotiate(WANTED)?;
        let config = transport.read_device(Config::read).ok_or(DriverError::Device("it has no registers"))?;
        let has = |bit| features & bit != 0;
        let count = if has(feature::QUEUES) { config.queues } else { 1 };
        let cpus = u16::try_from(cpu_count()).unwrap_or(u16::MAX);
        let count = count.clamp(1, cpus.max(1)).min(transport.queue_count());
        let size = (0..count).map(|index| transport.queue_size(index)).min().unwrap_or(0);
        let is_indirect = has(virtio::feature::INDIRECT);
        let most = if is_indirect { MOST_DESCRIPTORS } else { MOST_CHAINED };
        let size = if size == 0 { 0 } else { 1 << size.min(most).ilog2() };
        let parts = match config.segments_max {
            most if has(feature::SEGMENTS_MAX) => most.clamp(1, MOST_PARTS),
            _ => MOST_PARTS,
        };
        // Header and status come with the data. Without tables, a chain may take no more than there is.
        let chain = (parts + 2).min(if is_indirect { u32::MAX } else { u32::from(size).max(3) }) as u16;
        let layout = Layout { size, chain, is_indirect, has_event_index: has(virtio::feature::EVENT_INDEX) };
        let geometry = geometry(&config, features, layout, usize::from(count))?;
        let size_max = if has(feature::SIZE_MAX) { config.size_max } else { u32::MAX };
        if size_max < PAGE_SIZE as u32 {
            return Err(DriverError::Declined("it takes less than a page at a time"));
        }
        let scale = geometry.sector_size / SECTOR;
        let rules = Rules { scale, size_max, can_flush: has(feature::FLUSH) };
        let make = |cpu| RequestQueue::new(name, rules, layout, node_of_cpu(cpu));
        let all = (0..usize::from(count)).map(make).collect::<Result<Vec<_>, _>>()?;
        let queues = Arc::new(Queues {
            all,
            transport: transport.clone(),
            vectors: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
        });
        let interrupts = transport.interrupts(usize::from(count), queues.clone())?;
        if interrupts.kind() == InterruptKind::MsiX {
            queues.vectors.store(interrupts.count(), Ordering::Relaxed);
        }
        let mut this = Self {
            name,
            geometry,
            features,
            serial: String::new(),
            transport: transport.clone(),
            queues,
            interrupts: SpinLock::new(Some(interrupts)),
            state: SpinLock::new(State { resets: 0, ended: 0, is_over: false }),
            is_present: AtomicBool::new(true),
        };
        this.set_queues()?;
        transport.start();
        this.serial = this.read_serial()?;
        this.queues.all.iter().for_each(RequestQueue::release);
        Ok(Arc::new(this))
    }

    fn set_queues(&self) -> Result<(), DriverError> {
        let interrupts = self.interrupts.lock();
        for (index, queue) in (0u16..).zip(&self.queues.all) {
            let vector = interrupts.as_ref().and_then(|interrupts| Transport::vector(interrupts, index));
            let doorbell = queue.with_ring(|ring| self.transport.set_queue(index, ring, vector))?;
            queue.set_doorbell(doorbell);
        }
        Ok(())
    }

    /// The serial number; empty if the device does not say. One that does not answer is set up anew.
    fn read_serial(&self) -> Result<String, DriverError> {
        let Some(queue) = self.queues.all.first() else { return Ok(String::new()) };
        let end = now_ns().saturating_add(SERIAL_NS);
        match queue.read_serial(|| now_ns() > end) {
            Some(bytes) => {
                let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                Ok(device_text(text.iter().copied()))
            }
            None if now_ns() > end => {
                self.set_up_again()?;
                Ok(String::new())
            }
            None => Ok(String::new()),
        }
    }

    /// Resets the device and gives it its queues again, whose requests it has forgotten.
    fn set_up_again(&self) -> Result<(), DriverError> {
        if self.transport.negotiate(self.features)? != self.features {
            return Err(DriverError::Device("it has other features than before"));
        }
        let now = now_ns();
        self.queues.all.iter().for_each(|queue| queue.forget(now));
        self.set_queues()?;
        self.transport.start();
        Ok(())
    }

    fn queue(&self, cpu: usize) -> Option<&RequestQueue> {
        queue_of(&self.queues.all, cpu)
    }

    fn recover(&self, state: &mut State) {
        let ended = self.queues.ended.load(Ordering::Relaxed);
        if ended != state.ended {
            (state.ended, state.resets) = (ended, 0);
        }
        state.resets += 1;
        self.queues.all.iter().for_each(RequestQueue::hold);
        if state.resets <= MAX_RESETS && self.set_up_again().is_ok() {
            self.queues.all.iter().for_each(RequestQueue::release);
        } else {
            self.end(state, Cause::TimedOut);
        }
    }

    /// Gives the device up: it reaches no memory any more, and all requests end with `cause`.
    fn end(&self, state: &mut State, cause: Cause) {
        state.is_over = true;
        self.is_present.store(false, Ordering::Release);
        self.transport.function().disable();
        self.queues.all.iter().for_each(|queue| queue.close(cause));
    }
}

impl Controller for Disk {
    type Handle = Arc<Transport>;

    fn start(name: DeviceName, transport: &Arc<Transport>) -> Result<Arc<Self>, DriverError> {
        Self::set_up(name, transport).inspect_err(|_| {
            transport.fail();
            transport.function().disable();
        })
    }

    fn disks(self: &Arc<Self>) -> Vec<Arc<dyn Requests>> {
        vec![self.clone()]
    }

    fn is_present(&self) -> bool {
        Requests::is_present(self)
    }

    fn remove(&self) {
        {
            let mut state = self.state.lock();
            if !state.is_over {
                self.end(&mut state, Cause::Removed);
            }
        }
        *self.interrupts.lock() = None;
    }

    fn shut_down(&self) -> Result<(), DriverError> {
        let mut result = Ok(());
        self.queues.all.iter().for_each(|queue| queue.refuse(Cause::NotReady));
        if Requests::is_present(self) {
            // What is not done by then ends below.
            wait_until(SHUTDOWN_NS, PAUSE_NS, || {
                self.queues.all.iter().map(RequestQueue::drain).sum::<usize>() == 0
            });
            result = self.transport.reset();
            let mut state = self.state.lock();
            if !state.is_over {
                self.end(&mut state, Cause::NotReady);
            }
        }
        *self.interrupts.lock() = None;
        result
    }
}

/// What the disk is like.
fn geometry(config: &Config, features: u64, layout: Layout, queues: usize) -> Result<Geometry, DriverError> {
    let sector_size = match config.block_size {
        size if features & feature::BLOCK_SIZE == 0 || size < SECTOR => SECTOR,
        size if size.is_power_of_two() && size <= PAGE_SIZE as u32 => size,
        _ => return Err(DriverError::Device("its blocks are of a size that is none")),
    };
    let parts = usize::from(layout.chain.saturating_sub(2));
    if layout.slots() == 0 || parts == 0 || queues == 0 {
        return Err(DriverError::Device("its queues have no room for a request"));
    }
    // Data may begin in the middle of a page, which takes one part more.
    let transfer = MAX_TRANSFER.min(parts.saturating_sub(1).max(1) * PAGE_SIZE);
    Ok(Geometry {
        sectors: config.capacity / u64::from(sector_size / SECTOR),
        sector_size,
        max_transfer: transfer,
        queues,
        depth: layout.slots().into(),
        read_only: features & feature::READ_ONLY != 0,
        discard: features & feature::DISCARD != 0 && config.discard_max >= sector_size / SECTOR,
        numa: None,
    })
}

impl Requests for Disk {
    fn name(&self) -> DeviceName {
        self.name
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn model(&self) -> &str {
        "virtio"
    }

    fn serial(&self) -> &str {
        &self.serial
    }

    #[inline]
    fn submit(&self, cpu: usize, request: Request) -> Result<Tag, Refused> {
        if let Err(cause) = self.geometry.check(&request) {
            return Err(self.refuse(request, cause));
        }
        match self.queue(cpu) {
            Some(queue) => queue.submit(request).map_err(|(request, cause)| self.refuse(request, cause)),
            None => Err(self.refuse(request, Cause::NotReady)),
        }
    }

    #[inline]
    fn ring(&self, cpu: usize) {
        if let Some(queue) = self.queue(cpu) {
            queue.ring();
        }
    }

    #[inline]
    fn poll(&self, cpu: usize) -> usize {
        self.queue(cpu).map_or(0, |queue| self.queues.note(queue.poll()))
    }

    fn cancel(&self, cpu: usize, tag: Tag) -> bool {
        self.queue(cpu).is_some_and(|queue| queue.cancel(tag))
    }

    fn check_timeouts(&self, now_ns: u64) {
        // Whoever has the lock is doing this very thing.
        let Some(mut state) = self.state.try_lock() else { return };
        if state.is_over {
            return;
        }
        if !self.transport.function().is_present() {
            return self.end(&mut state, Cause::Removed);
        }
        let mut is_stuck = self.transport.needs_reset();
        for queue in &self.queues.all {
            // An interrupt may have been lost.
            self.queues.note(queue.poll());
            is_stuck |= queue.is_stuck(now_ns);
        }
        if is_stuck {
            self.recover(&mut state);
        }
    }

    fn is_present(&self) -> bool {
        self.is_present.load(Ordering::Acquire)
    }
}
