# SPDX-License-Identifier: GPL-2.0
# Writes the primes below 256 as a Rust array.
BEGIN {
	for (n = 2; n < 256; n++) {
		prime = 1
		for (d = 2; d * d <= n; d++)
			if (n % d == 0)
				prime = 0
		if (prime) {
			list = list n ", "
			count++
		}
	}
	print "/// The primes below 256.\nconst PRIMES: [u8; " count "] = [" list "];"
}
