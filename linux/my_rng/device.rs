// SPDX-License-Identifier: GPL-2.0

//! One device: its registers, and its queues if it has some.

use crate::{
    abi::ring::Piece,
    chardev::Revocable,
    entropy::{
        Drawn,
        Entropy, //
    },
    events::{
        AllEvents,
        Vectors, //
    },
    hardware::{
        Hardware,
        InterfaceVersion, //
    },
    mapping::{
        Mapping,
        Mappings, //
    },
    memory::{
        Mapped,
        Pages, //
    },
    parameters::Parameters,
    quiet,
    registers::Bar0,
    words::Words,
};
use kernel::{
    device::Bound,
    pci,
    prelude::*,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        Arc, //
    },
    types::ForLt, //
};

/// A [`Device`] for every lifetime, for types that outlive the binding.
pub(crate) type DeviceForLt = ForLt!(Device<'_>);

/// A device as open files see it: it may be taken away between any two calls.
pub(crate) type SharedDevice = Revocable<DeviceForLt>;

/// A bound device. Dropping it stops its queues.
pub(crate) struct Device<'bound> {
    hardware: Pin<KBox<Hardware<'bound>>>,
    queues: Option<Queues<'bound>>,
    /// Set when nobody shall wait in here any more.
    is_closing: AtomicFlag,
}

/// The queues of a device: first those of `entropy`, then that of `words`, then those of `mappings`.
///
/// To be ended by [`Queues::dismantle`].
struct Queues<'bound> {
    entropy: Entropy,
    /// Shared with the files that are open.
    words: Arc<Words>,
    mappings: Pin<KBox<Mappings>>,
    vectors: Vectors<'bound>,
    /// The memory of the first two kinds, by the queue's number.
    memory: KVec<(u32, Mapped)>,
}

impl<'bound> Queues<'bound> {
    fn new(
        pdev: &'bound pci::Device<Bound>,
        available: u32,
        parameters: &Parameters,
    ) -> Result<Self> {
        let plan = parameters.plan(available).ok_or(EINVAL)?;
        let vectors = Vectors::new(pdev, plan.total())?;
        let mut memory = KVec::new();

        let entropy =
            // SAFETY: `memory` goes into `Self`, and `dismantle` drops it.
            unsafe { Entropy::new(pdev, plan.entropy, parameters.layout, &vectors, &mut memory) }?;
        // SAFETY: As above. The queue after those of the entropy stream is that of the seedable one.
        let words = unsafe {
            Words::new(
                pdev,
                plan.entropy,
                parameters.words_layout,
                &vectors,
                &mut memory,
            )
        }?;
        let words = Arc::new(words, GFP_KERNEL)?;
        // SAFETY: Called by `dismantle`.
        let mappings = unsafe { Mappings::new(plan.mapped_numbers(), parameters.layout) }?;

        Ok(Self {
            entropy,
            words,
            mappings,
            vectors,
            memory,
        })
    }

    /// Stops all queues and frees their memory, or abandons what the device may still write to.
    fn dismantle(self, hardware: &Hardware<'_>) {
        let mut harmless = None;
        let mut is_harmless = || *harmless.get_or_insert_with(|| quiet::silence(hardware.pdev()));
        let mut abandoned = 0;

        self.mappings.close_all(hardware, &mut is_harmless);
        for (number, memory) in self.memory {
            if hardware.stop_queue(number).is_err() && !is_harmless() {
                abandoned += memory.pages().count();
                memory.abandon();
            }
        }
        if abandoned != 0 {
            dev_warn!(
                hardware.pdev(),
                "the device could not be stopped: {abandoned} pages are left to it for ever\n"
            );
        }
    }
}

impl<'bound> Device<'bound> {
    /// Takes a device by its registers, and sets up its queues if it has some.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], [`ENOSPC`] when there are no interrupts, [`EIO`] when the device refuses what it
    /// offered.
    pub(crate) fn new(
        pdev: &'bound pci::Device<Bound>,
        bar: Bar0<'bound>,
        parameters: &Parameters,
    ) -> Result<Self> {
        let hardware = KBox::pin_init(Hardware::new(pdev, bar), GFP_KERNEL)?;
        let available = if parameters.use_queues {
            hardware.queue_count()
        } else {
            0
        };

        let queues = if available < Parameters::MIN_QUEUES {
            None
        } else {
            Some(Queues::new(pdev, available, parameters)?)
        };
        // From here on dropping it stops what was started.
        let device = Self {
            hardware,
            queues,
            is_closing: AtomicFlag::new(false),
        };
        if let Some(queues) = &device.queues {
            queues.entropy.start(&device.hardware)?;
        }
        Ok(device)
    }
}

