// SPDX-License-Identifier: MIT OR Apache-2.0
//! tmpfs and ramfs: their options, and what those bound.

use exo_test_support::{call, programs::*};

/// `struct statfs`: blocks, free ones, inodes, free ones.
fn room(path: &str) -> [u64; 4] {
    let at = zeros(120);
    call!(abi::__NR_statfs, memory::string(path), at).unwrap();
    let words = get::<[u64; 15]>(at);
    [words[2], words[3], words[5], words[6]]
}

/// Mode, user and group.
fn owner(path: &str) -> (u32, u32, u32) {
    let at = zeros(144);
    call!(abi::__NR_stat, memory::string(path), at).unwrap();
    (get::<u32>(at + 24) & 0o7777, get(at + 28), get(at + 32))
}

/// The options of a mount, as /proc/mounts has them.
fn options(at: &str) -> String {
    let mounts = text("/proc/mounts");
    let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(at)).unwrap();
    line.split(' ').nth(3).unwrap().to_string()
}

/// Runs `test` in an instance with these options, mounted at /tmp/m.
fn with(options: &'static str, test: impl FnOnce() + Send + 'static) {
    machine(move || {
        mkdir("m").unwrap();
        mount("tmpfs", "m", options).unwrap();
        test();
        unmount("m").unwrap();
    });
}

#[test]
fn a_size_bounds_what_files_have() {
    with("size=64k", || {
        assert_eq!(room("m")[..2], [16, 16]);
        make_file("m/file", &[1; 40 << 10]);
        assert_eq!(room("m")[1], 6);
        let fd = open("m/file", abi::O_WRONLY | abi::O_APPEND).unwrap();
        assert_eq!(write(fd, &[2; 40 << 10]), Ok(24 << 10), "as much as there is room for");
        assert_eq!(write(fd, b"x"), Err(Errno::ENOSPC));
        call!(abi::__NR_ftruncate, fd, 4096).unwrap();
        assert_eq!(write(fd, b"x"), Ok(1));
        close(fd).unwrap();
        unlink("m/file").unwrap();
        assert_eq!(room("m")[1], 16);
        assert_eq!(options("/tmp/m"), "rw,relatime,size=64k".replace("relatime", &relatime()));
    });
}

/// How times of access are said to be kept.
fn relatime() -> String {
    options("/tmp/m").split(',').nth(1).unwrap().to_string()
}

#[test]
fn a_number_of_inodes_bounds_how_many_files_there_are() {
    with("nr_inodes=3", || {
        make_file("m/one", b"");
        mkdir("m/two").unwrap();
        assert_eq!(open("m/three", abi::O_CREAT | abi::O_WRONLY), Err(Errno::ENOSPC));
        call!(abi::__NR_link, memory::string("m/one"), memory::string("m/again")).unwrap();
        unlink("m/one").unwrap();
        unlink("m/again").unwrap();
        make_file("m/three", b"");
        assert!(options("/tmp/m").contains("nr_inodes=3"));
    });
}

#[test]
fn the_root_has_the_owner_and_mode_that_were_asked_for() {
    with("mode=750,uid=5,gid=6", || {
        assert_eq!(owner("m"), (0o750, 5, 6));
        assert!(options("/tmp/m").ends_with("mode=750,uid=5,gid=6"));
    });
    with("", || assert_eq!(owner("m"), (0o1777, 0, 0)));
}

#[test]
fn sizes_have_units_and_may_be_parts_of_memory() {
    for (option, pages) in
        [("size=1m", 256), ("size=4097", 2), ("nr_blocks=77", 77), ("size=8K", 2), ("size=1%", 10486)]
    {
        with(option, move || assert_eq!(room("m")[0], pages, "{option}"));
    }
}

#[test]
fn what_is_no_option_is_refused() {
    machine(|| {
        mkdir("m").unwrap();
        for wrong in
            ["size=", "size=x", "size=5q", "mode=9", "uid=-1", "colour=red", "size=99999999999999999999"]
        {
            assert_eq!(mount("tmpfs", "m", wrong), Err(Errno::EINVAL), "{wrong}");
        }
        assert_eq!(mount("nothing", "m", ""), Err(Errno::ENODEV));
    });
}

#[test]
fn options_can_be_changed_but_not_below_what_is_used() {
    with("size=64k", || {
        make_file("m/file", &[1; 32 << 10]);
        let remount = |options: &str| {
            call!(abi::__NR_mount, 0, memory::string("m"), 0, abi::MS_REMOUNT, memory::string(options))
        };
        assert_eq!(remount("size=16k"), Err(Errno::EINVAL));
        assert_eq!(remount("size=128k"), Ok(0));
        assert_eq!(room("m")[0], 32);
        assert_eq!(content("m/file").len(), 32 << 10);
    });
}

#[test]
fn ramfs_has_no_bounds_and_no_options_but_one() {
    machine(|| {
        mkdir("m").unwrap();
        mount("ramfs", "m", "mode=700,whatever=5").unwrap();
        assert_eq!(owner("m").0, 0o700);
        make_file("m/file", &[1; 100 << 10]);
        assert_eq!(content("m/file").len(), 100 << 10);
        unmount("m").unwrap();
    });
}

#[test]
fn each_instance_is_apart_and_goes_with_its_last_use() {
    machine(|| {
        mkdir("a").unwrap();
        mkdir("b").unwrap();
        mount("tmpfs", "a", "").unwrap();
        mount("tmpfs", "b", "").unwrap();
        make_file("a/file", b"x");
        assert_eq!(names("b"), [""; 0]);
        let fd = open("a/file", 0).unwrap();
        assert_eq!(unmount("a"), Err(Errno::EBUSY));
        close(fd).unwrap();
        unmount("a").unwrap();
        assert_eq!(names("a"), [""; 0]);
        unmount("b").unwrap();
    });
}
