// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a ring has on its way in devices.

use alloc::{sync::Arc, vec::Vec};

use super::job::Job;
use crate::{disk::Disk, errno::Errno};

/// A request on its way in a device, in one or several parts.
pub(super) struct Flight {
    pub(super) job: Job,
    /// Parts that have not ended.
    pub(super) left: usize,
    /// The part with an error that comes first: its byte in the request, and the error.
    pub(super) error: Option<(u64, Errno)>,
    /// The request's first byte on the device.
    pub(super) start: u64,
    /// Bytes of a sector.
    pub(super) sector_size: u32,
    /// Bytes in all.
    pub(super) bytes: usize,
}

/// What is on its way in devices.
#[derive(Default)]
pub(super) struct Flights {
    /// By token; free places have none.
    pub(super) places: Vec<Option<Flight>>,
    free: Vec<usize>,
}

impl Flights {
    /// Puts one away; its token.
    pub(super) fn add(&mut self, flight: Flight) -> usize {
        match self.free.pop() {
            Some(place) => {
                if let Some(slot) = self.places.get_mut(place) {
                    *slot = Some(flight);
                }
                place
            }
            None => {
                self.places.push(Some(flight));
                self.places.len() - 1
            }
        }
    }

    /// Takes out the one with this token.
    pub(super) fn remove(&mut self, place: usize) -> Option<Flight> {
        let flight = self.places.get_mut(place)?.take()?;
        self.free.push(place);
        Some(flight)
    }

    /// Whether requests are on their way.
    pub(super) fn is_empty(&self) -> bool {
        self.places.len() == self.free.len()
    }

    /// Whether a request that matches is on its way.
    pub(super) fn any(&self, matches: impl Fn(&Job) -> bool) -> bool {
        self.places.iter().flatten().any(|flight| matches(&flight.job))
    }
}

/// A disk that a ring has given requests to, from a CPU.
pub(super) struct Used {
    pub(super) disk: Arc<Disk>,
    pub(super) cpu: usize,
    /// Requests since the last doorbell.
    pub(super) has_news: bool,
}
