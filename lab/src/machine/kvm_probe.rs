// SPDX-License-Identifier: MIT OR Apache-2.0
//! The probe machine: does a kernel really come up under KVM on this host?

use std::time::Instant;

use super::accel::{Accel, PROBE_TIME};
use super::{Config, Machine, Output, Parts};
use crate::ui::Step;

/// Boots the kernel with KVM; true if it ran its command in time.
pub(super) fn runs(parts: &Parts) -> anyhow::Result<bool> {
    let step = Step::new("Trying whether KVM works here", Some(PROBE_TIME));
    let config = Config { accel: Some(Accel::Kvm), rng: 0, ..Config::default() };
    let mut machine = match Machine::start(parts, &config, &["true".to_owned()], Output::Capture) {
        Ok(machine) => machine,
        // QEMU could not even start with it.
        Err(_) => {
            crate::interrupt::check()?;
            return Ok(false);
        }
    };
    let deadline = Instant::now() + PROBE_TIME;
    while Instant::now() < deadline {
        crate::interrupt::check()?;
        machine.channels.acknowledge_when_complete();
        if machine.qemu.ended()?.is_some() {
            break;
        }
        std::thread::sleep(super::POLL);
    }
    machine.qemu.kill();
    machine.console.finish();
    let ran = machine.channels.finish().0 == Some(0);
    step.done();
    Ok(ran)
}
