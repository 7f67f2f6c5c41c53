// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each thing that one can do with the module, with the first, second, third … allocation or user copy failing on its way:
//! see [`crate::harness::fail_nth`]. Each run ends in success or with the error of what failed, and leaves a module that works.
//!
//! Where queues are made, they are as small as the module allows: a queue of the usual size is made of hundreds of pages, and
//! each is a chance to fail that teaches nothing which the first two do not.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use my_rng_abi::ioctl::CLASS_NAME;
use my_rng_client::{Device, FIRST_DEVICE, MappedRing};
use rustix::io::Errno;

use super::machine::{self, Queues, devices, expect_it_works, first_device, is_loaded, module_file};
use crate::harness::fail_nth::{Arm, Called, Operation, survives};
use crate::harness::{Options, Stop, Test, fail, skip};

/// A test for each operation: to add one is a line here and the function that makes the call.
pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::long("fail_nth_load", |options| {
            needs_the_module_file(options)?;
            survives(options, &LOAD)
        }),
        Test::long("fail_nth_unload", |options| {
            needs_the_module_file(options)?;
            survives(options, &UNLOAD)
        }),
        Test::long("fail_nth_bind", |options| {
            needs_the_module_file(options)?;
            survives(options, &BIND)
        }),
        Test::long("fail_nth_unbind", |options| survives(options, &UNBIND)),
        Test::long("fail_nth_open", |options| survives(options, &on_the_node(open, 0))),
        Test::long("fail_nth_open_first", |options| survives(options, &on_the_node(open_first, 0))),
        // What was fetched before is stored into the program's memory without a copy that could be made to fail.
        Test::long("fail_nth_rand", |options| survives(options, &on_the_node(rand, 0))),
        Test::long("fail_nth_rand64", |options| survives(options, &on_the_node(rand64, 0))),
        Test::long("fail_nth_rand_registers", |options| {
            needs_the_module_file(options)?;
            survives(options, &out_of_registers(rand))
        }),
        Test::long("fail_nth_rand64_registers", |options| {
            needs_the_module_file(options)?;
            survives(options, &out_of_registers(rand64))
        }),
        Test::long("fail_nth_seed", |options| survives(options, &on_the_node(seed, 1))),
        Test::long("fail_nth_read", |options| {
            can_be_read()?;
            survives(options, &on_the_node(read, 1))
        }),
        Test::long("fail_nth_map", |options| {
            needs_the_module_file(options)?;
            survives(options, &MAP)
        }),
        Test::long("fail_nth_read_attribute", |options| survives(options, &on_the_node(read_attribute, 0))),
        Test::long("fail_nth_write_attribute", |options| survives(options, &on_the_node(write_attribute, 0))),
    ]
}

/// With the probe of the first device. `module_add_driver()` makes EINVAL of what it cannot allocate.
const LOAD: Operation =
    Operation { before: unloaded, call: load, after: loaded_or_not, also: &[Errno::INVAL], at_least: 10 };

const UNLOAD: Operation =
    Operation { before: bound, call: unload, after: unloaded_or_not, also: &[], at_least: 1 };

/// `pci_request_region()` makes EBUSY of what it cannot allocate, `__pci_enable_msix_range()` ENODEV or ENOSPC, and then
/// `__pci_enable_msi_range()` EINVAL for a device without MSI.
const BIND: Operation = Operation {
    before: unbound,
    call: bind,
    after: bound_or_not,
    also: &[Errno::BUSY, Errno::NODEV, Errno::NOSPC, Errno::INVAL],
    at_least: 10,
};

/// From opening the node to the mapped queue: the state, the descriptors, a page of buffers, and what the driver knows of them.
const MAP: Operation =
    Operation { before: bound_small, call: map, after: mapped_or_not, also: &[], at_least: 4 };

const UNBIND: Operation =
    Operation { before: bound, call: unbind, after: unbound_or_not, also: &[], at_least: 1 };

/// An operation on a device that is bound, and works before and after it.
const fn on_the_node(call: fn(&Options, Arm) -> Called, at_least: u32) -> Operation {
    Operation { before: bound, call, after: |_, _| works(), also: &[], at_least }
}

