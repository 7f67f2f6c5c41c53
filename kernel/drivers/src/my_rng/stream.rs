// SPDX-License-Identifier: MIT OR Apache-2.0
//! The seedable stream: numbers that the device wrote to memory before anybody asked for them. Programs see exactly the sequence
//! that the registers would give.

use super::{
    hardware::Hardware,
    queue::{Queue, Reader},
};
use crate::random::RandomError;

/// Where in the stream we are, besides the ring.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Whether the device fills the queue. It begins when the first number is drawn: until then, and after a seed, the registers
    /// are at the same place as we.
    is_running: bool,
    is_closed: bool,
    /// Numbers that were taken out and could not be delivered, the next one last.
    undelivered: arrayvec::ArrayVec<u32, 2>,
}

/// How a draw ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The numbers were delivered.
    Done,
    /// They were not, and will be drawn by the next.
    Refused,
    /// There are not enough numbers yet.
    Empty,
}

impl Stream {
    /// Nobody draws any more: the device goes.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Puts numbers back; the first will be drawn first.
    fn put_back(&mut self, numbers: &[u32]) {
        for number in numbers.iter().rev() {
            // There is room for one draw, and no draw takes new numbers while some are left here.
            let _ = self.undelivered.try_push(*number);
        }
    }
}

/// Draws `N` numbers and hands them to `deliver`.
#[inline]
pub(super) fn draw<const N: usize>(
    queue: &Queue<Stream>,
    hardware: &Hardware,
    deliver: impl FnOnce([u32; N]) -> bool,
) -> Result<Delivery, RandomError> {
    hardware.was_there()?;
    let mut reader = queue.reader().lock();
    if reader.more.is_closed {
        return Err(RandomError::Gone);
    }
    let mut numbers = [0; N];
    for have in 0..N {
        let Some(number) = next(queue, &mut reader) else {
            reader.more.put_back(numbers.get(..have).unwrap_or_default());
            return Ok(Delivery::Empty);
        };
        if let Some(place) = numbers.get_mut(have) {
            *place = number;
        }
    }
    // After the numbers were read, and in good time before there are none left.
    queue.give_back(&mut reader, hardware);
    if deliver(numbers) {
        return Ok(Delivery::Done);
    }
    reader.more.put_back(&numbers);
    Ok(Delivery::Refused)
}

/// Takes the next number out of the stream, if there is one.
#[inline]
fn next(queue: &Queue<Stream>, reader: &mut Reader<Stream>) -> Option<u32> {
    if let Some(number) = reader.more.undelivered.pop() {
        return Some(number);
    }
    if !reader.more.is_running {
        return None;
    }
    // Nobody takes less than a number, and numbers do not lie across buffers. What is wrong with the queue, if something is, shows
    // when somebody waits.
    let piece = reader.ring.take(size_of::<u32>()).ok()??;
    Some(u32::from_le(queue.pages().number(piece.offset)))
}

/// Lets the device fetch numbers if it does not.
pub(super) fn start(queue: &Queue<Stream>, hardware: &Hardware, vector: u32) -> Result<(), RandomError> {
    let mut reader = queue.reader().lock();
    if reader.more.is_closed {
        return Err(RandomError::Gone);
    }
    if !reader.more.is_running {
        queue.start(&mut reader, hardware, vector)?;
        reader.more.is_running = true;
    }
    Ok(())
}

/// Drops what was fetched, then calls `restart`, which restarts the stream in the device.
pub(super) fn restart(
    queue: &Queue<Stream>,
    hardware: &Hardware,
    restart: impl FnOnce() -> Result<(), RandomError>,
) -> Result<(), RandomError> {
    let mut reader = queue.reader().lock();
    if reader.more.is_running {
        hardware.stop_queue(queue.number())?;
        reader.more.is_running = false;
        reader.ring.reset();
    }
    reader.more.undelivered.clear();
    restart()
}
