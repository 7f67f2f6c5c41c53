// SPDX-License-Identifier: MIT OR Apache-2.0
//! The private Debian tree with the tools that a host lacks: made once by mmdebstrap, keyed by its definition
//! (`lab/toolroot.toml`), shared by all checkouts of a user.

mod definition;
mod host;
mod mirror;

pub(crate) use definition::{Definition, KernelSeries};
pub(crate) use host::{missing_package_advice, missing_package_advice_to, missing_user_ids, on_path, tools};

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::unistd::Uid;

use crate::context::{Context, remove_folder, remove_leftovers};
use crate::lock::Lock;
use crate::process::{self, run_lines};
use crate::sandbox::{Layout, host_certificates};
use crate::ui::{self, Step};

/// A tree that is whole.
#[derive(Debug, Clone)]
pub(crate) struct Toolroot {
    tree: PathBuf,
    layout: Layout,
    definition: Definition,
}

impl Toolroot {
    /// The tree for this checkout's definition; made first if it is not there.
    pub(crate) fn get(context: &Context) -> anyhow::Result<Self> {
        let (definition, tree) = Self::locate(context)?;
        Self::open(context, definition, tree)
    }

    /// The tree with the tools of Debian's next release; made first if it is not there.
    pub(crate) fn newer(&self, context: &Context) -> anyhow::Result<Self> {
        let definition = self.definition.of_newer();
        let tree = tree(context, &definition);
        Self::open(context, definition, tree)
    }

    fn open(context: &Context, definition: Definition, tree: PathBuf) -> anyhow::Result<Self> {
        if !tree.is_dir() {
            let _lock = Lock::take(&context.cache_lock("toolroot"), "makes the tool tree")?;
            // Another process may have made it while this one waited.
            if !tree.is_dir() {
                make(&definition, &tree)?;
            }
        }
        let layout = Layout {
            tree: Some(tree.clone()),
            writable_var: false,
            folders: vec![
                context.checkout.clone(),
                context.cache.clone(),
                context.target.clone(),
                std::env::temp_dir(),
            ],
            certificates: host_certificates(),
        };
        Ok(Self { tree, layout, definition })
    }

    /// The definition and the place of its tree, which need not exist.
    pub(crate) fn locate(context: &Context) -> anyhow::Result<(Definition, PathBuf)> {
        let definition = Definition::read(&context.checkout.join("lab/toolroot.toml"))?;
        let tree = tree(context, &definition);
        Ok((definition, tree))
    }

    /// The address of the mirror that the tree was made from.
    pub(crate) fn mirror(&self) -> anyhow::Result<String> {
        let path = self.tree.join("etc/apt/sources.list");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let address = text.split_whitespace().find(|word| word.contains("://"));
        address.map(str::to_owned).with_context(|| format!("{} names no mirror", path.display()))
    }

    /// Where the tree is, as seen from outside.
    pub(crate) fn path(&self) -> &Path {
        &self.tree
    }

    /// What the tree was made from.
    pub(crate) fn definition(&self) -> &Definition {
        &self.definition
    }

    /// A command inside the tree, in the folder `folder` (the same path inside and outside).
    pub(crate) fn command(&self, program: impl AsRef<OsStr>, folder: &Path) -> anyhow::Result<Command> {
        self.layout.command(program, folder)
    }

    /// The same with `folders` visible inside whatever their place on the host.
    pub(crate) fn command_with(
        &self,
        program: &str,
        folder: &Path,
        folders: &[PathBuf],
    ) -> anyhow::Result<Command> {
        let mut layout = self.layout.clone();
        layout.folders.extend_from_slice(folders);
        layout.command(program, folder)
    }

    /// A command that may change the tree's package lists and download packages. Hold the lock "packages".
    pub(crate) fn package_command(&self, program: &str, folder: &Path) -> anyhow::Result<Command> {
        let layout = Layout { writable_var: true, ..self.layout.clone() };
        layout.command(program, folder)
    }
}

/// What mmdebstrap is told so that apt reaches the mirror as the host's own does.
pub(crate) fn apt_options() -> Vec<String> {
    mirror::apt_proxy_options().iter().map(|option| format!("--aptopt={option}")).collect()
}

/// The sources of a Debian system that is made like the tree, for mmdebstrap: the mirror's, or those of Debian's own.
pub(crate) fn sources(definition: &Definition) -> Vec<String> {
    definition.sources(&mirror::find().unwrap_or_else(|| "http://deb.debian.org/debian".to_owned()))
}

/// Where a tree belongs.
fn tree(context: &Context, definition: &Definition) -> PathBuf {
    context.cache.join(format!("toolroot-{}", definition.key()))
}

