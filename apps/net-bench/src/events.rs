// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event files. What an event costs by epoll must not depend on how many descriptors are watched and idle.

use std::os::fd::OwnedFd;
use std::time::Duration;

use bench_report::{Failure, nanoseconds};
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors beside those that are watched: the program's own.
const OTHERS: u64 = 100;

/// Allows the program to open `count` descriptors and a few more, as far as its hard limit goes.
fn allow_descriptors(count: u64) -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = count + OTHERS;
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    // A program that acts for root may raise both.
    let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })?)
}

fn counter() -> rustix::io::Result<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC)
}

/// Nanoseconds for a number that is written to an eventfd and read again.
pub(crate) fn eventfd_write_read(window: Duration) -> Result<f64, Failure> {
    let fd = counter()?;
    let mut value = [0; 8];
    nanoseconds(window, |count| {
        for _ in 0..count {
            rustix::io::write(&fd, &1_u64.to_ne_bytes())?;
            rustix::io::read(&fd, &mut value)?;
        }
        Ok(())
    })
}

/// Nanoseconds for an event that is made, waited for and taken back, beside so many descriptors that nothing happens to.
fn event(window: Duration, idle: u64) -> Result<f64, Failure> {
    allow_descriptors(idle)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let idle: Vec<OwnedFd> = (0..idle).map(|_| counter()).collect::<Result<_, _>>()?;
    let busy = counter()?;
    for (number, fd) in idle.iter().chain([&busy]).enumerate() {
        epoll::add(&epoll, fd, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
    }
    let expected = idle.len() as u64;
    nanoseconds(window, |count| {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(8);
        let mut value = [0; 8];
        for _ in 0..count {
            rustix::io::write(&busy, &1_u64.to_ne_bytes())?;
            events.clear();
            epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
            match events.as_slice() {
                [event] if event.data.u64() == expected => {}
                _ => return Err(format!("{} events, of which one was expected", events.len()).into()),
            }
            rustix::io::read(&busy, &mut value)?;
        }
        Ok(())
    })
}

pub(crate) fn epoll_10(window: Duration) -> Result<f64, Failure> {
    event(window, 10)
}

pub(crate) fn epoll_10k(window: Duration) -> Result<f64, Failure> {
    event(window, 10_000)
}
