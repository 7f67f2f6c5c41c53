// SPDX-License-Identifier: MIT OR Apache-2.0
//! The other personality: an entropy device as VIRTIO 1.2 has it (section 5.4), over PCI (section 4.1), without the legacy
//! interface. A guest needs no driver but the one that it has.
//!
//! | module | is | knows of |
//! | --- | --- | --- |
//! | [`layout`] | where everything is in configuration space and BAR 0 | the library's configuration space |
//! | [`transport`] | the registers: a pure model, as [`crate::registers`] is | what devices share |
//! | [`virtqueue`] | the device's side of the queue: as pure as [`crate::queue`] | [`crate::memory`] |
//! | [`signals`] | how the device interrupts | the client's interrupts |
//! | [`device`] | the glue | vfio-user |
//!
//! Workers, limits, metrics, entropy and the sandbox are those of the native personality.

pub mod device;
pub mod layout;
pub mod signals;
pub mod transport;
pub mod virtqueue;
