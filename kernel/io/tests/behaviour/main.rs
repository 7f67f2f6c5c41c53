// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs build on files, on a machine of the host: see `exo-test-support`.

mod asynchronous;
mod endpoints;
mod epoll;
mod epoll_nesting;
mod event_fd;
mod inotify;
mod ring;
mod ring_chains;
mod ring_disk;
mod ring_requests;
mod ring_resources;
mod ring_setup;
mod ring_worker;
mod support;
mod timer_fd;
