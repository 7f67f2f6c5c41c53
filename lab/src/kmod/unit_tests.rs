// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of a module: the examples in its documentation compile; inside a machine with the checked kernel, its KUnit suites pass, and so does the
//! script `test.sh` beside its sources.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::kbuild::Place;
use super::{Options, build, built_in, doctests, folder_of, name_of};
use crate::context::Context;
use crate::machine::{self, Config, Output, Parts};

/// The script beside a module's sources.
const SCRIPT: &str = "test.sh";
/// Where it lies in the machine.
const SCRIPT_INSIDE: &str = "/test.sh";
/// What introduces arguments for QEMU in the script.
const QEMU: &str = "# qemu:";
/// Separates the parts of what the machine says.
const PART: &str = "=== exo kmod test: ";

/// How one test of KUnit ended.
#[derive(Debug, PartialEq, Eq)]
struct Case {
    suite: String,
    name: String,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Passed,
    Skipped,
    Failed,
}

/// Tests the module of that folder; `say` gets a line for each test, a failed one is an error. `parts` has the checked kernel.
pub(crate) fn test(
    context: &Context,
    parts: &Parts,
    config: &Config,
    module: &Path,
    variables: &[String],
    mut say: impl FnMut(&str),
) -> anyhow::Result<()> {
    let folder = folder_of(module)?;
    let name = name_of(&folder);
    let kernel = &parts.linux()?.kernel;
    let options = Options { variables, ..Options::default() };
    let modules = build(context, &parts.toolroot, kernel, &folder, options)?;
    let out = built_in(context, kernel, &folder)?;
    let place = Place { toolroot: &parts.toolroot, kernel, module: &folder, out: &out, variables };
    doctests::compile(context, place, &mut say)?;
    let script = folder.join(SCRIPT);
    let text = std::fs::read_to_string(&script).ok();
    let mut config = Config { more_modules: modules.clone(), ..config.clone() };
    if let Some(text) = &text {
        config.files.push((script, SCRIPT_INSIDE.into()));
        config.qemu_args.extend(qemu_arguments(text));
    }
    let command = ["sh".to_owned(), "-c".to_owned(), commands(&modules, text.is_some())?];
    let outcome = machine::run(parts, &config, &command, Output::Capture)?;
    let said = &outcome.captured.stdout;
    let cases = cases(part(said, "log"));
    for case in &cases {
        let end = match case.end {
            End::Passed => "ok",
            End::Skipped => "skipped",
            End::Failed => "FAILED",
        };
        say(&format!("test {}::{} ... {end}", case.suite, case.name));
    }
    if text.is_some() && !part(said, "script").is_empty() {
        say(&format!("test {SCRIPT} ... {}", if outcome.status == 0 { "ok" } else { "FAILED" }));
    }
    if let Some(report) = outcome.report()? {
        bail!("the kernel's detectors reported:\n{report}");
    }
    if cases.iter().any(|case| case.end == End::Failed) {
        bail!("KUnit tests of {name} failed; the kernel's log says why:\n{}", part(said, "log"));
    }
    ensure!(
        outcome.status == 0,
        "testing {name} ended with {}:\n{}{}",
        outcome.status,
        part(said, "script"),
        outcome.captured.stderr
    );
    ensure!(
        text.is_some() || !cases.is_empty(),
        "{name} has neither a KUnit suite (#[kunit_tests(NAME)]) nor a {SCRIPT}, so nothing was tested"
    );
    Ok(())
}

