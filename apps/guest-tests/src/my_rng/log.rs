// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the module tells: the kernel's log and `modinfo`.

use std::fs;

use my_rng_abi::ioctl::{RAND, RAND64, SEED};
use my_rng_abi::registers::{DEVICE_ID, VENDOR_ID};
use rustix::fs::major;

use super::machine::{first_device, load, module_file, unload};
use crate::harness::{Mark, Options, Stop, Test, fail, skip};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("the_log_names_device_bar_major_and_ioctls", the_log_names_device_bar_major_and_ioctls),
        Test::new("the_module_describes_itself", the_module_describes_itself),
    ]
}

fn the_log_names_device_bar_major_and_ioctls(options: &Options) -> Result<(), Stop> {
    if !module_file(options).exists() {
        return skip(format!("there is no {}", module_file(options).display()));
    }
    unload()?;
    let mut mark = Mark::here()?;
    load(options)?;
    let log: Vec<String> = mark.lines()?.into_iter().filter(|line| line.contains("my_rng")).collect();

    let device = first_device()?;
    let resources = fs::read_to_string(device.path().join("resource"))?;
    let bar = resources.split_ascii_whitespace().next().and_then(|start| start.strip_prefix("0x"));
    let bar = bar.and_then(|start| u64::from_str_radix(start, 16).ok());
    let Some(bar) = bar else { return fail(format!("{device} has no BAR 0:\n{resources}")) };
    let number = major(std::os::unix::fs::MetadataExt::rdev(&fs::metadata(device.node()?)?));

    let names_bar = |line: &str| line.contains(&device.address) && line.contains(&format!("{bar:#x}"));
    let names_major = |line: &str| words(line).any(|word| word == number.to_string());
    let names_ioctls =
        |line: &str| [RAND, SEED, RAND64].iter().all(|command| line.contains(&format!("{command:#x}")));
    for (what, is_named) in [
        ("the device and its BAR", log.iter().any(|line| names_bar(line))),
        (
            "the device's node",
            log.iter().any(|line| line.contains(&device.address) && line.contains("/dev/my_rng")),
        ),
        ("the major number", log.iter().any(|line| names_major(line))),
        ("the ioctls", log.iter().any(|line| names_ioctls(line))),
    ] {
        assert!(is_named, "no line names {what}:\n{log:#?}");
    }
    Ok(())
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_ascii_alphanumeric())
}

fn the_module_describes_itself(options: &Options) -> Result<(), Stop> {
    let version = fs::read_to_string("/sys/module/my_rng/version")?;
    assert!(!version.trim().is_empty(), "the version is empty");
    let path = module_file(options);
    let Ok(file) = fs::read(&path) else { return skip(format!("there is no {}", path.display())) };
    // What modinfo(8) shows stands in the file as text, in a section of its own.
    let alias = format!("alias=pci:v{VENDOR_ID:08X}d{DEVICE_ID:08X}");
    for field in ["author=", "description=", "license=GPL", &format!("version={}", version.trim()), &alias] {
        let found = file.windows(field.len()).any(|part| part == field.as_bytes());
        assert!(found, "no {field} in {}", path.display());
    }
    Ok(())
}
