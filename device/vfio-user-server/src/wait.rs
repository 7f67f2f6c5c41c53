// SPDX-License-Identifier: MIT OR Apache-2.0
//! One wait for everything that concerns a server: its socket, its client, its end, and what its device waits for itself.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::device::Device;
use crate::sender::timespec;
use crate::server::ServerError;

/// What a [`Device`] waits for beside its client; see [`Device::awaited`].
#[derive(Debug, Default)]
pub struct Awaited<'d> {
    descriptors: Vec<(u64, BorrowedFd<'d>, PollFlags)>,
    deadline: Option<Instant>,
}

impl<'d> Awaited<'d> {
    /// Until `descriptor` can be read, or its other end is gone. Then [`Device::ready`] is called with `token`.
    pub fn readable(&mut self, token: u64, descriptor: &'d impl AsFd) {
        self.descriptors.push((token, descriptor.as_fd(), PollFlags::IN));
    }

    /// Until `descriptor` can be written, or its other end is gone. Then [`Device::ready`] is called with `token`.
    pub fn writable(&mut self, token: u64, descriptor: &'d impl AsFd) {
        self.descriptors.push((token, descriptor.as_fd(), PollFlags::OUT));
    }

    /// Until that moment. Then [`Device::time_has_come`] is called. Of several moments the first one counts.
    pub fn until(&mut self, moment: Instant) {
        self.deadline = Some(self.deadline.map_or(moment, |earlier| earlier.min(moment)));
    }
}

/// What has happened of what a device waits for.
#[derive(Debug, Default)]
pub(crate) struct Happened {
    tokens: Vec<u64>,
    time: bool,
}

impl Happened {
    /// Lets the device know.
    pub(crate) fn tell(self, device: &mut impl Device) {
        self.tokens.into_iter().for_each(|token| device.ready(token));
        if self.time {
            device.time_has_come();
        }
    }
}

/// Waits until one of `own` can be read or is gone, something happens that the device waits for, or `patience` is over.
/// Gives which of `own` it was, and what the device is to be told.
pub(crate) fn wait<const N: usize>(
    own: [Option<BorrowedFd<'_>>; N],
    device: &impl Device,
    patience: Option<Duration>,
) -> Result<([bool; N], Happened), ServerError> {
    let mut awaited = Awaited::default();
    device.awaited(&mut awaited);
    let until_deadline = awaited.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let timeout = patience.into_iter().chain(until_deadline).min().map(timespec);
    let of_device = awaited.descriptors.iter();
    let mut descriptors: Vec<_> =
        of_device.map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
    descriptors.extend(own.into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    match poll(&mut descriptors, timeout.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(([false; N], Happened::default())),
        Err(errno) => return Err(ServerError::Poll(errno.into())),
    }
    let mut found = descriptors.iter().map(|descriptor| !descriptor.revents().is_empty());
    let tokens = awaited.descriptors.iter().zip(&mut found).filter(|(_, found)| *found);
    let tokens = tokens.map(|((token, ..), _)| *token).collect();
    let own = own.map(|descriptor| descriptor.is_some() && found.next() == Some(true));
    let time = awaited.deadline.is_some_and(|deadline| deadline <= Instant::now());
    Ok((own, Happened { tokens, time }))
}
