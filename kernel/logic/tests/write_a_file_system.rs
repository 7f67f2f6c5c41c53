// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page "Write a file system" shows tmpfs, proc and sysfs as they are in the tree, and says so. This keeps it true.

mod pages;

const PAGE: &str = "docs/write-a-file-system.md";

#[test]
fn the_page_shows_what_is_in_the_tree() {
    const TMPFS: &str = "fs/src/tmpfs.rs";
    const SYSFS: &str = "fs/src/sysfs.rs";
    let places = [TMPFS, TMPFS, TMPFS, "fs/src/lib.rs", SYSFS, TMPFS, "fs/src/procfs/net.rs", SYSFS];
    pages::check_pieces(PAGE, &places);
}

#[test]
fn the_page_names_files_that_exist() {
    pages::check_paths(PAGE);
}
