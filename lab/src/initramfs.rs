// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file system that a machine starts with: busybox, lspci, this project's programs and modules, the files that the
//! caller adds, and what `/init` shall do. Packed uncompressed: under emulation, unpacking costs more than loading.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use cpio::newc::{Builder, ModeFileType, trailer};

use crate::process::output;
use crate::toolroot::Toolroot;

/// A file system under construction.
#[derive(Debug)]
pub(crate) struct Initramfs {
    out: BufWriter<File>,
    folders: BTreeSet<PathBuf>,
    inode: u32,
}

impl Initramfs {
    /// Starts the archive `path`.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut made =
            Self { out: BufWriter::with_capacity(1 << 20, file), folders: BTreeSet::new(), inode: 0 };
        for folder in ["/dev", "/proc", "/sys", "/tmp", "/root", "/run", "/mnt", "/var", "/host"] {
            made.folder(Path::new(folder))?;
        }
        Ok(made)
    }

    /// Adds a host's file under the path `guest`, with its own permissions.
    pub(crate) fn host_file(&mut self, host: &Path, guest: &Path) -> anyhow::Result<()> {
        let metadata = std::fs::metadata(host).with_context(|| format!("cannot read {}", host.display()))?;
        if metadata.is_dir() {
            self.folder(guest)?;
            let mut entries: Vec<_> = std::fs::read_dir(host)
                .with_context(|| format!("cannot list {}", host.display()))?
                .flatten()
                .collect();
            entries.sort_by_key(std::fs::DirEntry::file_name);
            return entries
                .iter()
                .try_for_each(|entry| self.host_file(&entry.path(), &guest.join(entry.file_name())));
        }
        let content = std::fs::read(host).with_context(|| format!("cannot read {}", host.display()))?;
        self.file(guest, metadata.mode() & 0o777, &content)
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, guest: &Path, permissions: u32, content: &[u8]) -> anyhow::Result<()> {
        self.parents(guest)?;
        self.entry(guest, ModeFileType::Regular, permissions, content)
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, guest: &Path, to: &str) -> anyhow::Result<()> {
        self.parents(guest)?;
        self.entry(guest, ModeFileType::Symlink, 0o777, to.as_bytes())
    }

    /// Adds a folder and those that it lies in.
    pub(crate) fn folder(&mut self, guest: &Path) -> anyhow::Result<()> {
        if guest.parent().is_none() || self.folders.contains(guest) {
            return Ok(());
        }
        self.parents(guest)?;
        let permissions = if guest == Path::new("/tmp") { 0o1777 } else { 0o755 };
        self.entry(guest, ModeFileType::Directory, permissions, &[])?;
        self.folders.insert(guest.to_path_buf());
        Ok(())
    }

    /// Writes the end of the archive.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let mut out = trailer(self.out).context("cannot write the initramfs")?;
        out.flush().context("cannot write the initramfs")
    }

    fn parents(&mut self, guest: &Path) -> anyhow::Result<()> {
        if !guest.is_absolute() {
            bail!("{} is no absolute path in the machine", guest.display());
        }
        guest.parent().map_or(Ok(()), |parent| self.folder(parent))
    }

    fn entry(
        &mut self,
        guest: &Path,
        kind: ModeFileType,
        permissions: u32,
        content: &[u8],
    ) -> anyhow::Result<()> {
        let name = guest.to_str().with_context(|| format!("{} is not UTF-8", guest.display()))?;
        let size = u32::try_from(content.len()).ok().with_context(|| {
            format!("{name} is larger than the 4 GiB that an initramfs can hold in one file")
        })?;
        self.inode += 1;
        let mut writer = Builder::new(name.trim_start_matches('/'))
            .ino(self.inode)
            .nlink(1)
            .mode(permissions)
            .set_mode_file_type(kind)
            .write(&mut self.out, size);
        writer
            .write_all(content)
            .and_then(|()| writer.finish().map(|_| ()))
            .context("cannot write the initramfs")
    }
}

/// Adds busybox with all its names, and lspci with what it needs, from the tool tree.
pub(crate) fn add_tools(initramfs: &mut Initramfs, toolroot: &Toolroot, cache: &Path) -> anyhow::Result<()> {
    let tree = toolroot.path();
    initramfs.host_file(&tree.join("usr/bin/busybox"), Path::new("/bin/busybox"))?;
    let facts = tool_facts(toolroot, cache)?;
    for applet in
        facts.applets.iter().filter(|name| !["busybox", "lspci", "init", "linuxrc"].contains(&name.as_str()))
    {
        initramfs.link(&Path::new("/bin").join(applet), "busybox")?;
    }
    initramfs.link(Path::new("/sbin"), "bin")?;
    initramfs.host_file(&tree.join("usr/bin/lspci"), Path::new("/bin/lspci"))?;
    for library in &facts.libraries {
        let host = tree.join("usr").join(library.trim_start_matches('/').trim_start_matches("usr/"));
        initramfs.host_file(&host, Path::new(library))?;
    }
    initramfs.host_file(&tree.join("usr/share/misc/pci.ids"), Path::new("/usr/share/misc/pci.ids"))?;
    for (path, content) in [("/etc/passwd", "root::0:0:root:/root:/bin/sh\n"), ("/etc/group", "root:x:0:\n")]
    {
        initramfs.file(Path::new(path), 0o644, content.as_bytes())?;
    }
    Ok(())
}

/// What has to be asked of programs in the tool tree, and never changes for a tree.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct ToolFacts {
    applets: Vec<String>,
    libraries: Vec<String>,
}

fn tool_facts(toolroot: &Toolroot, cache: &Path) -> anyhow::Result<ToolFacts> {
    let name = toolroot.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let remembered = cache.join(format!("facts-{name}.json"));
    if let Some(facts) = std::fs::read(&remembered).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
        return Ok(facts);
    }
    let applets = output(toolroot.command("busybox", Path::new("/"))?.arg("--list"))?;
    let needed = output(toolroot.command("ldd", Path::new("/"))?.arg("/usr/bin/lspci"))?;
    let libraries =
        needed.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect();
    let facts = ToolFacts { applets: applets.lines().map(str::to_owned).collect(), libraries };
    crate::context::write_whole(&remembered, &serde_json::to_vec_pretty(&facts)?)?;
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpio::newc::Reader;

    fn names(path: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut file = File::open(path).unwrap();
        loop {
            let reader = Reader::new(file).unwrap();
            if reader.entry().is_trailer() {
                return found;
            }
            found.push(reader.entry().name().to_owned());
            file = reader.finish().unwrap();
        }
    }

    #[test]
    fn folders_come_before_what_lies_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.cpio");
        let mut initramfs = Initramfs::create(&path).unwrap();
        initramfs.file(Path::new("/a/b/c"), 0o644, b"text").unwrap();
        initramfs.file(Path::new("/a/b/d"), 0o644, b"").unwrap();
        initramfs.finish().unwrap();
        let names = names(&path);
        let tail = &names[names.len() - 4..];
        assert_eq!(tail, ["a", "a/b", "a/b/c", "a/b/d"]);
    }

    #[test]
    fn a_relative_guest_path_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut initramfs = Initramfs::create(&folder.path().join("x.cpio")).unwrap();
        assert!(initramfs.file(Path::new("a"), 0o644, b"").unwrap_err().to_string().contains("absolute"));
    }
}
