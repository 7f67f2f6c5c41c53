// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rates and limits, and how people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A rate and a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Tokens per second; at least 1.
    pub per_second: u64,
    /// Most tokens that are saved up while nobody takes any; at least 1.
    pub burst: u64,
}

impl Rate {
    /// A rate with a burst of a tenth of a second's worth.
    pub fn new(per_second: u64) -> Self {
        Self { per_second, burst: (per_second / 10).max(1) }
    }
}

/// Text that is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no limit, expected N or N:BURST, each from 1 to 2^64-1, with k, M, G, T or Ki, Mi, Gi, Ti after it"
)]
pub struct NoRate(String);

impl FromStr for Rate {
    type Err = NoRate;

    /// Reads `N` or `N:BURST`, such as `10M:256Ki`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.split_once(':') {
            None => parse_number(text).map(Self::new),
            Some((rate, burst)) => parse_number(rate)
                .zip(parse_number(burst))
                .map(|(per_second, burst)| Self { per_second, burst }),
        };
        parsed.ok_or_else(|| NoRate(text.to_owned()))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.per_second, self.burst)
    }
}

/// Reads a number of bytes, such as `64Ki`.
///
/// # Errors
/// It is none.
pub fn parse_bytes(text: &str) -> Result<u64, NoRate> {
    parse_number(text).ok_or_else(|| NoRate(text.to_owned()))
}

/// A number above 0 with a suffix, in powers of 1000 or, with `i`, of 1024.
fn parse_number(text: &str) -> Option<u64> {
    let (digits, binary) = text.strip_suffix('i').map_or((text, false), |text| (text, true));
    let base: u64 = if binary { 1024 } else { 1000 };
    let suffixes = [("k", 1), ("K", 1), ("M", 2), ("G", 3), ("T", 4)];
    let found = suffixes.iter().find_map(|(suffix, power)| Some((digits.strip_suffix(suffix)?, *power)));
    let (digits, power) = match found {
        Some(found) => found,
        None if binary => return None,
        None => (digits, 0),
    };
    // `parse` would take a sign.
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok())??;
    number.checked_mul(base.checked_pow(power)?).filter(|&number| number > 0)
}

/// What is limited. `None`: unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes, by queues, one-shot transfers and registers.
    pub bytes: Option<Rate>,
    /// Operations: buffers, one-shot transfers, draws by register.
    pub operations: Option<Rate>,
}

impl fmt::Display for Limits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |rate: Option<Rate>| {
            rate.map_or_else(|| "unlimited".to_owned(), |rate| format!("{rate} per second"))
        };
        write!(formatter, "bytes {}, operations {}", one(self.bytes), one(self.operations))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_with_and_without_burst_and_suffix() {
        let known = [
            ("1", 1, 1),
            ("1000", 1000, 100),
            ("10M", 10_000_000, 1_000_000),
            ("64Ki:1", 65_536, 1),
            ("2k:3K", 2000, 3000),
            ("1G:1Gi", 1_000_000_000, 1 << 30),
            ("1Ti:18446744073709551615", 1 << 40, u64::MAX),
        ];
        for (text, per_second, burst) in known {
            let rate = text.parse::<Rate>().unwrap();
            assert_eq!(rate, Rate { per_second, burst }, "{text}");
            assert_eq!(rate.to_string().parse(), Ok(rate), "{text}");
        }
        for text in [
            "",
            "0",
            "1:0",
            "0:1",
            "1:",
            ":1",
            "1:1:1",
            "-1",
            "+1",
            "1.5",
            "1i",
            "1m",
            "k",
            "20000000T",
            "1 ",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(NoRate(text.to_owned())));
        }
    }
}
