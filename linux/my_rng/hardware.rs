// SPDX-License-Identifier: GPL-2.0

//! The registers of one device: what may be done with them, and under which lock.

use crate::{
    abi::registers::{
        takes_seed_command,
        IDENT_VALUE, //
    },
    registers::{
        Bar0,
        DOORBELL,
        FEATURES,
        GENERATOR,
        IDENT,
        QUEUE_CONTROL,
        QUEUE_COUNT,
        QUEUE_DEPTH,
        QUEUE_DESCRIPTORS_HIGH,
        QUEUE_DESCRIPTORS_LOW,
        QUEUE_SELECT,
        QUEUE_STATE_HIGH,
        QUEUE_STATE_LOW,
        QUEUE_VECTOR,
        RAND32,
        RAND64_HIGH,
        RAND64_LOW,
        SEED,
        SEED_ABILITIES,
        SEED_COMMAND,
        SEED_WORDS,
        STREAM_NUMBER_HIGH,
        STREAM_NUMBER_LOW,
        VERSION,
        VERSION_MAJOR, //
    },
    seedable_stream::SeedCommand, //
};
use kernel::{
    device::Bound,
    io::{
        register::Array,
        Io, //
    },
    new_mutex, pci,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            AtomicFlag,
            Relaxed, //
        },
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
};

/// What a read returns when nothing answers on the bus: a device that was pulled out, or whose
/// process is gone.
const ALL_ONES: u32 = u32::MAX;

/// How long a device may take to stop a queue. It fills one buffer in less than a millisecond; a
/// host that is busy with other things may need much longer.
const QUEUE_STOP_TIMEOUT: Delta = Delta::from_millis(2000);

/// How often it is looked whether a queue has stopped.
const STOP_POLL_INTERVAL: Delta = Delta::from_micros(50);

/// How often [`Hardware::check_alive_ratelimited`] looks at the most. Less often than those who
/// call it wait.
const LIVENESS_INTERVAL: Delta = Delta::from_millis(200);

/// The registers of a bound device.
///
/// A draw of 32 bits is one register read, which the device does as a whole, so it takes no lock.
/// A draw of 64 bits is two: the first draws and latches, the second returns the rest of what was
/// latched. Between the two nobody else may draw 64 bits, and nobody may reseed, or a program could
/// see halves of different numbers.
#[pin_data]
pub(crate) struct Hardware<'bound> {
    pdev: &'bound pci::Device<Bound>,
    bar: Bar0<'bound>,
    /// Set when the device did not answer. It is then given up until it is bound again: everybody
    /// who asked it once more would have to wait for it once more.
    unresponsive: AtomicFlag,
    /// Set when it was logged that the device refuses a queue.
    refusal_logged: AtomicFlag,
    bound_at: Instant<Monotonic>,
    /// When [`Hardware::check_alive_ratelimited`] last did, in nanoseconds after `bound_at`.
    checked_at: Atomic<i64>,
    /// The right to use the device's latch. A mutex and not a spin lock: a register access leaves
    /// the virtual machine and takes as long as thousands of instructions.
    #[pin]
    latch: Mutex<Latch>,
    /// The right to say which queue the registers mean.
    #[pin]
    select: Mutex<Select>,
}

/// The device's latch for 64-bit numbers, of which there is one.
struct Latch;

/// The device's selection of a queue, of which there is one.
struct Select;

/// The version of a device's register interface.
#[derive(Clone, Copy)]
pub(crate) struct InterfaceVersion {
    /// Changes when registers change their meaning.
    pub(crate) major: u32,
    /// Grows when registers are added.
    pub(crate) minor: u32,
}

/// Until when queues must have stopped. One for all that are stopped together, so that a device
/// which stops none of them costs the time once.
pub(crate) struct StopDeadline(Instant<Monotonic>);

impl StopDeadline {
    /// Starts now.
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    fn is_over(&self) -> bool {
        self.0.elapsed() > QUEUE_STOP_TIMEOUT
    }
}

