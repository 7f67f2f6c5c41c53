// SPDX-License-Identifier: GPL-2.0

//! Queues that programs read themselves: `mmap(2)`.
//!
//! A file that asks for it (`MAP_INFO`) gets a queue of the entropy stream of its own. The program
//! maps the page of the state and the buffers, never the descriptors: whoever writes descriptors
//! tells the device where to write. So all that a program can spoil is its own queue.
//!
//! The pages are mapped once, are not inherited by `fork(2)`, and cannot be pinned or copied on
//! write: nobody else sees the bytes. They stay with the program when the device goes; it then finds
//! `ERROR_GONE` in the state.

use crate::{
    abi::{
        ioctl::MapInfo,
        queue::{
            COMPLETED,
            ERROR,
            ERROR_GONE,
            INTERRUPT_AT,
            SLEEPING,
            STATE_SIZE,
            STREAM_ENTROPY, //
        },
        ring::{
            is_reached,
            Layout,
            State, //
        },
    },
    dma_memory::{
        DmaMemory,
        QueuePages, //
    },
    hardware::Hardware,
    interrupts::{
        IrqVectors, //
        VectorWaitQueue,
    },
    queue::{
        queue_config,
        Counter, //
    },
};
use kernel::{
    bindings,
    fs::File,
    mm::virt::{
        flags,
        VmaNew, //
    },
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        poll::PollTable,
        Arc,
        Mutex, //
    },
    transmute::AsBytes, //
};

// SAFETY: Integers without padding between them.
unsafe impl AsBytes for MapInfo {}

/// A queue as the file sees it to which it was given. Outlives the device.
pub(crate) struct MappedQueue {
    number: u32,
    pages: Arc<QueuePages>,
    wait_queue: Arc<VectorWaitQueue>,
    /// Whether `mmap()` was called.
    is_mapped: AtomicFlag,
}

impl MappedQueue {
    /// How the pages are laid out.
    pub(crate) fn info(&self) -> MapInfo {
        MapInfo {
            // CAST: Lossless.
            length: self.length() as u64,
            state_offset: 0,
            buffers_offset: STATE_SIZE as u32,
            depth: self.pages.layout().depth(),
            buffer_size: self.pages.layout().buffer_size(),
        }
    }

    fn length(&self) -> usize {
        self.pages.count() * PAGE_SIZE
    }

    /// Maps the pages.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] unless all of it is mapped, shared and not executable; [`EBUSY`] the second time.
    pub(crate) fn map(&self, vma: &VmaNew) -> Result {
        // SAFETY: The area is being set up, so nobody else changes it.
        let page_offset = unsafe { (*vma.as_ptr()).vm_pgoff };
        let length = vma.end().wrapping_sub(vma.start());

        if length != self.length() || page_offset != 0 || vma.flags() & flags::SHARED == 0 {
            return Err(EINVAL);
        }
        vma.try_clear_mayexec()?;
        if self.is_mapped.xchg(true, Relaxed) {
            return Err(EBUSY);
        }

        // For the life of the mapping: `madvise(2)` cannot undo these with VM_IO set.
        vma.set_io();
        vma.set_dontcopy();
        vma.set_dontexpand();
        vma.set_dontdump();
        let area = vma.set_mixedmap();
        let start = vma.start();
        self.pages
            .try_for_each(|index, page| area.vm_insert_page(start + index * PAGE_SIZE, page))
            .inspect_err(|_| self.is_mapped.store(false, Relaxed))
    }

    /// What `poll(2)` says: readable when the completion has come that the program has written into
    /// `INTERRUPT_AT`, or when none will come any more.
    ///
    /// If there is nothing, `look` sees whether the device has died.
    pub(crate) fn poll(
        &self,
        file: &File,
        table: &PollTable<'_>,
        check_alive: impl FnOnce() -> Result,
    ) -> bindings::__poll_t {
        table.register_wait(file, self.wait_queue.poll_queue());
        match self.state() {
            0 if check_alive().is_err() => {
                self.mark_gone();
                self.state()
            }
            state => state,
        }
    }

    /// The same without waiting.
    fn state(&self) -> bindings::__poll_t {
        // Against the device's order "COMPLETED, barrier, INTERRUPT_AT".
        self.pages.full_barrier();
        let error = self.pages.load(ERROR);
        if error == ERROR_GONE {
            bindings::POLLERR | bindings::POLLHUP | bindings::POLLIN
        } else if error != 0 {
            bindings::POLLERR | bindings::POLLIN
        } else if is_reached(&self.pages, self.pages.load(INTERRUPT_AT)) {
            bindings::POLLIN | bindings::POLLRDNORM
        } else {
            0
        }
    }

    /// Whether the device says that it sleeps.
    fn is_device_asleep(&self) -> bool {
        self.pages.load(SLEEPING) == 1
    }

    /// Bytes that the device has written.
    fn bytes(&self) -> u64 {
        u64::from(self.pages.load(COMPLETED)) * u64::from(self.pages.layout().buffer_size())
    }

    /// Tells the program that nothing more will come.
    fn mark_gone(&self) {
        self.pages.store_release(ERROR, ERROR_GONE);
        self.wait_queue.wake_all();
    }
}

