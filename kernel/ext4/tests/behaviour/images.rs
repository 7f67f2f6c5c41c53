// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images made by e2fsprogs, disks in memory, and what is put into them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use exo_ext4::{BlockDevice, Error, Result};

/// A disk in memory that counts its reads.
#[derive(Clone)]
pub(crate) struct Disk {
    pub bytes: Vec<u8>,
    pub reads: u64,
    pub read_only: bool,
}

impl Disk {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, reads: 0, read_only: false }
    }
}

impl BlockDevice for Disk {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read(&mut self, offset: u64, to: &mut [u8]) -> Result<()> {
        assert!(offset % 1024 == 0 && to.len() % 1024 == 0, "read of {} at {offset}", to.len());
        self.reads += 1;
        let from = self.bytes.get(offset as usize..offset as usize + to.len()).ok_or(Error::Device)?;
        to.copy_from_slice(from);
        Ok(())
    }

    fn write(&mut self, offset: u64, from: &[u8]) -> Result<()> {
        assert!(offset % 1024 == 0 && from.len() % 1024 == 0, "write of {} at {offset}", from.len());
        assert!(!self.read_only);
        let to = self.bytes.get_mut(offset as usize..offset as usize + from.len()).ok_or(Error::Device)?;
        to.copy_from_slice(from);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A folder that goes when it is dropped.
pub(crate) struct Folder(pub PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("exo-ext4-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A program of e2fsprogs, which is often not in the path of those who are not root.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.exists())
}

/// Whether the programs are there. If not, the test that asks is skipped, and says so.
pub(crate) fn have_tools() -> bool {
    for name in ["mke2fs", "debugfs", "e2fsck"] {
        if program(name).is_none() {
            eprintln!("skipped: there is no {name} on this host (package e2fsprogs)");
            return false;
        }
    }
    true
}

fn run(name: &str, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(program(name).unwrap())
        .args(arguments)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), text)
}

/// An image of `blocks` blocks with the content of `tree`, made with the options of mke2fs in `options`.
pub(crate) fn make(folder: &Folder, tree: Option<&Path>, options: &str, blocks: u32) -> PathBuf {
    let image = folder.0.join("image");
    let _ = fs::remove_file(&image);
    let blocks = blocks.to_string();
    let mut arguments: Vec<&str> = options.split(' ').collect();
    arguments.extend(["-q", "-F", "-U", "6a7e1a5c-0f4e-4b7b-9f6e-6f0f5d5a3c11"]);
    if let Some(tree) = tree {
        arguments.extend(["-d", tree.to_str().unwrap()]);
    }
    arguments.extend([image.to_str().unwrap(), &blocks]);
    let (status, text) = run("mke2fs", &arguments);
    assert_eq!(status, 0, "mke2fs {arguments:?}: {text}");
    image
}

/// What debugfs says to a request; `write` lets it change the image.
pub(crate) fn debugfs(image: &Path, write: bool, requests: &[&str]) -> String {
    let script = image.with_extension("requests");
    fs::write(&script, requests.join("\n") + "\n").unwrap();
    let mut arguments = vec!["-f", script.to_str().unwrap()];
    if write {
        arguments.push("-w");
    }
    arguments.push(image.to_str().unwrap());
    let (status, text) = run("debugfs", &arguments);
    assert_eq!(status, 0, "debugfs {requests:?}: {text}");
    text
}

/// Has e2fsck rebuild all directories, with indexes for the large ones.
pub(crate) fn index_directories(image: &Path) {
    let (status, text) = run("e2fsck", &["-fyD", image.to_str().unwrap()]);
    assert!(status <= 1, "e2fsck -fyD: {text}");
}

/// Fails unless e2fsck finds nothing wrong.
pub(crate) fn check(image: &Path) {
    let (status, text) = run("e2fsck", &["-fn", image.to_str().unwrap()]);
    assert_eq!(status, 0, "e2fsck -fn: {text}");
}

/// Has e2fsck recover the journal and do what is safe; fails if there is anything else to do.
pub(crate) fn repair(image: &Path) {
    let (status, text) = run("e2fsck", &["-fp", image.to_str().unwrap()]);
    assert!(status <= 1, "e2fsck -fp: {text}");
}

/// Bytes that tell where they are from.
pub(crate) fn pattern(name: &str, len: usize) -> Vec<u8> {
    let mut state =
        name.bytes().fold(0x9e37_79b9_u32, |state, byte| (state ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// A tree with files of all kinds that mke2fs can copy.
pub(crate) fn tree(folder: &Folder, names: usize) -> PathBuf {
    use std::os::unix::fs::{FileExt, symlink};
    let root = folder.0.join("tree");
    fs::create_dir_all(root.join("many")).unwrap();
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("short"), b"forty-two").unwrap();
    fs::write(root.join("hundred"), pattern("hundred", 100)).unwrap();
    fs::write(root.join("a/b/c/large"), pattern("large", 700_001)).unwrap();
    let holes = fs::File::create(root.join("holes")).unwrap();
    for index in 0..300_u64 {
        holes.write_all_at(&pattern("holes", 4096), index * 12_288).unwrap();
    }
    holes.set_len(300 * 12_288 + 5).unwrap();
    symlink("short", root.join("fast")).unwrap();
    symlink("x/".repeat(120), root.join("slow")).unwrap();
    for index in 0..names {
        fs::write(root.join(format!("many/a name that is rather long for what it says {index}")), b"")
            .unwrap();
    }
    root
}
