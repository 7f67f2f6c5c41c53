// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the table shows, and what keys do to it. No terminal is needed for any of it.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use procmon::abi::event::Event;
use procmon::abi::process::Record;
use procmon::full_name;

use super::rates::Rates;
use crate::commands::describe;

/// How many events are kept to be shown.
const EVENTS: usize = 100;

/// How far a page key moves.
const PAGE: usize = 10;

/// A key, as far as it means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Letter(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    Interrupt,
    Other,
}

/// What the rows are sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// Processor time since the last look, largest first.
    #[default]
    Cpu,
    /// Resident memory, largest first.
    Memory,
    /// Processor time altogether, largest first.
    Time,
    /// Number, smallest first.
    Pid,
    /// Name.
    Name,
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) record: Record,
    pub(super) name: String,
    /// Of one processor since the last look, in tenths of a percent.
    pub(super) cpu: u64,
    /// How deep in the tree.
    pub(super) depth: usize,
}

/// The state of the program.
#[derive(Debug, Default)]
pub(super) struct Model {
    processes: Vec<Row>,
    taken_at: Option<Instant>,
    events: VecDeque<String>,
    rates: Rates,
    sort: Sort,
    is_reversed: bool,
    is_tree: bool,
    hides_events: bool,
    /// What names must contain.
    filter: String,
    /// Whether keys go to the filter.
    is_typing: bool,
    offset: usize,
    quits: bool,
}

impl Model {
    /// Takes a new snapshot, of this moment.
    pub(super) fn set_processes(&mut self, records: Vec<Record>, now: Instant) {
        // A number can be used again: its start tells processes apart.
        let before: BTreeMap<(i32, u64), u64> = self
            .processes
            .iter()
            .map(|row| ((row.record.pid, row.record.start), cpu_time(&row.record)))
            .collect();
        let elapsed =
            self.taken_at.replace(now).map_or(Duration::ZERO, |then| now.saturating_duration_since(then));
        self.processes = records
            .into_iter()
            .map(|record| {
                let then = before.get(&(record.pid, record.start)).copied();
                let used = then.map_or(0, |then| cpu_time(&record).saturating_sub(then));
                let name = full_name(record.pid, &record.comm, record.vsize);
                Row { name, cpu: per_mille(used, elapsed), depth: 0, record }
            })
            .collect();
    }

    pub(super) fn set_rates(&mut self, rates: Rates) {
        self.rates = rates;
    }

    pub(super) fn add_events(&mut self, events: impl Iterator<Item = Event>) {
        for event in events {
            self.events.push_front(describe(&event));
        }
        self.events.truncate(EVENTS);
    }

    pub(super) fn press(&mut self, key: Key) {
        match (key, self.is_typing) {
            (Key::Interrupt, _) => self.quits = true,
            (Key::Letter(letter), true) => self.filter.push(letter),
            (Key::Backspace, true) => {
                self.filter.pop();
            }
            (Key::Enter, true) => self.is_typing = false,
            (Key::Escape, _) => {
                self.is_typing = false;
                self.filter.clear();
            }
            (Key::Letter(letter), false) => self.command(letter),
            (Key::Up, _) => self.offset = self.offset.saturating_sub(1),
            (Key::Down, _) => self.offset = self.offset.saturating_add(1),
            (Key::PageUp, _) => self.offset = self.offset.saturating_sub(PAGE),
            (Key::PageDown, _) => self.offset = self.offset.saturating_add(PAGE),
            (Key::Home, _) => self.offset = 0,
            (Key::Backspace | Key::Enter, false) | (Key::Other, _) => {}
        }
    }

    fn command(&mut self, letter: char) {
        match letter {
            'q' => self.quits = true,
            'c' => self.sort = Sort::Cpu,
            'm' => self.sort = Sort::Memory,
            't' => self.sort = Sort::Time,
            'p' => self.sort = Sort::Pid,
            'n' => self.sort = Sort::Name,
            'r' => self.is_reversed = !self.is_reversed,
            'f' => self.is_tree = !self.is_tree,
            'e' => self.hides_events = !self.hides_events,
            '/' => {
                self.filter.clear();
                self.is_typing = true;
            }
            _ => {}
        }
    }