/// The same without queues: the number is copied to the program twice, once to see whether its memory is there.
const fn out_of_registers(call: fn(&Options, Arm) -> Called) -> Operation {
    Operation {
        before: |options| bound_with(Queues::None, options),
        call,
        after: |_, _| works(),
        also: &[],
        at_least: 2,
    }
}

fn open(_: &Options, arm: Arm) -> Called {
    let node = first_device()?.node()?;
    arm.now()?;
    Ok(errno_of(Device::open(node)))
}

fn open_first(_: &Options, arm: Arm) -> Called {
    arm.now()?;
    Ok(errno_of(Device::open(FIRST_DEVICE)))
}

fn rand(_: &Options, arm: Arm) -> Called {
    let device = first_device()?.open()?;
    device.seed(1)?;
    arm.now()?;
    let number = device.rand32();
    assert!(number.as_ref().map_or(true, |&number| number == 1_804_289_383), "{number:?}");
    Ok(errno_of(number))
}

fn rand64(_: &Options, arm: Arm) -> Called {
    let device = first_device()?.open()?;
    device.seed(1)?;
    arm.now()?;
    let number = device.rand64();
    assert!(number.as_ref().map_or(true, |&number| number == 0x6b8b_4567_327b_23c6), "{number:x?}");
    Ok(errno_of(number))
}

fn seed(_: &Options, arm: Arm) -> Called {
    let device = first_device()?.open()?;
    arm.now()?;
    Ok(errno_of(device.seed(7)))
}

/// More than a page, so that a driver which copies in pieces has several chances to fail.
const MUCH: usize = 10_000;

fn read(_: &Options, arm: Arm) -> Called {
    let file = File::open(first_device()?.node()?)?;
    let mut buffer = vec![0; MUCH];
    arm.now()?;
    let read = rustix::io::read(&file, &mut buffer);
    assert_ne!(read, Ok(0), "a stream without end has ended");
    Ok(read.map(drop))
}

fn map(_: &Options, arm: Arm) -> Called {
    let node = first_device()?.node()?;
    arm.now()?;
    Ok(errno_of(MappedRing::open(node)))
}

fn read_attribute(_: &Options, arm: Arm) -> Called {
    let file = File::open(attribute("interface_version")?)?;
    let mut buffer = [0; 64];
    arm.now()?;
    Ok(rustix::io::read(&file, &mut buffer).map(drop))
}

fn write_attribute(_: &Options, arm: Arm) -> Called {
    let file = File::options().write(true).open(attribute("generator")?)?;
    arm.now()?;
    Ok(rustix::io::write(&file, b"glibc").map(drop))
}

fn attribute(name: &str) -> Result<PathBuf, Stop> {
    Ok(Path::new("/sys/class").join(CLASS_NAME).join(first_device()?.node_name()?).join(name))
}

fn load(options: &Options, arm: Arm) -> Called {
    let file = File::open(module_file(options))?;
    arm.now()?;
    Ok(rustix::system::finit_module(&file, Queues::Small.parameters(), 0))
}

fn unload(_: &Options, arm: Arm) -> Called {
    arm.now()?;
    Ok(machine::try_unload())
}

fn bind(_: &Options, arm: Arm) -> Called {
    tell_the_driver("bind", arm)
}

fn unbind(_: &Options, arm: Arm) -> Called {
    tell_the_driver("unbind", arm)
}

fn tell_the_driver(what: &str, arm: Arm) -> Called {
    let device = first_device()?;
    let file = File::options().write(true).open(Path::new(machine::DRIVER).join(what))?;
    arm.now()?;
    Ok(rustix::io::write(&file, device.address.as_bytes()).map(drop))
}

/// The other devices would each have the same chances again when the module is loaded, at a second for each: they are kept
/// from it by the name of a driver that does not exist.
fn unloaded(_: &Options) -> Result<(), Stop> {
    if is_loaded() {
        machine::unload()?;
    }
    for device in devices()?.iter().skip(1) {
        device.reserve_for("nobody")?;
    }
    Ok(())
}

