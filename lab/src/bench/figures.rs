// SPDX-License-Identifier: MIT OR Apache-2.0
//! Figures that must be reached: a row, or one row in relation to another, with two marks.

use bench_report::{Row, Unit, find, quantity, vcpus_text};

/// A figure with its marks.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) of: Of,
    /// Less (or more, see [`Goal`]) than this falls short.
    pub(super) must: f64,
    /// What is aimed for, where that is more than what must be.
    pub(super) aim: Option<f64>,
    pub(super) goal: Goal,
}

/// What a figure is made of: medians of rows, by their names.
#[derive(Debug)]
pub(super) enum Of {
    /// The row itself, which is of the host and not of a machine with some number of processors, and its unit.
    Row(&'static str, Unit),
    /// The row itself, of each machine, and its unit.
    Machine(&'static str, Unit),
    /// The first divided by the second.
    Ratio(&'static str, &'static str),
    /// The smallest of the first rows that were measured, divided by the last: how far ahead of the fastest of its peers it is.
    Lead(&'static [&'static str], &'static str),
    /// The row in a machine with that many processors, divided by the same with one.
    Scaling(&'static str, u32),
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// The marks are lower bounds.
    AtLeast,
    /// The marks are upper bounds.
    AtMost,
}

/// How a figure stands to its marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It reaches the aim.
    Aim,
    /// It reaches what it must.
    Must,
    /// It does not.
    Short,
}

impl Figure {
    pub(super) fn name(&self) -> String {
        match self.of {
            Of::Row(name, _) | Of::Machine(name, _) => name.to_owned(),
            Of::Ratio(over, under) => format!("{over} / {under}"),
            Of::Lead(peers, ours) => format!("{} / {ours}", peers.first().copied().unwrap_or_default()),
            Of::Scaling(name, vcpus) => format!("{name}: {} / 1 CPU", vcpus_text(vcpus)),
        }
    }

    /// The figure of machines with that many processors, if its rows were measured.
    pub(super) fn value(&self, rows: &[Row], vcpus: u32) -> Option<f64> {
        match self.of {
            Of::Row(name, _) | Of::Machine(name, _) => find(rows, name, vcpus).map(|row| row.median),
            Of::Ratio(over, under) => {
                let ratio = find(rows, over, vcpus)?.median / find(rows, under, vcpus)?.median;
                ratio.is_finite().then_some(ratio)
            }
            Of::Lead(peers, ours) => {
                let peers = peers.iter().filter_map(|peer| Some(find(rows, peer, vcpus)?.median));
                let ratio = peers.min_by(f64::total_cmp)? / find(rows, ours, vcpus)?.median;
                ratio.is_finite().then_some(ratio)
            }
            Of::Scaling(name, of) if of == vcpus => {
                let ratio = find(rows, name, of)?.median / find(rows, name, 1)?.median;
                ratio.is_finite().then_some(ratio)
            }
            Of::Scaling(..) => None,
        }
    }

    pub(super) fn verdict(&self, value: f64) -> Verdict {
        let reaches = |mark: f64| match self.goal {
            Goal::AtLeast => value >= mark,
            Goal::AtMost => value <= mark,
        };
        match (reaches(self.must), self.aim.is_none_or(reaches)) {
            (true, true) => Verdict::Aim,
            (true, false) => Verdict::Must,
            (false, _) => Verdict::Short,
        }
    }

    /// A mark or a value of this figure, for people.
    pub(super) fn shown(&self, value: f64) -> String {
        match self.of {
            Of::Row(_, unit) | Of::Machine(_, unit) => quantity(value, unit),
            Of::Ratio(..) | Of::Lead(..) | Of::Scaling(..) => ratio(value),
        }
    }
}

impl Verdict {
    /// What stands beside the figure in a table.
    pub(super) fn mark(self) -> char {
        match self {
            Self::Aim => '✓',
            Self::Must => '•',
            Self::Short => '✗',
        }
    }
}

/// A ratio with three digits that matter.
fn ratio(value: f64) -> String {
    let decimals = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Figure = Figure { of: Of::Ratio("a", "b"), must: 3.0, aim: Some(8.0), goal: Goal::AtLeast };
    const DOWN: Figure = Figure { of: Of::Row("a", "ns"), must: 2.0, aim: None, goal: Goal::AtMost };

    #[test]
    fn a_ratio_is_that_of_the_medians_of_the_same_machine() {
        let row = |name: &str, values: &[f64]| Row::of(name, "ns", values).unwrap();
        let rows = [
            row("a", &[1.0, 6.0, 100.0]),
            row("b", &[2.0]),
            row("a.2cpu", &[10.0]),
            row("b.4cpu", &[1.0]),
            row("b.8cpu", &[0.0]),
        ];
        assert_eq!(UP.value(&rows, 1), Some(3.0));
        assert_eq!(UP.value(&rows, 2), None);
        assert_eq!(DOWN.value(&rows, 2), Some(10.0));
        let lead = |peers| {
            Figure { of: Of::Lead(peers, "b"), must: 1.0, aim: None, goal: Goal::AtLeast }.value(&rows, 1)
        };
        assert_eq!(
            [lead(&["a", "a.2cpu"]), lead(&["a"]), lead(&["no such row"])],
            [Some(3.0), Some(3.0), None]
        );
        assert_eq!(lead(&["a", "b"]), Some(1.0));
        let by_nothing = [row("a", &[1.0]), row("b", &[0.0])];
        assert_eq!(UP.value(&by_nothing, 1), None);
        assert_eq!((UP.shown(3.0).as_str(), DOWN.shown(6000.0).as_str()), ("3.00", "6.00 µs"));
    }

    #[test]
    fn the_marks_themselves_are_reached() {
        assert_eq!([2.9, 3.0, 7.9, 8.0].map(|value| UP.verdict(value).mark()), ['✗', '•', '•', '✓']);
        assert_eq!([2.0, 2.1].map(|value| DOWN.verdict(value)), [Verdict::Aim, Verdict::Short]);
    }
}
