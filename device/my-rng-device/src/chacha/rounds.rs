// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rounds, for any kind of vector: each of the sixteen words of a block is a vector with that word of many blocks.

/// Four quarter rounds (RFC 8439, section 2.1) on the array `$x`, step by step, as they do not depend on each other.
macro_rules! quarter_rounds {
    (
        $x:ident, $add:path, $xor:path, $by_16:path, $by_12:path, $by_8:path, $by_7:path,
        $(($a:literal $b:literal $c:literal $d:literal))*
    ) => {
        $($x[$a] = $add($x[$a], $x[$b]);)*
        $($x[$d] = $by_16($xor($x[$d], $x[$a]));)*
        $($x[$c] = $add($x[$c], $x[$d]);)*
        $($x[$b] = $by_12($xor($x[$b], $x[$c]));)*
        $($x[$a] = $add($x[$a], $x[$b]);)*
        $($x[$d] = $by_8($xor($x[$d], $x[$a]));)*
        $($x[$c] = $add($x[$c], $x[$d]);)*
        $($x[$b] = $by_7($xor($x[$b], $x[$c]));)*
    };
}

/// The twenty rounds on the array `$x`: columns and diagonals in turn (RFC 8439, section 2.3).
macro_rules! twenty_rounds {
    ($x:ident, $($operation:path),*) => {
        for _ in 0..10 {
            quarter_rounds!($x, $($operation),*, (0 4 8 12) (1 5 9 13) (2 6 10 14) (3 7 11 15));
            quarter_rounds!($x, $($operation),*, (0 5 10 15) (1 6 11 12) (2 7 8 13) (3 4 9 14));
        }
    };
}

pub(super) use {quarter_rounds, twenty_rounds};
