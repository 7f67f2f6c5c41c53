// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts: the eventfds that a client assigned, signalled by whichever thread of the device has something to say.

#[cfg(any(test, feature = "testing"))]
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, StatxFlags, statx};
use rustix::io::Errno;
use thiserror::Error;
use vfio_bindings::bindings::vfio::{
    VFIO_PCI_ERR_IRQ_INDEX, VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX,
    VFIO_PCI_NUM_IRQS, VFIO_PCI_REQ_IRQ_INDEX,
};

use crate::counters::Counters;
use crate::device::Irqs;
use crate::reaper::PeerFd;
use crate::request::{IrqAction, IrqChange, SetIrqs};
use crate::signal::Signaller;

/// How many kinds of interrupt a PCI device has.
pub(crate) const IRQ_INDEXES: usize = VFIO_PCI_NUM_IRQS as usize;

/// A kind of interrupt of a PCI device, by VFIO's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum IrqIndex {
    /// The pin. Level-triggered: it masks itself when it fires, until the client unmasks it.
    Intx = VFIO_PCI_INTX_IRQ_INDEX,
    /// Message signalled interrupts.
    Msi = VFIO_PCI_MSI_IRQ_INDEX,
    /// Message signalled interrupts, extended.
    Msix = VFIO_PCI_MSIX_IRQ_INDEX,
    /// Errors. QEMU takes its presence for a device with PCIe error reporting.
    Err = VFIO_PCI_ERR_IRQ_INDEX,
    /// The device would like the client to let go of it.
    Req = VFIO_PCI_REQ_IRQ_INDEX,
}

impl IrqIndex {
    /// The index with that number.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        [Self::Intx, Self::Msi, Self::Msix, Self::Err, Self::Req]
            .into_iter()
            .find(|&index| index as u32 == number)
    }

    /// Whether a client can mask it.
    pub(crate) fn is_maskable(self) -> bool {
        matches!(self, Self::Intx | Self::Msi | Self::Msix)
    }

    /// Whether it stays masked after it fired, until it is unmasked.
    pub(crate) fn masks_itself(self) -> bool {
        self == Self::Intx
    }
}

/// The interrupts of a device towards one client. Clones are the same interrupts; any thread may signal.
#[derive(Debug, Clone)]
pub struct Interrupts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    vectors: [Box<[Mutex<Vector>]>; IRQ_INDEXES],
    signaller: Signaller,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Vector {
    eventfd: Option<Arc<PeerFd>>,
    masked: bool,
    /// It fired while it was masked, and will again when that ends.
    pending: bool,
    /// The device asserts it: it fires again whenever it is not masked.
    asserted: bool,
}

/// Why interrupts were not changed. The descriptors that came with the request are closed.
#[derive(Debug, Error)]
pub(crate) enum IrqError {
    #[error("interrupt index {0} does not exist, expected 0 to {last}", last = IRQ_INDEXES - 1)]
    Index(u32),
    #[error("{count} interrupts from {start} on were named, but {index:?} has {available}")]
    Range { index: IrqIndex, start: u32, count: u32, available: usize },
    #[error("a descriptor for an interrupt is no eventfd")]
    NoEventfd,
    #[error("{0:?} cannot be masked")]
    NotMaskable(IrqIndex),
}

impl IrqError {
    pub(crate) fn errno(&self) -> Errno {
        Errno::INVAL
    }
}

impl Interrupts {
    /// Interrupts that nobody has assigned. A server makes them for each client; a device does so for its own tests.
    #[cfg(any(test, feature = "testing"))]
    pub fn new(irqs: &Irqs) -> Self {
        Self::with(irqs, Signaller::new(), Arc::default())
    }

    /// Interrupts that are signalled that way.
    pub(crate) fn with(irqs: &Irqs, signaller: Signaller, counters: Arc<Counters>) -> Self {
        let vectors = irqs.map(|irq| (0..irq.count).map(|_| Mutex::default()).collect());
        Self(Arc::new(Inner { vectors, signaller, counters }))
    }

    /// Signals an interrupt. `false`: the client cannot see it now, because it assigned no eventfd, or masked it, or has
    /// no interrupt of that number. A masked one is delivered when it is unmasked.
    pub fn trigger(&self, index: IrqIndex, vector: u32) -> bool {
        let Some(vector) = self.vector(index, vector) else { return false };
        lock(vector).fire(index, &self.0)
    }

    /// Asserts the interrupt pin, or stops to. While it is asserted, it fires whenever the client unmasks it.
    pub fn set_pin(&self, asserted: bool) {
        let Some(pin) = self.vector(IrqIndex::Intx, 0) else { return };
        let mut pin = lock(pin);
        pin.asserted = asserted;
        if asserted && !pin.masked {
            pin.fire(IrqIndex::Intx, &self.0);
        }
    }

