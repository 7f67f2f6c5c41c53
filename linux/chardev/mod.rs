// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers over character devices: region, class, device, file operations and attributes.
//!
//! `kernel::miscdevice` serves drivers with one node and one device per module. This is for those
//! that have several, a class of their own, attributes, or `poll`, `llseek`, splice and
//! `RWF_NOWAIT`.
//!
//! A node keeps its minor and its class, a minor keeps its region, and an open file keeps the node
//! and the module. What a file must not touch after the device was unbound belongs in a
//! [`Revocable`]. `docs/kernel-mechanisms.md` has more, `example/` a whole module.
//!
//! A module is one crate, so it compiles these sources into itself:
//!
//! ```ignore
//! #[path = "../chardev/mod.rs"]
//! pub mod chardev;
//! ```
//!
//! in the crate root, `pub` so that unused parts give no warning.

pub mod attribute;
pub mod class;
pub mod device;
pub mod fops;
pub mod ioctl;
pub mod poll_events;
pub mod position;
pub mod region;
pub mod revocable;
pub mod user;

pub use self::{
    attribute::{
        Attribute,
        AttributeGroups,
        SysfsBuffer, //
    },
    class::Class,
    device::{
        Device,
        Options,
        Registration,
        ReleaseBarrier,
        SingleNode, //
    },
    fops::FileOperations,
    poll_events::PollEvents,
    region::{
        Minor,
        Region, //
    },
    revocable::{
        Revocable,
        Revoker, //
    },
};
