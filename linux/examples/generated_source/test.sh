# SPDX-License-Identifier: GPL-2.0
dmesg | grep 'generated_source: the last prime is Some(251)'
