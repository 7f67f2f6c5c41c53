# SPDX-License-Identifier: GPL-2.0
#
# The modules' sources are written for Linux 7.3. Where the kernel is 7.2, a crate with what that one lacks takes the place of its crate
# `kernel`. A Kbuild file includes this one with the names of its module, which must have more objects than one, and of its crate:
#
#   exo-module := my_rng
#   exo-crate := my_rng_main
#   include $(src)/../compat/compat.mk

compat-folder := $(dir $(lastword $(MAKEFILE_LIST)))

# A package for DKMS has these whichever kernel it is made on.
package-files += $(wildcard $(compat-folder)*)

ifeq ($(VERSION).$(PATCHLEVEL),7.2)

$(exo-module)-y += kernel_7_2.o kernel_7_2_shim.o

# Kbuild's own rules are for sources in the module's folder.
$(obj)/kernel_7_2.o: $(compat-folder)kernel_7_2.rs FORCE
	+$(call if_changed_rule,rustc_o_rs)
$(obj)/kernel_7_2_shim.o: $(compat-folder)kernel_7_2_shim.c FORCE
	$(call if_changed_rule,cc_o_c)

RUSTFLAGS_kernel_7_2.o := --emit=metadata=$(abspath $(obj))/libkernel_7_2.rmeta
RUSTFLAGS_$(exo-crate).o := --extern kernel=$(abspath $(obj))/libkernel_7_2.rmeta --cfg linux_7_2
$(obj)/$(exo-crate).o: $(obj)/kernel_7_2.o

endif
