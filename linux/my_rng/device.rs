// SPDX-License-Identifier: GPL-2.0

//! One device: its registers, and its queues if it has some.

mod queue_set;
mod reset;
mod statistics;

pub(crate) use self::statistics::Statistics;

use self::queue_set::Queues;
use crate::{
    abi::{
        registers::GENERATOR_GLIBC,
        ring::Piece, //
    },
    bus_master,
    chardev::{
        revocable::Revoke,
        Revocable, //
    },
    dma_memory::QueuePages,
    entropy_stream::ReadOutcome,
    hardware::{
        Hardware,
        InterfaceVersion, //
    },
    interrupts::VectorWaitQueues,
    mapped_queue::MappedQueue,
    parameters::Parameters,
    registers::Bar0,
    seedable_stream::SeedableStream,
    stream_origin::{
        Origin,
        SeedCommand, //
    },
};
use kernel::{
    device::Bound,
    pci,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
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
    /// The generator of the seedable stream, which a reset makes the device forget.
    generator: Atomic<u32>,
    /// Set when the device is being revoked: nobody may begin to sleep in here.
    is_closing: AtomicFlag,
}

impl<'bound> Device<'bound> {
    /// Takes a device by its registers, and sets up its queues if it has some. `name` is that of
    /// its node, for the names of its interrupts.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], [`ENOSPC`] when there are no interrupts, [`EIO`] when the device refuses what it
    /// offered.
    pub(crate) fn new(
        pdev: &'bound pci::Device<Bound>,
        bar: Bar0<'bound>,
        parameters: &Parameters,
        name: &CStr,
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
            Some(Queues::new(pdev, available, parameters, name)?)
        };
        // From here on dropping it stops what was started.
        let device = Self {
            generator: Atomic::new(generator_of(&hardware)?),
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
    /// Whether this is the PCI device `pdev`.
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

    /// Stops all queues for good: the machine is about to start another kernel.
    pub(crate) fn shutdown(&self) {
        self.wake_sleepers();
        let Some(queues) = &self.queues else { return };
        if queues.stop_all(&self.hardware).is_err() {
            // Nobody can wait for it any longer.
            bus_master::disable_dma(self.hardware.pdev());
        }
    }

    /// Whether the device is being revoked.
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
    pub(crate) fn seedable(&self) -> Option<Arc<SeedableStream>> {
        self.queues.as_ref().map(|queues| queues.seedable.clone())
    }

    /// Lets the device fetch more of them, and waits until there may be some.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer, [`EIO`] when its queue has failed,
    /// [`ERESTARTSYS`] for a signal.
    pub(crate) fn prefetch_numbers(&self) -> Result {
        if self.is_closing() {
            return Err(ENODEV);
        }
        let seedable = &self.queues()?.seedable;
        seedable.fetch(&self.hardware, || self.is_closing())
    }

    /// Wakes the device, which sleeps, to fetch more of them.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] when it has no queues.
    pub(crate) fn wake_seedable_queue(&self) -> Result {
        self.queues()?.seedable.wake_device(&self.hardware);
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
        self.restart(|origin| origin.seeded(seed), || self.hardware.seed(seed))
    }

    /// Restarts the stream of numbers with a longer seed, or in another stream of it, or goes to a
    /// position. The stream is not disturbed for what the generator does not take.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] for that, [`ENODEV`] when the device does not answer.
    pub(crate) fn command_seed(&self, command: SeedCommand) -> Result {
        self.hardware.check_seed_command(command.command)?;
        self.restart(
            |origin| origin.commanded(command),
            || self.hardware.command_seed(&command),
        )
    }

    /// Returns what the generator takes besides SEED: `SEED_TAKES_…` bits.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer.
    pub(crate) fn seed_abilities(&self) -> Result<u32> {
        self.hardware.seed_abilities()
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
        self.restart(Origin::generator_chosen, || {
            self.hardware.set_generator(number)
        })?;
        self.generator.store(number, Relaxed);
        Ok(())
    }

    fn restart(
        &self,
        origin: impl FnOnce(Origin) -> Origin,
        restart: impl FnOnce() -> Result,
    ) -> Result {
        match &self.queues {
            Some(queues) => queues.seedable.restart(&self.hardware, origin, restart),
            None => restart(),
        }
    }
}

/// The entropy stream.
impl Device<'_> {
    /// Takes up to `limit` bytes without waiting for more, as `EntropyStream::draw`.
    ///
    /// # Errors
    ///
    /// [`EIO`] when all queues have failed, [`EOPNOTSUPP`] when the device has none.
    pub(crate) fn read(
        &self,
        limit: usize,
        may_lock: bool,
        sink: impl FnMut(&QueuePages, Piece) -> usize,
    ) -> Result<ReadOutcome> {
        let entropy = &self.queues()?.entropy;
        entropy.draw(&self.hardware, limit, may_lock, sink)
    }

    /// Sleeps until some of `bytes` bytes may be there.
    ///
    /// # Errors
    ///
    /// As [`Device::read`]; [`ENODEV`] when the device does not answer, [`ERESTARTSYS`] for a
    /// signal.
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
    pub(crate) fn poll(
        &self,
        register: impl FnOnce(&crate::interrupts::VectorWaitQueue),
    ) -> Result<bool> {
        let queue = self.queues()?.entropy.queue_to_wait_on()?;
        register(queue.wait_queue());
        let is_ready = queue.is_ready_or_asks(&self.hardware)?;
        if !is_ready {
            self.check_alive_ratelimited()?;
        }
        Ok(is_ready)
    }

    /// Sees now and then whether the device has died, which nobody tells the driver.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when it has.
    pub(crate) fn check_alive_ratelimited(&self) -> Result {
        self.hardware.check_alive_ratelimited()
    }

    /// The wait queues of all vectors, for files to keep.
    pub(crate) fn wait_queues(&self) -> Option<VectorWaitQueues> {
        self.queues
            .as_ref()
            .map(|queues| queues.vectors.wait_queues().clone())
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
    pub(crate) fn open_mapped_queue(&self) -> Result<Arc<MappedQueue>> {
        let queues = self.queues.as_ref().ok_or(EOPNOTSUPP)?;
        queues.mappings.open(&self.hardware, &queues.vectors)
    }

    /// Takes it back.
    pub(crate) fn close_mapped_queue(&self, mapping: &Arc<MappedQueue>) {
        if let Some(queues) = &self.queues {
            queues.mappings.close(mapping, &self.hardware);
        }
    }

    /// Rings the doorbell of a mapped queue, if the device wants that.
    pub(crate) fn wake_mapped_queue(&self, mapping: &MappedQueue) {
        if let Some(queues) = &self.queues {
            queues.mappings.wake(mapping, &self.hardware);
        }
    }
}

/// Returns the generator of a device, which has one if it cannot be chosen.
fn generator_of(hardware: &Hardware<'_>) -> Result<u32> {
    if hardware.has_generators() {
        hardware.generator()
    } else {
        Ok(GENERATOR_GLIBC)
    }
}

impl Revoke for Device<'_> {
    fn wake_sleepers(&self) {
        self.is_closing.store(true, Relaxed);
        if let Some(queues) = &self.queues {
            queues.seedable.close();
            queues.vectors.wake_all();
        }
    }
}

impl Drop for Device<'_> {
    fn drop(&mut self) {
        if let Some(queues) = self.queues.take() {
            queues.stop_and_free(&self.hardware);
        }
    }
}
