// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs build on files: io_uring, epoll, eventfd, timerfd, signalfd, pidfd, endpoints for messages between processes, and signals about files that are ready.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod anonymous;
pub mod asynchronous;
pub mod epoll;
pub mod event_fd;
pub mod inotify;
pub mod io_uring;
pub mod ipc;
pub mod pid_fd;
pub mod signal_fd;
pub mod timer_fd;

use exo_core::{errno, fallible, io_buf, sched, user};
use exo_fs::disk;
use exo_mm as mm;
use exo_process::{signal, task};
use exo_vfs as fs;
