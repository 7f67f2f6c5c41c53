// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device for tests of drivers: its queues give nothing, do not stop when they are told to, and may be refused.
//!
//! `slow_to_stop --socket PATH [--stop-when FILE] [--events FILE] [--refuse-from N]`
//!
//! - A queue that is told to stop goes on until the file of `--stop-when` is there, or for ever.
//! - `--events` names a file to which it writes a line `stop N` when queue N is told to stop, and `look N` when the driver looks
//!   whether it has and it has not.
//! - Queues from number N of `--refuse-from` on cannot be enabled.
//! - Other options of `my-rng-device` are ignored.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use my_rng_abi::registers::{
    BAR0_SIZE, DEVICE_ID, FEATURE_QUEUES, FEATURES, IDENT, IDENT_VALUE, QUEUE_CONTROL, QUEUE_COUNT,
    QUEUE_DEPTH, QUEUE_ENABLE, QUEUE_SELECT, VENDOR_ID, VERSION, VERSION_VALUE,
};
use vfio_user_server::function::{Access, Bus, Function, PciFunction};
use vfio_user_server::pci::{ConfigSpace, Identity};
use vfio_user_server::{Listener, Server, Shutdown};

const QUEUES: usize = 8;

#[derive(Clone, Copy, PartialEq)]
enum Queue {
    Disabled,
    Enabled,
    /// Told to stop.
    Stopping,
}

struct Device {
    stop_when: Option<PathBuf>,
    events: Option<File>,
    /// The first queue that cannot be enabled.
    refused_from: usize,
    selected: usize,
    queues: [Queue; QUEUES],
    depths: [u64; QUEUES],
}

impl Device {
    fn tell(&mut self, event: &str) {
        if let Some(events) = &mut self.events {
            writeln!(events, "{event} {}", self.selected).expect("the events can be written");
        }
    }

    fn control(&mut self) -> u64 {
        let may_stop = self.stop_when.as_ref().is_some_and(|file| file.exists());
        match self.queues.get_mut(self.selected) {
            None | Some(Queue::Disabled) => 0,
            Some(Queue::Enabled) => QUEUE_ENABLE.into(),
            Some(queue) if may_stop => {
                *queue = Queue::Disabled;
                0
            }
            Some(_) => {
                self.tell("look");
                QUEUE_ENABLE.into()
            }
        }
    }

    fn set_control(&mut self, value: u64) {
        let Some(queue) = self.queues.get_mut(self.selected) else { return };
        if value & u64::from(QUEUE_ENABLE) != 0 {
            if self.selected < self.refused_from {
                *queue = Queue::Enabled;
            }
        } else if *queue == Queue::Enabled {
            *queue = Queue::Stopping;
            self.tell("stop");
        }
    }
}

impl Function for Device {
    type Outcome = ();

    fn read(&mut self, at: Access, _: &Bus) -> u64 {
        match usize::try_from(at.offset).unwrap_or(usize::MAX) {
            IDENT => IDENT_VALUE.into(),
            VERSION => VERSION_VALUE.into(),
            FEATURES => FEATURE_QUEUES.into(),
            QUEUE_COUNT => QUEUES as u64,
            QUEUE_DEPTH => self.depths.get(self.selected).copied().unwrap_or(0),
            QUEUE_CONTROL => self.control(),
            _ => 0,
        }
    }

    fn write(&mut self, at: Access, value: u64, _: &Bus) {
        match usize::try_from(at.offset).unwrap_or(usize::MAX) {
            QUEUE_SELECT => self.selected = usize::try_from(value).unwrap_or(usize::MAX),
            QUEUE_DEPTH => {
                if let Some(depth) = self.depths.get_mut(self.selected) {
                    *depth = value;
                }
            }
            QUEUE_CONTROL => self.set_control(value),
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.queues = [Queue::Disabled; QUEUES];
        self.depths = [0; QUEUES];
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut sockets, mut stop_when, mut events, mut refused_from) = (Vec::new(), None, None, QUEUES);
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        let mut path =
            || arguments.next().map(PathBuf::from).ok_or("a path is missing after the last option");
        match argument.to_str() {
            // What the lab asks a device process when a machine has ended.
            Some("status") => {
                println!("{{\"devices\":[]}}");
                return Ok(());
            }
            Some("--socket") => sockets.push(path()?),
            Some("--stop-when") => stop_when = Some(path()?),
            Some("--refuse-from") => {
                let number = path()?;
                refused_from = number.to_str().ok_or("no number")?.parse()?;
            }
            Some("--events") => events = Some(File::create(path()?)?),
            _ => {}
        }
    }
    let [socket] = &sockets[..] else {
        return Err(
            "usage: slow_to_stop --socket PATH [--stop-when FILE] [--events FILE] [--refuse-from N]".into()
        );
    };
    let identity = Identity::new(VENDOR_ID, DEVICE_ID).with_revision(0x10).with_class(0x00_ff_00);
    let config = ConfigSpace::new(&identity).with_memory_bar(0, u32::try_from(BAR0_SIZE)?).with_msi(8);
    let device = Device {
        stop_when,
        events,
        refused_from,
        selected: 0,
        queues: [Queue::Disabled; QUEUES],
        depths: [0; QUEUES],
    };
    Ok(Server::new(Listener::bind(socket)?, PciFunction::new(config, device)?).run(&Shutdown::new()?)?)
}
