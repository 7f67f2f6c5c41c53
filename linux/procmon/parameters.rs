// SPDX-License-Identifier: GPL-2.0

//! The module's parameters, in `/sys/module/procmon/parameters/`.

use crate::{
    mechanisms::Parameter,
    module_parameter, //
};

/// How long a message can be, in bytes. A change is for messages that are written from then on.
pub(crate) static BUFFER_SIZE: Parameter =
    Parameter::new(1024, |bytes| (1..=1 << 20).contains(&bytes));

/// How long the monitor thread rests, in milliseconds.
pub(crate) static INTERVAL: Parameter =
    Parameter::new(1000, |milliseconds| (10..=60_000).contains(&milliseconds));

/// How many events each CPU's ring holds. A power of two, so that the place of an event in the ring
/// is a matter of a mask; and whole pages.
pub(crate) static RING_EVENTS: Parameter = Parameter::new(4096, |events| {
    events.is_power_of_two() && (64..=1 << 20).contains(&events)
});

module_parameter!(
    BUFFER_SIZE,
    "buffer_size",
    0o644,
    "longest message in bytes (1 to 1048576; default 1024)"
);
module_parameter!(
    INTERVAL,
    "interval_ms",
    0o644,
    "rest of the monitor thread in milliseconds (10 to 60000; default 1000)"
);
module_parameter!(
    RING_EVENTS,
    "ring_events",
    0o444,
    "events that each CPU's ring holds (a power of two, 64 to 1048576; default 4096)"
);
