// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a virtio device interrupts (VIRTIO 1.2, section 4.1.5): by MSI-X, if the driver has enabled it, else by the pin, for
//! which the reason is kept in the interrupt status until the driver reads it.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use vfio_user_server::{Interrupts, IrqIndex};

use super::layout::VECTORS;

/// No vector (VIRTIO_MSI_NO_VECTOR).
pub const NO_VECTOR: u16 = 0xffff;

/// Bits of the interrupt status: the queue, and the configuration.
const ISR_QUEUE: u8 = 1 << 0;
const ISR_CONFIG: u8 = 1 << 1;

/// What an interrupt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The device has used buffers.
    Queue,
    /// The device's status has changed.
    Config,
}

/// What became of an interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The client was signalled, or the pin is asserted.
    Yes,
    /// Nobody has assigned it.
    No,
    /// The driver wants none.
    NotWanted,
}

/// What the registers and the workers both see of the interrupts.
#[derive(Debug)]
pub struct Signals {
    queue_vector: AtomicU16,
    config_vector: AtomicU16,
    needs_reset: AtomicBool,
    pin: Mutex<Pin>,
}

/// Held while the client is told, so that the pin's level is always that of the status.
#[derive(Debug, Default)]
struct Pin {
    status: u8,
    /// MSI-X is enabled, so that the pin is not used.
    msix: bool,
    /// The driver allows interrupts by the pin.
    allowed: bool,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            queue_vector: AtomicU16::new(NO_VECTOR),
            config_vector: AtomicU16::new(NO_VECTOR),
            needs_reset: AtomicBool::new(false),
            pin: Mutex::new(Pin { allowed: true, ..Pin::default() }),
        }
    }
}

impl Pin {
    fn show(&self, interrupts: Option<&Interrupts>) {
        if let Some(interrupts) = interrupts {
            interrupts.set_pin(self.status != 0 && self.allowed && !self.msix);
        }
    }
}

impl Signals {
    /// The vector for that.
    pub fn vector(&self, cause: Cause) -> u16 {
        self.place(cause).load(Ordering::Acquire)
    }

    /// Changes the vector for that. One that does not exist is none.
    pub fn set_vector(&self, cause: Cause, vector: u16) {
        let vector = if vector < VECTORS { vector } else { NO_VECTOR };
        self.place(cause).store(vector, Ordering::Release);
    }

    /// Whether the device can go on only after a reset.
    pub fn needs_reset(&self) -> bool {
        self.needs_reset.load(Ordering::Acquire)
    }

    /// From now on it does. Told by an interrupt of [`Cause::Config`], if the driver is up (section 2.1.2).
    pub fn set_needs_reset(&self) {
        self.needs_reset.store(true, Ordering::Release);
    }

    /// Interrupts the driver.
    pub fn send(&self, cause: Cause, interrupts: &Interrupts) -> Sent {
        let mut pin = self.pin();
        if pin.msix || is_assigned(interrupts) {
            drop(pin);
            return match self.vector(cause) {
                NO_VECTOR => Sent::NotWanted,
                vector if interrupts.trigger(IrqIndex::Msix, vector.into()) => Sent::Yes,
                _ => Sent::No,
            };
        }
        pin.status |= match cause {
            Cause::Queue => ISR_QUEUE,
            Cause::Config => ISR_CONFIG,
        };
        pin.show(Some(interrupts));
        if interrupts.is_assigned(IrqIndex::Intx, 0) { Sent::Yes } else { Sent::No }
    }

    /// The interrupt status, which is cleared by that, as the pin is.
    pub fn acknowledge(&self, interrupts: Option<&Interrupts>) -> u8 {
        let mut pin = self.pin();
        let status = std::mem::take(&mut pin.status);
        pin.show(interrupts);
        status
    }

    /// Whether the device would assert its pin, were that allowed.
    pub fn is_pending(&self) -> bool {
        let pin = self.pin();
        pin.status != 0 && !pin.msix
    }

    /// What the driver has set in configuration space.
    pub fn set_ways(&self, msix: bool, pin_allowed: bool, interrupts: Option<&Interrupts>) {
        let mut pin = self.pin();
        (pin.msix, pin.allowed) = (msix, pin_allowed);
        pin.show(interrupts);
    }

