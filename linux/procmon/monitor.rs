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
    pub(crate) fn new(events: Arc<Events>, sampler: Arc<Sampler>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            message <- Message::new(),
            operations: Operations::new()?,
            events,
            sampler,
        })
    }
}
