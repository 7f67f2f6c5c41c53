// SPDX-License-Identifier: MIT OR Apache-2.0
//! The stock kernel: Debian's own image and modules, and a tree against which Rust modules for it can be built.
//!
//! Debian's kernels are built with Rust, but `linux-headers` leaves out the metadata of the kernel's Rust crates, so
//! that alone cannot build a Rust module. The metadata can be made again: the same source, configuration, rustc and
//! bindgen give crates whose symbols have the same mangled names as those that the kernel exports.
//!
//! [`archive`] finds and downloads the packages, [`prepare`] regenerates, [`symbols`] compares. [`checked`] builds another
//! kernel from the same source, with the kernel's own detectors on. [`own_tree`] takes a tree that somebody has built. [`debug_symbols`] gets what
//! debuggers need.

pub(crate) mod archive;
pub(crate) mod checked;
mod debug_symbols;
mod own_tree;
mod prepare;
mod symbols;
mod type_information;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::context::{Context, remove_leftovers, write_whole};
use crate::lock::Lock;
use crate::process;
use crate::toolroot::{Definition, KernelSeries, Toolroot};
use crate::ui::Step;
use archive::Archive;

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
    /// Folders outside of the cache that building for it needs.
    folders: Vec<PathBuf>,
    /// The tools that it is built with, if they are not the usual ones.
    tools: Option<Box<Toolroot>>,
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
    /// The folder of the tool tree that it was done with, if that was not the usual one.
    #[serde(default)]
    tools: Option<PathBuf>,
}

impl Prepared {
    /// What was noted of a kernel in the cache.
    fn of(kernel: &Kernel) -> anyhow::Result<Self> {
        let path = kernel.place.join(PREPARED);
        let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
    }
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

/// A kernel besides the usual one that modules are tested on.
#[derive(Debug)]
pub(crate) struct Other {
    /// What tests call it.
    pub(crate) name: String,
    /// The newest such release, or why there is none.
    pub(crate) release: anyhow::Result<String>,
    /// Whether it is not released yet.
    pub(crate) may_fail: bool,
}

/// The other kernels of `lab/toolroot.toml`, or those of them that are built with the usual tools.
pub(crate) fn others(
    context: &Context,
    toolroot: &Toolroot,
    with_usual_tools: bool,
) -> anyhow::Result<Vec<Other>> {
    let _lock = Lock::take(&context.cache_lock("packages"), "looks for kernels")?;
    let Definition { kernel, newer, .. } = toolroot.definition();
    let mut found = Vec::new();
    for series in &kernel.also {
        let series = KernelSeries { series: series.clone(), ..kernel.clone() };
        let release =
            archive::find(toolroot, &[Archive::current()], &series, None).map(|(_, release)| release);
        found.push(Other { name: series.series, release, may_fail: false });
    }
    if with_usual_tools {
        return Ok(found);
    }
    for (suite, may_fail) in [(&newer.suite, false), (&newer.candidates, true)] {
        let archive = newer_archive(context, toolroot, &[suite])?;
        let release = archive::newest_of_any(toolroot, &archive, &kernel.flavour);
        found.push(Other { name: suite.clone(), release, may_fail });
    }
    Ok(found)
}

impl<'a> Choice<'a> {
    /// The release that somebody named, if it can be one; else the newest.
    pub(crate) fn of(release: Option<&'a str>) -> anyhow::Result<Self> {
        let Some(release) = release else { return Ok(Self::Newest) };
        check_release(release)?;
        Ok(Self::Release(release))
    }
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
        let load = |release: &str| Self::load(context, toolroot, &folder, release);
        if let Some(kernel) = release.as_deref().map(load).transpose()?.flatten() {
            return Ok(kernel);
        }

        let _lock = Lock::take(&context.cache_lock("packages"), "prepares the stock kernel")?;
        let archives = archives(context, toolroot, release.is_some())?;
        let (archive, found) = archive::find(toolroot, &archives, series, release.as_deref())?;
        if release.is_none() {
            write_whole(&remembered, found.as_bytes())?;
        }
        let release = found;
        if let Some(kernel) = load(&release)? {
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
        let version = archive::download(toolroot, archive, &release, &partial, &step)?;
        std::fs::rename(&partial, &place)
            .with_context(|| format!("cannot move the kernel to {}", place.display()))?;
        step.done();

        let tools = archive.needs_newer_tools.then(|| toolroot.newer(context)).transpose()?;
        let own_tools = tools.as_ref().map(|tools| tools.path().to_path_buf());
        let step = Step::new("Regenerating the kernel's Rust metadata", Some(Duration::from_secs(80)));
        let tools = tools.as_ref().unwrap_or(toolroot);
        let make_variables = prepare::prepare(tools, &release, &place, &step)?;
        step.message("comparing the Rust symbols with those that the kernel exports");
        let rust_symbols = symbols::verify(&place.join("build"))
            .with_context(|| format!("modules built here would not load into Linux {release}"))?;
        step.done();
        let prepared = Prepared { version, rust_symbols, make_variables, tools: own_tools };
        write_whole(&place.join(PREPARED), &serde_json::to_vec_pretty(&prepared)?)?;
        load(&release)?.context("the kernel that was just prepared is incomplete")
    }

