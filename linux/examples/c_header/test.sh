# SPDX-License-Identifier: GPL-2.0
dmesg | grep 'c_header: checksum 11e60398'
