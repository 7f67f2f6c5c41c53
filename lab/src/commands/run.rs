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
        "{} (Debian's own), the modules my_rng.ko and procmon.ko, the device my-rng-device",
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
         title 'rng-benchmark --count {draws}'; rng-benchmark --count {draws}\n\
         {PROCMON}"
    )
}

/// procmon's part: a message, one process, what is counted, and what happens while a shell starts two programs. (Until the
/// reader reads, nothing but the shell itself must run: that would be an event, too.)
const PROCMON: &str = r#"
title 'echo Hello Kernel > /dev/procmon; cat /dev/procmon'; echo Hello Kernel > /dev/procmon; cat /dev/procmon
title 'procmon query 1'; procmon query 1
title 'procmon events --count 9, while a shell runs true and false'
procmon events --count 9 --timeout 5 & reader=$!
reads() { while read -r line; do test "$line" = 'event_readers: 1' && return; done < /sys/class/procmon/procmon/stats; false; }
until reads; do :; done
sh -c '/bin/true; /bin/false; exit 3' || true
wait $reader
title 'cat /sys/class/procmon/procmon/stats'; head -n 8 /sys/class/procmon/procmon/stats
title 'rmmod procmon'; rmmod procmon; test ! -e /dev/procmon; dmesg | grep procmon
"#;

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