impl Device<'_> {
    /// The PCI device.
    pub(crate) fn is(&self, pdev: *const kernel::bindings::pci_dev) -> bool {
        core::ptr::from_ref(self.hardware.pdev()).cast() == pdev
    }

    /// Returns the version of the register interface.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer.
    pub(crate) fn interface_version(&self) -> Result<InterfaceVersion> {
        self.hardware.interface_version()
    }

    /// Sends everybody out who waits in here: called when the door has been shut.
    pub(crate) fn close(&self) {
        self.is_closing.store(true, Relaxed);
        if let Some(queues) = &self.queues {
            queues.words.close();
            queues.vectors.wake_all();
        }
    }

    /// Stops all queues for good: the machine is about to start another kernel.
    pub(crate) fn shut_down(&self) {
        self.close();
        let Some(queues) = &self.queues else { return };
        queues.mappings.stop_all(&self.hardware);
        for (number, _) in &queues.memory {
            if self.hardware.stop_queue(*number).is_err() {
                // Nobody can wait for it any longer.
                quiet::silence(self.hardware.pdev());
                return;
            }
        }
    }

    /// Whether nobody shall wait in here any more.
    fn is_closing(&self) -> bool {
        self.is_closing.load(Relaxed)
    }

    fn queues(&self) -> Result<&Queues<'_>> {
        self.queues.as_ref().ok_or(EOPNOTSUPP)
    }
}

/// The seedable stream.
impl Device<'_> {
    /// The numbers that are fetched before anybody asks; `None` if the device has no queues.
    pub(crate) fn words(&self) -> Option<Arc<Words>> {
        self.queues.as_ref().map(|queues| queues.words.clone())
    }

    /// Lets the device fetch more of them, and waits until there may be some.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer, [`EIO`] when its queue has failed, [`ERESTARTSYS`]
    /// for a signal.
    pub(crate) fn fetch_words(&self) -> Result {
        if self.is_closing() {
            return Err(ENODEV);
        }
        let words = &self.queues()?.words;
        words.fetch(&self.hardware, || self.is_closing())
    }

    /// Wakes the device, which sleeps and shall fetch more of them.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] when it has no queues.
    pub(crate) fn wake_words(&self) -> Result {
        self.queues()?.words.wake_device(&self.hardware);
        Ok(())
    }

    /// Draws a number of `N` times 32 bits out of the registers.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer.
    pub(crate) fn draw_from_registers<const N: usize>(&self) -> Result<[u32; N]> {
        let mut numbers = [0; N];
        if let [high, low] = &mut numbers[..] {
            let both = self.hardware.rand64()?;
            // CAST: The halves.
            (*high, *low) = ((both >> 32) as u32, both as u32);
        } else {
            for number in &mut numbers {
                *number = self.hardware.rand()?;
            }
        }
        Ok(numbers)
    }

    /// Restarts the stream of numbers.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer.
    pub(crate) fn seed(&self, seed: u32) -> Result {
        self.restart(|| self.hardware.seed(seed))
    }

    /// Whether there are several generators.
    pub(crate) fn has_generators(&self) -> bool {
        self.hardware.has_generators()
    }

    /// Returns the number of the generator.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer.
    pub(crate) fn generator(&self) -> Result<u32> {
        self.hardware.generator()
    }

    /// Chooses the generator; the stream restarts with the last seed.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] when the device has no such generator, [`ENODEV`] when it does not answer.
    pub(crate) fn set_generator(&self, number: u32) -> Result {
        self.restart(|| self.hardware.set_generator(number))
    }

    fn restart(&self, restart: impl FnOnce() -> Result) -> Result {
        match &self.queues {
            Some(queues) => queues.words.restart(&self.hardware, restart),
            None => restart(),
        }
    }
}

