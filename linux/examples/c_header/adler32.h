/* SPDX-License-Identifier: GPL-2.0 */
#ifndef EXAMPLE_ADLER32_H
#define EXAMPLE_ADLER32_H

#include <linux/types.h>

/* The Adler-32 checksum (RFC 1950, section 8.2) of @length bytes at @data. */
u32 example_adler32(const u8 *data, size_t length);

#endif
