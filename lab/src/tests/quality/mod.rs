// SPDX-License-Identifier: MIT OR Apache-2.0
//! Are the numbers random? `rngtest` (FIPS 140-2) and `ent` judge what comes out of the device by each way there is, and what
//! they must refuse. `--long` judges ten times as much of what a register access each brings, and has `dieharder` judge the
//! entropy stream.

mod dieharder;

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use regex::Regex;

use super::{Lab, vm};
use crate::process;
use crate::programs;

pub(super) use dieharder::the_full_dieharder;

/// Bytes of a block of FIPS 140-2.
const BLOCK: u64 = 2500;
/// `rngtest` keeps the first 32 bits to compare with.
const BEFORE: u64 = 4;
/// Blocks that are judged.
const BLOCKS: u64 = 1000;
/// The same where each number costs a register access.
const FEW_BLOCKS: u64 = 100;
/// Most blocks in a thousand that may fail. Of perfect numbers 0.8 do.
const MOST_FAILURES: u64 = 5;

/// Registers and one-shot transfers, from the device's process itself.
pub(super) fn registers_and_one_shot_transfers(lab: &Lab) -> anyhow::Result<()> {
    let few = if lab.long { BLOCKS } else { FEW_BLOCKS };
    for (way, blocks) in [
        ("one-shot", BLOCKS),
        ("registers:chacha20", few),
        ("registers:pcg64", few),
        ("registers:xorshift64star", few),
    ] {
        let (_folder, file) = from_the_device(lab, way, blocks)?;
        judge(lab, &file, blocks)?.expect_random().with_context(|| way.to_owned())?;
    }
    Ok(())
}

/// glibc's generator leaves the highest bit of 32 at 0: `rngtest` and `ent` must see that.
pub(super) fn numbers_of_31_bits_are_refused(lab: &Lab) -> anyhow::Result<()> {
    let (_folder, file) = from_the_device(lab, "registers:glibc", FEW_BLOCKS)?;
    let judgement = judge(lab, &file, FEW_BLOCKS)?;
    ensure!(judgement.failures > FEW_BLOCKS / 2, "rngtest took them for random: {judgement:?}");
    ensure!(judgement.expect_random().is_err(), "they passed: {judgement:?}");
    Ok(())
}

/// What programs in a machine get.
pub(super) fn every_way_in_a_machine(lab: &Lab) -> anyhow::Result<()> {
    let bytes = BLOCKS * BLOCK + BEFORE;
    let ways = [
        ("ioctl", format!("rng-dump --bytes {bytes} ioctl")),
        ("read", format!("rng-dump --bytes {bytes} read")),
        ("mmap", format!("rng-dump --bytes {bytes} mmap")),
        ("hwrng", format!("head -c {bytes} /dev/hwrng")),
    ];
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    for (way, line) in ways {
        let path = folder.path().join(way);
        let line = format!("echo chacha20 > /sys/class/my_rng/my_rng0/generator && {line}");
        let status = vm::exo(lab, &["vm", "--timeout", "200", "--", "sh", "-c", &line])?
            .stdin(Stdio::null())
            .stdout(File::create(&path).context("cannot create a file")?)
            .stderr(Stdio::null())
            .status()
            .context("cannot start")?;
        ensure!(status.success(), "{way}: {line}: {status}");
        judge(lab, &path, BLOCKS)?.expect_random().with_context(|| way.to_owned())?;
    }
    Ok(())
}

fn from_the_device(
    lab: &Lab,
    way: &str,
    blocks: u64,
) -> anyhow::Result<(tempfile::TempDir, std::path::PathBuf)> {
    let program = programs::build_host(&lab.parts.context, "device-bench")?;
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let path = folder.path().join("bytes");
    let bytes = blocks * BLOCK + BEFORE;
    let mut command = Command::new(program);
    command.args(["--dump", way, "--bytes", &bytes.to_string()]).arg(&lab.parts.device);
    let status = command.stdout(File::create(&path).context("cannot create a file")?).status();
    let status = status.context("cannot start device-bench")?;
    ensure!(status.success(), "{}: {status}", process::shown(&command));
    Ok((folder, path))
}

/// What the two programs say.
#[derive(Debug)]
struct Judgement {
    blocks: u64,
    failures: u64,
    bytes: f64,
    /// Bits in a byte; 8 is best.
    entropy: f64,
    /// Of the counts of the 256 bytes.
    chi_square: f64,
    mean: f64,
    /// Correlation of each byte with the next.
    correlation: f64,
}

