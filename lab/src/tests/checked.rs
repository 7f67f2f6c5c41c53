// SPDX-License-Identifier: MIT OR Apache-2.0
//! The modules' tests on the checked kernel: whatever a detector reports fails the test that ran.

use super::inside::{self, Lane};
use super::{Lab, MachineTest, Report, controls, hotplug, module_life, slow_to_stop};

/// Tests with machines of their own that are worth repeating under the detectors.
const AGAIN: &[(&str, MachineTest)] = &[
    ("checked::an_unplugged_device_gives_enodev", hotplug::an_unplugged_device_gives_enodev),
    ("checked::a_device_can_be_plugged_in_again", hotplug::a_device_can_be_plugged_in_again),
    ("checked::a_killed_device_process_hangs_nobody", hotplug::a_killed_device_process_hangs_nobody),
    ("checked::unbinding_waits_once", slow_to_stop::unbinding_waits_once),
    ("checked::a_queue_that_stops_late_is_used_again", slow_to_stop::a_queue_that_stops_late_is_used_again),
    ("checked::kmod::new_modules_pass_their_tests", module_life::new_modules_pass_their_tests),
    ("checked::kmod::examples_pass_their_tests", module_life::examples_pass_their_tests),
    ("checked::kmod::the_documented_commands_work", module_life::the_documented_commands_work),
    (
        "checked::kmod::failed_tests_of_a_module_are_failures",
        module_life::failed_tests_of_a_module_are_failures,
    ),
];

/// The tests inside machines. A plain `cargo exo test` runs them too if the checked kernel is built, but for the failures.
pub(crate) const INSIDE: &str = "checked::inside";

/// Starts that part, so that the other tests run meanwhile.
pub(crate) fn start_quick(lab: &Lab, report: &Report) -> anyhow::Result<Option<Lane>> {
    inside::start(lab, report, INSIDE)
}

/// Runs all of it.
pub(crate) fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let failures = inside::start_failures(lab, report, INSIDE)?;
    for (name, test) in AGAIN {
        if report.wants(name) {
            report.case(name, || test(lab))?;
        }
    }
    controls::run(lab, report)?;
    inside::run(lab, report, INSIDE)?;
    inside::finish(failures, report)
}
