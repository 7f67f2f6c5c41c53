// SPDX-License-Identifier: MIT OR Apache-2.0
//! `guest-init`: the `/init` of Exo's machines, on Linux and on Exo-Kernel. It is not a general init: it prepares one
//! machine for one command, runs it, hands its exit status to the host and powers the machine off.
//!
//! What to do stands in `/etc/exo/guest.conf` ([`conf`] lists every key) and in words `exo.KEY=VALUE` of the kernel
//! command line, which win. How output and status reach the host is told in [`channel`].
//!
//! # The status that the host sees
//! | status | meaning |
//! | --- | --- |
//! | 0–124 | the command's own |
//! | 125 | the machine could not be prepared: bad configuration, a module that does not load, a mount that fails; or the command succeeded and [`final_check`] has found something |
//! | 126, 127 | the command could not be executed, was not found (as in a shell) |
//! | 128 + S | the command was killed by signal S |
//!
//! Whatever goes wrong is said on the command's standard error and on the console, and the machine powers off.
#![forbid(unsafe_code)]

mod channel;
mod command;
mod conf;
mod failure;
mod files;
mod final_check;
mod kernel_log;
mod kernel_relay;
mod modules;
mod mounts;
mod network;
mod power;
mod processes;
mod relay;
mod serial;
mod session;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};

use channel::Channel;
use conf::{Conf, Mode};
use failure::Failure;

/// Where the configuration lies in the initramfs.
const CONF: &str = "/etc/exo/guest.conf";

/// The status of a machine that could not be prepared, as of `docker run` and `env`, or that was not in order at its end.
const STATUS_NOT_PREPARED: u8 = 125;

fn main() {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|word| word == session::FLAG) {
        std::process::exit(session::run(arguments.get(1..).unwrap_or_default()).into());
    }
    if std::process::id() != 1 {
        // Everything below ends in a power-off: never on a machine that somebody else runs.
        eprintln!(
            "guest-init: this is the first process of Exo's machines (PID 1) and does nothing elsewhere"
        );
        std::process::exit(2);
    }
    let mut channel = Channel::console();
    let status = guarded(|| prepare_and_run(&mut channel)).unwrap_or_else(|failure| {
        channel.report(&failure.to_string());
        failure.status()
    });
    if let Err(failure) = guarded(|| channel.finish(status)) {
        eprintln!("guest-init: {failure}");
    }
    power::off()
}

/// Runs `work`; a panic in it becomes a [`Failure`], because the first process must live until the machine is off.
fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().map(String::as_str);
        let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(Failure::new(format!("a bug in guest-init: {why}")))
    })
}

fn prepare_and_run(channel: &mut Channel) -> Result<u8, Failure> {
    mounts::file_systems_of_the_kernel();
    let conf = Conf::read(CONF)?;
    *channel = Channel::open(conf.channel, conf.acknowledge)?;

    if conf.final_check {
        final_check::is_possible()?;
    }
    files::prepare()?;
    if let Some(name) = &conf.hostname {
        rustix::system::sethostname(name.as_bytes())
            .map_err(|error| Failure::new(format!("cannot set the host name to {name:?}: {error}")))?;
    }
    for mount in &conf.mounts {
        mounts::mount(mount)?;
    }
    for module in &conf.modules {
        modules::load(module)?;
    }
    network::start_loopback();
    if let Some(wanted) = &conf.network {
        network::start(wanted)?;
    }
    let status = match &conf.mode {
        Mode::Command(source) => command::run(source, &conf, channel),
        Mode::Shell(program) => session::start(program, &conf),
    }?;
    if !conf.final_check {
        return Ok(status);
    }
    let findings = final_check::run(&conf.modules);
    for finding in &findings {
        channel.report(&format!("final check: {finding}"));
    }
    // What the command says about itself tells more than that something else was wrong as well.
    Ok(if status == 0 && !findings.is_empty() { STATUS_NOT_PREPARED } else { status })
}
