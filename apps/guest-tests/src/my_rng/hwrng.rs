// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device as the kernel's own source of entropy.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use super::entropy::device_with_queues;
use super::machine::{is_loaded, load, module_file, unload};
use crate::harness::{Options, Stop, Test, skip};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("the_kernel_reads_entropy_from_the_device", the_kernel_reads),
        Test::new("a_seed_does_not_change_what_the_kernel_gets", a_seed_does_not_change_it),
        Test::new("the_module_unloads_while_the_kernel_uses_the_device", unloads_while_in_use),
        Test::new("a_device_is_unbound_while_the_kernel_reads", unbound_under_read),
    ]
}

const FOLDER: &str = "/sys/class/misc/hw_random";

/// Makes the device with this node the kernel's source, and calls `f` with it.
pub(super) fn with_current<R>(node: &Path, f: impl FnOnce(&mut File) -> io::Result<R>) -> io::Result<R> {
    let name = node.file_name().unwrap_or_default();
    fs::write(format!("{FOLDER}/rng_current"), name.as_encoded_bytes())?;
    f(&mut File::open("/dev/hwrng")?)
}

fn current() -> Result<String, Stop> {
    Ok(fs::read_to_string(format!("{FOLDER}/rng_current"))?.trim().to_owned())
}

fn needs_hwrng() -> Result<(), Stop> {
    if Path::new("/dev/hwrng").exists() { Ok(()) } else { skip("this kernel has no /dev/hwrng") }
}

fn the_kernel_reads(_: &Options) -> Result<(), Stop> {
    needs_hwrng()?;
    let device = device_with_queues()?;
    let available = fs::read_to_string(format!("{FOLDER}/rng_available"))?;
    let name = device.node_name()?;
    assert!(available.split_whitespace().any(|other| other == name), "{available}");
    let mut bytes = [0; 4096];
    with_current(&device.node()?, |hwrng| hwrng.read_exact(&mut bytes))?;
    assert_eq!(current()?, name);
    assert!(bytes.chunks_exact(16).all(|block| block.iter().any(|byte| *byte != 0)));
    let quality: u32 = fs::read_to_string(format!("{FOLDER}/rng_quality"))?.trim().parse()?;
    assert!((900..=1024).contains(&quality), "{quality}");
    Ok(())
}

fn a_seed_does_not_change_it(_: &Options) -> Result<(), Stop> {
    needs_hwrng()?;
    let device = device_with_queues()?;
    let file = device.open()?;
    let node = device.node()?;
    let after_seed = || -> Result<[u8; 256], Stop> {
        file.seed(1)?;
        let mut bytes = [0; 256];
        with_current(&node, |hwrng| hwrng.read_exact(&mut bytes))?;
        Ok(bytes)
    };
    // The kernel keeps up to 64 bytes of its own; more than those must differ.
    let (one, other) = (after_seed()?, after_seed()?);
    let equal = one.chunks_exact(8).filter(|block| other.chunks_exact(8).any(|b| b == *block)).count();
    assert_eq!(equal, 0, "the kernel got the same bytes after the same seed");
    Ok(())
}

fn unloads_while_in_use(options: &Options) -> Result<(), Stop> {
    needs_hwrng()?;
    if !module_file(options).exists() {
        return skip("there is no module file to load again");
    }
    for _ in 0..options.loops.div_ceil(4) {
        let device = device_with_queues()?;
        with_current(&device.node()?, |hwrng| hwrng.read_exact(&mut [0; 64]))?;
        assert_eq!(current()?, device.node_name()?);
        unload()?;
        assert!(!is_loaded());
        assert!(!current()?.starts_with("my_rng"), "the kernel still names a device that has gone");
        load(options)?;
    }
    Ok(())
}

fn unbound_under_read(options: &Options) -> Result<(), Stop> {
    needs_hwrng()?;
    let device = device_with_queues()?;
    for _ in 0..options.loops.div_ceil(4) {
        let node = device.node()?;
        let mut hwrng = with_current(&node, |hwrng| hwrng.try_clone())?;
        thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut bytes = [0; 4096];
                for _ in 0..10_000 {
                    match hwrng.read(&mut bytes) {
                        Ok(_) => {}
                        Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => break,
                        Err(error) => return Err(error),
                    }
                    // Another device may have taken over, and would be read without end.
                    if !fs::read_to_string(format!("{FOLDER}/rng_current"))?
                        .contains(node.file_name().and_then(|name| name.to_str()).unwrap_or("?"))
                    {
                        break;
                    }
                }
                Ok(())
            });
            thread::sleep(Duration::from_millis(20));
            let unbound = device.unbind();
            reader.join().unwrap_or_else(|_| Err(io::Error::other("the reader panicked")))?;
            unbound
        })?;
        device.bind()?;
    }
    Ok(())
}
