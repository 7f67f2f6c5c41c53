// SPDX-License-Identifier: MIT OR Apache-2.0
//! ext4 on images that e2fsprogs made: what is read, what is refused, what wrong images do. Without mke2fs, debugfs and e2fsck on the host
//! the tests that need them say so and pass.

mod crash;
mod fuzz;
mod images;
mod reading;
mod recovery;
mod refused;
mod work;
mod writing;
