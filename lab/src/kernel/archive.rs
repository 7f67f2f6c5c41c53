// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's archive: which kernels it has, and their packages.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::context::write_whole;
use crate::process::{self, output};
use crate::toolroot::{KernelSeries, Toolroot};
use crate::ui::{self, Step};

/// An archive that packages come from.
#[derive(Debug)]
pub(crate) struct Archive {
    /// What messages call it.
    name: String,
    /// What apt is told, so that it takes this archive in place of the tool tree's own.
    options: Vec<String>,
    /// Whether its kernels are built with the tools of Debian's next release.
    pub(super) needs_newer_tools: bool,
}

impl Archive {
    /// The one that the tool tree was made from, as it is now.
    pub(crate) fn current() -> Self {
        Self { name: "Debian's archive".into(), options: Vec::new(), needs_newer_tools: false }
    }

    /// Another one, at `address`; what apt must know of it lies in `folder`. `trust` is for archives without a signature, in tests.
    pub(crate) fn at(address: &str, suites: &[&str], folder: &Path, trust: bool) -> anyhow::Result<Self> {
        let lists = folder.join("lists");
        std::fs::create_dir_all(lists.join("partial"))
            .with_context(|| format!("cannot create {}", lists.display()))?;
        // An archive of old has a date after which it is not to be believed any more.
        let trust = if trust { " trusted=yes" } else { "" };
        let sources: String = suites
            .iter()
            .map(|suite| format!("deb [check-valid-until=no{trust}] {address} {suite} main\n"))
            .collect();
        let list = folder.join("sources.list");
        write_whole(&list, sources.as_bytes())?;
        let settings = [
            format!("Dir::Etc::sourcelist={}", list.display()),
            "Dir::Etc::sourceparts=/dev/null".into(),
            format!("Dir::State::lists={}", lists.display()),
            "Dir::Cache::pkgcache=".into(),
            "Dir::Cache::srcpkgcache=".into(),
        ];
        let options = settings.into_iter().flat_map(|setting| ["-o".to_owned(), setting]).collect();
        Ok(Self {
            name: format!("the archive at {address} ({})", suites.join(", ")),
            options,
            needs_newer_tools: false,
        })
    }

    /// Debian's next release, as far as `suites` have it; what apt must know of it lies in `folder`.
    pub(crate) fn newer(toolroot: &Toolroot, suites: &[&str], folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.join(suites.join("-"));
        let archive = Self::at(&toolroot.mirror()?, suites, &folder, false)?;
        Ok(Self { needs_newer_tools: true, ..archive })
    }

    fn command(&self, toolroot: &Toolroot, program: &str, folder: &Path) -> anyhow::Result<Command> {
        let mut command = toolroot.package_command(program, folder)?;
        // Only one user is mapped into a user namespace, so apt cannot become `_apt`.
        command.args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3"]).args(&self.options);
        Ok(command)
    }

    /// Downloads the package lists anew: old ones name packages that the mirrors no longer have.
    fn update(&self, toolroot: &Toolroot) -> anyhow::Result<()> {
        let step = Step::new("Updating the package lists", None);
        process::run(self.command(toolroot, "apt-get", Path::new("/"))?.args(["--quiet", "update"]), &step)?;
        step.done();
        Ok(())
    }

    /// The newest release of a series that can be both built for and run.
    fn newest(&self, toolroot: &Toolroot, series: &KernelSeries) -> anyhow::Result<Option<String>> {
        let pattern = format!("{}\\.[0-9]+.*-{}", series.series.replace('.', "\\."), series.flavour);
        self.newest_like(toolroot, &pattern)
    }

    /// The newest release that the pattern describes.
    fn newest_like(&self, toolroot: &Toolroot, pattern: &str) -> anyhow::Result<Option<String>> {
        let prefix = "linux-headers-";
        let pattern = format!("^{prefix}{pattern}$");
        let mut search = self.command(toolroot, "apt-cache", Path::new("/"))?;
        let found = output(search.args(["search", "--names-only", &pattern]))?;
        let releases = found.lines().filter_map(|line| line.split(' ').next()?.strip_prefix(prefix));
        Ok(newest_of(releases))
    }

    fn has(&self, toolroot: &Toolroot, release: &str) -> bool {
        self.version(toolroot, &format!("linux-headers-{release}")).is_ok()
    }

    /// The version of a package, the one that apt prefers.
    fn version(&self, toolroot: &Toolroot, package: &str) -> anyhow::Result<String> {
        let versions = self.versions(toolroot, package)?;
        versions.into_iter().next().with_context(|| format!("the package {package} shows no version"))
    }

    /// All versions of a package, the one that apt prefers first.
    fn versions(&self, toolroot: &Toolroot, package: &str) -> anyhow::Result<Vec<String>> {
        let mut show = self.command(toolroot, "apt-cache", Path::new("/"))?;
        let shown = output(show.args(["show", package]))
            .with_context(|| format!("{} has no package {package}", self.name))?;
        Ok(shown.lines().filter_map(|line| line.strip_prefix("Version: ")).map(str::to_owned).collect())
    }
}

/// The newest release of that flavour that the archive has, of any series.
pub(crate) fn newest_of_any(toolroot: &Toolroot, archive: &Archive, flavour: &str) -> anyhow::Result<String> {
    archive.update(toolroot)?;
    let found = archive.newest_like(toolroot, &format!("[0-9]+\\.[0-9][^-]*-{flavour}"))?;
    found.with_context(|| format!("{} has no kernel {flavour}", archive.name))
}