fn bound(options: &Options) -> Result<(), Stop> {
    super::prepare(options)
}

fn bound_with(queues: Queues, options: &Options) -> Result<(), Stop> {
    queues.load(options)?;
    super::bind_all()
}

fn bound_small(options: &Options) -> Result<(), Stop> {
    bound_with(Queues::Small, options)
}

fn unbound(options: &Options) -> Result<(), Stop> {
    bound_small(options)?;
    let device = first_device()?;
    if device.is_bound() { device.unbind() } else { Ok(()) }
}

/// A driver whose probe fails is loaded all the same, and its device can still be bound: unless what failed was the file to
/// ask for that, which the kernel's core puts up with (`bus_add_driver()`).
fn loaded_or_not(_: &Options, result: Result<(), Errno>) -> Result<(), Stop> {
    for device in devices()? {
        device.reserve_for("")?;
    }
    if result.is_err() {
        return nothing_is_left();
    }
    let device = first_device()?;
    if !device.is_bound() {
        if !Path::new(machine::DRIVER).join("bind").exists() {
            return machine::unload();
        }
        device.bind()?;
    }
    works()?;
    machine::unload()?;
    nothing_is_left()
}

fn unloaded_or_not(_: &Options, result: Result<(), Errno>) -> Result<(), Stop> {
    if result.is_ok() { nothing_is_left() } else { works() }
}

fn bound_or_not(_: &Options, result: Result<(), Errno>) -> Result<(), Stop> {
    let device = first_device()?;
    match (result, device.is_bound()) {
        (Ok(()), true) => {}
        (Err(_), false) => {
            no_node_is_left(&device)?;
            device.bind()?;
        }
        (Ok(()), false) => return fail("the device is not bound"),
        (Err(_), true) => return fail("the device is bound"),
    }
    works()
}

fn unbound_or_not(_: &Options, result: Result<(), Errno>) -> Result<(), Stop> {
    let device = first_device()?;
    match (result, device.is_bound()) {
        (Ok(()), false) => no_node_is_left(&device),
        (Err(_), true) => works(),
        (Ok(()), true) => fail("the device is still bound"),
        (Err(_), false) => fail("the device is not bound any more"),
    }
}

fn mapped_or_not(_: &Options, _: Result<(), Errno>) -> Result<(), Stop> {
    MappedRing::open(first_device()?.node()?)?.fill(&mut [0; 1000])?;
    works()
}

fn works() -> Result<(), Stop> {
    expect_it_works(&first_device()?.open()?)
}

fn no_node_is_left(device: &machine::PciDevice) -> Result<(), Stop> {
    match device.node() {
        Ok(node) => fail(format!("{} is left", node.display())),
        Err(_) => Ok(()),
    }
}

fn nothing_is_left() -> Result<(), Stop> {
    if is_loaded() {
        return fail("the module is loaded");
    }
    let class = Path::new("/sys/class").join(CLASS_NAME);
    for path in [&class, Path::new(FIRST_DEVICE)] {
        if path.exists() {
            return fail(format!("{} is left", path.display()));
        }
    }
    if fs::read_to_string("/proc/devices")?.contains(CLASS_NAME) {
        return fail("the major number is left");
    }
    Ok(())
}

fn can_be_read() -> Result<(), Stop> {
    let file = File::open(first_device()?.node()?)?;
    match rustix::io::read(&file, &mut [0; 1]) {
        // The answer of the kernel itself for a file without this operation.
        Err(Errno::INVAL) => skip("the nodes of this driver cannot be read"),
        _ => Ok(()),
    }
}

fn needs_the_module_file(options: &Options) -> Result<(), Stop> {
    let module = module_file(options);
    if module.exists() { Ok(()) } else { skip(format!("there is no {}", module.display())) }
}

fn errno_of<T>(result: Result<T, my_rng_client::Error>) -> Result<(), Errno> {
    result.map(drop).map_err(|error| Errno::from_raw_os_error(error.errno()))
}
