// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo exo run`: the whole system at work, from a fresh checkout.

use std::time::{Duration, Instant};

use super::{Build, prepare, side_by_side};
use crate::cli::RunArgs;
use crate::context::Context;
use crate::exo_kernel::{self, Profile};
use crate::machine::{self as machines, Config, Outcome, Output, Parts, System};
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
    let linux = machines::run(&parts, &config, &shell(script), Output::PassOn)?;
    let exo = exo_part(&parts, &config)?;
    println!();
    heading("The same programs and the same device on both kernels, side by side");
    side_by_side::show(&parts, &exo.0, &config, &same_programs(args.draws))?;
    let machines = [(parts.system.name(), &linux), (exo.0.system.name(), &exo.1)];
    summary(&machines, started.elapsed());
    Ok(if linux.status == 0 { exo.1.status } else { linux.status })
}

fn shell(script: String) -> [String; 3] {
    ["sh".to_owned(), "-ec".to_owned(), script]
}

/// The same programs on this project's own kernel.
fn exo_part(linux: &Parts, config: &Config) -> anyhow::Result<(Parts, Outcome)> {
    let kernel = exo_kernel::build(&linux.context, &linux.toolroot, Profile::Optimised)?;
    let parts = Parts { system: System::Exo(kernel), ..linux.clone() };
    println!();
    heading(&format!("{}: the same static programs on this project's own kernel", parts.system.name()));
    let config = Config { smp: 2, ..config.clone() };
    let outcome = machines::run(&parts, &config, &shell(exo_script()), Output::PassOn)?;
    Ok((parts, outcome))
}

/// What both kernels show beside each other.
fn same_programs(draws: u32) -> [String; 3] {
    [
        "my-app --rounds 1".to_owned(),
        format!("rng-benchmark --count {draws} | tail -n 5"),
        "procmon query 1".to_owned(),
    ]
}

/// Announces a part in a machine's shell.
const TITLE: &str = "title() { printf '\\n# %s\\n' \"$*\"; }\n";

/// What the machine does: each part shows itself, and the first that fails ends it.
fn linux_script(draws: u32) -> String {
    format!(
        "{TITLE}\
         title 'lspci -nn -d 1234:cafe'; lspci -nn -d 1234:cafe; test -n \"$(lspci -d 1234:cafe)\"\n\
         title 'the driver in the kernel log'; dmesg | grep my_rng\n\
         title my-app; my-app\n\
         title 'rng-benchmark --count {draws}'; rng-benchmark --count {draws}\n\
         {PROCMON}{UNLOADING}"
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
until reads || ! kill -0 $reader; do :; done
sh -c '/bin/true; /bin/false; exit 3' || true
wait $reader
title 'cat /sys/class/procmon/procmon/stats'; head -n 8 /sys/class/procmon/procmon/stats
"#;

/// A module goes as it has come; Exo-Kernel's driver is a part of it.
const UNLOADING: &str =
    "title 'rmmod procmon'; rmmod procmon; test ! -e /dev/procmon; dmesg | grep procmon\n";

/// Debian's busybox, unchanged, and programs of this project.
fn exo_script() -> String {
    format!(
        "{TITLE}\
         title 'uname -a; nproc'; uname -a; nproc\n\
         title 'seq 5000 | sort -r | sha256sum'; seq 5000 | sort -r | sha256sum\n\
         title 'for i in 1 2 3; do (sleep 0.$i; echo $i) & done; wait'\n\
         for i in 1 2 3; do (sleep 0.$i; echo $i) & done; wait\n\
         {PROCMON}\
         title 'exo-tests messages'; exo-tests messages\n\
         title 'syscall-bench getpid ipc_roundtrip_ns'\n\
         syscall-bench --window 100 --runs 3 getpid ipc_roundtrip_ns\n"
    )
}

fn heading(text: &str) {
    println!("{}", ui::paint_stdout("1", text));
}

fn summary(machines: &[(String, &Outcome)], total: Duration) {
    println!();
    heading("Summary");
    for (name, outcome) in machines {
        let verdict = if outcome.status == 0 {
            ui::paint_stdout("32;1", "ok")
        } else {
            ui::paint_stdout("31;1", &format!("failed with status {}", outcome.status))
        };
        println!("  {name:<34} {verdict}, machine on for {}, {}", ui::humane(outcome.time), outcome.accel);
        println!("  {:<34} {}", "  its console's log", outcome.log.path().display());
    }
    println!("  {:<34} {}", "all together", ui::humane(total));
}
