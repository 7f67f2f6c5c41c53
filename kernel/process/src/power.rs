// SPDX-License-Identifier: MIT OR Apache-2.0
//! Switching the machine off or resetting it, with its devices at rest.

use exo_hal::{
    once::Once,
    power::{self, Exit},
};

static STOP_DEVICES: Once<fn()> = Once::new();

/// Sets what brings the devices to rest.
pub fn set_stop_devices(stop: fn()) {
    STOP_DEVICES.set(stop);
}

fn stop_devices() {
    if let Some(stop) = STOP_DEVICES.get() {
        stop();
    }
}

/// Switches the machine off.
pub fn switch_off() -> ! {
    stop_devices();
    power::power_off(Exit::PowerOff)
}

/// Starts the machine anew.
pub fn restart() -> ! {
    stop_devices();
    power::reset()
}