/// How a queue is set up.
pub(crate) struct QueueConfig {
    pub(crate) number: u32,
    /// One of `STREAM_…`.
    pub(crate) stream: u32,
    pub(crate) depth: u32,
    pub(crate) vector: u32,
    pub(crate) descriptors: u64,
    pub(crate) state: u64,
}

impl<'bound> Hardware<'bound> {
    /// Takes a device by its registers.
    pub(crate) fn new(
        pdev: &'bound pci::Device<Bound>,
        bar: Bar0<'bound>,
    ) -> impl PinInit<Self, Error> + 'bound {
        try_pin_init!(Self {
            pdev,
            bar,
            unresponsive: AtomicFlag::new(false),
            refusal_logged: AtomicFlag::new(false),
            bound_at: Instant::now(),
            checked_at: Atomic::new(0),
            latch <- new_mutex!(Latch),
            select <- new_mutex!(Select),
        })
    }

    /// The PCI device.
    pub(crate) fn pdev(&self) -> &'bound pci::Device<Bound> {
        self.pdev
    }
}

/// The classic interface.
impl Hardware<'_> {
    /// Draws 32 bits.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer.
    pub(crate) fn rand(&self) -> Result<u32> {
        let number = self.bar.read(RAND32).number().into();
        self.check_response(number == ALL_ONES)?;
        Ok(number)
    }

    /// Draws 64 bits.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer.
    pub(crate) fn rand64(&self) -> Result<u64> {
        let (low, high): (u32, u32) = {
            let _latch = self.latch.lock();
            let low = self.bar.read(RAND64_LOW).half().into();
            (low, self.bar.read(RAND64_HIGH).half().into())
        };
        self.check_response(low == ALL_ONES || high == ALL_ONES)?;
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    /// Restarts the stream of numbers.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer.
    pub(crate) fn seed(&self, seed: u32) -> Result {
        let _latch = self.latch.lock();
        self.bar.write_reg(SEED::zeroed().with_seed(seed));

        // Nothing tells whether a write arrived. Reading back does, and it makes sure that the
        // device has seen the seed before the program goes on.
        self.check_response(true)
    }

    /// Returns the version of the register interface.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer.
    pub(crate) fn interface_version(&self) -> Result<InterfaceVersion> {
        self.check_response(true)?;
        Ok(interface_version(&self.bar))
    }

    /// Whether the device still answers.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when it does not.
    pub(crate) fn check_alive(&self) -> Result {
        self.check_response(true)
    }

    /// The same for those who ask often: looks now and then, and says yes in between.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when it does not.
    pub(crate) fn check_alive_ratelimited(&self) -> Result {
        let now = self.bound_at.elapsed().as_nanos();
        // Two who look at the same time do no harm.
        if now - self.checked_at.load(Relaxed) < LIVENESS_INTERVAL.as_nanos() {
            return Ok(());
        }
        self.checked_at.store(now, Relaxed);
        self.check_alive()
    }

    /// Says [`ENODEV`] when the device does not answer.
    ///
    /// Only needed if what was read is `suspect`: all ones is also a number that may be drawn, but
    /// never what the identification reads.
    fn check_response(&self, suspect: bool) -> Result {
        if !suspect {
            return Ok(());
        }
        if self.unresponsive.load(Relaxed) {
            return Err(ENODEV);
        }
        if read_identification(&self.bar) == IDENT_VALUE {
            return Ok(());
        }

        // Once: programs can try as often as they like, and the log is not theirs to fill.
        if !self.unresponsive.xchg(true, Relaxed) {
            dev_err!(self.pdev, "the device does not answer\n");
        }
        Err(ENODEV)
    }
}

/// Generators.
impl Hardware<'_> {
    /// Whether the seedable stream has several generators.
    pub(crate) fn has_generators(&self) -> bool {
        self.bar.read(FEATURES).generators()
    }

    /// Returns the number of the generator.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer.
    pub(crate) fn generator(&self) -> Result<u32> {
        let number = self.bar.read(GENERATOR).number().into();
        self.check_response(number == ALL_ONES)?;
        Ok(number)
    }

    /// Chooses the generator, which restarts the stream with the last seed.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] when the device has no such generator, [`ENODEV`] when it does not answer.
    pub(crate) fn set_generator(&self, number: u32) -> Result {
        let _latch = self.latch.lock();
        self.bar.write_reg(GENERATOR::zeroed().with_number(number));
        if self.generator()? == number {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }
}

