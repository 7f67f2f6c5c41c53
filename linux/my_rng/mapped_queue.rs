// SPDX-License-Identifier: GPL-2.0

//! Queues that programs read themselves: `mmap(2)`.
//!
//! A file that asks for it (`MAP_INFO`) gets a queue of the entropy stream of its own. The program
//! maps the page of the state and the buffers, never the descriptors, which tell the device where
//! to write. So all that a program can spoil is its own queue.
//!
//! The pages are mapped once, are not inherited by `fork(2)`, and cannot be pinned or copied on
//! write: nobody else sees the bytes. They stay with the program when the device goes; it then
//! finds `ERROR_GONE` in the state.

use crate::{
    abi::{
        ioctl::MapInfo,
        queue::{
            ERROR,
            ERROR_GONE,
            ERROR_STALE,
            GENERATION,
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
    chardev::PollEvents,
    dma_memory::{
        DmaMemory,
        QueuePages, //
    },
    hardware::{
        Hardware,
        StopDeadline, //
    },
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
    /// Set when the device was reset, or the machine cloned.
    is_stale: AtomicFlag,
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
    /// If there is nothing, `check_alive` tells whether the device has died.
    pub(crate) fn poll(
        &self,
        file: &File,
        table: &PollTable<'_>,
        check_alive: impl FnOnce() -> Result,
    ) -> PollEvents {
        table.register_wait(file, self.wait_queue.poll_queue());
        match self.state() {
            PollEvents::NONE if check_alive().is_err() => {
                self.mark_gone();
                self.state()
            }
            state => state,
        }
    }

    /// The same without waiting.
    fn state(&self) -> PollEvents {
        // Against the device's order "COMPLETED, barrier, INTERRUPT_AT".
        self.pages.full_barrier();
        let error = self.pages.load(ERROR);
        if error == ERROR_GONE {
            PollEvents::ERROR | PollEvents::HANGUP | PollEvents::READABLE
        } else if error != 0 {
            PollEvents::ERROR | PollEvents::READABLE
        } else {
            let count = self.pages.load(INTERRUPT_AT);
            PollEvents::READABLE.when(is_reached(&self.pages, count))
        }
    }

    /// Whether the device says that it sleeps.
    fn is_device_asleep(&self) -> bool {
        self.pages.load(SLEEPING) == 1
    }

    /// Whether the file must ask for another queue.
    pub(crate) fn is_stale(&self) -> bool {
        self.is_stale.load(Relaxed)
    }

    /// Tells the program that its bytes must not be used, and that it must ask for another queue.
    fn mark_stale(&self) {
        self.is_stale.store(true, Relaxed);
        let generation = self.pages.load(GENERATION);
        self.pages.store(GENERATION, generation.wrapping_add(1));
        self.pages.store_release(ERROR, ERROR_STALE);
        self.wait_queue.wake_all();
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
    state: SlotState,
}

enum SlotState {
    Free,
    Assigned(AssignedQueue),
    /// Closed by its file, but the device still has the memory: it did not stop in time.
    Stopping(DmaMemory),
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
    /// [`MappedQueues::close_all`] must be called before the device is unbound, and nothing after
    /// that.
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
            let state = SlotState::Free;
            slots.push(Slot { number, state }, GFP_KERNEL)?;
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
        let used = slots.iter().filter(|slot| !slot.is_free()).count();
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
            .find_map(|slot| slot.is_free_now(hardware).then_some(slot))
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
                is_stale: AtomicFlag::new(false),
            },
            GFP_KERNEL,
        )?;
        // The pages are fresh: the state is all 0.
        let config = queue_config(slot.number, STREAM_ENTROPY, &memory, vector);
        let started = hardware.start_queue(&config);
        slot.state = SlotState::Assigned(AssignedQueue {
            memory,
            mapping: mapping.clone(),
        });
        if let Err(error) = started {
            // It may be running after all.
            slot.close(hardware);
            return Err(error);
        }
        Ok(mapping)
    }

    /// Takes a queue back from the file that is being closed.
    pub(crate) fn close(&self, mapping: &Arc<MappedQueue>, hardware: &Hardware<'_>) {
        let mut slots = self.slots.lock();
        let slot = slots.iter_mut().find(|slot| {
            let assigned = slot.assigned();
            assigned.is_some_and(|assigned| Arc::ptr_eq(&assigned.mapping, mapping))
        });
        if let Some(slot) = slot {
            slot.close(hardware);
        }
    }

    /// Asks the device to stop all queues.
    pub(crate) fn request_stop_all(&self, hardware: &Hardware<'_>) {
        for slot in self.slots.lock().iter() {
            if !slot.is_free() {
                hardware.request_stop(slot.number);
            }
        }
    }

    /// Waits until all queues have stopped; their memory stays.
    ///
    /// # Errors
    ///
    /// As of [`Hardware::wait_stopped`].
    pub(crate) fn wait_all_stopped(
        &self,
        hardware: &Hardware<'_>,
        deadline: &StopDeadline,
    ) -> Result {
        for slot in self.slots.lock().iter() {
            if !slot.is_free() {
                hardware.wait_stopped(slot.number, deadline)?;
            }
        }
        Ok(())
    }

    /// Takes all queues back, which were asked to stop: the device goes. `is_dma_disabled` is asked
    /// for queues that the device does not stop. Returns how many pages are left to the device.
    pub(crate) fn close_all(
        &self,
        hardware: &Hardware<'_>,
        deadline: &StopDeadline,
        mut is_dma_disabled: impl FnMut() -> bool,
    ) -> usize {
        let mut leaked = 0;
        for slot in self.slots.lock().iter_mut() {
            let memory = match core::mem::replace(&mut slot.state, SlotState::Free) {
                SlotState::Free => continue,
                SlotState::Assigned(AssignedQueue { memory, mapping }) => {
                    mapping.mark_gone();
                    memory
                }
                SlotState::Stopping(memory) => memory,
            };
            if hardware.wait_stopped(slot.number, deadline).is_err() && !is_dma_disabled() {
                leaked += memory.pages().count();
                memory.leak();
            }
        }
        leaked
    }

    /// Tells all programs that what they have mapped must not be used any more, and that they can
    /// ask for another queue. The device must have stopped all queues.
    pub(crate) fn invalidate_all(&self) {
        for slot in self.slots.lock().iter() {
            if let Some(assigned) = slot.assigned() {
                assigned.mapping.mark_stale();
            }
        }
    }
}

impl Slot {
    fn is_free(&self) -> bool {
        matches!(self.state, SlotState::Free)
    }

    fn assigned(&self) -> Option<&AssignedQueue> {
        match &self.state {
            SlotState::Assigned(assigned) => Some(assigned),
            _ => None,
        }
    }

    /// As [`Slot::is_free`]; first frees the memory if the device has stopped meanwhile.
    fn is_free_now(&mut self, hardware: &Hardware<'_>) -> bool {
        if matches!(self.state, SlotState::Stopping(_))
            && hardware.has_stopped(self.number) == Ok(true)
        {
            self.state = SlotState::Free;
        }
        self.is_free()
    }

    fn close(&mut self, hardware: &Hardware<'_>) {
        let SlotState::Assigned(AssignedQueue { memory, mapping }) =
            core::mem::replace(&mut self.state, SlotState::Free)
        else {
            return;
        };
        let stopped = hardware.stop_queue(self.number);
        mapping.mark_gone();
        if let Err(error) = stopped {
            if error != ENODEV {
                dev_warn!(
                    hardware.pdev(),
                    "queue {} does not stop; it stays in use until it does\n",
                    self.number
                );
            }
            self.state = SlotState::Stopping(memory);
        }
    }
}
