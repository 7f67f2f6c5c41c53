# SPDX-License-Identifier: GPL-2.0
# Runs in the machine once the module is loaded: `cargo exo kmod test`. A status other than 0 is a failure.
set -e

exec 3<>/dev/@NAME@
echo 'hello, world' >&3
[ "$(cat <&3)" = 'HELLO, WORLD' ]

# What is too long is refused.
if dd if=/dev/zero of=/dev/@NAME@ bs=4097 count=1 2>/dev/null; then exit 1; fi
