// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of `procmon.ko`.

mod events;
mod fail_nth;
mod ioctls;
mod life;
mod machine;
mod message;
mod namespaces;
mod parameters;
mod permissions;
mod rings;
mod snapshot;
mod stats;

use crate::harness::{Group, Options, Stop, modules, skip};

/// The group.
pub(crate) fn group() -> Group {
    let tests = [
        message::tests(),
        ioctls::tests(),
        stats::tests(),
        parameters::tests(),
        snapshot::tests(),
        events::tests(),
        rings::tests(),
        namespaces::tests(),
        permissions::tests(),
        life::tests(),
        fail_nth::tests(),
    ];
    Group { name: "procmon", prepare, tests: tests.into_iter().flatten().collect() }
}

/// Every test starts with the module loaded, following all processes, with its usual parameters.
fn prepare(options: &Options) -> Result<(), Stop> {
    if !modules::is_loaded(machine::MODULE) {
        let file = machine::module_file(options);
        if !file.exists() {
            return skip(format!("the module is not loaded, and there is no {}", file.display()));
        }
        machine::load(options, c"")?;
    }
    machine::set_parameter("buffer_size", "1024")?;
    machine::set_parameter("interval_ms", "1000")?;
    procmon::Monitor::open()?.set_filter(0)?;
    Ok(())
}
