// SPDX-License-Identifier: GPL-2.0

//! Uses a table that the build has written.

use kernel::prelude::*;

include!(concat!(
    env!("GENERATED_SOURCE_OBJ"),
    "/primes_generated.rs"
));

/// Whether a number is prime, by the table.
fn is_prime(number: u8) -> bool {
    PRIMES.binary_search(&number).is_ok()
}

struct GeneratedSource;

impl kernel::Module for GeneratedSource {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let last = (0..=u8::MAX).rev().find(|number| is_prime(*number));
        pr_info!("the last prime is {last:?}\n");
        Ok(Self)
    }
}

module! {
    type: GeneratedSource,
    name: "generated_source",
    authors: ["The Exo authors"],
    description: "A source that the build writes",
    license: "GPL",
}

#[kunit_tests(generated_source)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_right() {
        assert_eq!(PRIMES.len(), 54);
        assert!(is_prime(2) && is_prime(251));
        assert!(!is_prime(0) && !is_prime(1) && !is_prime(255));
    }
}
