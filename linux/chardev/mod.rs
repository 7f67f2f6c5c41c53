// SPDX-License-Identifier: GPL-2.0

//! Character devices for out-of-tree modules, with a safe face.
//!
//! Linux 7.3 has Rust abstractions for *misc* devices, which share one major number and one class.
//! A driver with several devices, a class of its own or attributes beside its nodes needs the parts
//! that misc devices hide, and for those there is no abstraction yet. This folder is one:
//!
//! | file | holds | C side |
//! | --- | --- | --- |
//! | [`region`] | a major number and its minors | `alloc_chrdev_region()` |
//! | [`class`] | `/sys/class/NAME` | `class_register()` |
//! | [`device`] | one node: `struct device` and `struct cdev` in one object | `cdev_device_add()` |
//! | [`fops`] | what a program can do with an open node | `struct file_operations` |
//! | [`position`] | reading and writing a node that has a size | `fixed_size_llseek()` |
//! | [`attribute`] | the node's files in sysfs | `struct device_attribute` |
//! | [`revocable`] | hardware that open files may use until it is taken away | SRCU |
//!
//! # How a node comes to be
//!
//! ```ignore
//! let region = Region::new(c"echo", 16)?;          // "echo" in /proc/devices, dynamic major
//! let class = Class::new(c"echo")?;                // /sys/class/echo
//! let minor = region.reserve(0)?;                  // the lowest minor that is free
//! let node = Registration::new::<EchoFiles>(       // /dev/echo0, made by the kernel
//!     &class,
//!     minor,
//!     fmt!("echo0"),
//!     Options { mode: 0o600, ..Options::DEFAULT },
//!     Echo::new(),
//! )?;
//! ```
//!
//! From the last call on programs can open the node; `EchoFiles` implements
//! [`FileOperations`]. Dropping `node` removes it. There is no order to get wrong: a node keeps its
//! minor and its class, a minor keeps its region.
//!
//! # Who keeps what alive
//!
//! ```text
//!  Registration ──▶ Device<T> ──▶ Class          open file ──▶ cdev in Device<T>
//!        └────────▶ Minor ──────▶ Region                └────▶ the module (file_operations.owner)
//! ```
//!
//! * While a file is open, its `Device<T>` (and so its `T`) stays, and the module cannot be
//!   unloaded: `rmmod` says that it is in use.
//! * A device can go away while its file is open: that is what unbinding and hot-unplug mean. What
//!   the file must not touch any more belongs behind a [`revocable`].
//!
//! # Taking it into a module
//!
//! One Rust module is one crate, so the sources are compiled into each module that uses them:
//!
//! ```ignore
//! #[path = "../chardev/mod.rs"]
//! pub mod chardev;
//! ```
//!
//! in the crate root, by this name (macros and paths inside rely on `crate::chardev`), and `pub` so
//! that a module may leave parts unused without a warning.

pub mod attribute;
pub mod class;
pub mod device;
pub mod fops;
pub mod position;
pub mod region;
pub mod revocable;

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
        Registration, //
    },
    fops::FileOperations,
    region::{
        Minor,
        Region, //
    },
    revocable::{
        Revocable,
        Revoker, //
    },
};
