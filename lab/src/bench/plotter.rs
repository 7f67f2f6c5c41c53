// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pictures, drawn by the program `bench-plot`, which is built when the first is asked for.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use bench_report::Row;
use serde_json::json;

use super::Suite;
use super::environment::Environment;
use crate::machine::Parts;
use crate::{process, programs, ui};

/// Debian's package fonts-dejavu-core.
const FONTS: &str = "usr/share/fonts/truetype/dejavu";

/// Draws into a folder.
#[derive(Debug)]
pub(super) struct Plotter {
    program: PathBuf,
    folder: PathBuf,
    /// The tool tree's, then the host's.
    fonts: [PathBuf; 2],
}

impl Plotter {
    /// Builds the program and makes the folder.
    pub(super) fn build(parts: &Parts, folder: &Path) -> anyhow::Result<Self> {
        let program = programs::build_host(&parts.context, "bench-plot")?;
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let fonts = [parts.toolroot.path(), Path::new("/")].map(|root| root.join(FONTS));
        Ok(Self { program, folder: folder.to_owned(), fonts })
    }

    /// Draws `name.svg` and `name.png` in the suite's name.
    pub(super) fn draw(
        &self,
        suite: &Suite,
        title: &str,
        environment: &Environment,
        rows: &[Row],
    ) -> anyhow::Result<()> {
        let data = tempfile::NamedTempFile::new().context("cannot create a temporary file")?;
        serde_json::to_writer(&data, &json!({ "rows": rows })).context("cannot write a temporary file")?;
        let stem = self.folder.join(suite.name);
        let mut command = Command::new(&self.program);
        command.args(["--title", title, "--ours", suite.ours]).arg(data.path()).arg(&stem);
        command.args(environment.to_string().lines().flat_map(|line| ["--subtitle", line]));
        command.args(self.fonts.iter().flat_map(|folder| ["--fonts".as_ref(), folder.as_os_str()]));
        process::output(&mut command)?;
        ui::note(&format!("drawn: {0}.svg and {0}.png", stem.display()));
        Ok(())
    }
}
