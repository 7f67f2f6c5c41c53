// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that show code of the tree and say so: what keeps that true.

use std::fs;
use std::path::{Path, PathBuf};

/// One space for each run of white space: the page and the tree are indented differently.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn kernel() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn checkout() -> PathBuf {
    kernel().parent().unwrap().to_path_buf()
}

/// Checks that the pieces of Rust in `page` (a path in the checkout) are in `places` (below `kernel/`), one after the other.
pub(crate) fn check_pieces(page: &str, places: &[&str]) {
    let page = fs::read_to_string(checkout().join(page)).unwrap();
    let pieces: Vec<&str> =
        page.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(pieces.len(), places.len(), "the page's pieces have changed; so must their places here");
    for (piece, place) in pieces.iter().zip(places) {
        let source = fs::read_to_string(kernel().join(place)).unwrap();
        assert!(squeezed(&source).contains(&squeezed(piece)), "{place} no longer has:\n{piece}");
    }
}

/// Checks that the files that `page` names exist.
pub(crate) fn check_paths(page: &str) {
    let page = fs::read_to_string(checkout().join(page)).unwrap();
    // Words in backquotes that begin with a folder of the checkout.
    let folders = ["abi/", "apps/", "kernel/"];
    let paths: Vec<&str> =
        page.split('`').filter(|word| folders.iter().any(|folder| word.starts_with(folder))).collect();
    assert!(paths.len() >= 5, "{paths:?}");
    for path in paths {
        assert!(checkout().join(path).exists(), "there is no {path}");
    }
}
