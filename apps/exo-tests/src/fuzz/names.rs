// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names: directories that are moved into each other by several processes, links, and file systems mounted in one another.

use super::shared::Caller;

/// Deepest tower of directories that one step builds.
const DEEPEST: u64 = 200;

pub(super) fn step(caller: &mut Caller<'_>) {
    for _ in 0..6 {
        let (one, other) = (caller.name(), caller.name());
        match caller.random.below(12) {
            0..=2 => caller.make(libc::SYS_mkdir, [one, 0o777]),
            3..=5 => caller.make(libc::SYS_rename, [one, other]),
            6 => caller.make(libc::SYS_link, [one, other]),
            7 => caller.make(libc::SYS_symlink, [one, other]),
            8 => mount(caller, one, other),
            9 => {
                let flags = caller.one_of(&[0, 1, 2, 4, 8, 3, 16]);
                caller.make(libc::SYS_umount2, [one, flags])
            }
            10 => tower(caller),
            _ => {
                let flags = caller.random.below(8);
                let at = libc::AT_FDCWD as i64 as u64;
                caller.make(libc::SYS_renameat2, [at, one, at, other, flags])
            }
        };
    }
    let buffer = caller.memory();
    caller.make(libc::SYS_chdir, [root()]);
    caller.make(libc::SYS_getcwd, [buffer + 4096, 4096]);
}

fn root() -> u64 {
    c"/".as_ptr().expose_provenance() as u64
}

fn mount(caller: &mut Caller<'_>, one: u64, other: u64) -> i64 {
    const KINDS: [&std::ffi::CStr; 4] = [c"tmpfs", c"proc", c"devtmpfs", c"sysfs"];
    let kinds = KINDS.map(|kind| kind.as_ptr().expose_provenance() as u64);
    let kind = caller.one_of(&kinds);
    let flags = caller.one_of(&[0, 0, 0, 1, 32, 33, 4096, 4096 | 16384, 8192, 1 << 18]);
    caller.make(libc::SYS_mount, [one, other, kind, flags, 0])
}

/// Directories in directories, entered on the way down, and left by the root.
fn tower(caller: &mut Caller<'_>) -> i64 {
    let name = c"t".as_ptr().expose_provenance() as u64;
    for _ in 0..caller.random.below(DEEPEST) {
        caller.make(libc::SYS_mkdir, [name, 0o777]);
        if caller.make(libc::SYS_chdir, [name]) < 0 {
            break;
        }
    }
    caller.make(libc::SYS_chdir, [root()])
}
