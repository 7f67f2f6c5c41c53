// SPDX-License-Identifier: MIT OR Apache-2.0
//! Crashes of the kernel itself, on demand: each ends the machine through `isa-debug-exit` and explains itself.

use std::path::Path;

use anyhow::ensure;

use super::Both;
use crate::machine::{self, Config, Output, STATUS_MACHINE_FAILED};

/// Crashes the kernel as `exo.crash=` says; what it reported, which every report has the marks of.
fn crash(both: &Both<'_>, how: &str) -> anyhow::Result<String> {
    let config = Config { append: vec![format!("exo.crash={how}")], smp: 2, ..both.exo.config() };
    let outcome = machine::run(&both.exo.parts, &config, &["true".to_owned()], Output::Capture)?;
    let (status, said) = (outcome.status, outcome.log.text()?);
    ensure!(
        status == STATUS_MACHINE_FAILED,
        "status {status}, expected {STATUS_MACHINE_FAILED}; console:\n{said}"
    );
    ensure!(
        outcome.captured.stderr.contains("Exo-Kernel crashed"),
        "the crash was not recognised: {}",
        outcome.captured.stderr
    );
    for mark in ["*** Exo-Kernel: ", "CPU ", "task 1 of process 1 (init)", "back trace:"] {
        ensure!(said.contains(mark), "the report has no {mark:?}:\n{said}");
    }
    Ok(said)
}

pub(super) fn a_panic_is_reported_with_names(both: &Both<'_>) -> anyhow::Result<()> {
    let said = crash(both, "panic")?;
    ensure!(said.contains("asked for by exo.crash=panic"), "no message:\n{said}");
    ensure!(said.contains("core::panicking::panic_fmt+0x"), "no names in the back trace:\n{said}");
    // The file is named as it lies in the checkout.
    let place = said.split("panicked at ").nth(1).and_then(|rest| rest.split(':').next()).unwrap_or_default();
    let source = both.exo.parts.context.checkout.join("kernel").join(place);
    ensure!(Path::new(&source).is_file(), "{place:?} is no file of the kernel:\n{said}");
    Ok(())
}

pub(super) fn a_stack_overflow_meets_the_guard_page(both: &Both<'_>) -> anyhow::Result<()> {
    let said = crash(both, "stack")?;
    ensure!(said.contains("kernel stack overflow (guard page hit)"), "not told as a stack overflow:\n{said}");
    ensure!(said.contains("crash::overflow_stack+0x"), "the function is not named:\n{said}");
    Ok(())
}

/// Each is told at once, with the places where the locks are made, although nobody waits.
pub(super) fn what_is_wrong_with_locks_is_found(both: &Both<'_>) -> anyhow::Result<()> {
    for (how, what) in [
        ("lock", "a lock is waited for that is held here"),
        ("inversion", "but elsewhere it was the other way round"),
        ("sleep", "sleeping with a spin lock held"),
        ("copy", "touching a program's memory with a spin lock held"),
        ("window", "letting interrupts in with a spin lock held"),
    ] {
        let said = crash(both, how)?;
        ensure!(said.contains("lock checks: ") && said.contains(what), "{how}: not told:\n{said}");
        ensure!(said.contains("the one made at exo/src/crash.rs:"), "{how}: the place is not named:\n{said}");
    }
    Ok(())
}

/// What a program wrote just before is what explains a crash.
pub(super) fn what_programs_wrote_before_a_crash_arrives(both: &Both<'_>) -> anyhow::Result<()> {
    let line = "seq 5000; echo last words; echo and errors >&2; echo c > /proc/sysrq-trigger";
    let command = ["sh", "-c", line].map(str::to_owned);
    let config = Config { smp: 2, ..both.exo.config() };
    let outcome = machine::run(&both.exo.parts, &config, &command, Output::Capture)?;
    ensure!(outcome.status == STATUS_MACHINE_FAILED, "status {}", outcome.status);
    let (stdout, stderr) = (outcome.captured.stdout, outcome.captured.stderr);
    ensure!(
        stdout.ends_with("\n5000\nlast words\n"),
        "stdout ends too early: {:?}",
        stdout.lines().next_back()
    );
    ensure!(stderr.contains("and errors\n"), "stderr lacks the last line: {stderr}");
    Ok(())
}
