# SPDX-License-Identifier: GPL-2.0
# Runs in the machine once the module is loaded: `cargo exo kmod test`. A status other than 0 is a failure.
# qemu: -device edu
set -e

device=$(basename /sys/bus/pci/drivers/@NAME@/0*)
dmesg | grep "@NAME@ $device: version 1.0"

# It can be released and bound again.
echo "$device" > /sys/bus/pci/drivers/@NAME@/unbind
dmesg | grep "@NAME@ $device: released"
echo "$device" > /sys/bus/pci/drivers/@NAME@/bind
