// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's archive: which kernels it has, and their packages.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process::{self, output};
use crate::toolroot::{KernelSeries, Toolroot};
use crate::ui::Step;

/// Downloads the package lists anew: old ones name packages that the mirrors no longer have.
pub(super) fn update(toolroot: &Toolroot) -> anyhow::Result<()> {
    let step = Step::new("Updating the package lists", None);
    process::run(apt(toolroot, "apt-get", Path::new("/"))?.args(["--quiet", "update"]), &step)?;
    step.done();
    Ok(())
}

/// The newest release of a series that can be both built for and run.
pub(super) fn newest(toolroot: &Toolroot, series: &KernelSeries) -> anyhow::Result<String> {
    let prefix = "linux-headers-";
    let pattern = format!("^{prefix}{}\\.[0-9]+.*-{}$", series.series.replace('.', "\\."), series.flavour);
    let found =
        output(apt(toolroot, "apt-cache", Path::new("/"))?.args(["search", "--names-only", &pattern]))?;
    let releases = found.lines().filter_map(|line| line.split(' ').next()?.strip_prefix(prefix));
    newest_of(releases).with_context(|| {
        format!(
            "Debian's archive has no kernel {}.x-{}; is its series still right in lab/toolroot.toml?",
            series.series, series.flavour
        )
    })
}

/// The highest release, its numbers compared as numbers. What follows the first dash is the flavour, not the version.
fn newest_of<'a>(releases: impl Iterator<Item = &'a str>) -> Option<String> {
    let numbers = |release: &str| -> Vec<u64> {
        let version = release.split('-').next().unwrap_or_default();
        version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
    };
    releases.max_by_key(|release| numbers(release)).map(str::to_owned)
}

/// Downloads and unpacks what is needed of a release into `folder`: `source/`, `packages/` and `vmlinuz`. Returns the
/// packages' version.
pub(super) fn download(
    toolroot: &Toolroot,
    release: &str,
    folder: &Path,
    step: &Step,
) -> anyhow::Result<String> {
    let series: Vec<&str> = release.split(|c: char| !c.is_ascii_digit()).take(2).collect();
    let source_name = format!("linux-source-{}", series.join("."));
    let headers = format!("linux-headers-{release}");
    let version = package_version(toolroot, &headers)?;
    // The image without its signature is there days before the signed one; only a mirror of old releases lacks it.
    let unsigned = format!("linux-binary-unsigned-{release}");
    let (image_package, image_path) = if package_version(toolroot, &unsigned).is_ok() {
        (unsigned, format!("usr/lib/modules/{release}/vmlinuz.unsigned"))
    } else {
        (format!("linux-image-{release}"), format!("boot/vmlinuz-{release}"))
    };
    let mut packages = vec![headers, image_package.clone()];
    let modules = format!("linux-modules-{release}");
    if package_version(toolroot, &modules).is_ok() {
        packages.push(modules);
    }
    let source_version = package_version(toolroot, &source_name)?;
    if source_version != version {
        bail!(
            "the archive has {source_name} in version {source_version}, but Linux {release} is version {version}: \
             its Rust metadata can only be made from its own source"
        );
    }
    packages.push(source_name.clone());

    step.message("downloading");
    let mut download = apt(toolroot, "apt-get", folder)?;
    download.args(["--quiet", "download"]).args(packages.iter().map(|name| format!("{name}={version}")));
    process::run(&mut download, step)?;

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

fn package_version(toolroot: &Toolroot, package: &str) -> anyhow::Result<String> {
    let shown =
        output(apt(toolroot, "apt-cache", Path::new("/"))?.args(["show", "--no-all-versions", package]))
            .with_context(|| format!("Debian's archive has no package {package}"))?;
    let version = shown.lines().find_map(|line| line.strip_prefix("Version: "));
    version.map(str::to_owned).with_context(|| format!("the package {package} shows no version"))
}

fn apt(toolroot: &Toolroot, program: &str, folder: &Path) -> anyhow::Result<Command> {
    let mut command = toolroot.package_command(program, folder)?;
    // Only one user is mapped into a user namespace, so apt cannot become `_apt`.
    command.args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3"]);
    Ok(command)
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
