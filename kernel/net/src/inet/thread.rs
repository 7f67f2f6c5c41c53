// SPDX-License-Identifier: MIT OR Apache-2.0
//! The thread that works for connections with other machines: it polls the interfaces when a frame, a program or the time asks for it, decides
//! about what came, and moves bytes between the interfaces' connections and the programs'.

use alloc::sync::Arc;

use exo_drivers::network::{Arrived, interface::Interface};

use super::{icmp, tcp, udp};
use crate::{interfaces, sched};

/// What the thread does; it does not end.
pub fn run() {
    interfaces::begin_thread();
    loop {
        interfaces::wait_for_work();
        work_once();
        sched::spans::window();
        sched::give_way();
    }
}

/// Does what there is to do now.
pub fn work_once() {
    loop {
        interfaces::all().for_each(|interface| work(&interface));
        interfaces::gone().iter().for_each(|interface| tell(interface));
        icmp::take_all();
        tcp::establish_called();
        if !tcp::work() {
            return;
        }
        // What was moved is to be sent.
    }
}

/// Polls an interface, and hears what has changed by that.
fn work(interface: &Arc<Interface>) {
    interfaces::work(interface);
    while let Some(arrived) = interface.arrived() {
        match arrived {
            Arrived::Opens(request) => tcp::opens(interface, request),
            Arrived::Completes(request) => tcp::completes(interface, request),
            Arrived::Datagram(datagram) => udp::take(interface, datagram),
        }
        sched::spans::window();
    }
    interface.flush();
    tell(interface);
}

/// Has those connections looked at that something has happened to.
fn tell(interface: &Interface) {
    while let Some(number) = interface.changed() {
        tcp::mark(number);
    }
}
