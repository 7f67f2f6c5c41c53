// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page "Add a system call" shows code that is in the tree, and says so. This keeps it true.

use std::fs;
use std::path::Path;

/// Where each of the page's pieces of Rust is, in their order.
const PLACES: [&str; 3] =
    ["../abi/exo-abi/src/lib.rs", "exo/src/syscall/times.rs", "exo/src/syscall/dispatch.rs"];

/// One space for each run of white space: the page and the tree are indented differently.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_page_shows_what_is_in_the_tree() {
    let kernel = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(kernel.join("ADD_A_SYSTEM_CALL.md")).unwrap();
    let pieces: Vec<&str> =
        page.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(pieces.len(), PLACES.len(), "the page's pieces have changed; so must their places here");
    for (piece, place) in pieces.iter().zip(PLACES) {
        let source = fs::read_to_string(kernel.join(place)).unwrap();
        assert!(squeezed(&source).contains(&squeezed(piece)), "{place} no longer has:\n{piece}");
    }
}

#[test]
fn the_page_names_files_that_exist() {
    let kernel = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(kernel.join("ADD_A_SYSTEM_CALL.md")).unwrap();
    // Words in backquotes that begin with a folder of the checkout.
    let folders = ["abi/", "apps/", "kernel/"];
    let paths: Vec<&str> =
        page.split('`').filter(|word| folders.iter().any(|folder| word.starts_with(folder))).collect();
    assert!(paths.len() >= 5, "{paths:?}");
    for path in paths {
        assert!(kernel.parent().unwrap().join(path).exists(), "there is no {path}");
    }
}
