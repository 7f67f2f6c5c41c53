// SPDX-License-Identifier: MIT OR Apache-2.0
//! Module parameters and attributes.

use std::ffi::CStr;
use std::fs;
use std::io::Read;

use rustix::io::Errno;

use super::entropy::device_with_queues;
use super::machine::{expect_it_works, first_device, load, module_file, try_load, unload};
use crate::harness::{Mark, Options, Stop, Test, fail, skip};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_parameter_out_of_range_keeps_the_module_out", out_of_range),
        Test::long("a_module_works_with_any_parameters_in_range", in_range),
        Test::new("attributes_tell_what_was_done", attributes_tell),
    ]
}

fn needs_the_module_file(options: &Options) -> Result<(), Stop> {
    let module = module_file(options);
    if module.exists() { Ok(()) } else { skip(format!("there is no {}", module.display())) }
}

fn out_of_range(options: &Options) -> Result<(), Stop> {
    needs_the_module_file(options)?;
    unload()?;
    let mut wrong = Vec::new();
    for parameters in [
        c"depth=0",
        c"depth=1",
        c"depth=3",
        c"depth=2048",
        c"depth=4294967295",
        c"depth=-1",
        c"depth=4294967296",
        c"depth=many",
        c"buffer_size=0",
        c"buffer_size=32",
        c"buffer_size=4095",
        c"buffer_size=8192",
        c"queues=65",
        c"mapped_queues=65",
        c"mapped_interrupts=0",
        c"mapped_interrupts=1001",
        c"use_queues=2",
    ] {
        match try_load(options, parameters)? {
            Err(Errno::INVAL) => {}
            Ok(()) => {
                wrong.push(format!("{parameters:?}: loaded"));
                unload()?;
            }
            Err(errno) => wrong.push(format!("{parameters:?}: {errno}")),
        }
    }
    let mut log = Mark::here()?;
    let loaded = try_load(options, c"queues=1 depth=3")?;
    let said = log.lines()?;
    if !said.iter().any(|line| line == "my_rng: depth: expected a power of two, 2 to 1024") {
        wrong.push(format!("depth=3: {loaded:?}, and the log says {said:?}"));
    }
    load(options)?;
    if wrong.is_empty() { Ok(()) } else { fail(wrong.join(", ")) }
}

fn in_range(options: &Options) -> Result<(), Stop> {
    needs_the_module_file(options)?;
    device_with_queues()?;
    for (parameters, queues) in [
        (c"depth=2 buffer_size=64", None),
        (c"depth=1024 queues=1", Some(1)),
        (c"buffer_size=512 queues=64 mapped_queues=0", None),
        (c"queues=2 mapped_queues=64 mapped_interrupts=1000", Some(2)),
        (c"use_queues=0", Some(0)),
    ] {
        unload()?;
        let loaded = try_load(options, parameters)?;
        let result = loaded.map_err(Stop::from).and_then(|()| works(queues)).and_then(|()| shows(parameters));
        unload()?;
        load(options)?;
        result.or_else(|stop| fail(format!("{parameters:?}: {stop:?}")))?;
    }
    Ok(())
}

/// The parameters that were set are shown in sysfs.
fn shows(parameters: &CStr) -> Result<(), Stop> {
    for pair in parameters.to_string_lossy().split(' ') {
        let (name, value) = pair.split_once('=').unwrap_or_default();
        let shown = fs::read_to_string(format!("/sys/module/my_rng/parameters/{name}"))?;
        assert_eq!(shown.trim(), value, "{name}");
    }
    Ok(())
}

fn works(queues: Option<u64>) -> Result<(), Stop> {
    let device = first_device()?;
    let has = device.figure("queues")?;
    if queues.is_some_and(|queues| queues != has) {
        return fail(format!("it has {has} queues, expected {queues:?}"));
    }
    let file = device.open()?;
    expect_it_works(&file)?;
    let read = (&file).read_exact(&mut vec![0; 1 << 18]);
    match (has, read) {
        (0, Err(error)) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => Ok(()),
        (0, other) => fail(format!("reading without queues gives {other:?}")),
        (_, read) => Ok(read?),
    }
}

fn attributes_tell(_: &Options) -> Result<(), Stop> {
    let device = device_with_queues()?;
    let bytes = || -> Result<Vec<u64>, Stop> {
        let text = device.text("bytes")?;
        text.split(' ').map(|number| Ok(number.parse()?)).collect()
    };
    let file = device.open()?;
    file.seed(1)?;
    let before = bytes()?;
    (&file).read_exact(&mut [0; 100_000])?;
    file.rand32()?;
    file.rand64()?;
    let after = bytes()?;
    let [entropy, seedable] = &after[..] else { return fail(format!("bytes reads {after:?}")) };
    assert!(*entropy >= before[0] + 100_000, "{before:?} {after:?}");
    assert!(*seedable == before[1] + 12, "{before:?} {after:?}");
    assert_eq!(device.text("streams")?, "entropy seedable");
    assert!(device.figure("depth")? >= 2 && device.figure("vectors")? >= 1);
    assert_eq!(device.figure("errors")?, 0);
    for counter in ["interrupts", "doorbells", "waits"] {
        device.figure(counter)?;
    }
    Ok(())
}
