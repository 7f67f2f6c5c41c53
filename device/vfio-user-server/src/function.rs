// SPDX-License-Identifier: MIT OR Apache-2.0
//! A PCI device of one function, put together: who writes a [`Function`] writes what its registers do, and nothing else.
//!
//! [`PciFunction`] makes a [`Device`] of it: configuration space with everything that it says (the sizes of the
//! regions, MSI, MSI-X with its table and pending bits, the interrupt pin), accesses of any width as numbers, registers as a
//! table, and a thread for transfers, which must not be done where registers are served. `examples/edu.rs` is a whole device.

mod register;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use rustix::event::{EventfdFlags, eventfd};

use crate::device::{Client, Device, Irqs, Region, Regions};
use crate::dma::DmaHandle;
use crate::errno::Errno;
use crate::irq::{Interrupts, IrqIndex};
use crate::pci::ConfigSpace;
use crate::wait::Awaited;
pub use register::Register;

/// Bytes of an entry of MSI-X's table.
const MSIX_ENTRY_SIZE: u64 = 16;

/// [`Function::ready`] never has this token: it is the one of transfers.
const TRANSFERRED: u64 = u64::MAX;

/// An access to a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Access {
    /// Number of the base address register.
    pub bar: u8,
    /// Where, in bytes; a multiple of the size.
    pub offset: u64,
    /// Bytes: 1, 2, 4 or 8.
    pub size: u8,
}

impl Access {
    /// An access, for a device's own tests.
    pub const fn new(bar: u8, offset: u64, size: u8) -> Self {
        Self { bar, offset, size }
    }
}

/// What the registers of a device do. Called by the server's thread; nothing may wait.
pub trait Function: Sized + 'static {
    /// What a transfer gives to [`Self::transferred`].
    type Outcome: Send + 'static;

    /// The registers, for [`Self::read`] and [`Self::write`] to look for. Those who implement these two need none.
    fn registers() -> &'static [Register<Self>] {
        &[]
    }

    /// Reads a register. What is beyond the size of the access is cut off.
    fn read(&mut self, at: Access, bus: &Bus<Self::Outcome>) -> u64 {
        register::read(self, at, bus)
    }

    /// Writes a register.
    fn write(&mut self, at: Access, value: u64, bus: &Bus<Self::Outcome>) {
        register::write(self, at, value, bus);
    }

    /// A transfer is done.
    fn transferred(&mut self, outcome: Self::Outcome, bus: &Bus<Self::Outcome>) {
        let _ = (outcome, bus);
    }

    /// Puts the device into the state that it had at power-on: at the client's request, and when a client has left. No
    /// transfer is under way, and what the last ones gave is dropped.
    fn reset(&mut self);

    /// As [`Device::awaited`]. No token may be `u64::MAX`.
    fn awaited<'d>(&'d self, awaited: &mut Awaited<'d>) {
        let _ = awaited;
    }

    /// As [`Device::ready`].
    fn ready(&mut self, token: u64, bus: &Bus<Self::Outcome>) {
        let _ = (token, bus);
    }

    /// As [`Device::time_has_come`].
    fn time_has_come(&mut self, bus: &Bus<Self::Outcome>) {
        let _ = bus;
    }
}

/// What a function can do by itself: interrupts and transfers. Clones are the same, for other threads.
#[derive(Debug)]
pub struct Bus<T = ()>(Arc<Inner<T>>);

impl<T> Clone for Bus<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
struct Inner<T> {
    /// Of the client that is connected.
    interrupts: Mutex<Option<Interrupts>>,
    pin: AtomicBool,
    pin_allowed: AtomicBool,
    bus_master: AtomicBool,
    orders: mpsc::Sender<Order<T>>,
}

type Transfer<T> = Box<dyn FnOnce(&mut DmaHandle) -> T + Send>;

/// What the thread for transfers is told.
enum Order<T> {
    Join(DmaHandle),
    Transfer(Transfer<T>),
    /// Say when everything before this is done.
    Settle(mpsc::SyncSender<()>),
    Leave,
}

/// What the thread for transfers has done, for the server's thread.
#[derive(Debug)]
struct Outcomes<T> {
    next: mpsc::Receiver<T>,
    /// Counts them.
    eventfd: Arc<OwnedFd>,
}

impl<T> Outcomes<T> {
    fn take(&self) -> Vec<T> {
        let _ = rustix::io::read(&self.eventfd, &mut [0_u8; 8]);
        self.next.try_iter().collect()
    }
}

