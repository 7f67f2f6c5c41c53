// SPDX-License-Identifier: GPL-2.0

//! What driver, device and programs agree on: the very files that the other two are compiled from;
//! and the driver's side of a queue, which Exo-Kernel and the programs compile as well.

#[path = "../../abi/my-rng-abi/src/ioctl.rs"]
pub mod ioctl;
#[path = "../../abi/my-rng-abi/src/queue.rs"]
pub mod queue;
#[path = "../../abi/my-rng-abi/src/registers.rs"]
pub mod registers;
#[path = "../../abi/my-rng-ring/src/ring.rs"]
pub mod ring;
#[path = "../../abi/my-rng-ring/src/window.rs"]
pub mod window;
