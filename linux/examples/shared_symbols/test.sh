# SPDX-License-Identifier: GPL-2.0
set -e
dmesg | grep 'shared_user: took 0 and 1'
# The kernel knows who uses whom.
grep '^shared_counter .* shared_user,' /proc/modules
