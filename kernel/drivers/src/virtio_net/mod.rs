// SPDX-License-Identifier: MIT OR Apache-2.0
//! virtio-net: a network card of virtual machines, with one queue for each direction.
//! Source: VIRTIO 1.2, 5.1 (network device).
//!
//! Buffers are made at the start and used again and again. Interrupts tell of frames that came; what was sent is looked for when buffers
//! run short. The card is notified once for all frames that a poll sends, and once for all buffers that it gives back: a notification costs
//! a virtual machine more than a frame.

#[cfg(test)]
mod tests;

use core::sync::atomic::{AtomicBool, Ordering};

use alloc::{format, string::String, sync::Arc, vec::Vec};

use exo_platform::{Dma, InterruptHandler, InterruptKind, SpinLock, pci};

use crate::{
    Device, Driver, DriverError, DriverType,
    bus::{DriverInfo, Found, Match},
    network::{Counters, Direction, ETHERNET_HEADER, FRAME_MAX, FrameListener, NetworkDevice, NetworkError},
    virtio::{self, Doorbell, Layout, MODERN, Part, Queue, Transport, Used, VENDOR},
};

/// Type of the device (5.1.1).
const NETWORK: u16 = 1;
/// The device number of cards that can also be driven in the way of before version 1 (4.1.2.1).
const TRANSITIONAL: u16 = 0x1000;

/// What the bus knows of this driver.
pub static VIRTIO_NET: DriverInfo = DriverInfo {
    name: "virtio-net",
    matches: &[
        Match::PciIdentity { vendor: VENDOR, device: MODERN + NETWORK },
        Match::PciIdentity { vendor: VENDOR, device: TRANSITIONAL },
    ],
    probe,
};

/// Features (5.1.3).
mod feature {
    /// It has an address of its own.
    pub(super) const MAC: u64 = 1 << 5;
    /// It says whether it is connected.
    pub(super) const STATUS: u64 = 1 << 16;
}

/// Its configuration (5.1.4).
mod config {
    pub(super) const MAC: usize = 0;
    pub(super) const STATUS: usize = 6;
    /// [`STATUS`]: connected.
    pub(super) const LINK_UP: u16 = 1;
}

/// The queues' numbers.
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
/// Most slots of a queue: half a MiB of buffers.
const SLOTS_MAX: u16 = 256;
/// Bytes in front of each frame: what is to be, or was, done with it. Nothing, here (5.1.6).
const HEADER: usize = 12;
/// Bytes of a buffer: header and frame, with room to a power of two.
const BUFFER: usize = 2048;
const _: () = assert!(HEADER + FRAME_MAX <= BUFFER);
/// The address of a card that has none: locally administered.
const NO_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// In an address's first byte: it is that of many cards, or of all (IEEE 802, 8.2.2).
const GROUP: u8 = 1;
/// Shortest frame that is one: an Ethernet header.
const FRAME_MIN: usize = ETHERNET_HEADER;

/// The device has broken the rules; the queue is of no more use.
struct Broken;

/// A queue for one direction, and a buffer for each of its slots.
struct DirectionQueue {
    queue: Queue,
    buffers: Dma,
    doorbell: Doorbell,
    /// For each slot: the device has it.
    outstanding: Vec<bool>,
    /// Slots that the device does not have.
    free: Vec<u16>,
}

impl DirectionQueue {
    /// Gives a slot's buffer to the device.
    fn give(&mut self, slot: u16, length: usize, is_written: bool) {
        let address = self.buffers.address().wrapping_add((usize::from(slot) * BUFFER) as u64);
        let part = Part { address, length: length as u32, is_written };
        let pushed = self.queue.push(slot, core::iter::once(part));
        if let Some(outstanding) = self.outstanding.get_mut(usize::from(slot)) {
            *outstanding = pushed;
        }
    }

    /// Takes a slot back from the device, and how much it says is in its buffer.
    fn take(&mut self) -> Result<Option<(u16, usize)>, Broken> {
        match self.queue.pop() {
            None => Ok(None),
            Some(Used::Nonsense) => Err(Broken),
            Some(Used::Slot { slot, written }) => match self.outstanding.get_mut(usize::from(slot)) {
                Some(outstanding) if *outstanding => {
                    *outstanding = false;
                    Ok(Some((slot, written as usize)))
                }
                _ => Err(Broken),
            },
        }
    }

    /// Takes back the slots that the device has done with.
    fn reclaim(&mut self) -> Result<(), Broken> {
        while let Some((slot, _)) = self.take()? {
            self.free.push(slot);
        }
        Ok(())
    }

    fn publish(&mut self) {
        if self.queue.publish() {
            self.doorbell.ring();
        }
    }
}

