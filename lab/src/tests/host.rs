// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tests that need no machine: `cargo test` of the whole workspace.

use std::time::Instant;

use super::Report;
use crate::context::Context;
use crate::process::run_lines;
use crate::programs::cargo;
use crate::ui::Step;

/// Runs them; each test that failed is reported under its own name, those that passed together.
pub(crate) fn run(context: &Context, report: &mut Report) -> anyhow::Result<()> {
    let started = Instant::now();
    let step = Step::new("Building and running the host's tests", None);
    let (mut passed, mut failed) = (0, Vec::new());
    let mut details = String::new();
    let mut in_details = false;
    let mut command = cargo(context);
    command.args(["test", "--workspace", "--no-fail-fast"]);
    let ended = run_lines(&mut command, |line| {
        step.message(line);
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            failed.push(name.to_owned());
        }
        // What the failed tests of one program said stands between these two lines.
        in_details = (in_details || line == "failures:") && !line.starts_with("test result: ");
        if in_details || line.starts_with("error") {
            details += &format!("{line}\n");
        }
        passed += passed_in(line).unwrap_or(0);
    });
    step.done();
    crate::interrupt::check()?;
    if passed > 0 {
        report.pass_many("host", passed, started.elapsed());
    }
    for name in &failed {
        report.fail(&format!("host::{name}"), "its output is below");
    }
    if let Err(error) = ended {
        let why = if details.is_empty() { format!("{error:#}") } else { details };
        report.fail("host::cargo test", &why);
    } else if passed == 0 {
        report.fail("host::cargo test", "no test was run");
    }
    Ok(())
}

/// The number in `test result: ok. 12 passed; 0 failed; …`.
fn passed_in(line: &str) -> Option<usize> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    counts.split_once(" passed")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::passed_in;

    #[test]
    fn the_count_is_read_from_the_result_line() {
        assert_eq!(passed_in("test result: ok. 12 passed; 0 failed; 0 ignored"), Some(12));
        assert_eq!(passed_in("test result: FAILED. 3 passed; 1 failed; 0 ignored"), Some(3));
        assert_eq!(passed_in("test a ... ok"), None);
    }
}