impl<T: Send + 'static> Bus<T> {
    fn new() -> io::Result<(Self, Outcomes<T>)> {
        let (orders, next_order) = mpsc::channel();
        let (outcomes, next) = mpsc::channel();
        let eventfd = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let call = eventfd.clone();
        let run = move || obey(&next_order, &outcomes, &call);
        thread::Builder::new().name("transfers".to_owned()).spawn(run)?;
        let bus = Self(Arc::new(Inner {
            interrupts: Mutex::default(),
            pin: AtomicBool::new(false),
            pin_allowed: AtomicBool::new(true),
            bus_master: AtomicBool::new(false),
            orders,
        }));
        Ok((bus, Outcomes { next, eventfd }))
    }

    /// Raises an interrupt: as a message, if the guest has enabled MSI-X or MSI, and by the pin otherwise, which stays asserted
    /// until [`Self::lower`].
    pub fn raise(&self, vector: u32) {
        let interrupts = self.interrupts();
        let Some(interrupts) = &*interrupts else { return };
        for index in [IrqIndex::Msix, IrqIndex::Msi] {
            if interrupts.is_assigned(index, vector) {
                interrupts.trigger(index, vector);
                return;
            }
        }
        self.0.pin.store(true, Ordering::SeqCst);
        interrupts.set_pin(self.0.pin_allowed.load(Ordering::SeqCst));
    }

    /// Stops to assert the pin.
    pub fn lower(&self) {
        self.0.pin.store(false, Ordering::SeqCst);
        if let Some(interrupts) = &*self.interrupts() {
            interrupts.set_pin(false);
        }
    }

    /// Has a transfer done by the thread that this device has for that, in order. It gets the guest's memory, and what it
    /// gives comes to [`Function::transferred`]. `false`: the guest does not allow the device to master the bus, and the
    /// transfer is dropped, as it is when the client leaves.
    pub fn transfer(&self, transfer: impl FnOnce(&mut DmaHandle) -> T + Send + 'static) -> bool {
        self.0.bus_master.load(Ordering::SeqCst) && self.order(Order::Transfer(Box::new(transfer)))
    }

    fn order(&self, order: Order<T>) -> bool {
        self.0.orders.send(order).is_ok()
    }

    /// Waits until every transfer is done.
    fn settle(&self) {
        let (done, is_done) = mpsc::sync_channel(1);
        if self.order(Order::Settle(done)) {
            let _ = is_done.recv();
        }
    }

    fn interrupts(&self) -> MutexGuard<'_, Option<Interrupts>> {
        self.0.interrupts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread for transfers, until nobody is left to tell it anything.
fn obey<T>(orders: &mpsc::Receiver<Order<T>>, outcomes: &mpsc::Sender<T>, call: &OwnedFd) {
    let mut memory = None;
    while let Ok(order) = orders.recv() {
        match order {
            Order::Join(handle) => memory = Some(handle),
            Order::Transfer(transfer) => {
                if let Some(memory) = &mut memory {
                    // Nobody is left to know if this fails.
                    let _ = outcomes.send(transfer(memory));
                    let _ = rustix::io::write(call, &1_u64.to_ne_bytes());
                }
            }
            Order::Settle(done) => drop(done.try_send(())),
            Order::Leave => memory = None,
        }
    }
}

/// A PCI device of one function.
#[derive(Debug)]
pub struct PciFunction<F: Function> {
    config: ConfigSpace,
    function: F,
    bus: Bus<F::Outcome>,
    outcomes: Outcomes<F::Outcome>,
}

impl<F: Function> PciFunction<F> {
    /// The device with that configuration space and these registers.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn new(config: ConfigSpace, function: F) -> io::Result<Self> {
        let (bus, outcomes) = Bus::new()?;
        Ok(Self { config, function, bus, outcomes })
    }

    /// A byte of MSI-X's table or pending bits, if that is one. The table is the client's own business.
    fn msix_byte(&self, bar: u8, offset: u64) -> Option<u8> {
        let msix = self.config.msix()?;
        let part = |(at, start): (u8, u32), length: u64| {
            let place = offset.checked_sub(start.into()).filter(|&place| place < length)?;
            (at == bar).then_some(place)
        };
        let vectors = u64::from(msix.vectors);
        if part(msix.table, vectors.saturating_mul(MSIX_ENTRY_SIZE)).is_some() {
            return Some(0);
        }
        let first = part(msix.pending_bits, vectors.div_ceil(64).saturating_mul(8))?.saturating_mul(8);
        let interrupts = self.bus.interrupts();
        let pending = |bit: &u64| {
            let vector = u32::try_from(first.saturating_add(*bit)).unwrap_or(u32::MAX);
            interrupts.as_ref().is_some_and(|interrupts| interrupts.is_pending(IrqIndex::Msix, vector))
        };
        Some((0..8).filter(pending).fold(0, |byte, bit| byte | (1 << bit)))
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        self.config.write(usize::try_from(offset).unwrap_or(usize::MAX), data);
        self.follow_config();
    }

    /// What the guest has set is so.
    fn follow_config(&mut self) {
        let inner = &self.bus.0;
        let was_master = inner.bus_master.swap(self.config.is_bus_master(), Ordering::SeqCst);
        if was_master && !self.config.is_bus_master() {
            self.bus.settle();
        }
        let allowed = self.config.allows_pin_interrupts();
        inner.pin_allowed.store(allowed, Ordering::SeqCst);
        if let Some(interrupts) = &*self.bus.interrupts() {
            interrupts.set_pin(allowed && inner.pin.load(Ordering::SeqCst));
        }
    }

    fn power_on(&mut self) {
        self.bus.settle();
        drop(self.outcomes.take());
        self.bus.lower();
        self.function.reset();
        self.config.reset();
        self.follow_config();
    }
}

