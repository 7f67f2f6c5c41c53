// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a person reads on the terminal after a measurement.

use bench_report::{Row, Table, base_names, find, quantity, vcpus_text};

use super::figures::{Figure, Goal, Of};

/// Stands for what was not measured.
const NOTHING: &str = "–";

/// All rows: a line each, with median, smallest and largest value for each number of processors.
pub(super) fn rows(rows: &[Row], vcpus: &[u32]) -> String {
    let machines: Vec<String> = vcpus.iter().map(|&vcpus| vcpus_text(vcpus)).collect();
    let mut head = vec!["median"];
    for machine in &machines {
        head.extend([machine.as_str(), "min", "max"]);
    }
    let mut table = Table::new(&head);
    for name in base_names(rows) {
        let mut cells = vec![name.to_owned()];
        for &vcpus in vcpus {
            match find(rows, name, vcpus) {
                Some(row) => {
                    cells.extend([row.median, row.min, row.max].map(|value| quantity(value, row.unit)))
                }
                None => cells.extend([NOTHING; 3].map(str::to_owned)),
            }
        }
        table.row(cells);
    }
    table.to_string()
}

/// The figures with their marks.
pub(super) fn figures(figures: &[Figure], rows: &[Row], vcpus: &[u32]) -> String {
    let machines: Vec<String> = vcpus.iter().map(|&vcpus| vcpus_text(vcpus)).collect();
    let mut head = vec!["figure", "must reach", "aim for"];
    head.extend(machines.iter().map(String::as_str));
    let mut table = Table::new(&head);
    for figure in figures {
        let sign = if figure.goal == Goal::AtMost { "≤ " } else { "" };
        let mark = |value: f64| format!("{sign}{}", figure.shown(value));
        let mut cells = vec![figure.name(), mark(figure.must), figure.aim.map(mark).unwrap_or_default()];
        // A figure that is not of each machine stands in the column that it belongs to.
        let machines = if matches!(figure.of, Of::Row(..)) { &[1] } else { vcpus };
        cells.extend(machines.iter().map(|&vcpus| match figure.value(rows, vcpus) {
            Some(value) => format!("{} {}", figure.shown(value), figure.verdict(value).mark()),
            None => NOTHING.to_owned(),
        }));
        table.row(cells);
    }
    format!("{table}\n✓ reaches the aim   • reaches what it must   ✗ falls short   {NOTHING} not measured")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_fit_a_terminal_and_leave_gaps_for_what_is_missing() {
        let row =
            |name: &str, unit, value: f64| Row::of(name, unit, &[value, value * 1.5, value * 2.0]).unwrap();
        let measured = [
            row("rng.read", "B/s", 555.5e6),
            row("rng.read.2cpu", "B/s", 1.2e9),
            row("peer.vhost_user_rng", "B/s", 123_456.0),
            row("rng.ioctl_rand64_ns", "ns", 999.0),
            row("device.memory", "B", 4e6),
        ];
        let table = rows(&measured, &[1, 2]);
        assert!(
            table.contains("rng.read              833 MB/s   556 MB/s   1.11 GB/s   1.80 GB/s"),
            "{table}"
        );
        assert!(table.contains("185 kB/s   123 kB/s    247 kB/s           –"), "{table}");
        let judged = [
            Figure {
                of: Of::Ratio("rng.read", "peer.vhost_user_rng"),
                must: 100.0,
                aim: Some(1e3),
                goal: Goal::AtLeast,
            },
            Figure { of: Of::Row("device.memory", "B"), must: 33_554_432.0, aim: None, goal: Goal::AtMost },
        ];
        let judged = figures(&judged, &measured, &[1, 2]);
        assert!(
            judged.contains("rng.read / peer.vhost_user_rng          100      1000       4500 ✓         –"),
            "{judged}"
        );
        assert!(judged.contains("≤ 32.0 MiB"), "{judged}");
        assert!(
            table.lines().chain(judged.lines()).all(|line| line.chars().count() < 100),
            "{table}{judged}"
        );
    }
}
