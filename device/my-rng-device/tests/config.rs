// SPDX-License-Identifier: MIT OR Apache-2.0
//! Limits in a file: read at the start, and again on SIGHUP, by a program whose sandbox opens no file.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::program::{PATIENCE, Program, sockets, text};
use my_rng_device::control::client as control;
use my_rng_device::limiter::{Limits, Rate};
use rustix::process::Signal;

/// Writes the file as editors and packages do: a new one takes the old one's name.
fn write(path: &Path, content: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, path).unwrap();
}

fn bytes(per_second: u64, burst: u64) -> Option<Rate> {
    Some(Rate { per_second, burst })
}

fn limits(control: &Path) -> Vec<Limits> {
    control::status(control).unwrap().devices.iter().map(|device| device.limits).collect()
}

#[track_caller]
fn wait_for(control: &Path, wanted: &[Limits]) {
    let start = Instant::now();
    while limits(control) != wanted {
        assert!(start.elapsed() < PATIENCE, "{:?}, expected {wanted:?}", limits(control));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_file_is_read_at_the_start_and_on_sighup_and_a_wrong_one_changes_nothing() {
    let (directory, a, b) = sockets();
    let (control, folder) = (directory.path().join("control"), tempfile::tempdir().unwrap());
    let file = folder.path().join("limits.toml");
    write(&file, "[limits]\nbytes_per_second = \"1M:64k\"\n");
    let mut program = Program::ready(&[
        "--socket",
        text(&a),
        "--socket",
        text(&b),
        "--control",
        text(&control),
        "--config",
        text(&file),
        "--operations-per-second",
        "7:7",
    ]);
    let operations = Some(Rate { per_second: 7, burst: 7 });
    let both = Limits { bytes: bytes(1_000_000, 64_000), operations };
    assert_eq!(limits(&control), [both, both]);

    write(
        &file,
        "[limits]\noperations_per_second = \"none\"\n[devices.\"b.sock\"]\nbytes_per_second = \"5:5\"\n",
    );
    program.signal(Signal::HUP);
    let changed = [Limits::default(), Limits { bytes: bytes(5, 5), operations: None }];
    wait_for(&control, &changed);

    write(&file, "[limits]\nbytes_per_second = \"much\"\n");
    program.signal(Signal::HUP);
    std::fs::remove_file(&file).unwrap();
    program.signal(Signal::HUP);
    write(&file, "[limits]\nbytes_per_second = \"9:9\"\n");
    program.signal(Signal::HUP);
    wait_for(&control, &[Limits { bytes: bytes(9, 9), operations }; 2]);

    program.signal(Signal::TERM);
    let end = program.end();
    assert_eq!(end.code, Some(0));
    // Signals that come together are one; the last one's file was read in any case.
    let complaints = end.error.lines().filter(|line| line.contains("limits stay as they were")).count();
    assert!(complaints <= 2, "{}", end.error);
}

/// Waits until the file was read and found to be wrong.
fn await_refusal(control: &Path) {
    let start = Instant::now();
    while control::status(control).unwrap().config_failures == 0 {
        assert!(start.elapsed() < PATIENCE);
    }
}

#[test]
fn a_wrong_file_is_named_and_nothing_changes() {
    let (directory, a, _) = sockets();
    let (control, folder) = (directory.path().join("control"), tempfile::tempdir().unwrap());
    let file = folder.path().join("limits.toml");
    write(&file, "[limits]\nbytes_per_second = \"3:3\"\n");
    let arguments = ["--socket", text(&a), "--control", text(&control), "--config", text(&file)];
    let mut program = Program::ready(&arguments);
    write(&file, "[devices.\"c.sock\"]\nbytes_per_second = \"5:5\"\n");
    program.signal(Signal::HUP);
    await_refusal(&control);
    assert_eq!(limits(&control), [Limits { bytes: bytes(3, 3), operations: None }]);
    program.signal(Signal::TERM);
    let end = program.end();
    assert!(end.code == Some(0) && end.error.contains("no device has this socket"), "{end:?}");
}

#[test]
fn without_a_good_file_the_program_does_not_start() {
    let (_directory, a, _) = sockets();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("limits.toml");
    let mut starts = vec![(None, "No such file")];
    starts.extend([(Some("x = 1"), "unknown field"), (Some("\u{0}"), "line 1")]);
    let large = "#".repeat(65_537);
    starts.push((Some(&large), "more than 65536 bytes"));
    for (content, says) in starts {
        if let Some(content) = content {
            write(&file, content);
        }
        let mut program = Program::start(&["--socket", text(&a), "--config", text(&file)]);
        let end = program.end();
        assert!(end.code == Some(1) && end.error.contains(says), "{end:?}, expected {says}");
        assert!(end.error.contains("limits.toml") && !a.exists());
    }
}

/// The process that reads has a sandbox, too: whoever may write in the file's directory cannot have it read others.
#[test]
fn nothing_beside_the_directory_of_the_file_is_read() {
    let (directory, a, _) = sockets();
    let (control, folder) = (directory.path().join("control"), tempfile::tempdir().unwrap());
    let file = folder.path().join("limits.toml");
    write(&file, "[limits]\nbytes_per_second = \"3:3\"\n");
    let elsewhere = directory.path().join("elsewhere.toml");
    write(&elsewhere, "[limits]\nbytes_per_second = \"4:4\"\n");
    let arguments = ["--socket", text(&a), "--control", text(&control), "--config", text(&file)];
    let mut program = Program::ready(&arguments);
    if !control::status(&control).unwrap().sandbox.iter().any(|part| part.starts_with("Landlock")) {
        return eprintln!("this kernel has no Landlock: nothing to test");
    }
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    program.signal(Signal::HUP);
    await_refusal(&control);
    assert_eq!(limits(&control), [Limits { bytes: bytes(3, 3), operations: None }]);
    program.signal(Signal::TERM);
    let end = program.end();
    assert!(end.error.contains("Permission denied"), "{end:?}");
}

/// It would keep whoever waits for the service's processes waiting.
#[test]
fn the_process_that_reads_ends_with_the_program_however_that_ends() {
    let (_directory, a, _) = sockets();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("limits.toml");
    write(&file, "");
    for signal in [Signal::TERM, Signal::KILL] {
        let mut program = Program::ready(&["--socket", text(&a), "--config", text(&file)]);
        let children = format!("/proc/{0}/task/{0}/children", program.child.id());
        let child = std::fs::read_to_string(children).unwrap().trim().to_owned();
        assert!(child.parse::<u32>().is_ok(), "{child:?}");
        program.signal(signal);
        program.end();
        let start = Instant::now();
        // Gone, or a zombie that nobody has waited for.
        while std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
        {
            assert!(start.elapsed() < PATIENCE, "it is still there");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