/// The first of the archives that has the release, or, where none is asked for, one of the series; and the release. The lists of those that are
/// asked are downloaded.
pub(crate) fn find<'a>(
    toolroot: &Toolroot,
    archives: &'a [Archive],
    series: &KernelSeries,
    release: Option<&str>,
) -> anyhow::Result<(&'a Archive, String)> {
    let wanted = release.map_or_else(
        || format!("kernel {}.x-{}", series.series, series.flavour),
        |release| format!("kernel {release}"),
    );
    let mut missed: Vec<&str> = Vec::new();
    for archive in archives {
        if let Some(last) = missed.last() {
            ui::note(&format!("{last} has no {wanted} (any more): asking {}", archive.name));
        }
        let found = archive.update(toolroot).and_then(|()| match release {
            Some(release) => Ok(archive.has(toolroot, release).then(|| release.to_owned())),
            None => archive.newest(toolroot, series),
        });
        match found {
            Ok(Some(release)) => return Ok((archive, release)),
            Ok(None) => missed.push(&archive.name),
            // Whoever cannot reach the first has another problem than an old kernel.
            Err(error) if missed.is_empty() => return Err(error),
            Err(error) => return Err(error.context(format!("{} has no {wanted}", missed.join(" and ")))),
        }
    }
    bail!(
        "no archive has a {wanted}: not {}; is the series in lab/toolroot.toml still right?",
        missed.join(", nor ")
    )
}

/// The highest release, its numbers compared as numbers. What follows the first dash is the flavour, not the version.
fn newest_of<'a>(releases: impl Iterator<Item = &'a str>) -> Option<String> {
    let numbers = |release: &str| -> Vec<u64> {
        let version = release.split('-').next().unwrap_or_default();
        version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
    };
    releases.max_by_key(|release| numbers(release)).map(str::to_owned)
}

/// Downloads packages, all of that version, into `folder`.
pub(super) fn download_packages(
    toolroot: &Toolroot,
    archive: &Archive,
    packages: &[String],
    version: &str,
    folder: &Path,
    step: &Step,
) -> anyhow::Result<()> {
    step.message("downloading");
    let mut download = archive.command(toolroot, "apt-get", folder)?;
    download.args(["--quiet", "download"]).args(packages.iter().map(|name| format!("{name}={version}")));
    process::run(&mut download, step)
}

/// Downloads and unpacks what is needed of a release into `folder`: `source/`, `packages/` and `vmlinuz`. Returns the
/// packages' version.
pub(crate) fn download(
    toolroot: &Toolroot,
    archive: &Archive,
    release: &str,
    folder: &Path,
    step: &Step,
) -> anyhow::Result<String> {
    let source_name = format!("linux-source-{}", super::series_of(release));
    let headers = format!("linux-headers-{release}");
    let version = archive.version(toolroot, &headers)?;
    // The image without its signature is there days before the signed one; only a mirror of old releases lacks it.
    let unsigned = format!("linux-binary-unsigned-{release}");
    let (image_package, image_path) = if archive.version(toolroot, &unsigned).is_ok() {
        (unsigned, format!("usr/lib/modules/{release}/vmlinuz.unsigned"))
    } else {
        (format!("linux-image-{release}"), format!("boot/vmlinuz-{release}"))
    };
    let mut packages = vec![headers, image_package.clone()];
    let modules = format!("linux-modules-{release}");
    if archive.version(toolroot, &modules).is_ok() {
        packages.push(modules);
    }
    // An archive can have the sources of several patch levels.
    let source_versions = archive.versions(toolroot, &source_name)?;
    if !source_versions.contains(&version) {
        bail!(
            "{} has {source_name} in version {}, but Linux {release} is version {version}: \
             its Rust metadata can only be made from its own source",
            archive.name,
            source_versions.join(", ")
        );
    }
    packages.push(source_name.clone());

    download_packages(toolroot, archive, &packages, &version, folder, step)?;
    let contents = folder.join("packages");
    std::fs::create_dir_all(&contents).context("cannot create the packages' folder")?;
    for entry in std::fs::read_dir(folder).context("cannot list the downloads")?.flatten() {
        if entry.path().extension().is_some_and(|ending| ending == "deb") {
            let name = entry.file_name().to_string_lossy().into_owned();
            step.message(&format!("unpacking {name}"));
            process::run(
                toolroot.command("dpkg-deb", folder)?.arg("--extract").arg(&name).arg(&contents),
                step,
            )?;
            std::fs::remove_file(entry.path()).context("cannot remove a downloaded package")?;
        }
    }
    step.message("unpacking the kernel's source");
    let archive = contents.join(format!("usr/src/{source_name}.tar.xz"));
    let source = folder.join("source");
    std::fs::create_dir_all(&source).context("cannot create the source's folder")?;
    let mut unpack = toolroot.command("tar", &source)?;
    process::run(unpack.args(["--strip-components=1", "--no-same-owner", "-xf"]).arg(&archive), step)?;
    std::fs::remove_file(&archive).context("cannot remove the source's archive")?;

    std::fs::copy(contents.join(&image_path), folder.join("vmlinuz"))
        .with_context(|| format!("{image_package} has no /{image_path}"))?;
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::newest_of;

    #[test]
    fn ten_is_newer_than_nine() {
        let releases = ["7.3.9+deb13-cloud-amd64", "7.3.10+deb13-cloud-amd64", "7.3.10+deb13.1-cloud-amd64"];
        assert_eq!(newest_of(releases.into_iter()).as_deref(), Some("7.3.10+deb13.1-cloud-amd64"));
        assert_eq!(newest_of(std::iter::empty()), None);
    }
}
