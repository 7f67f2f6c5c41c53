// SPDX-License-Identifier: MIT OR Apache-2.0
//! The modules' tests on the checked kernel: whatever a detector reports fails the test that ran.

use super::{Lab, MachineTest, Report, controls, hotplug, inside};

/// Tests with machines of their own that are worth repeating under the detectors.
const AGAIN: &[(&str, MachineTest)] = &[
    ("checked::an_unplugged_device_gives_enodev", hotplug::an_unplugged_device_gives_enodev),
    ("checked::a_device_can_be_plugged_in_again", hotplug::a_device_can_be_plugged_in_again),
    ("checked::a_killed_device_process_hangs_nobody", hotplug::a_killed_device_process_hangs_nobody),
];

/// The part that a plain `cargo exo test` runs too, if the checked kernel is built.
pub(crate) const QUICK: &str = "checked::inside";

/// Runs that part.
pub(crate) fn run_quick(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    inside::run(lab, report, QUICK)
}

/// Runs all of it.
pub(crate) fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    for (name, test) in AGAIN {
        if report.wants(name) {
            report.case(name, || test(lab))?;
        }
    }
    controls::run(lab, report)?;
    run_quick(lab, report)
}
