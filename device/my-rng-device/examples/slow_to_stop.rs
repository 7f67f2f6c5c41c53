// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device for tests of drivers: it has queues that give nothing and are slow to stop, or never do.
//!
//! `slow_to_stop --socket PATH… [--stop-after MILLISECONDS]`; without the latter a queue that is told to stop goes on for
//! ever. Other options of `my-rng-device` are ignored.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use my_rng_abi::registers::{
    BAR0_SIZE, DEVICE_ID, FEATURE_QUEUES, FEATURES, IDENT, IDENT_VALUE, QUEUE_CONTROL, QUEUE_COUNT,
    QUEUE_DEPTH, QUEUE_ENABLE, QUEUE_SELECT, VENDOR_ID, VERSION, VERSION_VALUE,
};
use vfio_user_server::function::{Access, Bus, Function, PciFunction};
use vfio_user_server::pci::{ConfigSpace, Identity};
use vfio_user_server::{Listener, Server, Shutdown};

const QUEUES: usize = 8;

/// When a queue goes on or has stopped.
#[derive(Clone, Copy)]
enum Queue {
    Disabled,
    Enabled,
    /// Until then it is enabled; without a time, for ever.
    Stopping(Option<Instant>),
}

struct Device {
    stop_after: Option<Duration>,
    selected: usize,
    queues: [Queue; QUEUES],
    depths: [u64; QUEUES],
}

impl Function for Device {
    fn read(&mut self, at: Access, _: &Bus) -> u64 {
        match usize::try_from(at.offset).unwrap_or(usize::MAX) {
            IDENT => IDENT_VALUE.into(),
            VERSION => VERSION_VALUE.into(),
            FEATURES => FEATURE_QUEUES.into(),
            QUEUE_COUNT => QUEUES as u64,
            QUEUE_DEPTH => self.depths.get(self.selected).copied().unwrap_or(0),
            QUEUE_CONTROL => match self.queues.get(self.selected) {
                Some(Queue::Enabled | Queue::Stopping(None)) => QUEUE_ENABLE.into(),
                Some(Queue::Stopping(Some(end))) if Instant::now() < *end => QUEUE_ENABLE.into(),
                _ => 0,
            },
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
            QUEUE_CONTROL => {
                if let Some(queue) = self.queues.get_mut(self.selected) {
                    *queue = match (value & u64::from(QUEUE_ENABLE) != 0, *queue) {
                        (true, _) => Queue::Enabled,
                        (false, Queue::Enabled) => {
                            Queue::Stopping(self.stop_after.map(|after| Instant::now() + after))
                        }
                        (false, other) => other,
                    };
                }
            }
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.queues = [Queue::Disabled; QUEUES];
        self.depths = [0; QUEUES];
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut sockets, mut stop_after) = (Vec::new(), None);
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            // What the lab asks a device process when a machine has ended.
            Some("status") => {
                println!("{{\"devices\":[]}}");
                return Ok(());
            }
            Some("--socket") => sockets.push(PathBuf::from(arguments.next().ok_or("--socket needs a path")?)),
            Some("--stop-after") => {
                let text = arguments.next().ok_or("--stop-after needs milliseconds")?;
                stop_after = Some(Duration::from_millis(text.to_str().ok_or("no number")?.parse()?));
            }
            _ => {}
        }
    }
    let [socket] = &sockets[..] else { return Err("usage: slow_to_stop --socket PATH".into()) };
    let identity = Identity::new(VENDOR_ID, DEVICE_ID).with_revision(0x10).with_class(0x00_ff_00);
    let config = ConfigSpace::new(&identity).with_memory_bar(0, u32::try_from(BAR0_SIZE)?).with_msi(8);
    let device = Device { stop_after, selected: 0, queues: [Queue::Disabled; QUEUES], depths: [0; QUEUES] };
    Ok(Server::new(Listener::bind(socket)?, PciFunction::new(config, device)?).run(&Shutdown::new()?)?)
}
