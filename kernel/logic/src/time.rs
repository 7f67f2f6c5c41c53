// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calendar arithmetic.

/// Seconds from 1970-01-01 00:00:00 UTC to a date of the Gregorian calendar, from 1970 on. Fields out of range are
/// carried over, never an error: a real-time clock may hold anything.
pub fn seconds_since_1970(year: u64, month: u64, day: u64, hour: u64, minute: u64, second: u64) -> u64 {
    let year = year.clamp(1970, 9999);
    let month = month.clamp(1, 12);
    // Count years from March, so that the leap day is the last of its year.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day.max(1) - 1;
    const EPOCH: u64 = 719_468;
    ((days - EPOCH) * 24 + hour) * 3600 + minute * 60 + second
}

#[cfg(test)]
mod tests {
    use super::seconds_since_1970;

    #[test]
    fn agrees_with_known_dates() {
        assert_eq!(seconds_since_1970(1970, 1, 1, 0, 0, 0), 0);
        assert_eq!(seconds_since_1970(2000, 2, 29, 12, 0, 0), 951_825_600);
        assert_eq!(seconds_since_1970(2026, 11, 21, 1, 42, 24), 1_795_225_344);
    }
}