/// Longer seeds, stream numbers and seeking.
impl Hardware<'_> {
    /// Returns what the generator takes besides SEED: `SEED_TAKES_…` bits, none for a device that
    /// has no such thing.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer.
    pub(crate) fn seed_abilities(&self) -> Result<u32> {
        self.check_response(true)?;
        if self.bar.read(FEATURES).wide_seeds() {
            Ok(self.bar.read(SEED_ABILITIES).bits().into())
        } else {
            Ok(0)
        }
    }

    /// Whether the generator takes that `SEED_COMMAND`.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] when it does not, [`ENODEV`] when the device does not answer.
    pub(crate) fn check_seed_command(&self, command: u32) -> Result {
        let abilities = self.seed_abilities()?;
        if abilities != 0 && takes_seed_command(self.generator()?, abilities, command) {
            Ok(())
        } else {
            Err(EOPNOTSUPP)
        }
    }

    /// Gives the command.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] when the device refuses it, [`ENODEV`] when it does not answer.
    pub(crate) fn command_seed(&self, command: &SeedCommand) -> Result {
        let _latch = self.latch.lock();
        let bar = &self.bar;
        let stream = command.stream;

        for (place, word) in command.words.iter().enumerate() {
            let location = SEED_WORDS::try_at(place).ok_or(EINVAL)?;
            bar.try_write(location, SEED_WORDS::zeroed().with_word(*word))?;
        }
        // CAST: The lower half.
        bar.write_reg(STREAM_NUMBER_LOW::zeroed().with_half(stream as u32));
        bar.write_reg(STREAM_NUMBER_HIGH::zeroed().with_half((stream >> 32) as u32));
        bar.write_reg(SEED_COMMAND::zeroed().with_command(command.command));

        // Also makes sure that the device has seen it before the program goes on.
        match bar.read(SEED_COMMAND).command().into() {
            0u32 => Ok(()),
            refused => {
                self.check_response(refused == ALL_ONES)?;
                Err(EOPNOTSUPP)
            }
        }
    }
}

