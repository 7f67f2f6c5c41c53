// SPDX-License-Identifier: MIT OR Apache-2.0
//! Coming and going: devices that are unbound and modules that are unloaded, in use and not.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use my_rng_abi::ioctl::CLASS_NAME;
use my_rng_client::{Device, Error, FIRST_DEVICE};
use rustix::io::Errno;

use super::machine::{
    devices, expect_it_works, first_device, is_loaded, load, module_file, soon, try_unload, unload,
};
use crate::harness::{Options, Stop, Test, fail, skip};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::long("unbinding_takes_the_node_away_and_binding_brings_it_back", bind_and_unbind),
        Test::new("an_open_file_gets_enodev_once_its_device_is_unbound", an_open_file_gets_enodev),
        Test::new("a_draw_that_is_under_way_ends_when_its_device_is_unbound", draws_end_at_unbind),
        Test::long("files_may_be_opened_and_closed_while_a_device_comes_and_goes", storm),
        Test::new("my_rng_driver_moves_on_when_the_first_device_goes", my_rng_driver_moves_on),
        Test::new("a_module_in_use_stays", a_module_in_use_stays),
        Test::new("a_file_without_its_device_keeps_the_module", a_file_without_its_device_keeps_the_module),
        Test::long("the_module_comes_and_goes_and_leaves_nothing", the_module_comes_and_goes),
    ]
}

fn bind_and_unbind(options: &Options) -> Result<(), Stop> {
    let device = first_device()?;
    for round in 0..options.loops {
        let node = device.node()?;
        device.unbind()?;
        assert!(!node.exists(), "round {round}: {node:?} is still there");
        assert!(!device.is_bound(), "round {round}: {device} is still bound");
        device.bind()?;
        let file = device.open()?;
        expect_it_works(&file)?;
        assert_eq!(file.path(), node, "round {round}: the node has another name now");
    }
    Ok(())
}

fn an_open_file_gets_enodev(_: &Options) -> Result<(), Stop> {
    let device = first_device()?;
    let old = device.open()?;
    expect_it_works(&old)?;
    device.unbind()?;
    let expect_gone = |when: &str| {
        assert_eq!(errno(&old.rand32()), Some(Errno::NODEV), "RAND {when}");
        assert_eq!(errno(&old.rand64()), Some(Errno::NODEV), "RAND64 {when}");
        assert_eq!(errno(&old.seed(1)), Some(Errno::NODEV), "SEED {when}");
    };
    expect_gone("after unbinding");
    device.bind()?;
    // It is the same hardware, but another binding: the old file must not reach it.
    expect_gone("after binding again");
    let new = device.open()?;
    expect_it_works(&new)?;
    drop(old);
    expect_it_works(&new)
}

fn draws_end_at_unbind(options: &Options) -> Result<(), Stop> {
    let device = first_device()?;
    for _ in 0..options.loops.div_ceil(4) {
        let (narrow, wide) = (device.open()?, device.open()?);
        let ends = thread::scope(|scope| {
            let drawers =
                [scope.spawn(|| draw_until_error(&narrow)), scope.spawn(|| draw_until_error(&wide))];
            thread::sleep(Duration::from_millis(20));
            let unbound = device.unbind();
            let ends = drawers.map(|drawer| drawer.join().ok());
            unbound.map(|()| ends)
        })?;
        assert_eq!(ends, [Some(Errno::NODEV); 2], "how the drawers ended");
        device.bind()?;
    }
    Ok(())
}

/// Draws both widths until one fails.
fn draw_until_error(device: &Device) -> Errno {
    loop {
        let failed = errno(&device.rand64()).or_else(|| errno(&device.rand32()));
        if let Some(errno) = failed {
            return errno;
        }
    }
}

fn storm(options: &Options) -> Result<(), Stop> {
    let device = first_device()?;
    let nodes = [device.node()?, PathBuf::from(FIRST_DEVICE)];
    let done = AtomicBool::new(false);
    let uses = AtomicU64::new(0);
    let (strange, moved) = thread::scope(|scope| {
        let users = nodes.each_ref().map(|node| scope.spawn(|| use_until_done(node, &done, &uses)));
        let moved = (0..options.loops).try_for_each(|_| {
            device.unbind()?;
            device.bind()?;
            // Until somebody has used it: otherwise this would be a storm without wind.
            let before = uses.load(Ordering::Relaxed);
            if soon(|| uses.load(Ordering::Relaxed) > before) {
                Ok(())
            } else {
                fail("nobody could use the device")
            }
        });
        done.store(true, Ordering::Relaxed);
        (users.map(|user| user.join().ok().flatten()), moved)
    });
    moved?;
    match strange.into_iter().flatten().next() {
        Some(error) => fail(format!("while the device came and went: {error}")),
        None => Ok(()),
    }
}

