// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the server counts about its clients, readable from other threads.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// Counts since the server was made. Shared: the server counts, any thread reads.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(pub(crate) $name: Counter,)+
        }

        /// The [`Counters`] at one moment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct CountersSnapshot {
            $($(#[$doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// Reads all counts. They are read one after the other, not at one instant.
            pub fn snapshot(&self) -> CountersSnapshot {
                CountersSnapshot { $($name: self.$name.get(),)+ }
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
