// SPDX-License-Identifier: GPL-2.0

//! What this driver needs of `linux/mechanisms`.

#[path = "../mechanisms/parameter.rs"]
pub mod parameter;
