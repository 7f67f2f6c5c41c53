// SPDX-License-Identifier: MIT OR Apache-2.0
//! virtio-net: a network card of virtual machines, with one queue for each direction.
//! Source: VIRTIO 1.2, 5.1 (network device).
//!
//! Buffers are made at the start and used again and again. Interrupts tell of frames that came; what was sent is looked for when the
//! next frame is sent.

#[cfg(test)]
mod tests;

use core::sync::atomic::{AtomicBool, Ordering};

use alloc::{format, string::String, sync::Arc, vec::Vec};

use exo_platform::{Dma, InterruptHandler, InterruptKind, Segment, SpinLock, pci};

use crate::{
    Device, Driver, DriverError, DriverType,
    bus::{DriverInfo, Found, Match},
    network::{Counters, ETHERNET_HEADER, FRAME_MAX, FrameListener, NetworkDevice, NetworkError, Way},
    virtio::{
        DEVICE_BASE, Doorbell, Transport, VENDOR,
        queue::{Broken, Queue},
    },
};

/// Type of the device (5.1.1).
const NETWORK: u16 = 1;
/// The device number of cards that can also be driven in the way of before version 1 (4.1.2.1).
const TRANSITIONAL: u16 = 0x1000;

/// What the bus knows of this driver.
pub static VIRTIO_NET: DriverInfo = DriverInfo {
    name: "virtio-net",
    matches: &[
        Match::PciIdentity { vendor: VENDOR, device: DEVICE_BASE + NETWORK },
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
/// Bytes in front of each frame: what is to be, or was, done with it. Nothing, here (5.1.6).
const HEADER: usize = 12;
/// Bytes of a buffer: header and frame, with room to a power of two.
const BUFFER: usize = 2048;
const _: () = assert!(HEADER + FRAME_MAX <= BUFFER);
/// The address of a card that has none: locally administered.
const NO_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Shortest frame that is one: an Ethernet header.
const FRAME_MIN: usize = ETHERNET_HEADER;

/// One direction: a queue, and a buffer for each of its entries.
struct Direction {
    queue: Queue,
    buffers: Dma,
    bell: Doorbell,
    /// The buffer that each outstanding chain is about, by the chain's head.
    buffer_of: Vec<u16>,
    /// Buffers that are not in the queue.
    free: Vec<u16>,
}

impl Direction {
    fn segment(&self, buffer: u16, length: usize) -> Segment {
        let address = self.buffers.address().wrapping_add((usize::from(buffer) * BUFFER) as u64);
        Segment { address, length: length as u32 }
    }

    /// Gives a buffer to the device, to be read or written; whether there was room.
    fn give(&mut self, buffer: u16, length: usize, device_writes: bool) -> bool {
        let segment = core::iter::once(self.segment(buffer, length));
        let head = if device_writes {
            self.queue.add(core::iter::empty(), segment)
        } else {
            self.queue.add(segment, core::iter::empty())
        };
        match head.and_then(|head| self.buffer_of.get_mut(usize::from(head))) {
            Some(slot) => *slot = buffer,
            None => self.free.push(buffer),
        }
        head.is_some()
    }

    /// Takes a buffer back from the device, and how much is in it.
    fn take(&mut self) -> Result<Option<(u16, usize)>, Broken> {
        let Some(used) = self.queue.take()? else { return Ok(None) };
        let buffer = self.buffer_of.get(usize::from(used.head)).copied().unwrap_or(0);
        Ok(Some((buffer, used.written as usize)))
    }

    fn publish(&mut self) {
        if self.queue.publish() {
            self.bell.ring();
        }
    }
}

/// What there is while the card works.
struct Running {
    transport: Arc<Transport>,
    receive: SpinLock<Direction>,
    transmit: SpinLock<Direction>,
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
    function.enable();
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
    fn direction(transport: &Transport, index: u16, vector: Option<u16>) -> Result<Direction, DriverError> {
        let largest = transport.queue_size(index);
        if largest == 0 {
            return Err(DriverError::Device("it lacks a queue"));
        }
        let queue = Queue::new(largest, None)?;
        let buffers = Dma::new(usize::from(queue.size()) * BUFFER, BUFFER, None)?;
        let bell = transport.set_up(index, &queue, vector)?;
        let buffer_of = alloc::vec![0; queue.size().into()];
        let free = (0..queue.size()).collect();
        Ok(Direction { queue, buffers, bell, buffer_of, free })
    }

    fn set_up(&self) -> Result<(), DriverError> {
        self.function.enable();
        let transport = Arc::new(Transport::new(&self.function)?);
        let features = transport.negotiate(feature::MAC | feature::STATUS)?;
        let me = self.me.upgrade().ok_or(DriverError::NotReady)?;
        let interrupts = self.function.interrupts(1, me)?;
        let by_line = interrupts.kind() == InterruptKind::Line;
        let vector = if interrupts.kind() == InterruptKind::MsiX { Some(0) } else { None };
        transport.set_config_vector(vector);
        let mut receive = Self::direction(&transport, RECEIVE, vector)?;
        let mut transmit = Self::direction(&transport, TRANSMIT, None)?;
        transmit.queue.want_interrupts(false);
        for buffer in core::mem::take(&mut receive.free) {
            receive.give(buffer, BUFFER, true);
        }
        let mut address = NO_ADDRESS;
        if features & feature::MAC != 0 {
            address = transport
                .config(|registers| core::array::from_fn(|index| registers.read8(config::MAC + index)))?;
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
    fn take_frame(&self, receive: &mut Direction, frame: &mut Vec<u8>) -> Result<bool, Broken> {
        while let Some((buffer, written)) = receive.take()? {
            let length =
                written.checked_sub(HEADER).filter(|length| (FRAME_MIN..=FRAME_MAX).contains(length));
            if let Some(length) = length {
                frame.clear();
                frame.resize(length, 0);
                receive.buffers.read_bytes(usize::from(buffer) * BUFFER + HEADER, frame);
                self.counters.count(Way::In, length);
            } else {
                self.counters.count_error(Way::In);
            }
            receive.give(buffer, BUFFER, true);
            receive.publish();
            if length.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl InterruptHandler for VirtioNet {
    fn interrupt(&self, _index: usize) {
        let Some(running) = self.running() else { return };
        if running.by_line && running.transport.interrupt_status() == 0 {
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
        let Some(running) = running else { return Ok(()) };
        let reset = running.transport.reset();
        if reset.is_err() {
            // It may still write to its buffers: they are left to it for ever.
            self.function.disable();
            core::mem::forget(running);
        } else {
            self.function.disable();
        }
        reset
    }

    fn is_ready(&self) -> bool {
        !self.is_gone.load(Ordering::Relaxed)
            && self.running().is_some_and(|running| running.transport.is_there())
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
        let status = running.transport.config(|registers| registers.read16(config::STATUS));
        !running.has_status || status.is_ok_and(|status| status != u16::MAX && status & config::LINK_UP != 0)
    }

    fn receive(&self, frame: &mut Vec<u8>) -> bool {
        let Some(running) = self.running().filter(|_| !self.is_gone.load(Ordering::Relaxed)) else {
            return false;
        };
        let mut receive = running.receive.lock();
        if !receive.queue.has_used() {
            return false;
        }
        self.take_frame(&mut receive, frame).unwrap_or_else(|Broken| {
            // It has given back what it did not have: nothing that it says counts any more.
            self.counters.count_error(Way::In);
            self.is_gone.store(true, Ordering::Relaxed);
            false
        })
    }

    fn transmit(&self, frame: &[u8]) -> Result<(), NetworkError> {
        if frame.len() > FRAME_MAX {
            self.counters.count_error(Way::Out);
            return Err(NetworkError::TooLong);
        }
        let running = self.running().filter(|_| !self.is_gone.load(Ordering::Relaxed));
        let running = running.ok_or(NetworkError::Gone)?;
        let mut transmit = running.transmit.lock();
        loop {
            match transmit.take() {
                Ok(Some((buffer, _))) => transmit.free.push(buffer),
                Ok(None) => break,
                Err(Broken) => {
                    self.is_gone.store(true, Ordering::Relaxed);
                    return Err(NetworkError::Gone);
                }
            }
        }
        let Some(buffer) = transmit.free.pop() else {
            self.counters.count_dropped(Way::Out);
            return Err(NetworkError::QueueFull);
        };
        let at = usize::from(buffer) * BUFFER;
        transmit.buffers.write_bytes(at, &[0; HEADER]);
        transmit.buffers.write_bytes(at + HEADER, frame);
        if !transmit.give(buffer, HEADER + frame.len(), false) {
            self.counters.count_dropped(Way::Out);
            return Err(NetworkError::QueueFull);
        }
        transmit.publish();
        self.counters.count(Way::Out, frame.len());
        Ok(())
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn listen(&self, listener: Arc<dyn FrameListener>) {
        *self.listener.lock() = Some(listener);
    }
}
