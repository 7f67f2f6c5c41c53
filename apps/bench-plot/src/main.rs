// SPDX-License-Identifier: MIT OR Apache-2.0
//! `bench-plot`: draws the figures of a benchmark's JSON file as a picture. A program of its own, because it needs more crates
//! than everything that measures together.
#![forbid(unsafe_code)]

mod picture;
mod series;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use bench_report::{Row, vcpus};
use lexopt::prelude::*;
use picture::{Drawing, Painter};
use serde::Deserialize;

const HELP: &str = "\
Draws the figures of a benchmark: bars side by side on a logarithmic scale.

Usage: bench-plot [OPTIONS] FILE STEM

FILE is the benchmark's JSON; STEM.svg and STEM.png are written.

Options:
  --title TEXT     what stands above the picture
  --subtitle TEXT  a line below that; repeatable
  --ours TEXT      what the legend calls rows whose names begin with none of
                   exo., linux. and peer. [default: measured]
  --fonts DIR      folder with DejaVuSans.ttf and DejaVuSans-Bold.ttf; of
                   several, the first that has them
                   [default: /usr/share/fonts/truetype/dejavu]
  --help           print this text
";

/// Where Debian's package fonts-dejavu-core has its files.
const FONTS: &str = "/usr/share/fonts/truetype/dejavu";

/// A benchmark's JSON, as far as it is drawn.
#[derive(Debug, Deserialize)]
struct Report {
    rows: Vec<Row>,
}

fn main() -> ExitCode {
    match run(lexopt::Parser::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-plot: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut parser: lexopt::Parser) -> anyhow::Result<()> {
    let (mut title, mut ours) = (String::new(), "measured".to_owned());
    let (mut subtitle, mut fonts, mut paths) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(argument) = parser.next()? {
        match argument {
            Long("title") => title = parser.value()?.string()?,
            Long("ours") => ours = parser.value()?.string()?,
            Long("subtitle") => subtitle.push(parser.value()?.string()?),
            Long("fonts") => fonts.push(PathBuf::from(parser.value()?)),
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(());
            }
            Value(path) => paths.push(PathBuf::from(path)),
            other => return Err(other.unexpected().into()),
        }
    }
    let [file, stem] = paths.as_slice() else { bail!("expected FILE and STEM; --help explains them") };
    if fonts.is_empty() {
        fonts.push(FONTS.into());
    }
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let Report { rows } =
        serde_json::from_slice(&text).with_context(|| format!("{} is no report", file.display()))?;
    ensure!(!rows.is_empty(), "{} has no figures to draw", file.display());

    let painter = Painter::new(&fonts)?;
    let vcpus = vcpus(&rows);
    let svg =
        Drawing { title: &title, subtitle: &subtitle, ours: &ours, rows: &rows, vcpus: &vcpus }.svg()?;
    if let Some(folder) = stem.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let (svg_path, png_path) = (stem.with_extension("svg"), stem.with_extension("png"));
    fs::write(&svg_path, &svg).with_context(|| format!("cannot write {}", svg_path.display()))?;
    fs::write(&png_path, painter.png(&svg)?).with_context(|| format!("cannot write {}", png_path.display()))
}