    /// The rows that are shown, in their order, from the first that fits on the screen of so many lines.
    pub(super) fn rows(&mut self, lines: usize) -> Vec<Row> {
        let mut rows: Vec<Row> =
            self.processes.iter().filter(|row| row.name.contains(&self.filter)).cloned().collect();
        rows.sort_by(|one, other| self.compare(one, other));
        if self.is_tree {
            rows = tree(&rows);
        }
        self.offset = self.offset.min(rows.len().saturating_sub(lines));
        rows.split_off(self.offset).into_iter().take(lines).collect()
    }

    fn compare(&self, one: &Row, other: &Row) -> Ordering {
        let order = match self.sort {
            Sort::Cpu => other.cpu.cmp(&one.cpu),
            Sort::Memory => other.record.rss.cmp(&one.record.rss),
            Sort::Time => cpu_time(&other.record).cmp(&cpu_time(&one.record)),
            Sort::Pid => Ordering::Equal,
            Sort::Name => one.name.cmp(&other.name),
        };
        let order = order.then(one.record.pid.cmp(&other.record.pid));
        if self.is_reversed { order.reverse() } else { order }
    }

    pub(super) fn counts(&self) -> (usize, u64) {
        let threads = self.processes.iter().map(|row| u64::from(row.record.threads)).sum();
        (self.processes.len(), threads)
    }

    /// Events as lines, the last one first; none if they are hidden.
    pub(super) fn events(&self) -> Option<impl Iterator<Item = &str>> {
        (!self.hides_events).then(|| self.events.iter().map(String::as_str))
    }

    pub(super) fn rates(&self) -> &Rates {
        &self.rates
    }

    pub(super) fn sort(&self) -> Sort {
        self.sort
    }

    /// The filter, and whether it is being typed.
    pub(super) fn filter(&self) -> (&str, bool) {
        (&self.filter, self.is_typing)
    }

    pub(super) fn quits(&self) -> bool {
        self.quits
    }
}

/// In nanoseconds.
pub(super) fn cpu_time(record: &Record) -> u64 {
    record.utime.saturating_add(record.stime)
}

fn per_mille(used_ns: u64, elapsed: Duration) -> u64 {
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    used_ns.checked_div(micros).unwrap_or(0)
}

/// Puts children below their parents. Siblings stay in the order that they have.
fn tree(rows: &[Row]) -> Vec<Row> {
    let shown: BTreeMap<i32, usize> =
        rows.iter().enumerate().map(|(index, row)| (row.record.pid, index)).collect();
    let mut children: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        // Those whose parent is not shown stand at the left.
        let parent = shown.get(&row.record.ppid).copied().filter(|&parent| parent != index);
        children.entry(parent).or_default().push(index);
    }
    let mut ordered = Vec::with_capacity(rows.len());
    let mut stack: Vec<(usize, usize)> = roots(&children).map(|index| (index, 0)).collect();
    // Each is taken out of the map when it is visited, so that even parents in a circle, as a snapshot never has them,
    // would come to an end.
    while let Some((index, depth)) = stack.pop() {
        ordered.extend(rows.get(index).map(|row| Row { depth, ..row.clone() }));
        let below = children.remove(&Some(index)).unwrap_or_default();
        stack.extend(below.into_iter().rev().map(|child| (child, depth + 1)));
    }
    ordered
}

