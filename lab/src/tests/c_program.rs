// SPDX-License-Identifier: MIT OR Apache-2.0
//! C programs: one that knows nothing but the ioctl numbers of my_rng, and procmon's own test, which has its header.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::Lab;
use super::vm::succeed;
use crate::machine::Config;
use crate::process::output;

const PROGRAM: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>

int main(void)
{
	unsigned int seed = 1, number;
	unsigned long long wide;
	int fd = open("/dev/my_rng_driver", O_RDWR), i;

	if (fd < 0 || ioctl(fd, 0x40047101, &seed))
		return 1;
	for (i = 0; i < 5; i++) {
		if (ioctl(fd, 0x80047101, &number))
			return 2;
		printf("%u\n", number);
	}
	if (ioctl(fd, 0x40047101, &seed) || ioctl(fd, 0x80087102, &wide))
		return 3;
	printf("%llu\n", wide);
	return 0;
}
"#;

/// The test program that comes with procmon's header. (What 32-bit programs get is for the tests inside: the tool tree's
/// compiler has no C library for those.)
pub(super) fn procmons_c_program_passes(lab: &Lab) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let binary = folder.path().join("procmon_test");
    let abi = lab.parts.context.checkout.join("abi/procmon-abi");
    let mut gcc = lab.parts.toolroot.command("gcc", Path::new("/"))?;
    gcc.args(["-static", "-Wall", "-Wextra", "-Werror", "-I"]).arg(abi.join("include"));
    output(gcc.arg("-o").arg(&binary).arg(abi.join("tests/procmon_test.c")))?;
    let config = Config { rng: 0, files: vec![(binary, "/bin/procmon_test".into())], ..lab.config() };
    let said = succeed(lab, &config, "procmon_test")?;
    ensure!(said.stdout == "ok\n", "output:\n{}{}", said.stdout, said.stderr);
    Ok(())
}

/// Built by plain `gcc -static`, copied in with `--file`.
pub(super) fn a_c_program_gets_the_same_numbers(lab: &Lab) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let source = folder.path().join("numbers.c");
    let binary = folder.path().join("numbers");
    std::fs::write(&source, PROGRAM).context("cannot write the program")?;
    let mut gcc = lab.parts.toolroot.command("gcc", Path::new("/"))?;
    output(gcc.args(["-static", "-Wall", "-Werror", "-o"]).arg(&binary).arg(&source))?;
    let config = Config { rng: 1, files: vec![(binary, PathBuf::from("/bin/numbers"))], ..lab.config() };
    let said = succeed(lab, &config, "numbers")?.stdout;
    let wide = (1_804_289_383_u64 << 32) + 846_930_886;
    let expected = format!("1804289383\n846930886\n1681692777\n1714636915\n1957747793\n{wide}\n");
    ensure!(said == expected, "output:\n{said}");
    Ok(())
}
