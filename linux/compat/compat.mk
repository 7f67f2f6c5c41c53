# SPDX-License-Identifier: GPL-2.0
#
# The modules' sources are written for Linux 7.3. Where the kernel is 7.2, a crate with what that one lacks takes the place of its crate
# `kernel`. A Kbuild file includes this one with the names of its module, which must have more objects than one, and of its crate:
#
#   exo-module := my_rng
#   exo-crate := my_rng_main
#   include $(src)/../compat/compat.mk

compat-folder := $(dir $(lastword $(MAKEFILE_LIST)))

ifeq ($(VERSION).$(PATCHLEVEL),7.2)

$(exo-module)-y += kernel_7_2.o kernel_7_2_shim.o

# Kbuild compiles what lies in the module's own folder.
$(addprefix $(obj)/,kernel_7_2.rs kernel_7_2_shim.c): $(obj)/%: $(compat-folder)% FORCE
	$(call if_changed,copy)
CFLAGS_kernel_7_2_shim.o := -I $(compat-folder)
targets += kernel_7_2.rs kernel_7_2_shim.c

RUSTFLAGS_kernel_7_2.o := --emit=metadata=$(abspath $(obj))/libkernel_7_2.rmeta
RUSTFLAGS_$(exo-crate).o := --extern kernel=$(abspath $(obj))/libkernel_7_2.rmeta --cfg linux_7_2
$(obj)/$(exo-crate).o: $(obj)/kernel_7_2.o

endif
