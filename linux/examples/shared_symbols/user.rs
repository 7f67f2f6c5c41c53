// SPDX-License-Identifier: GPL-2.0

//! Uses a function of another Rust module.

use kernel::prelude::*;

struct User;

impl kernel::Module for User {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("took {} and {}\n", counter::take(), counter::take());
        Ok(Self)
    }
}

module! {
    type: User,
    name: "shared_user",
    authors: ["The Exo authors"],
    description: "Uses another module's counter",
    license: "GPL",
}
