// SPDX-License-Identifier: GPL-2.0

//! `my_rng`: the driver of Exo's random-number device.
//!
//! This file is the module: what it is called, what it consists of, and in which order its parts
//! come up. README.md beside it tells how the parts work together.

use kernel::{
    driver,
    prelude::*,
    InPlaceModule,
    ModuleMetadata, //
};

pub mod abi;
#[path = "../chardev/mod.rs"]
pub mod chardev;
pub mod mechanisms;

mod adapter;
mod attributes;
mod bus_master;
mod device;
mod dma_memory;
mod entropy_stream;
mod files;
mod hardware;
mod hwrng;
mod interrupts;
mod ioctl;
mod mapped_queue;
mod parameters;
mod pci_driver;
mod pci_enable_guard;
mod queue;
mod read;
mod registers;
mod registry;
mod seedable_stream;
mod shim;
mod stream_origin;
mod vmfork;

/// The loaded module.
///
/// Fields are dropped as they are declared: first the driver, which takes every device away from
/// us, then what the devices were registered in.
#[pin_data]
struct MyRng {
    #[pin]
    _driver: driver::Registration<adapter::Adapter>,
    _registry: registry::RegistryGuard,
}

impl InPlaceModule for MyRng {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // Initialised as they are written: the registry must be there before the first device.
        try_pin_init!(Self {
            _registry: {
                // SAFETY: A module is initialised once each time it is loaded.
                unsafe { registry::RegistryGuard::new() }?
            },
            _driver <- driver::Registration::new(<Self as ModuleMetadata>::NAME, module),
        })
    }
}

module! {
    type: MyRng,
    name: "my_rng",
    authors: ["The Exo authors"],
    description: "Random numbers from Exo's PCI device 1234:cafe",
    license: "GPL",
}

module_version!("0.1.0");