    /// The kernel in the cache, if it was finished, with tools that are still those of this checkout.
    fn load(
        context: &Context,
        toolroot: &Toolroot,
        folder: &Path,
        release: &str,
    ) -> anyhow::Result<Option<Self>> {
        let place = folder.join(release);
        let prepared = std::fs::read(place.join(PREPARED)).ok();
        let prepared = prepared.and_then(|text| serde_json::from_slice::<Prepared>(&text).ok());
        let Some(prepared) = prepared else { return Ok(None) };
        let tools = prepared.tools.as_ref().map(|_| toolroot.newer(context)).transpose()?;
        if tools.as_ref().map(Toolroot::path) != prepared.tools.as_deref() {
            return Ok(None);
        }
        Ok(Some(Self {
            release: release.to_owned(),
            image: place.join("vmlinuz"),
            build: place.join("build"),
            modules: Some(place.join("packages/usr/lib/modules").join(release)),
            make_variables: prepared.make_variables,
            boot_options: Vec::new(),
            folders: Vec::new(),
            tools: tools.map(Box::new),
            place,
        }))
    }

    /// The tools that it was built with; `usual` are those that machines start from.
    pub(crate) fn tools<'a>(&'a self, usual: &'a Toolroot) -> &'a Toolroot {
        self.tools.as_deref().unwrap_or(usual)
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

    /// Major and minor version, `7.3`.
    pub(crate) fn series(&self) -> String {
        series_of(&self.release)
    }

    /// Makes sure that modules built for this kernel get type information (BTF), if it takes any.
    pub(crate) fn prepare_type_information(&self) -> anyhow::Result<()> {
        type_information::prepare(self)
    }

    /// The kernel's `vmlinux` with its debug symbols, downloaded if need be; gdb's scripts for the kernel lie beside it.
    pub(crate) fn debug_symbols(&self, context: &Context, toolroot: &Toolroot) -> anyhow::Result<PathBuf> {
        debug_symbols::get(context, toolroot, self)
    }

    /// The tree that somebody has built a kernel in.
    pub(crate) fn of_tree(toolroot: &Toolroot, build: &Path) -> anyhow::Result<Self> {
        own_tree::open(toolroot, build)
    }

    /// The value of an option of its configuration, without quotes; none if it is not set.
    pub(crate) fn option(&self, name: &str) -> Option<String> {
        let path = self.build.join("include/config/auto.conf");
        let config = std::fs::read_to_string(path).ok()?;
        prepare::option(&config, name).map(str::to_owned)
    }

    /// Where its source lies.
    pub(crate) fn source(&self) -> PathBuf {
        // A tree that was built in place is its own source.
        let link = self.build.join("source");
        if link.exists() { link } else { self.build.clone() }
    }

    /// A `make` against this kernel's tree, in the tool tree.
    pub(crate) fn make(&self, toolroot: &Toolroot, folders: &[PathBuf]) -> anyhow::Result<Command> {
        let folders: Vec<PathBuf> = folders.iter().chain(&self.folders).cloned().collect();
        let mut command = self.tools(toolroot).command_with("make", &self.build, &folders)?;
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

/// Where kernels come from, in the order in which they are asked; with `of_any_series`, those of Debian's next release, too.
fn archives(context: &Context, toolroot: &Toolroot, of_any_series: bool) -> anyhow::Result<Vec<Archive>> {
    let Definition { suite, backports, kernel, newer, .. } = toolroot.definition();
    let mut archives = vec![Archive::current()];
    if of_any_series {
        // Before the archive of old: that may be out of reach, and has none of these.
        archives.push(newer_archive(context, toolroot, &[&newer.suite])?);
        archives.push(newer_archive(context, toolroot, &[&newer.candidates])?);
    }
    let old = context.cache.join("snapshot");
    archives.push(Archive::at(&kernel.snapshot, &[suite, backports], &old, false)?);
    Ok(archives)
}

/// Debian's next release, as far as `suites` have it.
fn newer_archive(context: &Context, toolroot: &Toolroot, suites: &[&str]) -> anyhow::Result<Archive> {
    Archive::newer(toolroot, suites, &context.cache.join("newer"))
}

/// The major and minor version of a release, `7.3`.
fn series_of(release: &str) -> String {
    let numbers: Vec<&str> = release.split(|c: char| !c.is_ascii_digit()).take(2).collect();
    numbers.join(".")
}

/// Checks that text can be a kernel release, before it becomes part of paths and package names.
fn check_release(release: &str) -> anyhow::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_a_series() {
        assert_eq!(series_of("7.3.4+deb13-cloud-amd64"), "7.3");
        assert_eq!(series_of("7.3-cloud-amd64"), "7.3");
        assert!(Choice::of(Some("../7.3")).is_err() && Choice::of(None).is_ok());
    }
}
