// SPDX-License-Identifier: GPL-2.0

//! What is behind `/dev/procmon`.

use crate::{
    events::Events,
    message::Message,
    operations::Operations,
    sampler::Sampler, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The node's data.
#[pin_data]
pub(crate) struct Monitor {
    #[pin]
    pub(crate) message: Message,
    pub(crate) operations: Operations,
    pub(crate) events: Arc<Events>,
    pub(crate) sampler: Arc<Sampler>,
}

impl Monitor {
    /// An empty message, and counters at zero.
    ///
    /// # Safety
    ///
    /// What is initialised must be dropped before the module is unloaded.
    pub(crate) unsafe fn new(
        events: Arc<Events>,
        sampler: Arc<Sampler>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // SAFETY: By the requirements of this function.
            message <- unsafe { Message::new() },
            operations: Operations::new()?,
            events,
            sampler,
        })
    }
}
