// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where things are: the checkout, its build folder, and the cache that all checkouts share.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The folders that a command works with.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// The top of the checkout.
    pub(crate) checkout: PathBuf,
    /// cargo's target folder of this checkout.
    pub(crate) target: PathBuf,
    /// The cache of this user, shared by all checkouts: `$EXO_CACHE`, or `exo` in `$XDG_CACHE_HOME` or `~/.cache`.
    pub(crate) cache: PathBuf,
}

impl Context {
    /// Finds the folders from the environment and from where the running binary was built.
    pub(crate) fn find() -> anyhow::Result<Self> {
        // `cargo run` sets CARGO_MANIFEST_DIR for the checkout it runs in; without cargo, the place of the build is it.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let checkout = manifest.parent().context("the checkout has no top folder")?.to_path_buf();
        if !checkout.join("lab/toolroot.toml").is_file() {
            bail!("{} is not a checkout of Exo: run `cargo exo` inside one", checkout.display());
        }
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => std::path::absolute(folder).context("CARGO_TARGET_DIR is no usable path")?,
            None => checkout.join("target"),
        };
        let cache = cache_folder()?;
        std::fs::create_dir_all(&cache)
            .with_context(|| format!("cannot create the cache {}", cache.display()))?;
        Ok(Self { checkout, target, cache })
    }

    /// Where this checkout's machines, logs and modules are kept.
    pub(crate) fn build(&self) -> PathBuf {
        self.target.join("exo")
    }

    /// Where modules for the kernel `release` are built.
    pub(crate) fn modules(&self, release: &str) -> PathBuf {
        self.build().join("modules").join(release)
    }

    /// The path of the lock `name`, which all checkouts of this user share.
    pub(crate) fn cache_lock(&self, name: &str) -> PathBuf {
        self.cache.join("locks").join(name)
    }

    /// The path of the lock `name` of this checkout.
    pub(crate) fn build_lock(&self, name: &str) -> PathBuf {
        self.build().join("locks").join(name)
    }
}

fn cache_folder() -> anyhow::Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(folder) = absolute("EXO_CACHE") {
        return Ok(folder);
    }
    if let Some(folder) = absolute("XDG_CACHE_HOME") {
        return Ok(folder.join("exo"));
    }
    match absolute("HOME") {
        Some(home) => Ok(home.join(".cache/exo")),
        None => bail!(
            "neither XDG_CACHE_HOME nor HOME is set: set EXO_CACHE to the folder that may hold about 6 GB of tools"
        ),
    }
}

/// Removes a folder that may not be there.
pub(crate) fn remove_folder(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}

/// Removes what interrupted runs left behind: the entries of `folder` whose name starts with `prefix`. Call it only
/// while holding the lock under which such entries are made.
pub(crate) fn remove_leftovers(folder: &Path, prefix: &str) -> anyhow::Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            remove_folder(&entry.path())?;
        }
    }
    Ok(())
}

/// Writes a file so that a reader, or a run after a crash, sees the old content or the new and nothing between.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().context("a file needs a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let file = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write in {}", folder.display()))?;
    std::fs::write(file.path(), content).with_context(|| format!("cannot write {}", path.display()))?;
    file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}