/// Makes the tree beside its place and moves it there when it is whole.
fn make(definition: &Definition, tree: &Path) -> anyhow::Result<()> {
    host::ensure_installed(host::tools())?;
    if let Some((problem, advice)) = host::missing_user_ids() {
        bail!("{problem}; mend it with:\n  {advice}");
    }
    let cache = tree.parent().context("the tool tree needs a folder")?;
    let name = tree.file_name().unwrap_or_default().to_string_lossy().into_owned();
    remove_leftovers(cache, "partial-")?;
    let partial = cache.join(format!("partial-{name}"));
    std::fs::create_dir_all(&partial).with_context(|| format!("cannot create {}", partial.display()))?;

    let contents = if definition.has_machines() { "QEMU, rustc and gcc" } else { "rustc and gcc" };
    let step = Step::new(
        &format!("Making the tool tree: a private Debian {} with {contents}", definition.suite),
        Some(Duration::from_secs(75)),
    );
    let made = fill(definition, &partial, &step);
    if let Err(error) = made {
        remove_folder(&partial)?;
        return Err(error.context("cannot make the tool tree"));
    }
    std::fs::rename(&partial, tree)
        .with_context(|| format!("cannot move the tool tree to {}", tree.display()))?;
    step.done();
    Ok(())
}

fn fill(definition: &Definition, partial: &Path, step: &Step) -> anyhow::Result<()> {
    let mirror = mirror::find();
    if ui::verbose() {
        ui::note(&format!("Debian mirror: {}", mirror.as_deref().unwrap_or("mmdebstrap's default")));
    }
    let tree = partial.join("tree");
    let tarball = partial.join("tree.tar");

    // mmdebstrap mounts file systems inside the tree while it works. In namespaces of its own they vanish with it.
    // As an ordinary user it makes its own namespaces, and its result, whose files belong to many users, comes as an
    // archive that is unpacked to belong to this one.
    let root = Uid::effective().is_root();
    let mut command = if root {
        let layout = Layout { tree: None, writable_var: false, folders: vec![], certificates: None };
        layout.command("mmdebstrap", Path::new("/"))?
    } else {
        Command::new("mmdebstrap")
    };
    command.args(["--variant=apt", "--architectures=amd64"]);
    command.arg(format!("--include={}", definition.packages.join(",")));
    command.arg(format!("--setup-hook={}", definition.preferences_hook()));
    // Names that the sandbox mounts over must exist.
    command.arg("--customize-hook=touch \"$1/etc/resolv.conf\" && mkdir -p \"$1/mnt\"");
    command.args([
        "--skip=cleanup/apt/lists",
        "--aptopt=APT::Install-Recommends \"false\"",
        "--aptopt=Acquire::Retries \"3\"",
    ]);
    command.args(apt_options());
    for folder in ["doc", "man", "locale", "info"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{folder}/*"));
    }
    command.arg(&definition.suite).arg(if root { &tree } else { &tarball });
    match &mirror {
        Some(mirror) => command.args(definition.sources(mirror)),
        None => command.arg(format!("--setup-hook={}", definition.backports_hook())),
    };
    run_lines(&mut command, |line| step.message(line.strip_prefix("I: ").unwrap_or(line)))?;
    if !root {
        step.message("unpacking the tree");
        std::fs::create_dir(&tree).context("cannot create the tree's folder")?;
        process::run(
            Command::new("tar")
                .args(["--no-same-owner", "--exclude=./dev/*", "-xf"])
                .arg(&tarball)
                .arg("-C")
                .arg(&tree),
            step,
        )?;
        std::fs::remove_file(&tarball).context("cannot remove the archive")?;
    }
    verify(definition, &tree)?;
    // The tree takes the place of the folder that it was made in.
    for entry in std::fs::read_dir(&tree).context("cannot list the new tree")? {
        let entry = entry.context("cannot list the new tree")?;
        std::fs::rename(entry.path(), partial.join(entry.file_name())).context("cannot move the new tree")?;
    }
    std::fs::remove_dir(&tree).context("cannot remove the emptied folder")
}

/// What later steps take for granted.
fn verify(definition: &Definition, tree: &Path) -> anyhow::Result<()> {
    let mut programs = vec!["usr/bin/rustc", "usr/bin/bindgen", "usr/bin/make"];
    if definition.has_machines() {
        programs.extend(["usr/bin/qemu-system-x86_64", "usr/bin/busybox"]);
    }
    for program in programs {
        if !tree.join(program).exists() {
            bail!(
                "mmdebstrap ended well, but /{program} is missing in what it made: check lab/toolroot.toml"
            );
        }
    }
    Ok(())
}
