// SPDX-License-Identifier: MIT OR Apache-2.0
//! Queues that programs read themselves. A program maps the page of the state and the buffers, never the descriptors; so all that it
//! can spoil is its own queue. The pages stay with the program when the device goes; it then finds `ERROR_GONE` in the state.

use core::ops::Range;

use alloc::{sync::Arc, vec::Vec};

use exo_platform::{SharedPage, SpinLock, memory_barrier};
use my_rng_abi::{
    ioctl::MapInfo,
    queue::{ERROR, ERROR_GONE, INTERRUPT_AT, SLEEPING, STATE_SIZE, STREAM_ENTROPY},
};
use my_rng_ring::{Layout, State, ring::is_reached};

use super::{MyRng, hardware::Hardware, pages::QueuePages, queue::set_up};
use crate::random::RandomError;

/// The queues that can be given away.
pub(super) struct Own {
    layout: Layout,
    slots: SpinLock<Vec<Slot>>,
}

struct Slot {
    number: u32,
    used: Option<QueuePages>,
    /// The device did not stop this queue: it cannot be used again.
    is_broken: bool,
}

/// A queue that a program has. Dropping it gives the queue back.
pub struct OwnQueue {
    number: u32,
    pages: QueuePages,
    device: Arc<MyRng>,
}

/// What a program that polls its queue is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnState {
    /// The completion has not come yet for which the program has asked.
    Waiting,
    /// It has come.
    Ready,
    /// The queue has stopped.
    Failed,
    /// The device has gone.
    Gone,
}

impl Own {
    pub(super) fn new(numbers: Range<u32>, layout: Layout) -> Self {
        let slots = numbers.map(|number| Slot { number, used: None, is_broken: false }).collect();
        Self { layout, slots: SpinLock::new(slots) }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.slots.lock().len()
    }

    /// How many programs have, and how many there are.
    pub(super) fn in_use(&self) -> (usize, usize) {
        let slots = self.slots.lock();
        (slots.iter().filter(|slot| slot.used.is_some()).count(), slots.len())
    }

    pub(super) fn open(&self, device: Arc<MyRng>) -> Result<OwnQueue, RandomError> {
        device.hardware.is_there()?;
        let pages = QueuePages::new(self.layout)?;
        let mut slots = self.slots.lock();
        if slots.is_empty() {
            return Err(RandomError::Unsupported);
        }
        let free = slots.iter_mut().find(|slot| slot.used.is_none() && !slot.is_broken);
        let slot = free.ok_or(RandomError::Busy)?;
        let vector = device.vector_of(slot.number);
        device.hardware.start_queue(&set_up(slot.number, STREAM_ENTROPY, vector, &pages))?;
        slot.used = Some(pages.clone());
        let number = slot.number;
        drop(slots);
        Ok(OwnQueue { number, pages, device })
    }

    fn close(&self, number: u32, hardware: &Hardware) {
        let mut slots = self.slots.lock();
        let Some(slot) = slots.iter_mut().find(|slot| slot.number == number) else { return };
        let Some(pages) = slot.used.take() else { return };
        if hardware.stop_queue(number).is_err() {
            // The device may still write there.
            slot.is_broken = true;
            core::mem::forget(pages);
        }
    }

    /// Stops all that are in use; whether the device is known to be done with their memory.
    pub(super) fn stop_all(&self, hardware: &Hardware) -> bool {
        self.say_gone();
        let slots = self.slots.lock();
        slots.iter().filter(|slot| slot.used.is_some()).all(|slot| hardware.stop_queue(slot.number).is_ok())
    }

    /// Tells the programs that nothing more will come.
    pub(super) fn say_gone(&self) {
        for pages in self.slots.lock().iter().filter_map(|slot| slot.used.as_ref()) {
            pages.store_release(ERROR, ERROR_GONE);
        }
    }

    /// The memory is the device's for ever.
    pub(super) fn abandon(&self) {
        for pages in self.slots.lock().iter().filter_map(|slot| slot.used.as_ref()) {
            core::mem::forget(pages.clone());
        }
    }
}

impl OwnQueue {
    /// How the pages are laid out that [`pages`](Self::pages) gives.
    pub fn info(&self) -> MapInfo {
        let layout = self.pages.layout();
        MapInfo {
            length: (STATE_SIZE + layout.size()) as u64,
            state_offset: 0,
            buffers_offset: STATE_SIZE as u32,
            depth: layout.depth(),
            buffer_size: layout.buffer_size(),
        }
    }

    /// The pages to map, in order.
    pub fn pages(&self) -> impl Iterator<Item = &SharedPage> {
        self.pages.mappable()
    }

    /// Rings the doorbell, if the device wants that.
    ///
    /// # Errors
    /// [`RandomError::Gone`].
    pub fn wake(&self) -> Result<(), RandomError> {
        self.device.hardware.was_there()?;
        if self.pages.load(SLEEPING) == 1 {
            self.device.wake_own(self.number);
        }
        Ok(())
    }

    /// What is to be said to a program that polls. If there is nothing, it is looked now and then whether the device lives.
    pub fn state(&self) -> OwnState {
        match self.state_now() {
            OwnState::Waiting if self.device.look_now_and_then().is_err() => {
                self.pages.store_release(ERROR, ERROR_GONE);
                OwnState::Gone
            }
            state => state,
        }
    }

    fn state_now(&self) -> OwnState {
        // Against the device's order "COMPLETED, barrier, INTERRUPT_AT".
        memory_barrier();
        match self.pages.load(ERROR) {
            ERROR_GONE => OwnState::Gone,
            0 if is_reached(&self.pages, self.pages.load(INTERRUPT_AT)) => OwnState::Ready,
            0 => OwnState::Waiting,
            _ => OwnState::Failed,
        }
    }
}

impl Drop for OwnQueue {
    fn drop(&mut self) {
        self.device.own.close(self.number, &self.device.hardware);
    }
}
