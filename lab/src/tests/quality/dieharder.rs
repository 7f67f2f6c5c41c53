// SPDX-License-Identifier: MIT OR Apache-2.0
//! All tests of `dieharder` on the device's entropy stream. They want hundreds of gigabytes and half an hour, so only `--long`
//! runs them. The report of one run is kept in `docs/dieharder.txt`.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::context::write_whole;
use crate::process::{self, Running};
use crate::programs;
use crate::tests::Lab;
use crate::ui::{Step, note};

/// More bytes than the tests can want: they stop when they have enough.
const ENDLESS: &str = "1000000000000000";
/// A full run of version 3.31 judges 114 times.
const LEAST_JUDGEMENTS: usize = 100;
/// All tests (`-a`) of bytes from stdin (`-g 200`). A weak result is tried again with more numbers until it passes or fails
/// beyond doubt (`-Y 1`), and probabilities are computed to machine precision (`-k 2`).
const ARGUMENTS: [&str; 7] = ["-a", "-g", "200", "-Y", "1", "-k", "2"];

/// Every test must pass or be no worse than weak, as one in some fifty is by chance.
pub(in crate::tests) fn the_full_dieharder(lab: &Lab) -> anyhow::Result<()> {
    let context = &lab.parts.context;
    let program = programs::build_host(context, "device-bench")?;
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let mut source = Command::new(program);
    source.args(["--dump", "one-shot", "--bytes", ENDLESS]).arg(&lab.parts.device);
    // It complains of the broken pipe at the end, which is how it ends.
    source.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut source = Running::start(&mut source)?;
    let bytes = source.child().stdout.take().context("no stdout")?;

    let step = Step::new("Running all tests of dieharder", Some(Duration::from_secs(30 * 60)));
    let mut dieharder = lab.parts.toolroot.command("dieharder", folder.path())?;
    let mut report = String::new();
    process::run_lines_from(dieharder.args(ARGUMENTS), bytes.into(), |line| {
        // Writing to a string cannot fail.
        let _ = writeln!(report, "{line}");
        step.message(line);
    })?;
    step.done();
    let kept = context.build().join("dieharder.txt");
    write_whole(&kept, report.as_bytes())?;
    note(&format!("the report: {}", kept.display()));
    judge(&report)
}

fn judge(report: &str) -> anyhow::Result<()> {
    let verdicts = report.lines().filter_map(|line| line.rsplit('|').next().map(str::trim));
    let judged: Vec<_> = verdicts.filter(|word| ["PASSED", "WEAK", "FAILED"].contains(word)).collect();
    let failed = judged.iter().filter(|word| **word == "FAILED").count();
    ensure!(judged.len() >= LEAST_JUDGEMENTS, "dieharder judged only {} times:\n{report}", judged.len());
    ensure!(failed == 0, "dieharder failed {failed} of {} tests:\n{report}", judged.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "        test_name   |ntup| tsamples |psamples|  p-value |Assessment\n";
    const PASSED: &str = "   diehard_birthdays|   0|       100|     100|0.95558735|  PASSED  \n";
    const WEAK: &str = "        rgb_bitdist|   8|    100000|     100|0.99612233|   WEAK   \n";
    const FAILED: &str = "        sts_serial|   9|    100000|     100|0.00000000|  FAILED  \n";

    #[test]
    fn a_report_with_a_failure_is_refused() {
        let good = format!("{HEAD}{}{WEAK}", PASSED.repeat(113));
        assert!(judge(&good).is_ok());
        assert!(judge(&format!("{good}{FAILED}")).is_err());
    }

    #[test]
    fn a_report_that_stops_early_is_refused() {
        assert!(judge(&format!("{HEAD}{}", PASSED.repeat(20))).is_err());
    }
}
