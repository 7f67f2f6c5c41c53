// SPDX-License-Identifier: MIT OR Apache-2.0
//! What names and files promise, tried on the machine of `exo-hal-fake`. Each test has a file system of its own as its root, and fails when
//! anything of it is still there at the end.

mod support;

mod attributes;
mod dentries;
mod descriptors;
mod devices;
mod disk;
mod io_memory;
mod links;
mod locks;
mod mounts;
mod names;
mod notify;
mod offsets;
mod opening;
mod paths;
mod permissions;
mod pipes;
mod pipes_of_the_kernel;
mod polling;
mod texts;
mod tree_model;
