// SPDX-License-Identifier: GPL-2.0

//! A device that is stopped for a while, may be reset, and goes on: suspending, errors on the bus,
//! clones of the machine.

use super::{
    generator_of,
    Device, //
};
use crate::stream_origin::Origin;
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};

impl Device<'_> {
    /// Stops all transfers before the machine is suspended. What was fetched of the seedable stream
    /// is kept.
    ///
    /// # Errors
    ///
    /// [`EIO`] when the device does not stop, [`ENODEV`] when it does not answer, [`ENOMEM`]. All
    /// goes on as before then.
    pub(crate) fn suspend(&self) -> Result {
        let Some(queues) = &self.queues else {
            return Ok(());
        };
        queues
            .seedable
            .suspend(&self.hardware)
            .and_then(|()| queues.stop_all(&self.hardware))
            .inspect_err(|_| {
                let _ = self.resume();
            })
    }

    /// Starts them again. The device may have been reset meanwhile; what it had fetched of the
    /// entropy stream is dropped in any case, as an image of it may be on a disk.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] when the device does not answer, [`EIO`] when it refuses a queue.
    pub(crate) fn resume(&self) -> Result {
        self.hardware.check_alive()?;
        let restore = |origin: Origin| {
            let generator = self.generator.load(Relaxed);
            if generator_of(&self.hardware)? != generator {
                self.hardware.set_generator(generator)?;
            }
            if let Some(seed) = origin.seed {
                self.hardware.seed(seed)?;
            }
            for command in Iterator::chain(origin.wide_seed.iter(), &origin.position) {
                self.hardware.command_seed(command)?;
            }
            Ok(())
        };
        match &self.queues {
            Some(queues) => {
                queues.seedable.resume(&self.hardware, restore)?;
                queues.mappings.invalidate_all();
                queues.entropy.restart(&self.hardware)
            }
            // Where the stream was is not known: it begins with the device's own seed.
            None => restore(Origin::BOUND),
        }
    }

    /// Notes that the device has left the bus, for now or for good.
    pub(crate) fn disconnect(&self) {
        self.hardware.set_disconnected();
        self.wake_all();
    }

    /// Goes on after the device was disconnected and reset.
    ///
    /// # Errors
    ///
    /// As of [`Device::suspend`] and [`Device::resume`].
    pub(crate) fn reconnect(&self) -> Result {
        self.hardware.reconnect()?;
        self.suspend()?;
        self.resume()
    }

    /// Drops all bytes of the entropy stream that are in memory: a clone of the machine has them,
    /// too.
    ///
    /// # Errors
    ///
    /// As of [`Device::resume`].
    pub(crate) fn drop_entropy(&self) -> Result {
        let Some(queues) = &self.queues else {
            return Ok(());
        };
        // First, so that programs stop using them at once.
        queues.mappings.invalidate_all();
        queues.mappings.request_stop_all(&self.hardware);
        queues.entropy.restart(&self.hardware)
    }
}
