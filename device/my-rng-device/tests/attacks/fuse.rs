// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file whose `close` waits for as long as its owner likes: of a FUSE file system that never answers FLUSH.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

const INIT: u32 = 26;
const OPEN: u32 = 14;
const GETATTR: u32 = 3;
const FLUSH: u32 = 25;

/// The file system, whose root is the file. Dropping it answers everybody.
pub(crate) struct SlowFile {
    place: PathBuf,
    _directory: tempfile::TempDir,
}

impl SlowFile {
    /// Mounts it. `None`: this user may not, or there is no FUSE.
    pub(crate) fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("file");
        File::create(&place).unwrap();
        let connection = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let data = format!("fd={},rootmode=100000,user_id=0,group_id=0", connection.as_raw_fd());
        let data = std::ffi::CString::new(data).unwrap();
        mount("slow", &place, "fuse", MountFlags::NOSUID | MountFlags::NODEV, data.as_c_str()).ok()?;
        std::thread::spawn(move || serve(&connection));
        Some(Self { place, _directory: directory })
    }

    pub(crate) fn open(&self) -> File {
        File::open(&self.place).unwrap()
    }
}

impl Drop for SlowFile {
    fn drop(&mut self) {
        let _ = unmount(&self.place, UnmountFlags::FORCE | UnmountFlags::DETACH);
    }
}

/// Answers what opening takes, and nothing else, until the file system is unmounted by force.
fn serve(connection: &File) {
    let mut request = vec![0; 1 << 17];
    while let Ok(length) = rustix::io::read(connection, &mut request[..]) {
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        assert!(length >= 40);
        let body: Vec<u8> = match word(4) {
            // Version 7.31, no read-ahead, 4 KiB writes; the rest 0.
            INIT => {
                let head = [7_u32, 31, 0, 0, 0, 4096, 1, 0];
                let mut body: Vec<u8> = head.iter().flat_map(|word| word.to_ne_bytes()).collect();
                body.resize(64, 0);
                body
            }
            OPEN => vec![0; 16],
            // `struct fuse_attr_out`, a regular file.
            GETATTR => {
                let mut body = vec![0; 104];
                body[16..24].copy_from_slice(&1_u64.to_ne_bytes());
                body[76..80].copy_from_slice(&0o100_644_u32.to_ne_bytes());
                body[80..84].copy_from_slice(&1_u32.to_ne_bytes());
                body
            }
            FLUSH => continue,
            _ => Vec::new(),
        };
        let size = 16 + body.len() as u32;
        let answer = [&size.to_ne_bytes()[..], &[0; 4], &request[8..16], &body].concat();
        let _ = rustix::io::write(connection, &answer);
    }
}
