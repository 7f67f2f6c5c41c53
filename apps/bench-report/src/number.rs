// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers for people.

/// A whole number with a comma between groups of three digits: `1,234,567`. Negative values show as 0.
#[must_use]
pub fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with about four digits that matter: `0.0521`, `52.13`, `1,234`.
#[must_use]
pub fn decimal(value: f64) -> String {
    match value.abs() {
        size if size < 1.0 => format!("{value:.4}"),
        size if size < 10.0 => format!("{value:.3}"),
        size if size < 100.0 => format!("{value:.2}"),
        size if size < 1000.0 => format!("{value:.1}"),
        _ if value < 0.0 => format!("-{}", grouped(-value)),
        _ => grouped(value),
    }
}

/// A figure with its unit, three digits that matter and a prefix where one helps: `1.23 GB/s`, `456 ns`, `7.80 µs`, `5.10 MiB`.
#[must_use]
pub fn quantity(value: f64, unit: &str) -> String {
    let (step, prefixes): (f64, &[&str]) = match unit {
        "B/s" => (1e3, &["B/s", "kB/s", "MB/s", "GB/s", "TB/s"]),
        "1/s" => (1e3, &["/s"]),
        "op/s" => (1e3, &["op/s", "k op/s", "M op/s"]),
        "ns" => (1e3, &["ns", "µs", "ms", "s"]),
        "B" => (1024.0, &["B", "KiB", "MiB", "GiB"]),
        _ => (1e3, &[]),
    };
    let (mut value, mut unit) = (value, unit);
    for (index, prefix) in prefixes.iter().enumerate() {
        if index > 0 {
            value /= step;
        }
        unit = prefix;
        // What would be shown with more than three digits goes on to the next prefix.
        if value.abs() < step - 0.5 {
            break;
        }
    }
    let decimals = match value.abs() {
        // Bytes do not come in parts.
        _ if unit == "B" || unit == "events" => 0,
        size if size < 9.995 => 2,
        size if size < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        let shown = [0.0, 7.4, 999.0, 1000.0, 12_345.6, 1_234_567.0].map(grouped);
        assert_eq!(shown, ["0", "7", "999", "1,000", "12,346", "1,234,567"]);
    }

    #[test]
    fn decimals_keep_about_four_digits() {
        let shown = [0.052_13, 1.5, 76.8, 123.45, 4321.0, -4321.0].map(decimal);
        assert_eq!(shown, ["0.0521", "1.500", "76.80", "123.5", "4,321", "-4,321"]);
    }

    #[test]
    fn quantities_have_a_prefix_and_three_digits() {
        let figures = [
            (0.0, "B/s"),
            (999.4, "B/s"),
            (999.6, "B/s"),
            (73_212_345.0, "B/s"),
            (41e9, "B/s"),
            (5e15, "B/s"),
        ];
        let shown = figures.map(|(value, unit)| quantity(value, unit));
        assert_eq!(shown, ["0.00 B/s", "999 B/s", "1.00 kB/s", "73.2 MB/s", "41.0 GB/s", "5000 TB/s"]);
        let figures = [(441.7, "ns"), (104_422.0, "ns"), (8_388_608.0, "B"), (1000.0, "B"), (0.25, "1/s")];
        let shown = figures.map(|(value, unit)| quantity(value, unit));
        assert_eq!(shown, ["442 ns", "104 µs", "8.00 MiB", "1000 B", "0.25 /s"]);
    }
}
