// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page "Add a system call" shows code that is in the tree, and says so. This keeps it true.

mod pages;

const PAGE: &str = "docs/add-a-system-call.md";

#[test]
fn the_page_shows_what_is_in_the_tree() {
    let places = ["../abi/exo-abi/src/lib.rs", "syscall/src/times.rs", "syscall/src/dispatch.rs"];
    pages::check_pieces(PAGE, &places);
}

#[test]
fn the_page_names_files_that_exist() {
    pages::check_paths(PAGE);
}
