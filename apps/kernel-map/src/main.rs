// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exo-Kernel's crates, seen from outside: a picture of who uses whom ([`picture`]), and the circles of files inside each ([`circles`]).
//!
//! ```text
//! cargo run -p kernel-map               # draws kernel/crates.svg
//! cargo run -p kernel-map -- check      # what the tests hold the tree to; exit status 1 if something is wrong
//! cargo run -p kernel-map -- circles    # every circle of files, and which of them take from which
//! ```
//!
//! The tests: no crate depends on one of a higher floor, no crate has a circle of three files or more, and the picture is current.
#![forbid(unsafe_code)]

mod circles;
mod floors;
mod modules;
mod picture;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

/// The kernel's workspace in this checkout.
fn kernel() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernel")
}

/// The root files of a workspace's crates, with the crates' folders.
fn crate_roots(workspace: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut open = vec![workspace.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for path in entries.map(|entry| entry.map(|entry| entry.path())) {
            let path = path?;
            let is_source = !["target", "src"].iter().any(|name| path.ends_with(name));
            if path.is_dir() && is_source {
                open.push(path);
            }
        }
        let roots = ["src/lib.rs", "src/main.rs"].map(|name| folder.join(name));
        let name = folder.strip_prefix(workspace).unwrap_or(&folder).display().to_string();
        found.extend(roots.into_iter().find(|root| root.is_file()).map(|root| (name, root)));
    }
    found.sort();
    Ok(found)
}

/// Prints every circle, and inside it who takes from whom.
fn print_circles() -> anyhow::Result<()> {
    for (name, root) in crate_roots(&kernel())? {
        let graph = circles::graph(&root)?;
        for circle in circles::circles(&graph) {
            println!("{name}: {} files: {}", circle.len(), circles::describe(&circle));
            for (file, used) in graph.iter().filter(|(file, _)| circle.contains(file)) {
                let inside: Vec<_> = used.iter().filter(|used| circle.contains(used)).cloned().collect();
                println!("    {} takes from {}", file.join("/"), circles::describe(&inside));
            }
        }
    }
    Ok(())
}

/// The files of the largest circle that may be: two may know each other.
const ALLOWED: usize = 2;

/// The circles that are larger.
fn wrong_circles() -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (name, root) in crate_roots(&kernel())? {
        for circle in circles::circles(&circles::graph(&root)?).iter().filter(|it| it.len() > ALLOWED) {
            let (count, names) = (circle.len(), circles::describe(circle));
            wrong.push(format!(
                "kernel/{name}: a circle of {count} files, and at most {ALLOWED} may be one: {names}"
            ));
        }
    }
    Ok(wrong)
}

/// Whether the picture shows the crates as they are.
fn picture_is_current() -> anyhow::Result<bool> {
    let kept = std::fs::read_to_string(kernel().join(PICTURE)).unwrap_or_default();
    Ok(kept == picture::draw(&floors::members(&kernel())?))
}

fn check() -> anyhow::Result<ExitCode> {
    let mut wrong = floors::arrows_up(&floors::members(&kernel())?);
    wrong.extend(wrong_circles()?);
    if !picture_is_current()? {
        wrong.push(OLD_PICTURE.to_owned());
    }
    wrong.iter().for_each(|line| println!("{line}"));
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn main() -> anyhow::Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            let svg = picture::draw(&floors::members(&kernel())?);
            let path = kernel().join(PICTURE);
            std::fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        ["check"] => check(),
        ["circles"] => print_circles().map(|()| ExitCode::SUCCESS),
        _ => bail!("kernel-map takes no argument, `check` or `circles`"),
    }
}

/// The picture, in the kernel's folder.
const PICTURE: &str = "crates.svg";
const OLD_PICTURE: &str = "kernel/crates.svg is not what the crates are: `cargo run -p kernel-map` draws it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_crate_uses_one_above_it() {
        let members = floors::members(&kernel()).unwrap();
        assert!(members.len() >= 6, "{members:?}");
        let up = floors::arrows_up(&members);
        assert!(up.is_empty(), "{}", up.join("\n"));
    }

    #[test]
    fn no_circle_has_more_than_two_files() {
        assert!(crate_roots(&kernel()).unwrap().len() >= 7);
        let wrong = wrong_circles().unwrap();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn the_picture_is_current() {
        assert!(picture_is_current().unwrap(), "{OLD_PICTURE}");
    }
}
