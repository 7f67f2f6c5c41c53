// SPDX-License-Identifier: GPL-2.0

//! Starting, stopping and waking queues.

use super::{
    Hardware,
    ALL_ONES, //
};
use crate::registers::{
    DOORBELL,
    FEATURES,
    QUEUE_CONTROL,
    QUEUE_COUNT,
    QUEUE_DEPTH,
    QUEUE_DESCRIPTORS_HIGH,
    QUEUE_DESCRIPTORS_LOW,
    QUEUE_SELECT,
    QUEUE_STATE_HIGH,
    QUEUE_STATE_LOW,
    QUEUE_VECTOR, //
};
use kernel::{
    io::Io,
    prelude::*,
    sync::atomic::Relaxed,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
};

/// How long a device may take to stop its queues. It fills one buffer in less than a millisecond; a
/// host that is busy with other things may need much longer. Unbinding takes less than two seconds
/// with this.
const QUEUE_STOP_TIMEOUT: Delta = Delta::from_millis(1500);

/// How often it is looked whether a queue has stopped.
const STOP_POLL_INTERVAL: Delta = Delta::from_micros(50);

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

    /// Wakes a queue.
    pub(crate) fn ring_doorbell(&self, number: u32) {
        self.bar.write_reg(DOORBELL::zeroed().with_number(number));
    }
}
