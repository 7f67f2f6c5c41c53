// SPDX-License-Identifier: GPL-2.0

//! The files in `/sys/class/my_rng/my_rngN/`.
//!
//! | file | shows |
//! | --- | --- |
//! | `interface_version` | version of the device's register interface, `major.minor` |
//! | `generator` | generator of the seedable stream; a write chooses it and restarts the stream |
//! | `seeds` | bits of the seeds that the generator takes; `stream`, `seek` if it has that, too |
//! | `streams` | what the device gives: `seedable`, and `entropy` if it has queues |
//! | `queues` | number of queues for `read(2)` |
//! | `mapped_queues` | queues that are mapped, and how many there are for that: `1 of 4` |
//! | `vectors` | number of interrupt vectors |
//! | `depth` | buffers of a queue |
//! | `bytes` | bytes given out: by `read(2)` and to the kernel, by `ioctl(2)` |
//! | `interrupts` | interrupts that came |
//! | `doorbells` | how often the device had to be woken |
//! | `waits` | how often somebody had to sleep for data |
//! | `errors` | how often a queue has failed |
//!
//! The counters begin with 0 when the device is bound, and only grow (those of a mapped queue end
//! with its file). Without queues they are 0.

use crate::{
    abi::registers::{
        GENERATOR_CHACHA20,
        GENERATOR_GLIBC,
        GENERATOR_PCG64,
        GENERATOR_XORSHIFT64_STAR,
        SEED_TAKES_256,
        SEED_TAKES_64,
        SEED_TAKES_SEEK,
        SEED_TAKES_STREAM, //
    },
    chardev::{
        Attribute,
        AttributeGroups,
        SysfsBuffer, //
    },
    device::{
        Device,
        Statistics, //
    },
    files::Node,
};
use core::fmt::{
    Arguments,
    Write, //
};
use kernel::prelude::*;

/// The attributes of a node that stands for one device.
pub(crate) fn of_device() -> &'static AttributeGroups<Node> {
    type Settings = (
        InterfaceVersion,
        Generator,
        Seeds,
        Streams,
        Queues,
        MappedQueues,
        Vectors,
        Depth,
    );
    type Counters = (Bytes, Interrupts, Doorbells, Waits, Errors);

    AttributeGroups::of_both::<Settings, Counters>()
}

/// The names of the generators.
const GENERATORS: [(&str, u32); 4] = [
    ("glibc", GENERATOR_GLIBC),
    ("xorshift64*", GENERATOR_XORSHIFT64_STAR),
    ("pcg64", GENERATOR_PCG64),
    ("chacha20", GENERATOR_CHACHA20),
];

/// What a generator may take besides seeds of 32 bits.
const SEED_ABILITIES: [(u32, &str); 4] = [
    (SEED_TAKES_64, "64"),
    (SEED_TAKES_256, "256"),
    (SEED_TAKES_STREAM, "stream"),
    (SEED_TAKES_SEEK, "seek"),
];

/// Calls `f` with the device that a node stands for.
fn access<R>(node: &Node, f: impl for<'a> FnOnce(&Device<'a>) -> Result<R>) -> Result<R> {
    let Node::Device(device) = node else {
        return Err(ENODEV);
    };
    device.access(f)
}

fn line(page: &mut SysfsBuffer<'_>, text: Arguments<'_>) -> Result {
    writeln!(page, "{text}").map_err(|_| ENOSPC)
}

struct InterfaceVersion;

#[vtable]
impl Attribute for InterfaceVersion {
    type Device = Node;

    const NAME: &'static CStr = c"interface_version";

    fn show(node: &Node, page: &mut SysfsBuffer<'_>) -> Result {
        let version = access(node, |device| device.interface_version())?;
        line(page, format_args!("{}.{}", version.major, version.minor))
    }
}

struct Generator;

#[vtable]
impl Attribute for Generator {
    type Device = Node;

    const NAME: &'static CStr = c"generator";

