# SPDX-License-Identifier: GPL-2.0
# For kernels without KUnit, too: the module has used its ring at load.
dmesg | grep -q 'kunit_example: the last byte is l$' || { echo 'the ring gave another byte'; exit 1; }
