// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the server counts about its clients, readable from other threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counts since the server was made. Shared: the server counts, any thread reads.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(pub(crate) $name: Counter,)+
            connected: AtomicBool,
            pub(crate) unclosed: AtomicU64,
            closing_since: Mutex<Option<Instant>>,
        }

        /// The [`Counters`] at one moment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[cfg_attr(feature = "serialize", derive(serde::Serialize, serde::Deserialize), serde(default))]
        #[non_exhaustive]
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
    /// Times that a client could not be accepted, because there was no descriptor for it, or no room for what it may have sent.
    accept_failures,
    /// Requests that were answered, or done without an answer where the client wanted none.
    requests,
    /// Requests among them that failed.
    requests_failed,
    /// Requests among the failed that asked for something that the server or the device does not have.
    requests_unsupported,
    /// Requests among the failed whose message is malformed, comes at the wrong time or brings the wrong descriptors.
    requests_malformed,
    /// Requests among the failed for a region, an interrupt or a place that does not exist or does not allow that access.
    requests_out_of_range,
    /// Requests among the failed to map or unmap memory.
    requests_of_memory_failed,
    /// Requests among the failed to set up interrupts.
    requests_of_interrupts_failed,
    /// Requests among the failed that the device itself refused.
    requests_refused_by_device,
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
    /// Clients among the dropped that broke the framing of messages.
    clients_unframed,
    /// Clients among the dropped that sent no version, one that cannot be agreed on, or something else before it.
    clients_without_version,
    /// Clients among the dropped that did not take an answer in time.
    clients_not_reading,
    /// Clients among the dropped that left no room for descriptors, because the closing of earlier ones takes so long.
    clients_unclosed,
    /// Interrupts that could not be signalled, because what was assigned is no eventfd or too many wait.
    signals_lost,
    /// Lines about clients that were not logged, because there were too many.
    log_lines_suppressed,
}

/// Why a request failed, as far as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Unsupported,
    Malformed,
    OutOfRange,
    Memory,
    Interrupts,
    Device,
}

impl Counters {
    /// A request has failed.
    pub(crate) fn add_failed(&self, reason: Reason) {
        self.requests_failed.add_one();
        let of_reason = match reason {
            Reason::Unsupported => &self.requests_unsupported,
            Reason::Malformed => &self.requests_malformed,
            Reason::OutOfRange => &self.requests_out_of_range,
            Reason::Memory => &self.requests_of_memory_failed,
            Reason::Interrupts => &self.requests_of_interrupts_failed,
            Reason::Device => &self.requests_refused_by_device,
        };
        of_reason.add_one();
    }

    /// Whether a client has the device at the moment.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Descriptors of clients that are not needed any more and not closed yet. Usually 0: only what a client sent can make
    /// their closing take long.
    pub fn unclosed_descriptors(&self) -> u64 {
        self.unclosed.load(Ordering::Relaxed)
    }

    /// How long the closing of one of them has been under way. `None`: none is.
    pub fn closing_for(&self) -> Option<Duration> {
        let since = *self.closing_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| since.elapsed())
    }

    pub(crate) fn set_closing_since(&self, since: Option<Instant>) {
        *self.closing_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
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
