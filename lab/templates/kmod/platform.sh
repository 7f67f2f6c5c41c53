# SPDX-License-Identifier: GPL-2.0
# Runs in the machine once the module is loaded: `cargo exo kmod test`. A status other than 0 is a failure.
set -e

# The machine has no such device: another one without a driver is bound by hand.
for path in /sys/bus/platform/devices/*; do
    [ -e "$path/driver" ] || device=$(basename "$path")
done
echo @NAME@ > "/sys/bus/platform/devices/$device/driver_override"
echo "$device" > /sys/bus/platform/drivers/@NAME@/bind
dmesg | grep "@NAME@ $device: 1 channels"
echo "$device" > /sys/bus/platform/drivers/@NAME@/unbind
dmesg | grep "@NAME@ $device: released"
