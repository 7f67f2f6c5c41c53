// SPDX-License-Identifier: MIT OR Apache-2.0
//! A plain text table: a head, a thin rule, rows; the first column to the left, the others to the right.

use std::fmt;

/// The space between two columns.
const GAP: usize = 3;

/// A table under construction. Rows may have fewer cells than the head.
#[derive(Debug, Clone)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    #[must_use]
    pub fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(ToString::to_string).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for cells in std::iter::once(&self.head).chain(&self.rows) {
            for (index, cell) in cells.iter().enumerate() {
                let width = cell.chars().count();
                match widths.get_mut(index) {
                    Some(known) => *known = width.max(*known),
                    None => widths.push(width),
                }
            }
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let gaps = widths.len().saturating_sub(1) * GAP;
        line(f, &self.head, &widths)?;
        writeln!(f, "{}", "─".repeat(widths.iter().sum::<usize>() + gaps))?;
        self.rows.iter().try_for_each(|cells| line(f, cells, &widths))
    }
}

fn line(f: &mut fmt::Formatter<'_>, cells: &[String], widths: &[usize]) -> fmt::Result {
    for (index, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        match index {
            // No blanks at the end of a line.
            0 if cells.len() == 1 => write!(f, "{cell}")?,
            0 => write!(f, "{cell:<width$}")?,
            _ => write!(f, "{:GAP$}{cell:>width$}", "")?,
        }
    }
    writeln!(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["width", "draws/s", "µs"]);
        table.row(vec!["32 bits".into(), "1,234,567".into(), "0.5".into()]);
        table.row(vec!["64 bits".into(), "9".into()]);
        let expected = "\
width       draws/s    µs
─────────────────────────
32 bits   1,234,567   0.5
64 bits           9
";
        assert_eq!(table.to_string(), expected);
    }
}
