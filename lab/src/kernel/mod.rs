// SPDX-License-Identifier: MIT OR Apache-2.0
//! The stock kernel: Debian's own image and modules, and a tree against which Rust modules for it can be built.
//!
//! Debian's kernels are built with Rust, but `linux-headers` leaves out the metadata of the kernel's Rust crates, so
//! that alone cannot build a Rust module. The metadata can be made again: the same source, configuration, rustc and
//! bindgen give crates whose symbols have the same mangled names as those that the kernel exports.
//!
//! [`archive`] finds and downloads the packages, [`prepare`] regenerates, [`symbols`] compares. [`checked`] builds another
//! kernel from the same source, with the kernel's own detectors on.

mod archive;
pub(crate) mod checked;
mod prepare;
mod symbols;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::context::{Context, remove_leftovers, write_whole};
use crate::lock::Lock;
use crate::process;
use crate::toolroot::Toolroot;
use crate::ui::Step;

/// A kernel that modules can be built for and that machines can run.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    /// What `uname -r` says, `7.3.4+deb13-cloud-amd64`.
    pub(crate) release: String,
    /// The folder of this release in the cache.
    pub(crate) place: PathBuf,
    /// The image to boot.
    pub(crate) image: PathBuf,
    /// The tree to build modules against (`KDIR`).
    pub(crate) build: PathBuf,
    /// The folder with the kernel's own modules, `lib/modules/<release>`, if it has any.
    modules: Option<PathBuf>,
    /// The compiler settings that every `make` for this kernel repeats.
    make_variables: Vec<String>,
    /// Words that its command line always has.
    pub(crate) boot_options: Vec<String>,
}

/// What a finished preparation leaves in the kernel's folder, written last.
#[derive(Debug, Serialize, Deserialize)]
struct Prepared {
    /// Version of the Debian packages.
    version: String,
    /// Rust symbols that were found equal.
    rust_symbols: usize,
    /// Variables for `make`.
    make_variables: Vec<String>,
}

const PREPARED: &str = "prepared.json";
/// Bumped when this program prepares trees in another way, so that old ones are made anew.
const LAYOUT: &str = "kernel-1";

/// Which release to take.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Choice<'a> {
    /// The newest of the series, as found when first asked for.
    Newest,
    /// The newest of the series, looked up again.
    Refreshed,
    /// This one.
    Release(&'a str),
}

impl Kernel {
    /// The stock kernel, downloaded and prepared if it is not in the cache yet.
    pub(crate) fn stock(context: &Context, toolroot: &Toolroot, choice: Choice<'_>) -> anyhow::Result<Self> {
        let series = &toolroot.definition().kernel;
        let folder = context.cache.join(LAYOUT);
        let remembered = folder.join(format!("newest-{}-{}", series.series, series.flavour));
        let known = std::fs::read_to_string(&remembered).ok().map(|text| text.trim().to_owned());
        let release = match (choice, known) {
            (Choice::Release(release), _) => Some(release.to_owned()),
            (Choice::Newest, known) => known,
            (Choice::Refreshed, _) => None,
        };
        if let Some(kernel) = release.as_ref().and_then(|release| Self::load(&folder, release)) {
            return Ok(kernel);
        }

        let _lock = Lock::take(&context.cache_lock("packages"), "prepares the stock kernel")?;
        archive::update(toolroot)?;
        let release = match release {
            Some(release) => release,
            None => {
                let newest = archive::newest(toolroot, series)?;
                write_whole(&remembered, newest.as_bytes())?;
                newest
            }
        };
        if let Some(kernel) = Self::load(&folder, &release) {
            return Ok(kernel);
        }
        remove_leftovers(&folder, "partial-")?;
        let place = folder.join(&release);
        let partial = folder.join(format!("partial-{release}"));
        // The build tree remembers absolute paths, so it is made in its final place; only the stamp, written last,
        // makes it trusted.
        crate::context::remove_folder(&place)?;
        std::fs::create_dir_all(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
        let step = Step::new(&format!("Downloading Linux {release}"), Some(Duration::from_secs(20)));
        let version = archive::download(toolroot, &release, &partial, &step)?;
        std::fs::rename(&partial, &place)
            .with_context(|| format!("cannot move the kernel to {}", place.display()))?;
        step.done();

        let step = Step::new("Regenerating the kernel's Rust metadata", Some(Duration::from_secs(80)));
        let make_variables = prepare::prepare(toolroot, &release, &place, &step)?;
        step.message("comparing the Rust symbols with those that the kernel exports");
        let rust_symbols = symbols::verify(&place.join("build"))
            .with_context(|| format!("modules built here would not load into Linux {release}"))?;
        step.done();
        let prepared = Prepared { version, rust_symbols, make_variables };
        write_whole(&place.join(PREPARED), &serde_json::to_vec_pretty(&prepared)?)?;
        Self::load(&folder, &release).context("the kernel that was just prepared is incomplete")
    }

    /// The kernel in the cache, if it was finished.
    fn load(folder: &Path, release: &str) -> Option<Self> {
        let place = folder.join(release);
        let prepared: Prepared = serde_json::from_slice(&std::fs::read(place.join(PREPARED)).ok()?).ok()?;
        Some(Self {
            release: release.to_owned(),
            image: place.join("vmlinuz"),
            build: place.join("build"),
            modules: Some(place.join("packages/usr/lib/modules").join(release)),
            make_variables: prepared.make_variables,
            boot_options: Vec::new(),
            place,
        })
    }

    /// One of the kernel's own modules, by its name without ending; unpacked beside the kernel on first use.
    pub(crate) fn own_module(&self, toolroot: &Toolroot, name: &str) -> anyhow::Result<PathBuf> {
        let file = format!("{name}.ko");
        let none = || format!("Linux {} has no module {name} of its own", self.release);
        let modules = self.modules.as_ref().with_context(none)?;
        let Some(compressed) = find_file(modules, &format!("{file}.xz")) else {
            return find_file(modules, &file).with_context(none);
        };
        let unpacked = compressed.with_extension("");
        if !unpacked.is_file() {
            let folder = compressed.parent().unwrap_or(Path::new("/"));
            process::output(
                toolroot.command("xz", folder)?.args(["--decompress", "--keep", "--force"]).arg(&compressed),
            )?;
        }
        Ok(unpacked)
    }

    /// A `make` against this kernel's tree, in the tool tree.
    pub(crate) fn make(&self, toolroot: &Toolroot, folders: &[PathBuf]) -> anyhow::Result<Command> {
        let mut command = toolroot.command_with("make", &self.build, folders)?;
        command.args(&self.make_variables).arg(format!("-j{}", jobs()));
        Ok(command)
    }
}

/// As many jobs as there are processors.
pub(crate) fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn find_file(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        let found = match entry.file_type() {
            Ok(kind) if kind.is_dir() => find_file(&path, name),
            Ok(_) if entry.file_name() == name => Some(path),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Checks that text can be a kernel release, before it becomes part of paths and package names.
pub(crate) fn check_release(release: &str) -> anyhow::Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || ".+-~".contains(c);
    if release.is_empty() || !release.chars().all(fine) || !release.starts_with(|c: char| c.is_ascii_digit())
    {
        bail!(
            "{release:?} is not a kernel release; expected what `uname -r` prints on Debian, such as 7.3.4+deb13-cloud-amd64"
        );
    }
    Ok(())
}

/// Compares the Rust symbols of a prepared tree with those that its kernel exports; how many are equal.
pub(crate) fn verify_symbols(build: &Path) -> anyhow::Result<usize> {
    symbols::verify(build)
}
