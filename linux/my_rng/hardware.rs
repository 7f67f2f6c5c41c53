// SPDX-License-Identifier: GPL-2.0

//! The registers of one device: what may be done with them, and under which lock.

mod generator;
mod queues;

pub(crate) use self::queues::{
    QueueConfig,
    StopDeadline, //
};

use crate::{
    abi::registers::IDENT_VALUE,
    registers::{
        Bar0,
        IDENT,
        RAND32,
        RAND64_HIGH,
        RAND64_LOW,
        SEED,
        VERSION,
        VERSION_MAJOR, //
    },
};
use kernel::{
    device::Bound,
    io::Io,
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
        Delta,
        Instant,
        Monotonic, //
    },
};

/// What a read returns when nothing answers on the bus: a device that was pulled out, or whose
/// process is gone.
const ALL_ONES: u32 = u32::MAX;

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
