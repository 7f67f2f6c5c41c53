// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rows of machines with different numbers of virtual processors: those of a machine with `n` > 1 carry `.ncpu` at the end
//! of their name.

use crate::Row;

/// The name of the row `base` for a machine with that many processors.
#[must_use]
pub fn row_name(base: &str, vcpus: u32) -> String {
    if vcpus == 1 { base.to_owned() } else { format!("{base}.{vcpus}cpu") }
}

/// The row `base` of a machine with that many processors.
#[must_use]
pub fn find<'a>(rows: &'a [Row], base: &str, vcpus: u32) -> Option<&'a Row> {
    let name = row_name(base, vcpus);
    rows.iter().find(|row| row.name == name)
}

/// The names of the rows without the number of processors, in order of appearance.
#[must_use]
pub fn base_names(rows: &[Row]) -> Vec<&str> {
    let mut names = Vec::new();
    for row in rows {
        let (base, _) = split(&row.name);
        if !names.contains(&base) {
            names.push(base);
        }
    }
    names
}

/// The numbers of processors that the rows are of, the smallest first.
#[must_use]
pub fn vcpus(rows: &[Row]) -> Vec<u32> {
    let mut numbers: Vec<u32> = rows.iter().map(|row| split(&row.name).1).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// `1 vCPU`, `2 vCPUs`.
#[must_use]
pub fn vcpus_text(vcpus: u32) -> String {
    format!("{vcpus} vCPU{}", if vcpus == 1 { "" } else { "s" })
}

fn split(name: &str) -> (&str, u32) {
    let suffix = name
        .rsplit_once('.')
        .and_then(|(base, suffix)| Some((base, suffix.strip_suffix("cpu")?.parse().ok()?)));
    suffix.unwrap_or((name, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_by_the_number_of_processors() {
        let names = ["a.read", "a.cpu", "a.read.2cpu", "a.cpu.16cpu"];
        let rows: Vec<Row> = names.iter().filter_map(|name| Row::of(*name, "ns", &[1.0])).collect();
        assert_eq!(base_names(&rows), ["a.read", "a.cpu"]);
        assert_eq!(vcpus(&rows), [1, 2, 16]);
        assert_eq!(find(&rows, "a.cpu", 16).unwrap().name, row_name("a.cpu", 16));
        assert_eq!(find(&rows, "a.read", 4), None);
        assert_eq!((vcpus_text(1).as_str(), vcpus_text(2).as_str()), ("1 vCPU", "2 vCPUs"));
    }
}
