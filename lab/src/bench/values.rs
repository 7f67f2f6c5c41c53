// SPDX-License-Identifier: MIT OR Apache-2.0
//! Values of several machines, which become rows.

use std::collections::BTreeMap;

use bench_report::{Row, Unit};

/// Values by the name of their row, in the order in which rows appear.
#[derive(Debug, Default)]
pub(super) struct Values {
    order: Vec<String>,
    values: BTreeMap<String, (Unit, Vec<f64>)>,
}

impl Values {
    pub(super) fn add(&mut self, name: String, unit: Unit, value: f64) {
        let (_, values) = self.values.entry(name.clone()).or_insert_with(|| {
            self.order.push(name);
            (unit, Vec::new())
        });
        values.push(value);
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        let row = |name: &String| {
            let (unit, values) = self.values.get(name)?;
            Row::of(name, unit, values)
        };
        self.order.iter().filter_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_several_machines_become_rows_in_their_order() {
        let mut values = Values::default();
        for value in [3.0, 1.0, 2.0] {
            values.add("exo.getpid".to_owned(), "ns", value);
            values.add("exo.a".to_owned(), "op/s", value * 2.0);
        }
        let rows = values.rows();
        assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["exo.getpid", "exo.a"]);
        assert_eq!((rows[0].median, rows[0].runs, rows[1].max, rows[1].unit), (2.0, 3, 6.0, "op/s"));
    }
}