/// Queues.
impl Hardware<'_> {
    /// Returns the number of queues, 0 for a device that has none.
    pub(crate) fn queue_count(&self) -> u32 {
        if !self.bar.read(FEATURES).queues() {
            return 0;
        }
        match self.bar.read(QUEUE_COUNT).count().into() {
            ALL_ONES => 0,
            count => count,
        }
    }

    /// Starts a queue. All words of its state must be 0.
    ///
    /// # Errors
    ///
    /// [`EIO`] when the device refuses the set-up, [`ENODEV`] when it does not answer.
    pub(crate) fn start_queue(&self, queue: &QueueConfig) -> Result {
        let _select = self.select.lock();
        // CAST: The lower half.
        let low = |address: u64| address as u32;
        let high = |address: u64| (address >> 32) as u32;
        let bar = &self.bar;

        bar.write_reg(QUEUE_SELECT::zeroed().with_number(queue.number));
        bar.write_reg(QUEUE_DEPTH::zeroed().with_depth(queue.depth));
        bar.write_reg(QUEUE_VECTOR::zeroed().with_vector(queue.vector));
        bar.write_reg(QUEUE_DESCRIPTORS_LOW::zeroed().with_half(low(queue.descriptors)));
        bar.write_reg(QUEUE_DESCRIPTORS_HIGH::zeroed().with_half(high(queue.descriptors)));
        bar.write_reg(QUEUE_STATE_LOW::zeroed().with_half(low(queue.state)));
        bar.write_reg(QUEUE_STATE_HIGH::zeroed().with_half(high(queue.state)));
        bar.write_reg(
            QUEUE_CONTROL::zeroed()
                .try_with_stream(queue.stream)?
                .with_enable(true),
        );

        let control = bar.read(QUEUE_CONTROL);
        self.check_response(u32::from(control) == ALL_ONES)?;
        if control.enable() {
            return Ok(());
        }
        // Once: any program can make us try, as often as it likes.
        if !self.refusal_logged.xchg(true, Relaxed) {
            dev_err!(self.pdev, "the device refuses queue {}\n", queue.number);
        }
        Err(EIO)
    }

    /// Asks the device to stop a queue. It finishes the buffer that it is at first.
    pub(crate) fn request_stop(&self, number: u32) {
        // Each access to a device that does not answer costs a second or more.
        if self.unresponsive.load(Relaxed) {
            return;
        }
        let _select = self.select.lock();
        self.bar
            .write_reg(QUEUE_SELECT::zeroed().with_number(number));
        self.bar.write_reg(QUEUE_CONTROL::zeroed());
    }

    /// Tells whether a queue has stopped: then the device does not access its memory any more.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer.
    pub(crate) fn has_stopped(&self, number: u32) -> Result<bool> {
        if self.unresponsive.load(Relaxed) {
            return Err(ENODEV);
        }
        let control = {
            let _select = self.select.lock();
            self.bar
                .write_reg(QUEUE_SELECT::zeroed().with_number(number));
            self.bar.read(QUEUE_CONTROL)
        };
        self.check_response(u32::from(control) == ALL_ONES)?;
        Ok(!control.enable())
    }

    /// Waits until a queue has stopped that was asked to.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer, [`EIO`] when it does not stop in time.
    pub(crate) fn wait_stopped(&self, number: u32, deadline: &StopDeadline) -> Result {
        while !self.has_stopped(number)? {
            if deadline.is_over() {
                return Err(EIO);
            }
            fsleep(STOP_POLL_INTERVAL);
        }
        Ok(())
    }

    /// Stops a queue.
    ///
    /// # Errors
    ///
    /// As of [`Hardware::wait_stopped`].
    pub(crate) fn stop_queue(&self, number: u32) -> Result {
        let deadline = StopDeadline::new();
        self.request_stop(number);
        self.wait_stopped(number, &deadline)
    }

    /// Tells whether a queue is still laid out as it was: a reset of the device forgets that.
    pub(crate) fn has_layout(&self, queue: &QueueConfig) -> bool {
        let _select = self.select.lock();
        self.bar
            .write_reg(QUEUE_SELECT::zeroed().with_number(queue.number));
        u32::from(self.bar.read(QUEUE_DEPTH).depth()) == queue.depth
    }

    /// Gives the device up: it was disconnected from the bus, for now or for good.
    pub(crate) fn set_disconnected(&self) {
        self.unresponsive.store(true, Relaxed);
    }

    /// Tries again after [`Hardware::set_disconnected`].
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when it does not answer.
    pub(crate) fn reconnect(&self) -> Result {
        self.unresponsive.store(false, Relaxed);
        self.check_alive()
    }

    /// Wakes a queue.
    pub(crate) fn ring_doorbell(&self, number: u32) {
        self.bar.write_reg(DOORBELL::zeroed().with_number(number));
    }
}

/// Makes sure that a device is what its PCI identity promises.
///
/// # Errors
///
/// [`ENODEV`] with the reason in the kernel's log.
pub(crate) fn identify(pdev: &pci::Device<Bound>, bar: &Bar0<'_>) -> Result<InterfaceVersion> {
    let identification = read_identification(bar);
    if identification != IDENT_VALUE {
        dev_err!(
            pdev,
            "identification register reads {identification:#010x}, expected {IDENT_VALUE:#010x}\n"
        );
        return Err(ENODEV);
    }

    let version = interface_version(bar);
    if version.major != VERSION_MAJOR {
        dev_err!(
            pdev,
            "register interface is version {}.{}, expected {VERSION_MAJOR}.x\n",
            version.major,
            version.minor
        );
        return Err(ENODEV);
    }
    Ok(version)
}

fn read_identification(bar: &Bar0<'_>) -> u32 {
    bar.read(IDENT).value().into()
}

fn interface_version(bar: &Bar0<'_>) -> InterfaceVersion {
    let version = bar.read(VERSION);
    InterfaceVersion {
        major: version.major().into(),
        minor: version.minor().into(),
    }
}