    /// Assigns an eventfd to an interrupt, as a client's request does.
    ///
    /// # Errors
    /// `EINVAL`: there is no such interrupt, or the descriptor is no eventfd.
    #[cfg(any(test, feature = "testing"))]
    pub fn assign(&self, index: IrqIndex, vector: u32, eventfd: OwnedFd) -> Result<(), crate::Errno> {
        let change = IrqChange::Assign(vec![PeerFd::own(eventfd)]);
        let request = SetIrqs { index: index as u32, start: vector, count: 1, change };
        self.set(request).map_err(|error| crate::Errno::of_system(error.errno()))
    }

    /// Whether an interrupt fired while it was masked and still waits for that to end: a bit of MSI-X's pending array.
    pub fn is_pending(&self, index: IrqIndex, vector: u32) -> bool {
        self.vector(index, vector).is_some_and(|vector| lock(vector).pending)
    }

    /// Whether the client would see the interrupt.
    pub fn is_assigned(&self, index: IrqIndex, vector: u32) -> bool {
        self.vector(index, vector).is_some_and(|vector| lock(vector).eventfd.is_some())
    }

    pub(crate) fn set(&self, request: SetIrqs<'_>) -> Result<(), IrqError> {
        let SetIrqs { index: number, start, count, change } = request;
        let index = IrqIndex::from_number(number).ok_or(IrqError::Index(number))?;
        let all = self.vectors(index);
        let range = || {
            let first = usize::try_from(start).ok()?;
            all.get(first..first.checked_add(usize::try_from(count).ok()?)?)
        };
        let vectors = range().ok_or(IrqError::Range { index, start, count, available: all.len() })?;
        match change {
            IrqChange::DisableAll => all.iter().for_each(|vector| lock(vector).forget_client()),
            IrqChange::Deassign => vectors.iter().for_each(|vector| lock(vector).forget_client()),
            IrqChange::Assign(fds) => {
                fds.iter().try_for_each(check_eventfd)?;
                for (vector, eventfd) in vectors.iter().zip(fds) {
                    let mut vector = lock(vector);
                    vector.eventfd = Some(Arc::new(eventfd));
                    vector.deliver_pending(index, &self.0);
                }
            }
            IrqChange::Act(action, chosen) => {
                if action != IrqAction::Trigger && !index.is_maskable() {
                    return Err(IrqError::NotMaskable(index));
                }
                for (place, vector) in vectors.iter().enumerate() {
                    if chosen.is_none_or(|chosen| chosen.get(place).is_some_and(|&byte| byte != 0)) {
                        lock(vector).act(index, action, &self.0);
                    }
                }
            }
        }
        Ok(())
    }

    /// Drops every eventfd: the client has left.
    pub(crate) fn disable_all(&self) {
        self.0.vectors.iter().flatten().for_each(|vector| *lock(vector) = Vector::default());
    }

    fn vectors(&self, index: IrqIndex) -> &[Mutex<Vector>] {
        self.0.vectors.get(index as usize).map(AsRef::as_ref).unwrap_or_default()
    }

    fn vector(&self, index: IrqIndex, vector: u32) -> Option<&Mutex<Vector>> {
        self.vectors(index).get(usize::try_from(vector).ok()?)
    }
}

impl Vector {
    /// What the client set is gone; whether the device asserts it is not the client's.
    fn forget_client(&mut self) {
        *self = Self { asserted: self.asserted, ..Self::default() };
    }

    fn fire(&mut self, index: IrqIndex, inner: &Inner) -> bool {
        if self.masked {
            self.pending = true;
            return false;
        }
        let Some(eventfd) = &self.eventfd else { return false };
        self.masked = index.masks_itself();
        let sent = inner.signaller.signal(eventfd);
        if !sent {
            inner.counters.signals_lost.add_one();
        }
        sent
    }

    fn deliver_pending(&mut self, index: IrqIndex, inner: &Inner) {
        if (self.pending || self.asserted) && !self.masked {
            self.pending = false;
            self.fire(index, inner);
        }
    }

    fn act(&mut self, index: IrqIndex, action: IrqAction, inner: &Inner) {
        match action {
            IrqAction::Trigger => {
                self.fire(index, inner);
            }
            IrqAction::Mask => self.masked = true,
            IrqAction::Unmask => {
                self.masked = false;
                self.deliver_pending(index, inner);
            }
        }
    }
}

/// Whether a descriptor can be an eventfd: of the files without a type, which are the kernel's anonymous ones, only an
/// eventfd can be signalled; to try others does no harm.
fn check_eventfd(fd: &PeerFd) -> Result<(), IrqError> {
    // Without asking the file's file system, which may be the client's own and never answer.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    match statx(fd, c"", flags, StatxFlags::TYPE) {
        Ok(found) if FileType::from_raw_mode(found.stx_mode.into()) == FileType::Unknown => Ok(()),
        _ => Err(IrqError::NoEventfd),
    }
}

fn lock(vector: &Mutex<Vector>) -> MutexGuard<'_, Vector> {
    vector.lock().unwrap_or_else(PoisonError::into_inner)
}
