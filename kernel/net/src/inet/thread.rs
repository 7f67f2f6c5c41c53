// SPDX-License-Identifier: MIT OR Apache-2.0
//! The thread that works for connections with other machines: it polls the interfaces when a frame, a program or the time asks for it, and
//! moves bytes between the interfaces' sockets and the programs'.

use super::{icmp, tcp, udp};
use crate::{interfaces, sched};

/// What the thread does; it does not end.
pub fn run() {
    interfaces::begin_thread();
    loop {
        interfaces::wait_for_work();
        interfaces::work_on_all();
        udp::take_all();
        icmp::take_all();
        if tcp::move_bytes() {
            // What was moved is to be sent.
            interfaces::work_on_all();
        }
        sched::spans::window();
        sched::give_way();
    }
}
