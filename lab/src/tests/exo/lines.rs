// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shell lines for an unchanged busybox, on both kernels; `kernel/tests/lines` has the lines and says how they run.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};

use super::super::Lab;
use super::super::vm::succeed;
use super::Both;
use crate::machine::Config;
use crate::process::indent;

/// Fewer lines than this mean that the file was not read.
const LEAST_LINES: usize = 200;

/// What a line did: its stdout, stderr and status, as `run.sh` prints them.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    line: String,
    did: String,
}

pub(super) fn lines_are_alike(both: &Both<'_>) -> anyhow::Result<()> {
    let (linux, exo) = (run(both.linux, "alike.txt")?, run(&both.exo, "alike.txt")?);
    ensure!(linux.len() >= LEAST_LINES, "only {} lines ran", linux.len());
    let mut differences = String::new();
    for (linux, exo) in linux.iter().zip(&exo).filter(|(linux, exo)| linux != exo) {
        let (on_linux, on_exo) = (indent(&linux.did), indent(&exo.did));
        differences += &format!("{}\n on Linux:\n{on_linux}\n on Exo-Kernel:\n{on_exo}\n", linux.line);
    }
    ensure!(linux.len() == exo.len(), "{} lines ran on Linux, {} on Exo-Kernel", linux.len(), exo.len());
    ensure!(differences.is_empty(), "these lines differ:\n{differences}");
    Ok(())
}

pub(super) fn known_differences_are_all_there_are(both: &Both<'_>) -> anyhow::Result<()> {
    let (linux, exo) = (run(both.linux, "different.txt")?, run(&both.exo, "different.txt")?);
    ensure!(!linux.is_empty() && linux.len() == exo.len(), "{} and {} lines ran", linux.len(), exo.len());
    for (linux, exo) in linux.iter().zip(&exo) {
        ensure!(linux != exo, "this line has become alike and belongs into alike.txt: {}", linux.line);
    }
    Ok(())
}

/// Runs a file of lines in a machine.
fn run(lab: &Lab, file: &str) -> anyhow::Result<Vec<Outcome>> {
    let folder = lab.parts.context.checkout.join("kernel/tests/lines");
    // Linux has the modules loaded and a device; the lines need neither.
    let config = Config {
        files: vec![(folder, PathBuf::from("/tests"))],
        rng: 0,
        load_modules: false,
        ..lab.config()
    };
    parse(&succeed(lab, &config, &format!("sh /tests/run.sh /tests/{file}"))?.stdout)
}

fn parse(output: &str) -> anyhow::Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    let parts: Vec<&str> = output.split("=== ").skip(1).collect();
    let (last, parts) = parts.split_last().context("nothing ran")?;
    if *last != "end\n" {
        bail!("the machine stopped at: {last}");
    }
    for part in parts {
        let (line, did) = part.split_once('\n').context("a line without an outcome")?;
        ensure!(did.contains("\n--- status "), "this line has no status: {line}");
        outcomes.push(Outcome { line: line.to_owned(), did: did.to_owned() });
    }
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_told_apart() {
        let text =
            "=== echo a\na\n\n--- stderr\n\n--- status 0\n=== false\n\n--- stderr\n\n--- status 1\n=== end\n";
        let outcomes = parse(text).unwrap();
        assert_eq!(outcomes.len(), 2);
        assert_eq!(outcomes[1].line, "false");
        assert!(outcomes[0].did.starts_with("a\n"));
        assert!(parse("=== echo a\na\n").is_err());
        assert!(parse("").is_err());
    }
}
