# SPDX-License-Identifier: GPL-2.0
# Runs in the machine once the module is loaded: `cargo exo kmod test`. A status other than 0 is a failure.
set -e

# A program that reads a line takes a number; each device has its own.
[ "$(head -n 1 /dev/@NAME@0)" = 0 ]
[ "$(head -n 1 /dev/@NAME@0)" = 1 ]
[ "$(head -n 1 /dev/@NAME@1)" = 0 ]
[ "$(cat /sys/class/@NAME@/@NAME@0/next)" = 2 ]
