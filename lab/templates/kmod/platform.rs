// SPDX-License-Identifier: GPL-2.0

//! A driver of a platform device: one that no bus can find, and that ACPI or a device tree tells of.

use kernel::{
    acpi,
    device::Core,
    of,
    platform,
    prelude::*,
    sync::aref::ARef, //
};

struct @TYPE@ {
    device: ARef<platform::Device>,
}

/// What the tables tell the driver of a device.
struct Info {
    channels: u32,
}

kernel::of_device_table!(
    OF_TABLE,
    <@TYPE@ as platform::Driver>::IdInfo,
    [(
        of::DeviceId::new(c"example,@NAME@"),
        Info { channels: 2 } //
    )]
);

kernel::acpi_device_table!(
    ACPI_TABLE,
    <@TYPE@ as platform::Driver>::IdInfo,
    [(acpi::DeviceId::new(c"EXMP0001"), Info { channels: 4 })]
);

impl platform::Driver for @TYPE@ {
    type IdInfo = Info;
    type Data<'bound> = Self;

    const OF_ID_TABLE: Option<of::IdTable<Self::IdInfo>> = Some(&OF_TABLE);
    const ACPI_ID_TABLE: Option<acpi::IdTable<Self::IdInfo>> = Some(&ACPI_TABLE);

    fn probe<'bound>(
        device: &'bound platform::Device<Core<'_>>,
        info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self, Error> + 'bound {
        // There is none where somebody has bound the driver by hand.
        let channels = channels(info);
        dev_info!(device, "{channels} channels\n");
        Ok(Self {
            device: device.into(),
        })
    }
}

impl Drop for @TYPE@ {
    fn drop(&mut self) {
        dev_info!(self.device, "released\n");
    }
}

/// How many channels a device has; one if nobody says.
fn channels(info: Option<&Info>) -> u32 {
    info.map_or(1, |info| info.channels)
}

kernel::module_platform_driver! {
    type: @TYPE@,
    name: "@NAME@",
    authors: ["You"],
    description: "Drives a platform device",
    license: "GPL",
}

/// `cargo exo kmod test` runs these in a kernel.
#[kunit_tests(@NAME@)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_tell_the_channels() {
        assert_eq!(channels(Some(&Info { channels: 4 })), 4);
    }

    #[test]
    fn a_device_has_a_channel() {
        assert_eq!(channels(None), 1);
    }
}