    fn show(node: &Node, page: &mut SysfsBuffer<'_>) -> Result {
        let number = access(node, |device| {
            if device.has_generators() {
                device.generator()
            } else {
                Ok(GENERATOR_GLIBC)
            }
        })?;
        match GENERATORS.iter().find(|(_, other)| *other == number) {
            Some((name, _)) => line(page, format_args!("{name}")),
            None => line(page, format_args!("{number}")),
        }
    }

    fn store(node: &Node, value: &[u8]) -> Result {
        let mut all = GENERATORS.iter();
        let (_, number) = all
            .find(|(name, _)| name.as_bytes() == value)
            .ok_or(EINVAL)?;

        access(node, |device| {
            if device.has_generators() {
                device.set_generator(*number)
            } else {
                Err(EOPNOTSUPP)
            }
        })
    }
}

struct Seeds;

#[vtable]
impl Attribute for Seeds {
    type Device = Node;

    const NAME: &'static CStr = c"seeds";

    fn show(node: &Node, page: &mut SysfsBuffer<'_>) -> Result {
        let abilities = access(node, |device| device.seed_abilities())?;
        // SEED is there without longer ones.
        write!(page, "32").map_err(|_| ENOSPC)?;
        for (ability, name) in SEED_ABILITIES {
            if abilities & ability != 0 {
                write!(page, " {name}").map_err(|_| ENOSPC)?;
            }
        }
        line(page, format_args!(""))
    }
}

struct Streams;

#[vtable]
impl Attribute for Streams {
    type Device = Node;

    const NAME: &'static CStr = c"streams";

    fn show(node: &Node, page: &mut SysfsBuffer<'_>) -> Result {
        if access(node, |device| Ok(device.statistics().is_some()))? {
            line(page, format_args!("entropy seedable"))
        } else {
            line(page, format_args!("seedable"))
        }
    }
}

struct MappedQueues;

#[vtable]
impl Attribute for MappedQueues {
    type Device = Node;

    const NAME: &'static CStr = c"mapped_queues";

    fn show(node: &Node, page: &mut SysfsBuffer<'_>) -> Result {
        let statistics = access(node, |device| Ok(device.statistics()))?;
        let (all, used) = statistics.map_or((0, 0), |statistics| statistics.mapped_queues);
        line(page, format_args!("{used} of {all}"))
    }
}

struct Bytes;

#[vtable]
impl Attribute for Bytes {
    type Device = Node;

    const NAME: &'static CStr = c"bytes";

    fn show(node: &Node, page: &mut SysfsBuffer<'_>) -> Result {
        let statistics = access(node, |device| Ok(device.statistics()))?;
        // What was read from mapped queues, only the programs know.
        let (entropy, seedable) = statistics.map_or((0, 0), |statistics| {
            (statistics.bytes, statistics.seedable_bytes)
        });
        line(page, format_args!("{entropy} {seedable}"))
    }
}

/// Defines an attribute that shows one of the [`Statistics`].
macro_rules! statistic {
    ($type:ident, $name:literal, $value:expr) => {
        struct $type;

        #[vtable]
        impl Attribute for $type {
            type Device = Node;

            const NAME: &'static CStr = $name;

            fn show(node: &Node, page: &mut SysfsBuffer<'_>) -> Result {
                let of: fn(&Statistics) -> u64 = $value;
                let statistics = access(node, |device| Ok(device.statistics()))?;
                line(page, format_args!("{}", statistics.as_ref().map_or(0, of)))
            }
        }
    };
}

// CAST: Lossless.
statistic!(Queues, c"queues", |statistics| statistics.entropy_queues
    as u64);
statistic!(Vectors, c"vectors", |statistics| statistics.vectors as u64);
statistic!(Depth, c"depth", |statistics| statistics.depth.into());
statistic!(Interrupts, c"interrupts", |statistics| statistics
    .interrupts);
statistic!(Doorbells, c"doorbells", |statistics| statistics.doorbells);
statistic!(Waits, c"waits", |statistics| statistics.waits);
statistic!(Errors, c"errors", |statistics| statistics.errors);
