// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of `my_rng.ko`, on the device that the machine has.

mod concurrency;
mod draw;
mod entropy;
mod fail_nth;
mod hwrng;
mod interface;
mod interrupts;
mod life;
mod log;
mod machine;
mod mapped;
mod nodes;
mod numbers;
mod prefetch;
mod seeds;
mod settings;
mod suspend;

pub(crate) use draw::until_error;
pub(crate) use suspend::across_suspend;

use crate::harness::{Group, Options, Stop, is_exo_kernel, skip};

/// The group.
pub(crate) fn group() -> Group {
    let tests = [
        numbers::tests(),
        interface::tests(),
        concurrency::tests(),
        nodes::tests(),
        life::tests(),
        log::tests(),
        entropy::tests(),
        mapped::tests(),
        interrupts::tests(),
        prefetch::tests(),
        seeds::tests(),
        hwrng::tests(),
        settings::tests(),
        fail_nth::tests(),
    ];
    Group { name: "my_rng", prepare, tests: tests.into_iter().flatten().collect() }
}

/// Every test starts with the module loaded and each device bound, whatever the test before has left.
fn prepare(options: &Options) -> Result<(), Stop> {
    if is_exo_kernel() {
        // Its driver is a part of it, and has bound what there is.
        let there = std::path::Path::new(my_rng_client::FIRST_DEVICE).exists();
        return if there { Ok(()) } else { skip("this machine has no device 1234:cafe") };
    }
    if machine::devices()?.is_empty() {
        return skip("this machine has no device 1234:cafe");
    }
    let module = machine::module_file(options);
    if module.exists() {
        machine::Queues::Usual.load(options)?;
    } else if !machine::is_loaded() {
        return skip(format!("the module is not loaded, and there is no {}", module.display()));
    }
    if bind_all().is_err() {
        // A driver that was loaded while things failed may lack the file that binds.
        machine::unload()?;
        machine::load(options)?;
    }
    bind_all()
}

/// Binds each device that is not.
fn bind_all() -> Result<(), Stop> {
    for device in machine::devices()? {
        device.reserve_for("")?;
        if !device.is_bound() {
            device.bind()?;
        }
    }
    Ok(())
}