fn judge(lab: &Lab, file: &Path, blocks: u64) -> anyhow::Result<Judgement> {
    let folder = file.parent().context("a file without a folder")?;
    let mut rngtest = lab.parts.toolroot.command("rngtest", folder)?;
    // Its status tells whether any block failed, and some may.
    let said = rngtest
        .args(["-c", &blocks.to_string()])
        .stdin(File::open(file).context("cannot open the bytes")?)
        .output()
        .context("cannot start rngtest")?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let (successes, failures) = counts(&said)?;
    ensure!(successes + failures == blocks, "rngtest judged {successes} + {failures} of {blocks} blocks");

    let mut ent = lab.parts.toolroot.command("ent", folder)?;
    let table = process::output(ent.arg("-t").arg(file))?;
    let [bytes, entropy, chi_square, mean, correlation] = figures(&table)?;
    Ok(Judgement { blocks, failures, bytes, entropy, chi_square, mean, correlation })
}

/// The counts in `rngtest: FIPS 140-2 successes: 999` and the line after it.
fn counts(said: &str) -> anyhow::Result<(u64, u64)> {
    let pattern = Regex::new(r"FIPS 140-2 successes: (\d+)\s.*FIPS 140-2 failures: (\d+)")
        .context("a pattern that does not compile")?;
    // `.` stops at the end of a line.
    let line = said.replace('\n', " ");
    let found = pattern.captures(&line).with_context(|| format!("rngtest said {said:?}"))?;
    let number = |index: usize| found.get(index).and_then(|text| text.as_str().parse().ok());
    number(1).zip(number(2)).with_context(|| format!("rngtest said {said:?}"))
}

/// File size, entropy, chi-square, mean and serial correlation of a table such as
/// `0,File-bytes,Entropy,Chi-square,Mean,Monte-Carlo-Pi,Serial-Correlation` with a line of figures below.
fn figures(table: &str) -> anyhow::Result<[f64; 5]> {
    let line = table.lines().find_map(|line| line.strip_prefix("1,"));
    let parsed: Option<Vec<f64>> =
        line.and_then(|line| line.split(',').map(|word| word.trim().parse().ok()).collect());
    match parsed.as_deref() {
        Some(&[bytes, entropy, chi_square, mean, _, correlation]) => {
            Ok([bytes, entropy, chi_square, mean, correlation])
        }
        _ => anyhow::bail!("ent said {table:?}"),
    }
}

impl Judgement {
    /// Five standard deviations in each figure: one test in a million fails by chance.
    fn expect_random(&self) -> anyhow::Result<()> {
        let most = (self.blocks * MOST_FAILURES).div_ceil(1000).max(2);
        ensure!(self.failures <= most, "rngtest: {} of {} blocks failed", self.failures, self.blocks);
        // 255 degrees of freedom.
        let chi_square_range = 5.0 * (2.0 * 255.0_f64).sqrt();
        ensure!((self.chi_square - 255.0).abs() < chi_square_range, "ent: {self:?}");
        // Chi-square / (2 ln 2 n) bits are missing to 8 on the average.
        let missing = (255.0 + chi_square_range) / (2.0 * std::f64::consts::LN_2 * self.bytes);
        ensure!(self.entropy > 8.0 - missing - 1e-6, "ent: {self:?}");
        // A byte's variance is (256² - 1) / 12.
        let mean_range = 5.0 * (65535.0 / 12.0 / self.bytes).sqrt();
        ensure!((self.mean - 127.5).abs() < mean_range, "ent: {self:?}");
        ensure!(self.correlation.abs() < 5.0 / self.bytes.sqrt(), "ent: {self:?}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rngtest_says_is_understood() {
        let said = "rngtest 5\nrngtest: bits received from input: 20000032\nrngtest: FIPS 140-2 successes: 998\n\
                    rngtest: FIPS 140-2 failures: 2\nrngtest: FIPS 140-2(2001-10-10) Monobit: 0\n";
        assert_eq!(counts(said).unwrap(), (998, 2));
        assert!(counts("rngtest: entropy source drained").is_err());
    }

    #[test]
    fn what_ent_says_is_understood() {
        let table = "0,File-bytes,Entropy,Chi-square,Mean,Monte-Carlo-Pi,Serial-Correlation\n\
                     1,2500004,7.999926,256.254231,127.497600,3.141187,0.000363\n";
        let [bytes, entropy, chi_square, mean, correlation] = figures(table).unwrap();
        let good = Judgement { blocks: 1000, failures: 1, bytes, entropy, chi_square, mean, correlation };
        assert!(good.expect_random().is_ok());
        for bad in [
            Judgement { failures: 6, ..good },
            Judgement { chi_square: 400.0, ..good },
            Judgement { entropy: 7.9990, ..good },
            Judgement { mean: 127.0, ..good },
            Judgement { correlation: -0.01, ..good },
        ] {
            assert!(bad.expect_random().is_err(), "{bad:?}");
        }
        assert!(figures("0,File-bytes").is_err());
    }
}