fn roots(children: &BTreeMap<Option<usize>, Vec<usize>>) -> impl Iterator<Item = usize> {
    let mut roots = children.get(&None).cloned().unwrap_or_default();
    // The first is to be popped first.
    roots.sort_by_key(|&index| Reverse(index));
    roots.into_iter()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn process(pid: i32, ppid: i32, comm: &str) -> Record {
        let mut record = Record { pid, tgid: pid, ppid, threads: 1, state: 1, ..Record::default() };
        record.comm.iter_mut().zip(comm.bytes()).for_each(|(to, from)| *to = from);
        record
    }

    fn family() -> Model {
        let mut model = Model::default();
        let records =
            vec![process(1, 0, "init"), process(5, 1, "sh"), process(7, 5, "sleep"), process(6, 1, "cron")];
        model.set_processes(records, Instant::now());
        model
    }

    fn pids(model: &mut Model) -> Vec<i32> {
        model.rows(100).iter().map(|row| row.record.pid).collect()
    }

    #[test]
    fn the_share_of_the_processor_is_that_since_the_last_look() {
        let (mut model, start) = (Model::default(), Instant::now());
        let at = |utime| vec![Record { utime, ..process(1, 0, "busy") }];
        model.set_processes(at(5_000_000_000), start);
        assert_eq!(model.rows(1)[0].cpu, 0, "before there was a last look");
        model.set_processes(at(5_500_000_000), start + Duration::from_secs(1));
        assert_eq!(model.rows(1)[0].cpu, 500);
        let another = vec![Record { utime: 9_000_000_000, start: 1, ..process(1, 0, "other") }];
        model.set_processes(another, start + Duration::from_secs(2));
        assert_eq!(model.rows(1)[0].cpu, 0, "of a process that got the same number");
    }

    #[test]
    fn keys_sort() {
        let mut model = family();
        assert_eq!(pids(&mut model), [1, 5, 6, 7]);
        model.press(Key::Letter('n'));
        assert_eq!(pids(&mut model), [6, 1, 5, 7]);
        model.press(Key::Letter('p'));
        model.press(Key::Letter('r'));
        assert_eq!(pids(&mut model), [7, 6, 5, 1]);
    }

    #[test]
    fn a_tree_has_children_below_their_parents() {
        let mut model = family();
        model.press(Key::Letter('f'));
        assert_eq!(pids(&mut model), [1, 5, 7, 6]);
        assert_eq!(model.rows(9).iter().map(|row| row.depth).collect::<Vec<_>>(), [0, 1, 2, 1]);
    }

    #[test]
    fn parents_in_a_circle_do_not_hang() {
        let mut model = Model::default();
        model.set_processes(vec![process(1, 2, "a"), process(2, 1, "b"), process(3, 3, "c")], Instant::now());
        model.press(Key::Letter('f'));
        assert_eq!(pids(&mut model), [3]);
    }

    #[test]
    fn a_filter_is_typed_and_forgotten() {
        let mut model = family();
        "/s".chars().for_each(|letter| model.press(Key::Letter(letter)));
        assert_eq!(pids(&mut model), [5, 7]);
        model.press(Key::Letter('l'));
        assert_eq!(pids(&mut model), [7]);
        model.press(Key::Backspace);
        model.press(Key::Enter);
        model.press(Key::Letter('r'));
        assert_eq!(pids(&mut model), [7, 5], "after Enter keys are commands again");
        model.press(Key::Escape);
        assert_eq!(pids(&mut model).len(), 4);
        assert!(!model.quits());
    }

    #[test]
    fn scrolling_stops_at_the_ends() {
        let mut model = family();
        model.press(Key::Up);
        model.press(Key::PageDown);
        assert_eq!(model.rows(3).iter().map(|row| row.record.pid).collect::<Vec<_>>(), [5, 6, 7]);
        model.press(Key::Home);
        assert_eq!(model.rows(3)[0].record.pid, 1);
    }

    #[test]
    fn q_quits_but_not_while_typing() {
        let mut model = family();
        "/q".chars().for_each(|letter| model.press(Key::Letter(letter)));
        assert!(!model.quits());
        model.press(Key::Escape);
        model.press(Key::Letter('q'));
        assert!(model.quits());
    }
}