/// What the machine's shell does.
fn commands(modules: &[PathBuf], has_script: bool) -> anyhow::Result<String> {
    let mut line =
        "fail() { echo \"$1\" >&2; exit 1; }\ndmesg --clear 2>/dev/null || dmesg -c >/dev/null\n".to_owned();
    let name = |path: &PathBuf| -> anyhow::Result<String> {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        Ok(stem.context("a module's name is not text")?.to_owned())
    };
    for module in modules {
        let name = name(module)?;
        writeln!(line, "insmod /lib/modules/exo/{name}.ko || fail 'the module {name} does not load'")?;
    }
    writeln!(line, "echo '{PART}log'; dmesg")?;
    if has_script {
        writeln!(line, "echo '{PART}script'; echo; sh {SCRIPT_INSIDE}; status=$?")?;
    }
    for module in modules.iter().rev() {
        let name = name(module)?;
        writeln!(line, "rmmod {} || fail 'the module {name} does not unload'", name.replace('-', "_"))?;
    }
    line += "exit ${status:-0}\n";
    Ok(line)
}

/// What was said in that part.
fn part<'a>(said: &'a str, name: &str) -> &'a str {
    let mark = format!("{PART}{name}\n");
    let rest = said.split_once(&mark).map_or("", |(_, rest)| rest);
    rest.split_once(PART).map_or(rest, |(part, _)| part)
}

/// The arguments for QEMU that a script asks for.
fn qemu_arguments(script: &str) -> Vec<String> {
    let lines = script.lines().filter_map(|line| line.strip_prefix(QEMU));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// The tests in a kernel's log. KUnit writes KTAP (Documentation/dev-tools/ktap.rst): a suite's tests are further in than the line that ends
/// the suite.
fn cases(log: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut suite = String::new();
    for line in log.lines() {
        // After the time: `[    1.234567]`.
        let line = line.split_once("] ").map_or(line, |(_, rest)| rest);
        let inner = line.trim_start();
        if let Some(name) = inner.strip_prefix("# Subtest: ") {
            name.clone_into(&mut suite);
            continue;
        }
        let (passed, rest) = match (inner.strip_prefix("not ok "), inner.strip_prefix("ok ")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => continue,
        };
        let Some((number, rest)) = rest.split_once(' ') else { continue };
        if inner.len() == line.len() || number.parse::<u32>().is_err() {
            continue;
        }
        let (name, remark) = rest.split_once(" # ").unwrap_or((rest, ""));
        let end = match passed {
            _ if remark.starts_with("SKIP") => End::Skipped,
            true => End::Passed,
            false => End::Failed,
        };
        cases.push(Case { suite: suite.clone(), name: name.trim_start_matches("- ").to_owned(), end });
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "[    1.0] hello: loading out-of-tree module taints kernel.\n\
        [    1.1] KTAP version 1\n[    1.1] 1..1\n[    1.1]     KTAP version 1\n\
        [    1.1]     # Subtest: hello\n[    1.1]     # module: hello\n[    1.1]     1..3\n\
        [    1.1]     ok 1 adds\n[    1.1]     not ok 2 takes\n[    1.1]     ok 3 waits # SKIP no clock\n\
        [    1.1] # hello: pass:1 fail:1 skip:1 total:3\n[    1.1] not ok 1 hello\n";

    #[test]
    fn the_tests_of_a_suite_are_found() {
        let case = |name: &str, end| Case { suite: "hello".into(), name: name.into(), end };
        assert_eq!(
            cases(LOG),
            [case("adds", End::Passed), case("takes", End::Failed), case("waits", End::Skipped)]
        );
        assert!(cases("[ 1.0] nothing of the sort is ok 1 here\n").is_empty());
    }

    #[test]
    fn arguments_for_qemu_are_in_the_script() {
        assert_eq!(
            qemu_arguments("set -e\n# qemu: -device edu\n# qemu: -smp 2\n"),
            ["-device", "edu", "-smp", "2"]
        );
        assert!(qemu_arguments("echo '# qemu: x'\n").is_empty());
    }

    #[test]
    fn parts_are_told_apart() {
        let said = format!("x\n{PART}log\na\nb\n{PART}script\n\nc\n");
        assert_eq!(part(&said, "log"), "a\nb\n");
        assert_eq!(part(&said, "script"), "\nc\n");
        assert_eq!(part(&said, "else"), "");
    }
}
