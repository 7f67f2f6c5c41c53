// SPDX-License-Identifier: MIT OR Apache-2.0
//! A [vfio-user] server for PCI devices, written for a client that cannot be trusted.
//!
//! vfio-user carries the Linux VFIO interface over a UNIX socket, so that a PCI device of a virtual machine can live in
//! a process of its own. This crate is the device's side: a program implements [`Device`], opens a [`Listener`] and
//! calls [`Server::run`].
//!
//! ```no_run
//! use vfio_user_server::{Device, Errno, Listener, Region, Regions, RegionInfo, Server, Shutdown};
//!
//! /// A PCI device whose only register reads 42.
//! struct FortyTwo;
//!
//! impl Device for FortyTwo {
//!     fn regions(&self) -> Regions {
//!         Regions::default().with(Region::Bar0, RegionInfo::read_write(4096))
//!     }
//!     fn region_read(&mut self, _: Region, _offset: u64, data: &mut [u8]) -> Result<(), Errno> {
//!         data.fill(42);
//!         Ok(())
//!     }
//!     fn region_write(&mut self, _: Region, _offset: u64, _data: &[u8]) -> Result<(), Errno> {
//!         Ok(())
//!     }
//!     fn reset(&mut self) {}
//! }
//!
//! let shutdown = Shutdown::new()?; // A clone of it in a signal handler's thread ends `run`.
//! let listener = Listener::bind("/run/forty-two.sock".as_ref())?;
//! Server::new(listener, FortyTwo).run(&shutdown)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A device of one PCI function need not do that itself: [`function`] puts one together from a [`pci::ConfigSpace`] and what
//! the registers do.
//!
//! # Features
//!
//! | feature | adds |
//! | --- | --- |
//! | `serialize` | serde's traits for [`CountersSnapshot`] |
//! | `testing` | guest memory and interrupts without a client, for a device's own tests and measurements |
//!
//! # What the client can and cannot do
//!
//! Every number in a message is checked once, where it enters, before anything acts on it. A message that is wrong
//! is answered with an errno that is never 0 (a client such as QEMU takes errno 0 for success), and the stream stays in
//! step, because a message's payload is read in full before it is judged. A peer that breaks the framing itself loses
//! its connection. Memory for a client is bounded by [`Limits`]; a client that reads no replies, or never says which
//! version it speaks, is dropped after a time, and none of this touches the devices on other sockets.
//!
//! Guest memory is reached through [`DmaHandle`]s: one for each thread, without a lock that threads share, and such that
//! an unmap waits for the accesses under way. Accesses are atomic operations, never Rust references into memory that
//! somebody else writes; a file that the client truncates under the mapping gives an error instead of a deadly `SIGBUS`.
//!
//! # What is not here
//!
//! Migration, dirty-page tracking, regions that the client maps, and ioeventfds. Requests for them are answered with
//! `EOPNOTSUPP`.
//!
//! [vfio-user]: https://www.qemu.org/docs/master/interop/vfio-user.html
#![deny(unnameable_types, unreachable_pub, private_interfaces, private_bounds)]
#![deny(missing_docs, rustdoc::broken_intra_doc_links, rustdoc::private_intra_doc_links)]
#![warn(missing_debug_implementations)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod counters;
mod device;
mod dma;
mod errno;
mod failure;
pub mod function;
mod irq;
mod limits;
mod listener;
mod log_budget;
pub mod pci;
mod reaper;
mod receiver;
mod request;
mod sender;
mod server;
mod session;
mod shutdown;
mod signal;
mod version;
mod wait;
mod wire;

pub use counters::{Counters, CountersSnapshot};
pub use device::{Client, Device, IrqInfo, Irqs, Region, RegionInfo, Regions};
pub use dma::{DmaAccess, DmaError, DmaHandle, GuestMemory, GuestSlice};
pub use errno::Errno;
pub use irq::{Interrupts, IrqIndex};
pub use limits::Limits;
pub use listener::{BindError, Listener, SocketFile};
pub use server::{Server, ServerError};
pub use shutdown::Shutdown;
pub use wait::Awaited;
