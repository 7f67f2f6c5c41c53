// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Exo's benchmarks share: options, rows of figures, the machine they come from, and how these are shown.
//!
//! The JSON is
//! `{"environment":{…},"rows":[{"name":"rng.read","unit":"B/s","median":…,"min":…,"max":…,"runs":5},…]}`.
#![forbid(unsafe_code)]

mod environment;
mod measure;
mod names;
mod number;
mod program;
mod table;

use std::fmt;
use std::io::{self, Write as _};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

pub use environment::Environment;
pub use measure::{Bench, Failure, nanoseconds, run};
pub use names::{base_names, find, row_name, vcpus, vcpus_text};
pub use number::{decimal, grouped, quantity};
pub use program::{Options, exit_code};
pub use table::Table;

/// All figures of one program's run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where they were measured.
    pub environment: Environment,
    /// The figures.
    pub rows: Vec<Row>,
}

/// The unit of a figure: one of [`UNITS`].
pub type Unit = &'static str;

/// The units that there are: bytes a second, operations a second, events a second, nanoseconds, bytes,
/// parts of a hundred, events, instructions.
pub const UNITS: [Unit; 8] = ["B/s", "op/s", "1/s", "ns", "B", "%", "events", "instructions"];

/// One figure, measured several times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Group and name, as `rng.read`.
    pub name: String,
    /// Unit of the three values.
    #[serde(deserialize_with = "unit")]
    pub unit: Unit,
    /// The middle value; of an even number of runs, the mean of the two in the middle.
    pub median: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// How often it was measured.
    pub runs: usize,
}

impl Row {
    /// The row of these values; `None` if there are none.
    #[must_use]
    pub fn of(name: impl Into<String>, unit: Unit, values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get(sorted.len().saturating_sub(1) / 2)?;
        Some(Self {
            name: name.into(),
            unit,
            median: f64::midpoint(lower, upper),
            min,
            max,
            runs: sorted.len(),
        })
    }
}

fn unit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Unit, D::Error> {
    let text = String::deserialize(deserializer)?;
    let known = UNITS.into_iter().find(|unit| *unit == text);
    known.ok_or_else(|| D::Error::custom(format!("unit {text:?}; expected one of {UNITS:?}")))
}

impl Report {
    /// These figures, of the machine that this program runs on.
    #[must_use]
    pub fn new(rows: Vec<Row>) -> Self {
        Self { environment: Environment::of_this_machine(), rows }
    }

    /// Writes the report to stdout: as JSON, or else as a table.
    ///
    /// # Errors
    /// When stdout cannot be written to, or as [`Report::to_json`].
    pub fn print(&self, json: bool) -> io::Result<()> {
        let text = if json { self.to_json()? } else { self.to_string() };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// The report as JSON text, with a line break at its end.
    ///
    /// # Errors
    /// When a figure cannot be expressed in JSON; this program would be at fault.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }
}

/// The table of the rows. Large counts are whole numbers; of the rest, the digits that matter are shown.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["row", "unit", "median", "min", "max"]);
        for row in &self.rows {
            let show = if matches!(row.unit, "B/s" | "op/s" | "B") { grouped } else { decimal };
            let mut cells = vec![row.name.clone(), row.unit.to_owned()];
            cells.extend([row.median, row.min, row.max].map(show));
            table.row(cells);
        }
        table.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_counts_whole_and_times_to_the_digits_that_matter() {
        let rows = [("rng.read", "B/s", 1234.6), ("rng.read_ns", "ns", 7.5), ("lost", "events", 0.0)];
        let rows = rows.map(|(name, unit, value)| Row::of(name, unit, &[value]).unwrap());
        let expected = "\
row             unit   median      min      max
───────────────────────────────────────────────
rng.read         B/s    1,235    1,235    1,235
rng.read_ns       ns    7.500    7.500    7.500
lost          events   0.0000   0.0000   0.0000
";
        assert_eq!(Report::new(rows.into()).to_string(), expected);
    }

    #[test]
    fn the_median_of_an_odd_number_of_runs_is_the_middle_one() {
        let row = Row::of("rng.read", "B/s", &[5.0, 1.0, 9.0]).unwrap();
        assert_eq!((row.median, row.min, row.max, row.runs), (5.0, 1.0, 9.0, 3));
    }

    #[test]
    fn the_median_of_an_even_number_of_runs_is_between_the_two_in_the_middle() {
        assert_eq!(Row::of("x", "ns", &[4.0, 1.0, 2.0, 100.0]).unwrap().median, 3.0);
    }

    #[test]
    fn without_runs_there_is_no_row() {
        assert_eq!(Row::of("x", "ns", &[]), None);
    }

    #[test]
    fn rows_can_be_read_back_if_their_unit_is_known() {
        let row = Row::of("rng.read", "B/s", &[2.0, 3.5]).unwrap();
        let text = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), row);
        let error = serde_json::from_str::<Row>(&text.replace("B/s", "furlong")).unwrap_err().to_string();
        assert!(error.contains("furlong") && error.contains("op/s"), "{error}");
    }

    #[test]
    fn the_json_has_the_documented_form() {
        let rows = vec![Row::of("rng.read", "B/s", &[2.0]).unwrap()];
        let report = Report::new(rows);
        let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
        let row = serde_json::json!(
            {"name": "rng.read", "unit": "B/s", "median": 2.0, "min": 2.0, "max": 2.0, "runs": 1});
        assert_eq!(json["rows"], serde_json::json!([row]));
        assert_eq!(json["environment"]["system"], "Linux");
        assert!(json["environment"]["cpus"].as_u64().unwrap() >= 1);
    }
}
