/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How these programs tell what a call gave: the number, or the error's name. For files that include <errno.h>, <fcntl.h>, <stdio.h>,
 * <string.h> and <unistd.h>. */
#ifndef SAID_H
#define SAID_H

/* As text that the next call overwrites. */
static inline const char *said(long result)
{
	static char text[32];

	if (result < 0)
		return strerrorname_np(errno);
	snprintf(text, sizeof(text), "%ld", result);
	return text;
}

/* Prints a call as it is written, and what it gave. */
#define TRY(call) printf("%s: %s\n", #call, said(call))
/* Opens and closes again: 0 or -1. */
#define OPEN(...) ({ int o = open(__VA_ARGS__); if (o >= 0) close(o); o < 0 ? -1 : 0; })

#endif
