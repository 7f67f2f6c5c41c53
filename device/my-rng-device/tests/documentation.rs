// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the README says can be found.

use std::fs;
use std::path::{Path, PathBuf};

const README: &str = include_str!("../../README.md");

/// The two crates that the README is about.
fn crates() -> [PathBuf; 2] {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    [own.to_owned(), own.join("../vfio-user-server")]
}

/// The text of a section, from its heading to the next one.
fn section(name: &str) -> &'static str {
    let start = README.split(&format!("\n## {name}\n")).nth(1).expect("the section is there");
    start.split("\n## ").next().unwrap()
}

/// Promises and what is said of their tests.
fn promises() -> Vec<(&'static str, &'static str)> {
    let rows = section("SECURITY").lines().filter(|line| line.starts_with("| ") && line.ends_with(" |"));
    let cells = rows.map(|row| row.trim_matches(['|', ' ']).rsplit_once(" | ").expect("two cells"));
    cells.filter(|(promise, _)| !["promise", "---"].contains(promise)).collect()
}

/// What stands between backquotes.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The source of a module, if it is there: `place` is a folder of sources, or of a test program.
fn module(place: &Path, path: &[&str]) -> Option<String> {
    let file = path.iter().fold(place.to_owned(), |folder, name| folder.join(name));
    let candidates = [file.with_extension("rs"), file.join("mod.rs"), file.join("main.rs")];
    let read: Vec<_> = candidates.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    (!read.is_empty()).then(|| read.concat())
}

/// Whether a source has a test of that name: a function that is marked as one, or is in a list of them.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let head = format!("fn {name}() {{");
    let is_marked = |place: usize| lines[..place].iter().rev().take(3).any(|line| *line == "#[test]");
    let is_listed = lines.contains(&format!("{name},").as_str());
    lines.iter().enumerate().any(|(place, line)| *line == head && (is_marked(place) || is_listed))
}

/// Whether there is such a test: of a test program, or, without one, a unit test.
fn exists(program: Option<&str>, test: &str) -> bool {
    let mut path: Vec<_> = test.split("::").collect();
    let name = path.pop().unwrap_or_default();
    crates().iter().any(|folder| {
        let place = match program {
            Some(program) => folder.join("tests").join(program),
            None => folder.join("src"),
        };
        // Unit tests are in the module itself, or in a file `tests` of it.
        let without = path.strip_suffix(&["tests"]).filter(|_| program.is_none());
        let sources = [module(&place, &path), without.and_then(|path| module(&place, path))];
        sources.iter().flatten().any(|source| has_test(source, name))
    })
}

/// The tests that are named in a cell, which have the program of the one before unless they say otherwise.
fn named(cell: &str) -> Vec<(Option<&str>, &str)> {
    let mut program = None;
    let each = spans(cell).map(|span| match span.split_once(": ") {
        Some((new, test)) => {
            program = Some(new);
            (program, test)
        }
        None if span.contains("::tests::") => (None, span),
        None => (program, span),
    });
    each.collect()
}

#[test]
fn each_promise_names_tests_that_exist() {
    let promises = promises();
    assert!(promises.len() >= 20, "{} promises", promises.len());
    for (promise, cell) in promises {
        let tests = named(cell);
        assert!(!tests.is_empty(), "{promise}: no test");
        for (program, test) in tests {
            assert!(exists(program, test), "{promise}: there is no test {test} of {program:?}");
        }
    }
    // And those that are named in the text.
    let text =
        section("SECURITY").lines().filter(|line| !line.starts_with('|')).collect::<Vec<_>>().join(" ");
    let in_text: Vec<_> = spans(&text).filter_map(|span| span.split_once(": ")).collect();
    assert!(in_text.len() >= 3, "{in_text:?}");
    for (program, test) in in_text.into_iter().filter(|(program, _)| *program != "program") {
        assert!(exists(Some(program), test), "there is no test {test} of {program}");
    }
}

#[test]
fn a_test_that_does_not_exist_is_noticed() {
    assert!(exists(Some("control"), "a_new_generation_takes_new_keys_before_the_next_byte"));
    assert!(exists(Some("sandbox"), "calls_on_no_list_end_the_process"), "in a list");
    assert!(exists(None, "queue::tests::a_hostile_guest_gains_nothing"), "in a file of its own");
    assert!(exists(None, "limiter::bucket::tests::a_draw_forgives_no_debt"), "in its module");
    for (program, test) in [
        (Some("control"), "an_old_generation"),
        (Some("nothing"), "a_new_generation_takes_new_keys_before_the_next_byte"),
        (Some("control"), "connect"),
        (None, "queue::tests"),
        (None, "queue::a_hostile_guest_gains_nothing"),
    ] {
        assert!(!exists(program, test), "{test}");
    }
}
