// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page "Write a driver" shows the AHCI driver as it is in the tree, and says so. This keeps it true.

mod pages;

const PAGE: &str = "docs/write-a-driver.md";

#[test]
fn the_page_shows_what_is_in_the_tree() {
    const DRIVER: &str = "drivers/src/ahci/mod.rs";
    const TESTS: &str = "drivers/src/ahci/tests.rs";
    const ADAPTER: &str = "drivers/src/ahci/adapter.rs";
    const PORT: &str = "drivers/src/ahci/port.rs";
    let places = ["drivers/src/lib.rs", DRIVER, DRIVER, ADAPTER, ADAPTER, ADAPTER, PORT, TESTS, TESTS];
    pages::check_pieces(PAGE, &places);
}

#[test]
fn the_page_names_files_that_exist() {
    pages::check_paths(PAGE);
}
