// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs on both kernels: C from gcc, Rust with std. And what no program may do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::super::Lab;
use super::super::vm::{shell, succeed};
use super::Both;
use crate::machine::{Captured, Config};
use crate::process::output;
use crate::programs::build_guest;
use crate::ui;

/// What stands before the words that a C program must have printed on Linux, so that two that fail alike are not alike.
const EXPECTED: &str = "// On Linux it prints: ";

/// The tests of `exo-tests` whose output is compared, and a part of it.
const COMPARED: [(&str, &str); 5] = [
    ("threads", "40000 Ok(349930000)\n"),
    ("channels", "10000 messages, sum 162495000\n"),
    ("maps", "16384 words, 100000 in all, Some(7) at most\n"),
    ("files", "[\"second\", \"third\", \"fourth\"]\n"),
    ("processes", "20 children\n"),
];

/// The numbers of processors that programs with threads are tried on.
pub(super) const PROCESSORS: [u32; 2] = [1, 2];

pub(super) fn c_programs_behave_alike(both: &Both<'_>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let mut lines = Vec::new();
    let sources = both.exo.parts.context.checkout.join("kernel/tests/c");
    // The machines have the libraries that lspci is linked with.
    for (sources, linking) in [(sources.clone(), Some("-static")), (sources.join("dynamic"), None)] {
        for source in c_sources(&sources)? {
            let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let mut gcc = both.exo.parts.toolroot.command("gcc", Path::new("/"))?;
            gcc.args(["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]).args(linking);
            output(gcc.arg("-o").arg(folder.path().join(&name)).arg(&source).arg("-lm"))?;
            lines.push((format!("cd /tmp; exec /c/{name}"), expected(&source)?));
        }
    }
    let lines: Vec<_> = lines.iter().map(|(line, expected)| (line.clone(), expected.as_str())).collect();
    let files = vec![(folder.path().to_owned(), PathBuf::from("/c"))];
    PROCESSORS.into_iter().try_for_each(|smp| alike(both, &lines, smp, &files))
}

/// All programs in a folder, in the order of their names.
fn c_sources(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))?;
    let paths: std::io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut sources = paths.with_context(|| format!("cannot read {}", folder.display()))?;
    sources.retain(|path| path.extension().is_some_and(|it| it == "c"));
    sources.sort();
    ensure!(!sources.is_empty(), "{} has no C programs", folder.display());
    Ok(sources)
}

