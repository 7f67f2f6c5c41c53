// SPDX-License-Identifier: GPL-2.0
/* Exports the Rust symbols of counter.rs: only C has EXPORT_SYMBOL. */
#include <linux/export.h>

#define EXPORT_RUST(symbol)	\
	extern int symbol;	\
	EXPORT_SYMBOL_GPL(symbol);

#include "counter_exports_generated.h"