/// The queues that can be given to files.
#[pin_data]
pub(crate) struct MappedQueues {
    layout: Layout,
    /// How often programs have woken the device.
    doorbells: Counter,
    #[pin]
    slots: Mutex<KVec<Slot>>,
}

struct Slot {
    number: u32,
    used: Option<AssignedQueue>,
    /// The device did not stop this queue: its memory was abandoned, and it cannot be used again.
    is_broken: bool,
}

struct AssignedQueue {
    memory: DmaMemory,
    mapping: Arc<MappedQueue>,
}

impl MappedQueues {
    /// Reserves the queues with these numbers.
    ///
    /// # Safety
    ///
    /// [`MappedQueues::close_all`] must be called before the device is unbound, and nothing after that.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) unsafe fn new(
        numbers: core::ops::Range<u32>,
        layout: Layout,
    ) -> Result<Pin<KBox<Self>>> {
        let mut slots = KVec::new();
        for number in numbers {
            slots.push(
                Slot {
                    number,
                    used: None,
                    is_broken: false,
                },
                GFP_KERNEL,
            )?;
        }
        KBox::pin_init(
            pin_init!(Self {
                layout,
                doorbells: Counter::default(),
                slots <- new_mutex!(slots),
            }),
            GFP_KERNEL,
        )
    }

    /// Number of queues, and how many of them are in use.
    pub(crate) fn count(&self) -> (usize, usize) {
        let slots = self.slots.lock();
        let used = slots.iter().filter(|slot| slot.used.is_some()).count();
        (slots.len(), used)
    }

    /// Wakes a queue, if the device wants that.
    pub(crate) fn wake(&self, mapping: &MappedQueue, hardware: &Hardware<'_>) {
        if mapping.is_device_asleep() {
            self.doorbells.add(1);
            hardware.ring_doorbell(mapping.number);
        }
    }

    /// How often programs have woken the device.
    pub(crate) fn doorbells(&self) -> u64 {
        self.doorbells.sum()
    }

    /// Bytes written into the queues that are in use, modulo 2³² buffers each.
    pub(crate) fn bytes(&self) -> u64 {
        let slots = self.slots.lock();
        let used = slots.iter().filter_map(|slot| slot.used.as_ref());
        used.fold(0, |sum, used| sum.wrapping_add(used.mapping.bytes()))
    }

    /// Gives a queue to a file.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] when all are in use, [`ENOMEM`], or those of [`Hardware::start_queue`].
    pub(crate) fn open(
        &self,
        hardware: &Hardware<'_>,
        vectors: &IrqVectors<'_>,
    ) -> Result<Arc<MappedQueue>> {
        let mut slots = self.slots.lock();
        let slot = slots
            .iter_mut()
            .find(|slot| slot.used.is_none() && !slot.is_broken)
            .ok_or(EBUSY)?;

        let (vector, wait_queue) = vectors.for_queue(slot.number)?;
        // SAFETY: Dropped by `Slot::close`, which `close_all` calls in time.
        let memory = unsafe { DmaMemory::new(hardware.pdev().as_ref(), self.layout) }?;
        let mapping = Arc::new(
            MappedQueue {
                number: slot.number,
                pages: memory.pages().clone(),
                wait_queue: wait_queue.clone(),
                is_mapped: AtomicFlag::new(false),
            },
            GFP_KERNEL,
        )?;
        // The pages are fresh: the state is all 0.
        let started =
            hardware.start_queue(&queue_config(slot.number, STREAM_ENTROPY, &memory, vector));
        slot.used = Some(AssignedQueue {
            memory,
            mapping: mapping.clone(),
        });
        if let Err(error) = started {
            // It may be running after all.
            slot.close(hardware, || false);
            return Err(error);
        }
        Ok(mapping)
    }

    /// Takes a queue back from the file that is being closed.
    pub(crate) fn close(&self, mapping: &Arc<MappedQueue>, hardware: &Hardware<'_>) {
        let mut slots = self.slots.lock();
        let slot = slots.iter_mut().find(|slot| {
            let used = slot.used.as_ref();
            used.is_some_and(|used| Arc::ptr_eq(&used.mapping, mapping))
        });
        if let Some(slot) = slot {
            slot.close(hardware, || false);
        }
    }

    /// Takes all queues back: the device goes. `is_dma_disabled` is asked for queues that the device
    /// does not stop.
    pub(crate) fn close_all(
        &self,
        hardware: &Hardware<'_>,
        mut is_dma_disabled: impl FnMut() -> bool,
    ) {
        for slot in self.slots.lock().iter_mut() {
            slot.close(hardware, &mut is_dma_disabled);
        }
    }

    /// Stops all queues; their memory stays.
    pub(crate) fn stop_all(&self, hardware: &Hardware<'_>) {
        for slot in self.slots.lock().iter_mut() {
            if slot.used.is_some() && hardware.stop_queue(slot.number).is_err() {
                slot.is_broken = true;
            }
        }
    }
}

impl Slot {
    fn close(&mut self, hardware: &Hardware<'_>, is_dma_disabled: impl FnOnce() -> bool) {
        let Some(AssignedQueue { memory, mapping }) = self.used.take() else {
            return;
        };
        let stopped = hardware.stop_queue(self.number).is_ok();
        mapping.mark_gone();
        if !stopped && !is_dma_disabled() {
            self.is_broken = true;
            memory.leak();
        }
    }
}
