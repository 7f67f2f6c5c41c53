# SPDX-License-Identifier: GPL-2.0
#
# What the modules' Makefiles share: building one with plain make, for any kernel tree that is prepared for Rust.
#
#   make -C linux/MODULE KDIR=TREE          build MODULE.ko
#   make -C linux/MODULE KDIR=TREE clean    remove what was built
#   make -C linux/MODULE KDIR=TREE CLIPPY=1 build with the kernel's lints
#
# Kbuild itself reads only the Kbuild file beside each Makefile.

KDIR ?= /lib/modules/$(shell uname -r)/build

# The C compiler, too, must be the kernel's. Unless the user names one, take what the kernel's configuration says.
KERNEL_CONFIG := $(KDIR)/include/config/auto.conf
ifneq ($(filter command% environment%,$(origin CC)),)
  COMPILER := CC="$(CC)"
else ifneq ($(shell grep -s '^CONFIG_CC_IS_CLANG=y' $(KERNEL_CONFIG)),)
  COMPILER := LLVM=$(shell sed -n "s,^CONFIG_CC_VERSION_TEXT=.*clang version \([0-9]*\).*,-\1,p" $(KERNEL_CONFIG))
else
  COMPILER := $(shell sed -n 's/^CONFIG_CC_VERSION_TEXT="*\([^ "]*\).*/CC=\1/p' $(KERNEL_CONFIG) 2>/dev/null)
endif

.PHONY: modules clean check-kdir
modules clean: check-kdir
	$(MAKE) -C $(KDIR) M=$(CURDIR) $(COMPILER) $@

check-kdir:
	@test -f $(KDIR)/Makefile || { \
	  echo >&2 "no kernel build tree at $(KDIR): give one with KDIR=… (cargo exo kmod prepares one)"; exit 1; }
	@grep -qs '^CONFIG_RUST=y' $(KERNEL_CONFIG) || { \
	  echo >&2 "the kernel at $(KDIR) is not configured for Rust: CONFIG_RUST=y is not in $(KERNEL_CONFIG)"; exit 1; }
	@test -f $(KDIR)/rust/libkernel.rmeta || { \
	  echo >&2 "the kernel tree at $(KDIR) lacks its Rust metadata: there is no rust/libkernel.rmeta."; \
	  echo >&2 "Distributions' header packages leave it out; cargo exo kmod regenerates it, or use a tree in which"; \
	  echo >&2 "\"make prepare\" was run with the kernel's own configuration and Rust compiler."; exit 1; }
