// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the server counts about its clients, readable from other threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counts since the server was made. Shared: the server counts, any thread reads.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(pub(crate) $name: Counter,)+
            connected: AtomicBool,
        }

        /// The [`Counters`] at one moment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct CountersSnapshot {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// Reads all counts. They are read one after the other, not at one instant.
            pub fn snapshot(&self) -> CountersSnapshot {
                CountersSnapshot { $($name: self.$name.get(),)+ }
            }
        }

        impl CountersSnapshot {
            /// Every count with its name and what it means.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + use<> {
                [$((stringify!($name), concat!($($doc,)+).trim_ascii(), self.$name),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Clients that were served.
    clients,
    /// Clients that were turned away because another one had the device.
    clients_refused,
    /// Clients that lost the connection because they broke the protocol's framing or order, or did not answer in time.
    clients_dropped,
    /// Requests that were answered, or done without an answer where the client wanted none.
    requests,
    /// Requests among them that failed.
    requests_failed,
    /// DMA maps that failed. QEMU only logs such an answer, so this is where the loss can be seen.
    dma_maps_failed,
    /// Replies that belong to no request of ours.
    stray_replies,
    /// Accesses of the device to guest memory that is not there, not for that access, or gone from under its map.
    dma_faults,
    /// DMA messages that were sent to clients, for memory that came without a descriptor.
    dma_messages,
    /// DMA messages among them that were refused, or not answered in time or in a way that makes sense.
    dma_messages_failed,
}

impl Counters {
    /// Whether a client has the device at the moment.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }
}

/// A count that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The count so far.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
