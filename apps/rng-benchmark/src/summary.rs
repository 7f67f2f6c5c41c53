// SPDX-License-Identifier: MIT OR Apache-2.0
//! What people see: a head and the comparison table, at most 80 columns wide.

use bench_report::{Environment, Row, Table, decimal, grouped};

use crate::arguments::Arguments;
use crate::draws::{Measured, Width};

/// What is about to be measured, and on what. The check has passed by now.
pub(crate) fn head(arguments: &Arguments, environment: &Environment) -> String {
    let Arguments { count32, count64, runs, device, .. } = arguments;
    let (count32, count64) = (grouped(f64::from(*count32)), grouped(f64::from(*count64)));
    let Environment { system, release, cpus, cpu, .. } = environment;
    let mut lines = vec![
        ("device", format!("{}, by ioctl", device.display())),
        ("draws", format!("{count32} of 32 bits, {count64} of 64 bits, median of {runs}")),
        ("kernel", format!("{system} {release} on {cpus} {}", if *cpus == 1 { "CPU" } else { "CPUs" })),
    ];
    lines.extend(cpu.as_ref().map(|cpu| ("processor", cpu.clone())));
    lines.push(("check", "passed: known numbers after seed 1, 64 bits are two draws".to_owned()));
    let lines: Vec<String> =
        lines.into_iter().map(|(name, value)| format!("{name:<9}   {value}\n")).collect();
    lines.concat() + "\n"
}

/// The comparison.
pub(crate) fn table(measured: &Measured) -> String {
    let mut table = Table::new(&["width", "draws/s", "MB/s", "µs/draw", "min–max µs"]);
    for (name, width) in [("32 bits", &measured.bits32), ("64 bits", &measured.bits64)] {
        if let Some([draws, bytes, time]) = figures(width) {
            let range = format!("{}–{}", decimal(time.min / 1e3), decimal(time.max / 1e3));
            let figures =
                [grouped(draws.median), decimal(bytes.median / 1e6), decimal(time.median / 1e3), range];
            table.row(std::iter::once(name.to_owned()).chain(figures).collect());
        }
    }
    if let (Some(narrow), Some(wide)) = (figures(&measured.bits32), figures(&measured.bits64)) {
        let ratios = narrow.iter().zip(&wide).map(|(narrow, wide)| ratio(wide.median, narrow.median));
        table.row(std::iter::once("64 : 32".to_owned()).chain(ratios).collect());
    }
    table.to_string()
}

fn figures(width: &Width) -> Option<[Row; 3]> {
    Some([width.draws_per_second()?, width.bytes_per_second()?, width.nanoseconds()?])
}

fn ratio(one: f64, other: f64) -> String {
    format!("{:.2} ×", one / other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draws::tests::example;

    #[test]
    fn the_table_compares_both_widths() {
        let expected = "\
width     draws/s     MB/s   µs/draw    min–max µs
──────────────────────────────────────────────────
32 bits    75,000   0.3000     15.00   10.00–20.00
64 bits    37,500   0.3000     30.00   20.00–40.00
64 : 32    0.50 ×   1.00 ×    2.00 ×
";
        assert_eq!(table(&example()), expected);
    }

    #[test]
    fn the_head_says_what_is_measured_within_80_columns() {
        let device = "/dev/my_rng0".into();
        let arguments = Arguments { count32: u32::MAX, count64: 1_000_000, runs: 500, device, json: false };
        let head = head(&arguments, &Environment::of_this_machine());
        assert!(
            head.contains("/dev/my_rng0") && head.contains("1,000,000 of 64 bits, median of 500"),
            "{head}"
        );
        assert!(head.lines().all(|line| line.chars().count() <= 80), "{head}");
    }
}
