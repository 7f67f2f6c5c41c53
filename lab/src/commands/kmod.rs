// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo exo kmod`: modules for a Debian kernel.

use crate::cli::KmodArgs;
use crate::context::Context;
use crate::kernel::{self, Choice, Kernel};
use crate::kmod;
use crate::toolroot::Toolroot;

pub(super) fn run(context: &Context, args: &KmodArgs) -> anyhow::Result<i32> {
    let choice = match &args.kernel_release {
        Some(release) => {
            kernel::check_release(release)?;
            Choice::Release(release)
        }
        None if args.update => Choice::Refreshed,
        None => Choice::Newest,
    };
    let toolroot = Toolroot::get(context)?;
    let kernel = Kernel::stock(context, &toolroot, choice)?;
    if args.kdir {
        println!("{}", kernel.build.display());
        return Ok(0);
    }
    let modules = if args.modules.is_empty() { kmod::own_folders(context) } else { args.modules.clone() };
    let mut built = Vec::new();
    for module in &modules {
        built.extend(kmod::build(context, &toolroot, &kernel, module, args.message_format)?);
    }
    for path in built {
        println!("{}", path.display());
    }
    Ok(0)
}
