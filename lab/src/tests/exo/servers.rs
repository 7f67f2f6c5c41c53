// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's own servers with their clients on both kernels: the scripts in `kernel/tests/servers`, each in a machine of its own that has the
//! packages that the script names. And a program of our own on tokio.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::super::Lab;
use super::super::vm::shell;
use super::Both;
use super::programs::{self, PROCESSORS};
use crate::machine::{Captured, Config};
use crate::programs::build_guest;

/// What stands before the words that a script must have printed on Linux, so that two kernels that fail alike are not alike.
const EXPECTED: &str = "# On Linux it prints: ";
/// What stands before the packages that a script needs; one that busybox is enough for has no such line.
const PACKAGES: &str = "# Packages: ";
/// Where the script lies in the machine.
const SCRIPT: &str = "/servers.sh";
/// No script takes longer, on the slower of both kernels under emulation.
const TIME_LIMIT: Duration = Duration::from_secs(240);

/// A script, and what it says of itself.
struct Script {
    path: PathBuf,
    expected: String,
    packages: Vec<String>,
}

impl Script {
    fn read(name: &str, folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(name).with_extension("sh");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
        let expected = value(EXPECTED)
            .with_context(|| format!("{}: no line starts with {EXPECTED:?}", path.display()))?;
        let packages = value(PACKAGES).unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        Ok(Self { path, expected, packages })
    }

    fn run(&self, lab: &Lab) -> anyhow::Result<(i32, Captured)> {
        let config = Config {
            smp: 2,
            rng: 0,
            load_modules: false,
            packages: self.packages.clone(),
            files: vec![(self.path.clone(), PathBuf::from(SCRIPT))],
            timeout: Some(TIME_LIMIT),
            ..lab.config()
        };
        shell(lab, &config, &format!("exec sh {SCRIPT}"))
    }
}

/// Runs a script on both kernels; it has to say the same on both, and end well.
fn alike(both: &Both<'_>, name: &str) -> anyhow::Result<()> {
    let script = Script::read(name, &both.exo.parts.context.checkout.join("kernel/tests/servers"))?;
    let (linux_status, linux) = script.run(both.linux)?;
    let says_so = linux.stdout.lines().any(|line| line == script.expected);
    ensure!(says_so, "{name} on Linux ended with {linux_status} and said:\n{}{}", linux.stdout, linux.stderr);
    let (exo_status, exo) = script.run(&both.exo)?;
    ensure!(
        (linux_status, &linux.stdout) == (exo_status, &exo.stdout),
        "{name} on Linux, which ended with {linux_status}:\n{}\non Exo-Kernel, which ended with {exo_status}:\n{}{}",
        linux.stdout,
        exo.stdout,
        exo.stderr
    );
    Ok(())
}

pub(super) fn redis_behaves_alike(both: &Both<'_>) -> anyhow::Result<()> {
    alike(both, "redis")
}

pub(super) fn lighttpd_behaves_alike(both: &Both<'_>) -> anyhow::Result<()> {
    alike(both, "lighttpd")
}

pub(super) fn socat_and_nc_behave_alike(both: &Both<'_>) -> anyhow::Result<()> {
    alike(both, "socat")
}

pub(super) fn iperf3_behaves_alike(both: &Both<'_>) -> anyhow::Result<()> {
    alike(both, "iperf3")
}

pub(super) fn busyboxs_servers_behave_alike(both: &Both<'_>) -> anyhow::Result<()> {
    alike(both, "busybox")
}

pub(super) fn go_programs_behave_alike(both: &Both<'_>) -> anyhow::Result<()> {
    alike(both, "caddy")
}

pub(super) fn tokio_behaves_alike(both: &Both<'_>) -> anyhow::Result<()> {
    let program = build_guest(&both.exo.parts.context, "tokio-check")?;
    let files = vec![(program, PathBuf::from("/bin/tokio-check"))];
    let lines = [("exec tokio-check".to_owned(), "TCP: 50 clients, 5000000 bytes came back\n")];
    PROCESSORS.into_iter().try_for_each(|smp| programs::alike(both, &lines, smp, &files))
}

pub(super) fn dropbear_behaves_alike(both: &Both<'_>) -> anyhow::Result<()> {
    alike(both, "dropbear")
}
