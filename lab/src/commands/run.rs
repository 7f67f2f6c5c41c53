// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo exo run`: the whole system at work, from a fresh checkout.

use std::time::{Duration, Instant};

use super::{Build, prepare};
use crate::cli::RunArgs;
use crate::context::Context;
use crate::machine::{self as machines, Config, Outcome, Output, Parts};
use crate::ui;

/// A demonstration that takes longer is stuck.
const TIME_LIMIT: Duration = Duration::from_secs(300);

pub(super) fn run(context: &Context, args: &RunArgs) -> anyhow::Result<i32> {
    let started = Instant::now();
    let parts = prepare(context, Build::Stock)?;
    let config = Config { accel: args.accel, timeout: Some(TIME_LIMIT), ..Config::default() };
    heading(&format!(
        "{} (Debian's own), the driver my_rng.ko, the device my-rng-device",
        parts.system.name()
    ));
    let script = linux_script(args.draws);
    let outcome =
        machines::run(&parts, &config, &["sh".to_owned(), "-ec".to_owned(), script], Output::PassOn)?;
    summary(&parts, &outcome, started.elapsed());
    Ok(outcome.status)
}

/// What the machine does: each part shows itself, and the first that fails ends it.
fn linux_script(draws: u32) -> String {
    format!(
        "title() {{ printf '\\n# %s\\n' \"$*\"; }}\n\
         title 'lspci -nn -d 1234:cafe'; lspci -nn -d 1234:cafe; test -n \"$(lspci -d 1234:cafe)\"\n\
         title 'the driver in the kernel log'; dmesg | grep my_rng\n\
         title my-app; my-app\n\
         title 'rng-benchmark --count {draws}'; rng-benchmark --count {draws}\n"
    )
}

fn heading(text: &str) {
    println!("{}", ui::paint_stdout("1", text));
}

fn summary(parts: &Parts, outcome: &Outcome, total: Duration) {
    let verdict = if outcome.status == 0 {
        ui::paint_stdout("32;1", "ok")
    } else {
        ui::paint_stdout("31;1", &format!("failed with status {}", outcome.status))
    };
    println!();
    heading("Summary");
    println!(
        "  {:<34} {verdict}, machine on for {}, {}",
        parts.system.name(),
        ui::humane(outcome.time),
        outcome.accel
    );
    println!("  console log                        {}", outcome.log.display());
    println!("  all together                       {}", ui::humane(total));
}