/// The entropy stream.
impl Device<'_> {
    /// Takes up to `limit` bytes without waiting; see [`Entropy::draw`].
    ///
    /// # Errors
    ///
    /// [`EIO`] when all queues have failed, [`EOPNOTSUPP`] when the device has none.
    pub(crate) fn read(
        &self,
        limit: usize,
        sink: impl FnMut(&Pages, Piece) -> usize,
    ) -> Result<Drawn> {
        self.queues()?.entropy.draw(&self.hardware, limit, sink)
    }

    /// Sleeps until some of `bytes` bytes may be there.
    ///
    /// # Errors
    ///
    /// As [`Device::read`]; [`ENODEV`] when the device does not answer, [`ERESTARTSYS`] for a signal.
    pub(crate) fn wait_for_bytes(&self, bytes: usize, leave: impl Fn() -> bool) -> Result {
        if self.is_closing() || leave() {
            return Err(ENODEV);
        }
        let entropy = &self.queues()?.entropy;
        entropy.wait(bytes, &self.hardware, || self.is_closing() || leave())
    }

    /// For `poll(2)`: calls `register` with where to wait, then tells whether bytes are there.
    ///
    /// # Errors
    ///
    /// As [`Device::read`]; [`ENODEV`] when the device does not answer.
    pub(crate) fn poll(&self, register: impl FnOnce(&crate::events::Events)) -> Result<bool> {
        let queue = self.queues()?.entropy.to_wait_for()?;
        register(queue.events());
        let is_ready = queue.ask_for_interrupt(0, &self.hardware)?.is_none();
        if !is_ready {
            self.look()?;
        }
        Ok(is_ready)
    }

    /// Sees now and then whether the device has died, which nobody tells the driver.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when it has.
    pub(crate) fn look(&self) -> Result {
        self.hardware.look()
    }

    /// Wakes everybody who waits, so that they look around.
    pub(crate) fn wake_all(&self) {
        if let Some(queues) = &self.queues {
            queues.vectors.wake_all();
        }
    }
}

impl<'bound> Device<'bound> {
    /// Gives a queue to a file that wants to map it.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] when all are in use, [`EOPNOTSUPP`] when the device has none, [`ENOMEM`].
    pub(crate) fn open_mapping(&self) -> Result<Arc<Mapping>> {
        let queues = self.queues.as_ref().ok_or(EOPNOTSUPP)?;
        queues.mappings.open(&self.hardware, &queues.vectors)
    }

    /// Takes it back.
    pub(crate) fn close_mapping(&self, mapping: &Arc<Mapping>) {
        if let Some(queues) = &self.queues {
            queues.mappings.close(mapping, &self.hardware);
        }
    }

    /// Rings the doorbell of a mapped queue, if the device wants that.
    pub(crate) fn wake_mapping(&self, mapping: &Mapping) {
        if let Some(queues) = &self.queues {
            queues.mappings.wake(mapping, &self.hardware);
        }
    }
}

/// What an administrator may want to know.
pub(crate) struct Figures {
    pub(crate) entropy_queues: usize,
    pub(crate) mapped_queues: (usize, usize),
    pub(crate) vectors: usize,
    pub(crate) depth: u32,
    pub(crate) bytes: u64,
    pub(crate) seedable_bytes: u64,
    pub(crate) mapped_bytes: u64,
    pub(crate) interrupts: u64,
    pub(crate) doorbells: u64,
    pub(crate) waits: u64,
    pub(crate) errors: u64,
}

impl Device<'_> {
    /// The events of all queues, for files to keep.
    pub(crate) fn events(&self) -> Option<AllEvents> {
        self.queues
            .as_ref()
            .map(|queues| queues.vectors.events().clone())
    }

    /// What was counted since the device was bound; `None` if it has no queues.
    pub(crate) fn figures(&self) -> Option<Figures> {
        let queues = self.queues.as_ref()?;
        let mut figures = Figures {
            entropy_queues: queues.entropy.count(),
            mapped_queues: queues.mappings.count(),
            vectors: queues.vectors.count(),
            depth: queues.entropy.depth(),
            bytes: 0,
            seedable_bytes: queues.words.bytes(),
            mapped_bytes: queues.mappings.bytes(),
            interrupts: queues.vectors.interrupts(),
            doorbells: queues.mappings.doorbells(),
            waits: 0,
            errors: 0,
        };
        for counters in Iterator::chain(queues.entropy.counters(), [queues.words.counters()]) {
            figures.bytes = figures.bytes.wrapping_add(counters.bytes.sum());
            figures.doorbells = figures.doorbells.wrapping_add(counters.doorbells.sum());
            figures.waits = figures.waits.wrapping_add(counters.waits.sum());
            figures.errors = figures.errors.wrapping_add(counters.errors.sum());
        }
        Some(figures)
    }
}

impl Drop for Device<'_> {
    fn drop(&mut self) {
        if let Some(queues) = self.queues.take() {
            queues.dismantle(&self.hardware);
        }
    }
}
