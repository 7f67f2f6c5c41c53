// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs' memory promises, tried on the machine of `exo-hal-fake`, whose page tables are maps and whose frames are counted: each test
//! fails when a frame is lost.

mod support;

mod advice;
mod disk;
mod faults;
mod files;
mod forks;
mod mapped_files;
mod mapping;
mod memory_out;
mod objects;
mod pins;
mod protection;
mod remapping;
mod reverse_map;
mod usage;
