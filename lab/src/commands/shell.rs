// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo exo shell`: an interactive machine.

use anyhow::{Context as _, ensure};

use super::{machine, prepare_wanted};
use crate::cli::ShellArgs;
use crate::context::Context;
use crate::machine::{self as machines, System};

pub(super) fn run(context: &Context, args: ShellArgs) -> anyhow::Result<i32> {
    let (wanted, mut config) = machine(args.machine)?;
    let parts = prepare_wanted(context, &wanted)?;
    let shared = match &parts.system {
        System::Linux(linux) => {
            // The kernel's messages share the terminal with the person: warnings only.
            config.append.push("loglevel=5".to_owned());
            let shared = args.share.unwrap_or_else(|| context.modules(&linux.kernel.release));
            Some(shared.canonicalize().with_context(|| format!("cannot share {}", shared.display()))?)
        }
        System::Exo(_) => {
            ensure!(
                args.share.is_none(),
                "--share: Exo-Kernel cannot mount folders of the host; --file copies them"
            );
            None
        }
    };
    machines::shell(&parts, &config, shared.as_deref())
}
