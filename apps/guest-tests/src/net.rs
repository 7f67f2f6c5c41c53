// SPDX-License-Identifier: MIT OR Apache-2.0
//! That the checked kernel's net is where the other tests rely on it. Its detectors have negative controls
//! (`guest-tests --control`), which cannot share a machine with tests; what has no report of its own is tested here.

use std::fs;

use crate::harness::fail_nth::{Arm, Called, Operation, survey};
use crate::harness::{Group, Options, Test, fail, modules, skip};

/// Makes three allocations when it is loaded: slab, page, vmalloc (`linux/negative-controls/fault_injection.rs`).
const MODULE: &str = "fault_injection";

/// The group.
pub(crate) fn group() -> Group {
    let tests = vec![Test::long("fail_nth_reaches_every_kind_of_allocation", |options| {
        let path = modules::file_of(&options.modules, MODULE);
        if !path.exists() {
            return skip(format!("there is no {}", path.display()));
        }
        let survey = survey(options, &LOAD)?;
        for kind in ["failslab", "fail_page_alloc"] {
            assert!(survey.failures_of(kind) > 0, "{kind} has made nothing fail: {survey}");
        }
        println!("{survey}");
        Ok(())
    })];
    Group { name: "net", prepare: |_| Ok(()), tests }
}

/// The slab allocation is one chance, the page one, and vmalloc has at least two: its area and its pages.
const LOAD: Operation = Operation {
    before: |_| if modules::is_loaded(MODULE) { modules::unload(MODULE) } else { Ok(()) },
    call: load,
    after: |_, result| match (result, modules::is_loaded(MODULE)) {
        (Ok(()), true) | (Err(_), false) => Ok(()),
        (Ok(()), false) => fail("it is not loaded"),
        (Err(_), true) => fail("it is loaded"),
    },
    also: &[],
    at_least: 4,
};

fn load(options: &Options, arm: Arm) -> Called {
    let file = fs::File::open(modules::file_of(&options.modules, MODULE))?;
    arm.now()?;
    Ok(rustix::system::finit_module(&file, c"", 0))
}
