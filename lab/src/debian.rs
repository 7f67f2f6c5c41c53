// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's own programs for machines: packages from the tool tree's mirror, unpacked and never installed, with the libraries that they need.
//! Only the machines that ask for them have them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use crate::context::{Context, remove_folder, remove_leftovers, write_whole};
use crate::lock::Lock;
use crate::process::{self, output};
use crate::toolroot::Toolroot;
use crate::ui::Step;

/// Where libraries lie, in a package and in a machine.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// Where packages are unpacked before they are whole.
const PARTIAL: &str = "debian-partial";
/// The C library opens it when a thread is cancelled, and no program says that it needs it.
const OPENED_LATER: &str = "/lib/x86_64-linux-gnu/libgcc_s.so.1";
/// What no program needs to run.
const LEFT_OUT: [&str; 5] =
    ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/lib/systemd"];

/// Packages that are unpacked.
#[derive(Debug, Clone)]
pub(crate) struct Packages {
    folder: PathBuf,
    /// What they need of the tool tree, whose packages are not downloaded again.
    libraries: Vec<PathBuf>,
    tree: PathBuf,
}

impl Packages {
    /// Those with these names and what they depend on; downloaded first if they are not there.
    pub(crate) fn get(context: &Context, toolroot: &Toolroot, names: &[String]) -> anyhow::Result<Self> {
        let hash = Sha256::digest(names.join(" "));
        let hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let name = format!("debian-{}-{hash}", toolroot.definition().key());
        let folder = context.cache.join(name);
        if !folder.is_dir() {
            let _lock = Lock::take(&context.cache_lock("packages"), "downloads packages")?;
            if !folder.is_dir() {
                let partial = context.cache.join(PARTIAL);
                remove_leftovers(&context.cache, PARTIAL)?;
                let step = Step::new(&format!("Downloading Debian's {}", names.join(", ")), None);
                if let Err(error) = download(toolroot, names, &partial, &step) {
                    remove_folder(&partial)?;
                    return Err(error.context("cannot get Debian's packages"));
                }
                std::fs::rename(&partial, &folder)
                    .with_context(|| format!("cannot move the packages to {}", folder.display()))?;
                step.done();
            }
        }
        let list = folder.join("libraries");
        let text =
            std::fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        let libraries = text.lines().map(PathBuf::from).collect();
        Ok(Self { folder, libraries, tree: toolroot.path().to_owned() })
    }

    /// What a machine that has them finds where: the host's paths with the machine's.
    pub(crate) fn files(&self) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
        let mut files = Vec::new();
        for library in &self.libraries {
            let inside = library.strip_prefix("/").unwrap_or(library);
            let inside = inside.strip_prefix("usr").unwrap_or(inside);
            files.push((self.tree.join("usr").join(inside), library.clone()));
        }
        let root = self.folder.join("files");
        for entry in root.read_dir().with_context(|| format!("cannot list {}", root.display()))?.flatten() {
            files.push((entry.path(), Path::new("/").join(entry.file_name())));
        }
        Ok(files)
    }
}

fn download(toolroot: &Toolroot, names: &[String], folder: &Path, step: &Step) -> anyhow::Result<()> {
    let (archives, files) = (folder.join("archives"), folder.join("files"));
    for made in [archives.join("partial"), files.clone()] {
        std::fs::create_dir_all(&made).with_context(|| format!("cannot create {}", made.display()))?;
    }
    let apt = |arguments: &[&str]| {
        let mut command = toolroot.package_command("apt-get", folder)?;
        // Only one user is mapped into a user namespace, so apt cannot become `_apt`.
        command.args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "-o"]);
        command.arg(format!("Dir::Cache::archives={}/", archives.display()));
        command.args(["--quiet", "--yes"]).args(arguments);
        process::run(&mut command, step)
    };
    let install = ["install", "--download-only", "--no-install-recommends"];
    let install: Vec<&str> = install.into_iter().chain(names.iter().map(String::as_str)).collect();
    // Old lists name packages that the mirrors no longer have.
    if apt(&install).is_err() {
        apt(&["update"])?;
        apt(&install)?;
    }
    for package in files_below(&archives)? {
        if package.extension().is_some_and(|ending| ending == "deb") {
            let mut unpack = toolroot.command("dpkg-deb", folder)?;
            process::run(unpack.arg("--extract").arg(&package).arg(&files), step)?;
        }
    }
    remove_folder(&archives)?;
    for left_out in LEFT_OUT {
        remove_folder(&files.join(left_out))?;
    }
    let libraries = libraries(toolroot, &files)?;
    let lines: String = libraries.iter().map(|library| format!("{library}\n")).collect();
    write_whole(&folder.join("libraries"), lines.as_bytes())
}

/// The libraries in the tool tree that the files need, by their names in a machine.
fn libraries(toolroot: &Toolroot, files: &Path) -> anyhow::Result<BTreeSet<String>> {
    // It fails at static programs, which need none.
    let line = format!("LD_LIBRARY_PATH={} ldd \"$@\" || true", files.join(LIBRARIES).display());
    let mut ldd = toolroot.command("sh", Path::new("/"))?;
    ldd.args(["-c", &line, "ldd"]);
    let (mut needed, mut is_empty) = (BTreeSet::from([OPENED_LATER.to_owned()]), true);
    for file in files_below(files)? {
        let mut magic = [0; 4];
        let read = std::fs::File::open(&file).and_then(|mut file| {
            use std::io::Read as _;
            file.read_exact(&mut magic)
        });
        if read.is_ok() && magic == *b"\x7fELF" {
            ldd.arg(file);
            is_empty = false;
        }
    }
    if !is_empty {
        let said = output(&mut ldd)?;
        let own = files.to_string_lossy();
        // The line of a file that is looked at ends with a colon.
        let words = said
            .split_whitespace()
            .filter(|word| word.starts_with('/') && !word.ends_with(':') && !word.starts_with(own.as_ref()));
        needed.extend(words.map(str::to_owned));
    }
    Ok(needed)
}

/// All files below a folder; a link that leads nowhere without its package's configuration is removed.
fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => found.extend(files_below(&path)?),
            Ok(_) => found.push(path),
            Err(_) => {
                std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?
            }
        }
    }
    found.sort();
    Ok(found)
}