/// What there is while the card works.
struct Running {
    transport: Arc<Transport>,
    receive: SpinLock<DirectionQueue>,
    transmit: SpinLock<DirectionQueue>,
    address: [u8; 6],
    has_status: bool,
    /// Interrupts come by a line, which must be asked why.
    by_line: bool,
}

/// A card.
pub struct VirtioNet {
    name: String,
    function: pci::Function,
    running: SpinLock<Option<Arc<Running>>>,
    interrupts: SpinLock<Option<pci::Interrupts>>,
    listener: SpinLock<Option<Arc<dyn FrameListener>>>,
    counters: Counters,
    is_gone: AtomicBool,
    me: alloc::sync::Weak<VirtioNet>,
}

fn probe(found: &Found) -> Result<Arc<dyn Driver>, DriverError> {
    let function = found.pci()?;
    // It is looked at; the start finds the registers anew.
    Transport::new(function)?;
    Ok(VirtioNet::new(function))
}

impl VirtioNet {
    /// The driver of a function that is such a card.
    pub fn new(function: &pci::Function) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            name: format!("virtio-net-{}", function.address()),
            function: function.clone(),
            running: SpinLock::new(None),
            interrupts: SpinLock::new(None),
            listener: SpinLock::new(None),
            counters: Counters::default(),
            is_gone: AtomicBool::new(false),
            me: me.clone(),
        })
    }

    fn running(&self) -> Option<Arc<Running>> {
        self.running.lock().clone()
    }

    /// Sets a direction up. `vector` is for its interrupts.
    fn direction(
        transport: &Transport,
        index: u16,
        vector: Option<u16>,
        has_event_index: bool,
    ) -> Result<DirectionQueue, DriverError> {
        let largest = transport.queue_size(index).min(SLOTS_MAX);
        let size = largest.checked_ilog2().map(|log| 1u16 << log);
        let size = size.ok_or(DriverError::Device("it lacks a queue"))?;
        let layout = Layout { size, chain: 1, is_indirect: false, has_event_index };
        let queue = Queue::new(layout, None)?;
        let buffers = Dma::new(usize::from(size) * BUFFER, BUFFER, None)?;
        let doorbell = transport.set_queue(index, &queue, vector)?;
        let outstanding = alloc::vec![false; size.into()];
        Ok(DirectionQueue { queue, buffers, doorbell, outstanding, free: (0..size).collect() })
    }

    fn set_up(&self) -> Result<(), DriverError> {
        let transport = Arc::new(Transport::new(&self.function)?);
        let features = transport.negotiate(feature::MAC | feature::STATUS | virtio::feature::EVENT_INDEX)?;
        let has_event_index = features & virtio::feature::EVENT_INDEX != 0;
        let me = self.me.upgrade().ok_or(DriverError::NotReady)?;
        let interrupts = transport.interrupts(1, me)?;
        let by_line = interrupts.kind() == InterruptKind::Line;
        let vector = Transport::vector(&interrupts, RECEIVE);
        let mut receive = Self::direction(&transport, RECEIVE, vector, has_event_index)?;
        // What was sent is no news: no vector.
        let transmit = Self::direction(&transport, TRANSMIT, None, has_event_index)?;
        for slot in core::mem::take(&mut receive.free) {
            receive.give(slot, BUFFER, true);
        }
        let mut address = NO_ADDRESS;
        if features & feature::MAC != 0 {
            let read = transport
                .read_device(|registers| core::array::from_fn(|index| registers.read8(config::MAC + index)));
            address = read.ok_or(DriverError::Device("its address cannot be read"))?;
            if address[0] & GROUP != 0 {
                return Err(DriverError::Device("its address is not that of one card"));
            }
        }
        transport.start();
        receive.publish();
        *self.interrupts.lock() = Some(interrupts);
        *self.running.lock() = Some(Arc::new(Running {
            transport,
            receive: SpinLock::new(receive),
            transmit: SpinLock::new(transmit),
            address,
            has_status: features & feature::STATUS != 0,
            by_line,
        }));
        Ok(())
    }

    fn tell(&self) {
        let listener = self.listener.lock().clone();
        if let Some(listener) = listener {
            listener.happened();
        }
    }

    /// Takes the next frame out of the queue into `frame`; whether there was one.
    fn take_frame(&self, receive: &mut DirectionQueue, frame: &mut Vec<u8>) -> Result<bool, Broken> {
        while let Some((slot, written)) = receive.take()? {
            let length =
                written.checked_sub(HEADER).filter(|length| (FRAME_MIN..=FRAME_MAX).contains(length));
            if let Some(length) = length {
                frame.clear();
                frame.resize(length, 0);
                receive.buffers.read_bytes(usize::from(slot) * BUFFER + HEADER, frame);
                self.counters.count(Direction::In, length);
            } else {
                self.counters.count_error(Direction::In);
            }
            receive.give(slot, BUFFER, true);
            if length.is_some() {
                return Ok(true);
            }
        }
        receive.publish();
        Ok(false)
    }
}

