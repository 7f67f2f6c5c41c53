// SPDX-License-Identifier: GPL-2.0

//! `ioctl(2)` on a node: which command does what, and the copying between program and driver.
//!
//! ```c
//! uint32_t seed = 1, number;
//! uint64_t wide;
//! int fd = open("/dev/my_rng0", O_RDWR);
//!
//! ioctl(fd, 0x40047101, &seed);   // SEED: restarts the stream of numbers
//! ioctl(fd, 0x80047101, &number); // RAND: 1804289383
//! ioctl(fd, 0x80087102, &wide);   // RAND64: 846930886 << 32 | 1681692777
//! ```
//!
//! All arguments are addresses of what looks the same in 32-bit and 64-bit programs, so both come
//! here. Errors: `EFAULT` for a bad address, `ENOTTY` for an unknown command, `ENODEV` when the
//! device is gone, `EIO` when its queue has failed; of longer seeds and seeking, `EINVAL` for a
//! length or a flag that does not exist, `EOPNOTSUPP` for what the generator does not take.

use crate::{
    abi::{
        ioctl::{
            WideSeed,
            MAP_INFO,
            RAND,
            RAND64,
            SEED,
            SEED_WIDE,
            SEEK,
            WAKE,
            WIDE_SEED_WORDS, //
        },
        registers::SEED_SEEK,
        window::Taken, //
    },
    device::SharedDevice,
    files::OpenFile,
    seedable_stream::{
        Refill,
        SeedableStream, //
    },
    shim,
    stream_origin::SeedCommand,
};
use kernel::{
    bindings, current, fmt,
    prelude::*,
    transmute::AsBytes,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

/// The commands with their numbers, for the log.
pub(crate) struct Commands;

impl fmt::Display for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RAND {RAND:#010x} SEED {SEED:#010x} RAND64 {RAND64:#010x}"
        )
    }
}

/// Does what `command` asks, with what is at the address `argument` in the program.
#[inline]
pub(crate) fn dispatch(file: &OpenFile, command: u32, argument: usize) -> Result<isize> {
    let address = UserPtr::from_addr(argument);

    match command {
        RAND64 => draw(file, address, |[high, low]: [u32; 2]| {
            u64::from(high) << 32 | u64::from(low)
        })?,
        RAND => draw(file, address, |[number]: [u32; 1]| number)?,
        _ => dispatch_rare(file, command, address)?,
    }
    Ok(0)
}

/// The commands that nobody calls a million times a second.
#[inline(never)]
fn dispatch_rare(file: &OpenFile, command: u32, address: UserPtr) -> Result {
    let device = file.device();

    match command {
        SEED => {
            let seed = UserSlice::new(address, size_of::<u32>()).reader().read()?;
            device.access(|device| device.seed(seed))
        }
        SEED_WIDE => {
            let words: [u32; WIDE_SEED_WORDS] = UserSlice::new(address, size_of::<WideSeed>())
                .reader()
                .read()?;
            let request = WideSeed::from_words(words);
            let command = SeedCommand {
                command: request.command().ok_or(EINVAL)?,
                words: request.seed,
                stream: request.stream,
            };
            device.access(|device| device.command_seed(command))
        }
        SEEK => {
            let [low, high]: [u32; 2] =
                UserSlice::new(address, size_of::<u64>()).reader().read()?;
            let command = SeedCommand {
                command: SEED_SEEK,
                words: [low, high, 0, 0, 0, 0, 0, 0],
                stream: 0,
            };
            device.access(|device| device.command_seed(command))
        }
        MAP_INFO => copy_to_user(address, file.mapping()?.info()),
        WAKE => file.wake(),
        _ => Err(ENOTTY),
    }
}

/// A number as programs get it.
trait Number: AsBytes + Default {
    /// Writes it to the program's memory. Returns whether that was possible.
    fn put_user(self, to: UserPtr) -> bool;
}

impl Number for u32 {
    #[inline]
    fn put_user(self, to: UserPtr) -> bool {
        // SAFETY: The function checks that the address is in the program.
        unsafe { shim::my_rng_put_user_32(self, to.as_mut_ptr().cast()) == 0 }
    }
}

impl Number for u64 {
    #[inline]
    fn put_user(self, to: UserPtr) -> bool {
        // SAFETY: The function checks that the address is in the program.
        unsafe { shim::my_rng_put_user_64(self, to.as_mut_ptr().cast()) == 0 }
    }
}

/// Gives the program a number, or takes none from the stream.
///
/// The number is written to the program's memory before it is taken from the stream. If somebody
/// else takes it first, another is written in its place: nobody is told that the call is done until
/// the number is the program's own.
#[inline]
fn draw<const N: usize, T: Number>(
    file: &OpenFile,
    to: UserPtr,
    join: impl Fn([u32; N]) -> T,
) -> Result {
    let Some(seedable) = file.seedable() else {
        return draw_from_registers(file.device(), to, join);
    };
    match seedable.draw(|numbers| join(numbers).put_user(to)) {
        Taken::Some(()) => Ok(()),
        Taken::Refused => Err(EFAULT),
        Taken::Empty => draw_after_refill(file, seedable, to, join),
    }
}

/// As [`draw`], when there are too few numbers at hand.
#[cold]
fn draw_after_refill<const N: usize, T: Number>(
    file: &OpenFile,
    seedable: &SeedableStream,
    to: UserPtr,
    join: impl Fn([u32; N]) -> T,
) -> Result {
    loop {
        let (refill, wake) = seedable.refill(|numbers| put_user_nofault(to, join(numbers)))?;
        if wake {
            file.device()
                .access(|device| device.wake_seedable_queue())?;
        }
        match refill {
            Refill::Delivered => return Ok(()),
            Refill::Ready => match seedable.draw(|numbers| join(numbers).put_user(to)) {
                Taken::Some(()) => return Ok(()),
                Taken::Refused => return Err(EFAULT),
                // Others have drawn all of it.
                Taken::Empty => (),
            },
            Refill::Empty => file.device().access(|device| device.prefetch_numbers())?,
            // Bring in the program's memory, without a lock.
            Refill::Undelivered => copy_to_user(to, T::default())?,
        }
        if current!().signal_pending() {
            return Err(ERESTARTSYS);
        }
    }
}

/// As [`draw`], for a device without queues.
///
/// There is no way to put a number back into a register. So the memory is written to once before: a
/// bad address then costs nobody a number. (Unmapping it in between does; that is the program's own
/// doing.)
#[cold]
fn draw_from_registers<const N: usize, T: Number>(
    device: &SharedDevice,
    to: UserPtr,
    join: impl Fn([u32; N]) -> T,
) -> Result {
    copy_to_user(to, T::default())?;
    let numbers = device.access(|device| device.draw_from_registers())?;
    copy_to_user(to, join(numbers))
}

/// Writes to the program's memory without handling page faults. Returns whether all of it was
/// there.
fn put_user_nofault(to: UserPtr, value: impl AsBytes) -> bool {
    let bytes = value.as_bytes();
    // SAFETY: The bytes are valid, and the function checks that the address is in the program.
    unsafe {
        bindings::copy_to_user_nofault(to.as_mut_ptr(), bytes.as_ptr().cast(), bytes.len()) == 0
    }
}

/// Writes to the program's memory, which must not be touched inside of `Revocable::access()`.
fn copy_to_user(to: UserPtr, value: impl AsBytes) -> Result {
    UserSlice::new(to, size_of_val(&value))
        .writer()
        .write(&value)
}
