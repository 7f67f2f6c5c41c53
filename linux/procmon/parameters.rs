// SPDX-License-Identifier: GPL-2.0

//! The module's parameters, in `/sys/module/procmon/parameters/`.

use crate::module_parameter;

module_parameter! {
    /// How long a message can be. A change is for messages that are written from then on.
    pub(crate) static BUFFER_SIZE = 1024;
    name: "buffer_size",
    permissions: 0o644,
    description: "longest message in bytes",
    expected: "1 to 1048576",
    is_valid: |bytes| (1..=1 << 20).contains(&bytes),
}

module_parameter! {
    /// How long the monitor thread rests.
    pub(crate) static INTERVAL = 1000;
    name: "interval_ms",
    permissions: 0o644,
    description: "rest of the monitor thread in milliseconds",
    expected: "10 to 60000",
    is_valid: |milliseconds| (10..=60_000).contains(&milliseconds),
}

module_parameter! {
    /// How many events each CPU's ring holds. A power of two, so that the place of an event in the
    /// ring is a matter of a mask; and whole pages.
    pub(crate) static RING_EVENTS = 4096;
    name: "ring_events",
    permissions: 0o444,
    description: "events that each CPU's ring holds",
    expected: "a power of two, 64 to 1048576",
    is_valid: |events| events.is_power_of_two() && (64..=1 << 20).contains(&events),
}