impl<F: Function> Device for PciFunction<F> {
    fn regions(&self) -> Regions {
        self.config.regions()
    }

    fn irqs(&self) -> Irqs {
        self.config.irqs()
    }

    fn region_read(&mut self, region: Region, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        if region == Region::Config {
            self.config.show_pin_interrupt(self.bus.0.pin.load(Ordering::SeqCst));
            self.config.read(usize::try_from(offset).unwrap_or(usize::MAX), data);
            return Ok(());
        }
        let bar = region as u8;
        for (at, piece) in accesses(bar, offset, data.len()) {
            let Some(piece) = data.get_mut(piece) else { continue };
            if self.msix_byte(bar, at.offset).is_some() {
                for (place, byte) in piece.iter_mut().enumerate() {
                    *byte = self.msix_byte(bar, at.offset.saturating_add(place as u64)).unwrap_or_default();
                }
                continue;
            }
            let value = self.function.read(at, &self.bus).to_le_bytes();
            piece.iter_mut().zip(value).for_each(|(to, from)| *to = from);
        }
        Ok(())
    }

    fn region_write(&mut self, region: Region, offset: u64, data: &[u8]) -> Result<(), Errno> {
        if region == Region::Config {
            self.write_config(offset, data);
            return Ok(());
        }
        let bar = region as u8;
        for (at, piece) in accesses(bar, offset, data.len()) {
            let mut value = [0; 8];
            value.iter_mut().zip(data.get(piece).unwrap_or_default()).for_each(|(to, from)| *to = *from);
            if self.msix_byte(bar, at.offset).is_none() {
                self.function.write(at, u64::from_le_bytes(value), &self.bus);
            }
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.power_on();
    }

    fn awaited<'d>(&'d self, awaited: &mut Awaited<'d>) {
        awaited.readable(TRANSFERRED, &self.outcomes.eventfd);
        self.function.awaited(awaited);
    }

    fn ready(&mut self, token: u64) {
        if token != TRANSFERRED {
            return self.function.ready(token, &self.bus);
        }
        for outcome in self.outcomes.take() {
            self.function.transferred(outcome, &self.bus);
        }
    }

    fn time_has_come(&mut self) {
        self.function.time_has_come(&self.bus);
    }

    fn client_joined(&mut self, client: &Client) {
        *self.bus.interrupts() = Some(client.interrupts.clone());
        self.bus.order(Order::Join(client.memory.handle()));
    }

    fn client_left(&mut self) {
        self.power_on();
        *self.bus.interrupts() = None;
        self.bus.order(Order::Leave);
        self.bus.settle();
    }
}

/// Cuts an access into aligned ones of 1, 2, 4 or 8 bytes, as large as they can be.
fn accesses(bar: u8, offset: u64, length: usize) -> impl Iterator<Item = (Access, std::ops::Range<usize>)> {
    let mut done = 0_usize;
    std::iter::from_fn(move || {
        let left = length.checked_sub(done).filter(|&left| left > 0)?;
        let at = offset.saturating_add(done as u64);
        let size =
            [8_usize, 4, 2].into_iter().find(|&size| size <= left && at % size as u64 == 0).unwrap_or(1);
        let piece = done..done.saturating_add(size);
        done = piece.end;
        Some((Access { bar, offset: at, size: size as u8 }, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_are_cut_into_aligned_ones() {
        let cut = |offset, length| -> Vec<_> {
            accesses(0, offset, length).map(|(at, piece)| (at.offset, at.size, piece)).collect()
        };
        assert_eq!(cut(4, 4), [(4, 4, 0..4)]);
        assert_eq!(cut(8, 8), [(8, 8, 0..8)]);
        assert_eq!(cut(4, 8), [(4, 4, 0..4), (8, 4, 4..8)]);
        assert_eq!(cut(3, 4), [(3, 1, 0..1), (4, 2, 1..3), (6, 1, 3..4)]);
        assert_eq!(cut(0, 0), []);
    }
}