/// Opens, uses and closes the node again and again; returns an error that is not simply "it is gone".
fn use_until_done(node: &Path, done: &AtomicBool, uses: &AtomicU64) -> Option<Error> {
    while !done.load(Ordering::Relaxed) {
        let used = Device::open(node).and_then(|device| device.rand64().and_then(|_| device.rand32()));
        match used {
            Ok(_) => {
                uses.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => match Errno::from_raw_os_error(error.errno()) {
                Errno::NOENT | Errno::NODEV | Errno::NXIO => thread::yield_now(),
                _ => return Some(error),
            },
        }
    }
    None
}

fn my_rng_driver_moves_on(_: &Options) -> Result<(), Stop> {
    let devices = devices()?;
    let [_, _, ..] = &devices[..] else { return skip("this machine has one device") };
    // "First" is who has the lowest number, whatever the order on the bus.
    let mut numbered: Vec<_> =
        devices.iter().map(|device| Ok((device.node()?, device))).collect::<Result<_, Stop>>()?;
    numbered.sort();
    let (first, second) = (numbered[0].1, numbered[1].1);
    first.unbind()?;
    let (named, next) = (Device::open(FIRST_DEVICE)?, second.open()?);
    next.seed(1)?;
    assert_eq!(named.rand32()?, 1_804_289_383, "{FIRST_DEVICE} does not mean {second} now");
    first.bind()?;
    let (named, back) = (Device::open(FIRST_DEVICE)?, first.open()?);
    back.seed(2)?;
    next.seed(1)?;
    assert_ne!(named.rand32()?, 1_804_289_383, "{FIRST_DEVICE} does not mean {first} again");
    Ok(())
}

fn a_module_in_use_stays(options: &Options) -> Result<(), Stop> {
    needs_the_module_file(options)?;
    let file = first_device()?.open()?;
    let refused = try_unload();
    assert!(
        matches!(refused, Err(Errno::WOULDBLOCK | Errno::BUSY)),
        "unloading while a file is open: {refused:?}"
    );
    expect_it_works(&file)?;
    drop(file);
    unload()?;
    load(options)?;
    expect_it_works(&first_device()?.open()?)
}

fn a_file_without_its_device_keeps_the_module(options: &Options) -> Result<(), Stop> {
    needs_the_module_file(options)?;
    let device = first_device()?;
    let file = device.open()?;
    device.unbind()?;
    let refused = try_unload();
    assert!(
        matches!(refused, Err(Errno::WOULDBLOCK | Errno::BUSY)),
        "unloading while a file is open: {refused:?}"
    );
    assert_eq!(errno(&file.rand32()), Some(Errno::NODEV));
    drop(file);
    unload()?;
    load(options)?;
    expect_it_works(&first_device()?.open()?)
}

fn the_module_comes_and_goes(options: &Options) -> Result<(), Stop> {
    needs_the_module_file(options)?;
    for round in 0..options.loops {
        let node = first_device()?.node()?;
        unload()?;
        assert!(
            !is_loaded() && !node.exists() && !Path::new(FIRST_DEVICE).exists(),
            "round {round}: nodes are left"
        );
        let class = Path::new("/sys/class").join(CLASS_NAME);
        assert!(!class.exists(), "round {round}: {class:?} is left");
        let majors = fs::read_to_string("/proc/devices")?;
        assert!(!majors.contains(CLASS_NAME), "round {round}: the major number is left");
        load(options)?;
        expect_it_works(&first_device()?.open()?)?;
    }
    Ok(())
}

fn needs_the_module_file(options: &Options) -> Result<(), Stop> {
    let module = module_file(options);
    if module.exists() { Ok(()) } else { skip(format!("there is no {}", module.display())) }
}

fn errno<T>(result: &Result<T, Error>) -> Option<Errno> {
    result.as_ref().err().map(|error| Errno::from_raw_os_error(error.errno()))
}