/// What a program says that it prints.
fn expected(source: &Path) -> anyhow::Result<String> {
    let text =
        std::fs::read_to_string(source).with_context(|| format!("cannot read {}", source.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix(EXPECTED));
    let line = line.with_context(|| format!("{}: no line starts with {EXPECTED:?}", source.display()))?;
    Ok(format!("{line}\n"))
}

pub(super) fn rust_programs_behave_alike(both: &Both<'_>) -> anyhow::Result<()> {
    let lines = COMPARED.map(|(name, expected)| (format!("exec exo-tests {name}"), expected));
    PROCESSORS.into_iter().try_for_each(|smp| alike(both, &lines, smp, &[]))
}

pub(super) fn sqlite_loses_no_row_of_several_writers(both: &Both<'_>) -> anyhow::Result<()> {
    let program = build_guest(&both.exo.parts.context, "sqlite-writers")?;
    let files = vec![(program, PathBuf::from("/bin/sqlite-writers"))];
    let lines = [("exec sqlite-writers".to_owned(), "delete: 20 times 40 rows\nwal: 20 times 40 rows\n")];
    alike(both, &lines, 2, &files)
}

/// Runs lines on both kernels, one after the other in one machine each; outputs and statuses must be the same, and have in them what
/// is expected.
pub(super) fn alike(
    both: &Both<'_>,
    lines: &[(String, &str)],
    smp: u32,
    files: &[(PathBuf, PathBuf)],
) -> anyhow::Result<()> {
    const STATUS: &str = "the status of this line is";
    let script: String =
        lines.iter().map(|(line, _)| format!("({line}); status=$?; echo; echo {STATUS} $status\n")).collect();
    let run = |lab: &Lab| -> anyhow::Result<(Captured, Vec<String>)> {
        let config = Config { smp, files: files.to_vec(), rng: 0, load_modules: false, ..lab.config() };
        let (_, captured) = shell(lab, &config, &script)?;
        let parts = captured.stdout.split_inclusive(STATUS).map(str::to_owned).collect();
        Ok((captured, parts))
    };
    let ((linux_said, linux), (exo_said, exo)) = (run(both.linux)?, run(&both.exo)?);
    for (at, (line, expected)) in lines.iter().enumerate() {
        let (linux, exo) = (linux.get(at), exo.get(at));
        ensure!(
            linux.is_some_and(|said| said.contains(expected)),
            "`{line}` on Linux: {linux:?}\n{}",
            linux_said.stderr
        );
        ensure!(
            linux == exo,
            "`{line}` with {smp} processors (behind the status of the line before):\non Linux:\n{}\non Exo-Kernel:\n{}{}",
            linux.map_or("", String::as_str),
            exo.map_or("", String::as_str),
            exo_said.stderr
        );
    }
    let last = |said: &Captured| said.stdout.lines().last().map(str::to_owned);
    let (linux, exo) = (last(&linux_said), last(&exo_said));
    ensure!(linux == exo, "the last line's end: {linux:?} on Linux, {exo:?} on Exo-Kernel");
    Ok(())
}

/// Runs a test of `exo-tests` on Exo-Kernel with one and two processors.
pub(super) fn passes(both: &Both<'_>, test: &str) -> anyhow::Result<Vec<Captured>> {
    let run = |smp: u32| {
        let config = Config { smp, ..both.exo.config() };
        succeed(&both.exo, &config, &format!("exec exo-tests {test}"))
    };
    PROCESSORS.into_iter().map(run).collect()
}

pub(super) fn messages_reach_whom_they_are_for(both: &Both<'_>) -> anyhow::Result<()> {
    passes(both, "messages").map(drop)
}

pub(super) fn short_calls_neither_allocate_nor_lock(both: &Both<'_>) -> anyhow::Result<()> {
    passes(both, "lean").map(drop)
}

pub(super) fn faults_kill_only_the_program(both: &Both<'_>) -> anyhow::Result<()> {
    passes(both, "faults").map(drop)
}

pub(super) fn any_allocation_may_fail(both: &Both<'_>) -> anyhow::Result<()> {
    passes(both, "fail-nth").map(drop)
}

pub(super) fn greedy_programs_leave_a_working_system(both: &Both<'_>) -> anyhow::Result<()> {
    passes(both, "limits").map(drop)
}

pub(super) fn what_the_kernel_holds_for_a_program_counts_as_its_own(both: &Both<'_>) -> anyhow::Result<()> {
    for smp in PROCESSORS {
        succeed(&both.exo, &Config { smp, memory: 128, ..both.exo.config() }, "exec exo-tests hoard")?;
    }
    Ok(())
}

/// A part of what `cargo exo vm --kernel exo -- exo-tests fuzz --calls 1000000` does; the seed stands in the output.
pub(super) fn random_calls_do_not_stop_the_kernel(both: &Both<'_>) -> anyhow::Result<()> {
    for captured in passes(both, "fuzz --calls 60000")? {
        ui::say(captured.stdout.trim_end());
    }
    Ok(())
}

/// A machine that is told to power off in the middle of work does so, and is told from one that crashed.
pub(super) fn the_machine_ends_through_its_exit_device(both: &Both<'_>) -> anyhow::Result<()> {
    let config = Config { timeout: Some(Duration::from_secs(30)), smp: 2, ..both.exo.config() };
    let line = "seq 1000000 | sort -n > /dev/null & poweroff -f";
    let (status, captured) = shell(&both.exo, &config, line)?;
    ensure!(
        status == crate::machine::STATUS_MACHINE_FAILED
            && captured.stderr.contains("ended before its command did"),
        "status {status}: {}",
        captured.stderr
    );
    Ok(())
}
