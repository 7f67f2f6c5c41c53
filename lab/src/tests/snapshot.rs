// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's archive drops old kernels: what `lab/toolroot.toml` names must still be found.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};

use super::Lab;
use crate::kernel::archive::{self, Archive};
use crate::process::output;
use crate::toolroot::{KernelSeries, Toolroot};
use crate::ui::Step;

const SUITE: &str = "trixie-backports";
const RELEASE: &str = "9.9.10+deb13-cloud-amd64";
const VERSION: &str = "9.9.10-1~bpo13+1";

/// Two stand-in archives: today's, which has another series, and an old one, which has ours.
pub(super) fn a_kernel_that_left_the_archive_is_found(lab: &Lab) -> anyhow::Result<()> {
    let toolroot = &lab.parts.toolroot;
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let series = KernelSeries {
        series: "9.9".into(),
        flavour: "cloud-amd64".into(),
        snapshot: "is not asked".into(),
        also: Vec::new(),
    };
    let archive = |name: &str, release: &str| -> anyhow::Result<Archive> {
        let place = folder.path().join(name);
        publish(toolroot, &place, release)?;
        Archive::at(
            &format!("file:{}", place.display()),
            &[SUITE],
            &folder.path().join(format!("{name}-state")),
            true,
        )
    };
    let archives = [archive("today", "10.1.1+deb13-cloud-amd64")?, archive("then", RELEASE)?];
    // Found by its series, and by its name.
    for wanted in [None, Some(RELEASE)] {
        let (from, found) = archive::find(toolroot, &archives, &series, wanted)?;
        ensure!(found == RELEASE, "{found} was found for {wanted:?}");
        ensure!(std::ptr::eq(from, &raw const archives[1]), "it was found in the wrong archive");
    }
    let (from, found) = archive::find(toolroot, &archives, &series, Some("10.1.1+deb13-cloud-amd64"))?;
    ensure!(
        std::ptr::eq(from, &raw const archives[0]) && found.starts_with("10"),
        "today's archive was not asked first"
    );
    // What it has can be downloaded and is unpacked.
    let into = folder.path().join("kernel");
    std::fs::create_dir(&into).context("cannot make a folder")?;
    let step = Step::new("Downloading from a stand-in archive", None);
    let version = archive::download(toolroot, &archives[1], RELEASE, &into, &step)?;
    step.done();
    ensure!(version == VERSION, "the version is {version}");
    let image = std::fs::read_to_string(into.join("vmlinuz")).context("there is no image")?;
    ensure!(image == "image\n" && into.join("source/Makefile").is_file(), "the kernel is not whole");
    // Nobody has it.
    let error = archive::find(toolroot, &archives, &series, Some("8.8.8+deb13-cloud-amd64"))
        .err()
        .context("a kernel that nobody has was found")?;
    let text = error.to_string();
    ensure!(
        text.contains("8.8.8") && text.contains("today") && text.contains("then"),
        "the message is {text}"
    );
    Ok(())
}

/// Makes an archive with the packages of one release, small ones.
fn publish(toolroot: &Toolroot, place: &Path, release: &str) -> anyhow::Result<()> {
    let series: Vec<&str> = release.split('.').take(2).collect();
    let source = format!("linux-source-{}", series.join("."));
    let source_file = format!("usr/src/{source}.tar.xz");
    let index = place.join(format!("dists/{SUITE}/main/binary-amd64"));
    std::fs::create_dir_all(&index).context("cannot make an archive")?;
    let mut packages = String::new();
    for (name, file) in [
        (format!("linux-headers-{release}"), format!("usr/src/linux-headers-{release}/.config")),
        (format!("linux-image-{release}"), format!("boot/vmlinuz-{release}")),
        (source, source_file.clone()),
    ] {
        let tree = place.join(format!("build/{name}"));
        let path = tree.join(&file);
        std::fs::create_dir_all(path.parent().context("a file needs a folder")?)
            .context("cannot make a package")?;
        std::fs::create_dir_all(tree.join("DEBIAN")).context("cannot make a package")?;
        let control = format!(
            "Package: {name}\nVersion: {VERSION}\nArchitecture: amd64\nMaintainer: Nobody <nobody@example.org>\nDescription: stand-in\n"
        );
        std::fs::write(tree.join("DEBIAN/control"), &control).context("cannot make a package")?;
        if file == source_file {
            let content = place.join("build/linux");
            std::fs::create_dir_all(&content).context("cannot make a source")?;
            std::fs::write(content.join("Makefile"), "all:\n").context("cannot make a source")?;
            let mut tar = toolroot.command("tar", &place.join("build"))?;
            output(tar.arg("-cJf").arg(&path).arg("linux"))?;
        } else {
            std::fs::write(&path, "image\n").context("cannot make a package")?;
        }
        let deb = format!("{name}.deb");
        let mut build = toolroot.command("dpkg-deb", place)?;
        output(build.args(["--root-owner-group", "--build"]).arg(&tree).arg(&deb))?;
        let bytes = std::fs::read(place.join(&deb)).context("no package was made")?;
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        write!(packages, "{control}Filename: {deb}\nSize: {}\nSHA256: {hash}\n\n", bytes.len())?;
    }
    std::fs::write(index.join("Packages"), &packages).context("cannot write the archive's index")?;
    let hash: String = Sha256::digest(packages.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    // Old archives say that they are not to be believed any more.
    let release_file = format!(
        "Suite: {SUITE}\nCodename: {SUITE}\nComponents: main\nArchitectures: amd64\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n\
         Valid-Until: Thu, 08 Jan 2026 00:00:00 UTC\nSHA256:\n {hash} {} main/binary-amd64/Packages\n",
        packages.len()
    );
    std::fs::write(place.join(format!("dists/{SUITE}/Release")), release_file)
        .context("cannot write the archive's release")
}
