// SPDX-License-Identifier: MIT OR Apache-2.0
//! The nodes in `/dev` and their class in sysfs.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use my_rng_abi::ioctl::{CLASS_NAME, FIRST_DEVICE_NAME};
use my_rng_client::{Device, FIRST_DEVICE};
use rustix::fs::{major, minor};

use super::machine::{devices, first_device};
use crate::harness::{Options, Stop, Test, fail, skip};
use crate::raw::Glibc;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("each_device_has_a_node_with_its_own_number", each_device_has_a_node_with_its_own_number),
        Test::new("the_major_number_is_dynamic", the_major_number_is_dynamic),
        Test::new("the_class_in_sysfs_agrees_with_the_nodes", the_class_in_sysfs_agrees_with_the_nodes),
        Test::new("a_minor_is_not_given_to_another_while_a_file_has_it", a_minor_is_kept),
        Test::new("my_rng_driver_is_the_first_device", my_rng_driver_is_the_first_device),
        Test::new("two_devices_have_streams_of_their_own", two_devices_have_streams_of_their_own),
    ]
}

/// Majors that `alloc_chrdev_region()` gives out: 234–254, then 384–511 (`include/linux/fs.h`, `CHRDEV_MAJOR_DYN_…`).
const DYNAMIC_MAJORS: [std::ops::RangeInclusive<u32>; 2] = [234..=254, 384..=511];

fn each_device_has_a_node_with_its_own_number(_: &Options) -> Result<(), Stop> {
    let devices = devices()?;
    let mut names = Vec::new();
    for device in &devices {
        let name = device.node_name()?;
        let number = name.strip_prefix(CLASS_NAME).and_then(|number| number.parse::<usize>().ok());
        assert!(number.is_some_and(|number| number < devices.len()), "{device}: node {name}");
        let file_type = fs::metadata(device.node()?)?.file_type();
        assert!(file_type.is_char_device(), "/dev/{name} is no character device");
        names.push(name);
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), devices.len(), "two devices share a node: {names:?}");
    Ok(())
}

fn the_major_number_is_dynamic(_: &Options) -> Result<(), Stop> {
    let number = major(fs::metadata(first_device()?.node()?)?.rdev());
    assert!(DYNAMIC_MAJORS.iter().any(|range| range.contains(&number)), "major {number} is a fixed one");
    let list = fs::read_to_string("/proc/devices")?;
    let entry = format!("{number:3} {CLASS_NAME}");
    assert!(list.lines().any(|line| line == entry), "/proc/devices has no line {entry:?}:\n{list}");
    Ok(())
}

/// The file would lead to another device. The name is free at once.
fn a_minor_is_kept(_: &Options) -> Result<(), Stop> {
    let device = first_device()?;
    let node = || -> Result<(String, u32), Stop> {
        Ok((device.node_name()?, minor(fs::metadata(device.node()?)?.rdev())))
    };
    let first = node()?;
    let file = device.open()?;
    device.unbind()?;
    device.bind()?;
    let second = node()?;
    drop(file);
    device.unbind()?;
    device.bind()?;
    let third = node()?;
    assert!(first.0 == second.0 && first.1 != second.1, "{first:?}, and then {second:?}");
    assert_eq!(third, first, "when nobody has the first any more");
    Ok(())
}

fn the_class_in_sysfs_agrees_with_the_nodes(_: &Options) -> Result<(), Stop> {
    let class = Path::new("/sys/class").join(CLASS_NAME);
    let mut names = vec![FIRST_DEVICE_NAME.to_owned()];
    for device in devices()? {
        let name = device.node_name()?;
        let parent = fs::canonicalize(class.join(&name).join("device"))?;
        assert_eq!(parent, fs::canonicalize(device.path())?, "{name} belongs to another device");
        names.push(name);
    }
    for name in &names {
        let number = fs::metadata(Path::new("/dev").join(name))?.rdev();
        let number = format!("{}:{}", major(number), minor(number));
        assert_eq!(fs::read_to_string(class.join(name).join("dev"))?.trim(), number, "{name}");
    }
    let mut found: Vec<String> = Vec::new();
    for entry in fs::read_dir(&class)? {
        found.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    found.sort();
    assert_eq!(found, names, "entries of {}", class.display());
    Ok(())
}

fn my_rng_driver_is_the_first_device(_: &Options) -> Result<(), Stop> {
    let node = Path::new("/dev").join(format!("{CLASS_NAME}0"));
    let (first, named) = (Device::open(&node)?, Device::open(FIRST_DEVICE)?);
    let expected = Glibc::numbers(6, 3);
    first.seed(6)?;
    assert_eq!(
        [named.rand32()?, first.rand32()?, named.rand32()?][..],
        expected[..],
        "another stream than {node:?}"
    );
    Ok(())
}

fn two_devices_have_streams_of_their_own(_: &Options) -> Result<(), Stop> {
    let devices = devices()?;
    let [one, other, ..] = &devices[..] else { return skip("this machine has one device") };
    let (one, other) = (one.open()?, other.open()?);
    if one.path() == other.path() {
        return fail("both devices have one node");
    }
    one.seed(1)?;
    other.seed(2)?;
    for (expected_of_one, expected_of_other) in Glibc::numbers(1, 50).iter().zip(Glibc::numbers(2, 50)) {
        assert_eq!(one.rand32()?, *expected_of_one);
        assert_eq!(other.rand32()?, expected_of_other);
    }
    Ok(())
}
