// SPDX-License-Identifier: GPL-2.0
#include "adler32.h"

/* The largest prime below 65536. */
#define MODULUS 65521

u32 example_adler32(const u8 *data, size_t length)
{
	u32 low = 1, high = 0;

	while (length--) {
		low = (low + *data++) % MODULUS;
		high = (high + low) % MODULUS;
	}
	return high << 16 | low;
}