    /// The device was reset: by the driver, so that configuration space stays.
    pub fn reset(&self, interrupts: Option<&Interrupts>) {
        for cause in [Cause::Queue, Cause::Config] {
            self.place(cause).store(NO_VECTOR, Ordering::Release);
        }
        self.needs_reset.store(false, Ordering::Release);
        self.acknowledge(interrupts);
    }

    fn place(&self, cause: Cause) -> &AtomicU16 {
        match cause {
            Cause::Queue => &self.queue_vector,
            Cause::Config => &self.config_vector,
        }
    }

    fn pin(&self) -> MutexGuard<'_, Pin> {
        self.pin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that keeps MSI-X's capability to itself shows that it is enabled by this.
fn is_assigned(interrupts: &Interrupts) -> bool {
    (0..VECTORS).any(|vector| interrupts.is_assigned(IrqIndex::Msix, vector.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};
    use rustix::io::read;
    use std::os::fd::OwnedFd;
    use vfio_user_server::Irqs;

    fn interrupts() -> Interrupts {
        Interrupts::new(&Irqs::default().with(IrqIndex::Intx, 1).with(IrqIndex::Msix, VECTORS))
    }

    fn assign(interrupts: &Interrupts, index: IrqIndex, vector: u32) -> OwnedFd {
        let fd = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        interrupts.assign(index, vector, fd.try_clone().unwrap()).unwrap();
        fd
    }

    fn fired(fd: &OwnedFd) -> bool {
        read(fd, &mut [0; 8]).is_ok()
    }

    #[test]
    fn by_the_pin_the_status_says_why_until_it_is_read() {
        let (signals, interrupts) = (Signals::default(), interrupts());
        let pin = assign(&interrupts, IrqIndex::Intx, 0);
        signals.set_vector(Cause::Queue, 1);
        assert_eq!(signals.send(Cause::Queue, &interrupts), Sent::Yes);
        assert_eq!(signals.send(Cause::Config, &interrupts), Sent::Yes);
        assert!(fired(&pin) && signals.is_pending());
        assert_eq!(signals.acknowledge(Some(&interrupts)), 3);
        assert_eq!(signals.acknowledge(Some(&interrupts)), 0);
        assert!(!fired(&pin) && !signals.is_pending());
    }

    #[test]
    fn the_pin_is_silent_while_it_is_not_allowed() {
        let (signals, interrupts) = (Signals::default(), interrupts());
        let pin = assign(&interrupts, IrqIndex::Intx, 0);
        signals.set_ways(false, false, Some(&interrupts));
        signals.send(Cause::Queue, &interrupts);
        assert!(!fired(&pin) && signals.is_pending());
        signals.set_ways(false, true, Some(&interrupts));
        assert!(fired(&pin));
    }

    #[test]
    fn with_msi_x_each_cause_has_its_vector_and_the_status_stays_0() {
        for enabled in [true, false] {
            let (signals, interrupts) = (Signals::default(), interrupts());
            let pin = assign(&interrupts, IrqIndex::Intx, 0);
            let vectors = [0, 1].map(|vector| assign(&interrupts, IrqIndex::Msix, vector));
            signals.set_ways(enabled, true, Some(&interrupts));
            assert_eq!(signals.send(Cause::Queue, &interrupts), Sent::NotWanted);
            signals.set_vector(Cause::Queue, 1);
            signals.set_vector(Cause::Config, VECTORS);
            assert_eq!(signals.vector(Cause::Config), NO_VECTOR, "it does not exist");
            assert_eq!(signals.send(Cause::Queue, &interrupts), Sent::Yes);
            assert_eq!(signals.send(Cause::Config, &interrupts), Sent::NotWanted);
            assert_eq!(vectors.each_ref().map(fired), [false, true]);
            assert!(!fired(&pin));
            assert_eq!(signals.acknowledge(Some(&interrupts)), 0);
        }
    }

    #[test]
    fn a_reset_forgets_everything_but_configuration_space() {
        let (signals, interrupts) = (Signals::default(), interrupts());
        signals.set_vector(Cause::Queue, 1);
        signals.set_needs_reset();
        signals.send(Cause::Queue, &interrupts);
        signals.reset(Some(&interrupts));
        assert_eq!(signals.vector(Cause::Queue), NO_VECTOR);
        assert!(!signals.needs_reset() && !signals.is_pending());
    }
}
