// SPDX-License-Identifier: GPL-2.0

//! What the module and programs agree on: the very files that programs are compiled from.

use kernel::transmute::{
    AsBytes,
    FromBytes, //
};

#[path = "../../abi/procmon-abi/src/event.rs"]
pub mod event;
#[path = "../../abi/procmon-abi/src/ioctl.rs"]
pub mod ioctl;
#[path = "../../abi/procmon-abi/src/process.rs"]
pub mod process;
#[path = "../../abi/procmon-abi/src/rates.rs"]
pub mod rates;
#[path = "../../abi/procmon-abi/src/ring.rs"]
pub mod ring;

/// Says that structures may be copied to and from programs as they are in memory.
macro_rules! plain_data {
    ($($type:ty: $size:literal),+ $(,)?) => {
        $(
            // No gaps between the fields or after them, through which something could leak.
            const _: () = assert!(size_of::<$type>() == $size);

            // SAFETY: Whole numbers without padding; the size above is the sum of those of the
            // fields.
            unsafe impl AsBytes for $type {}

            // SAFETY: Whole numbers, of which all values are valid.
            unsafe impl FromBytes for $type {}
        )+
    };
}

plain_data! {
    ioctl::Stats: 40,
    ioctl::Stats32: 20,
    ioctl::Query: 32,
    ioctl::Query32: 28,
    ioctl::Snapshot: 16,
    process::Record: 80,
    event::Event: 64,
}