impl InterruptHandler for VirtioNet {
    fn interrupt(&self, _index: usize) {
        let Some(running) = self.running() else { return };
        if running.by_line && !running.transport.acknowledge() {
            // Somebody else's, on the same line.
            return;
        }
        self.tell();
    }
}

impl Driver for VirtioNet {
    fn driver_type(&self) -> DriverType {
        DriverType::Network
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
        *self.listener.lock() = None;
        let Some(running) = running else { return Ok(()) };
        running.transport.retire(running.clone())
    }

    fn is_ready(&self) -> bool {
        !self.is_gone.load(Ordering::Relaxed) && self.running.lock().is_some() && self.function.is_present()
    }

    fn devices(&self) -> Vec<Device> {
        match self.me.upgrade() {
            Some(card) if self.running().is_some() => Vec::from([Device::Network(card)]),
            _ => Vec::new(),
        }
    }

    fn removed(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
        self.tell();
    }
}

impl NetworkDevice for VirtioNet {
    fn name(&self) -> &str {
        &self.name
    }

    fn hardware_address(&self) -> Option<[u8; 6]> {
        Some(self.running().map_or(NO_ADDRESS, |running| running.address))
    }

    fn mtu(&self) -> usize {
        FRAME_MAX - ETHERNET_HEADER
    }

    fn is_connected(&self) -> bool {
        let Some(running) = self.running().filter(|_| !self.is_gone.load(Ordering::Relaxed)) else {
            return false;
        };
        let status = running.transport.read_device(|registers| registers.read16(config::STATUS));
        !running.has_status
            || status.is_some_and(|status| status != u16::MAX && status & config::LINK_UP != 0)
    }

    fn receive(&self, frame: &mut Vec<u8>) -> bool {
        let Some(running) = self.running().filter(|_| !self.is_gone.load(Ordering::Relaxed)) else {
            return false;
        };
        let mut receive = running.receive.lock();
        self.take_frame(&mut receive, frame).unwrap_or_else(|Broken| {
            // It has given back what it did not have: nothing that it says counts any more.
            self.counters.count_error(Direction::In);
            self.is_gone.store(true, Ordering::Relaxed);
            false
        })
    }

    fn transmit(&self, frame: &[u8]) -> Result<(), NetworkError> {
        if frame.len() > FRAME_MAX {
            self.counters.count_error(Direction::Out);
            return Err(NetworkError::TooLong);
        }
        let running = self.running().filter(|_| !self.is_gone.load(Ordering::Relaxed));
        let running = running.ok_or(NetworkError::Gone)?;
        let mut transmit = running.transmit.lock();
        if transmit.free.len() < transmit.outstanding.len() / 2 {
            // It can begin with what there is.
            transmit.publish();
            if transmit.reclaim().is_err() {
                self.is_gone.store(true, Ordering::Relaxed);
                return Err(NetworkError::Gone);
            }
        }
        let Some(slot) = transmit.free.pop() else {
            self.counters.count_dropped(Direction::Out);
            return Err(NetworkError::QueueFull);
        };
        let at = usize::from(slot) * BUFFER;
        transmit.buffers.write_bytes(at, &[0; HEADER]);
        transmit.buffers.write_bytes(at + HEADER, frame);
        transmit.give(slot, HEADER + frame.len(), false);
        self.counters.count(Direction::Out, frame.len());
        Ok(())
    }

    fn has_room(&self) -> bool {
        let Some(running) = self.running().filter(|_| !self.is_gone.load(Ordering::Relaxed)) else {
            // What is sent is lost anyway, and nobody is to wait.
            return true;
        };
        let mut transmit = running.transmit.lock();
        if transmit.free.is_empty() {
            transmit.publish();
            if transmit.reclaim().is_err() {
                self.is_gone.store(true, Ordering::Relaxed);
                return true;
            }
        }
        !transmit.free.is_empty()
    }

    fn flush(&self) {
        if let Some(running) = self.running().filter(|_| !self.is_gone.load(Ordering::Relaxed)) {
            running.receive.lock().publish();
            running.transmit.lock().publish();
        }
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn listen(&self, listener: Arc<dyn FrameListener>) {
        *self.listener.lock() = Some(listener);
    }
}
