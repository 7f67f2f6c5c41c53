// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model on the screen: two lines about the system, the table, the last events, one line of keys.

use procmon::abi::process::state;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Paragraph, Row, Table};

use super::model::{self, Model, Sort};

/// Lines of the events with their heading, where there is room for them.
const EVENT_LINES: u16 = 7;

/// With fewer lines than this, events are not shown.
const ROOM_FOR_EVENTS: u16 = 18;

const HEADING: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model) {
    let area = frame.area();
    let shows_events = area.height >= ROOM_FOR_EVENTS && model.events().is_some();
    let lines = if shows_events { EVENT_LINES } else { 0 };
    let [head, table, events, keys] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(1),
        Constraint::Length(lines),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(summary(model)), head);
    draw_table(frame, table, model);
    if let Some(last) = model.events().filter(|_| shows_events) {
        let heading =
            Line::styled(format!("{:<1$}", "events, the last one first", usize::from(area.width)), HEADING);
        let lines = [heading].into_iter().chain(last.map(Line::from)).take(usize::from(EVENT_LINES));
        frame.render_widget(Paragraph::new(lines.collect::<Text<'_>>()), events);
    }
    frame.render_widget(Paragraph::new(key_line(model)), keys);
}

fn summary(model: &Model) -> Text<'static> {
    let ((processes, threads), rates) = (model.counts(), model.rates());
    let windows = |values: &[String; 3]| values.join(" ");
    Text::from(vec![
        Line::from(format!(
            "{processes} processes, {threads} threads; runnable {} (over 1, 10, 60 s)",
            windows(&rates.runnable)
        )),
        Line::from(format!(
            "per second: forks {}, execs {}, exits {}",
            windows(&rates.forks),
            windows(&rates.execs),
            windows(&rates.exits)
        )),
    ])
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, model: &mut Model) {
    let mark = |name: &str, sort| if model.sort() == sort { format!("{name}*") } else { name.to_owned() };
    let heading = Row::new(vec![
        mark("PID", Sort::Pid),
        "PPID".to_owned(),
        "UID".to_owned(),
        "S".to_owned(),
        mark("%CPU", Sort::Cpu),
        mark("RSS", Sort::Memory),
        "VSIZE".to_owned(),
        mark("TIME", Sort::Time),
        "THR".to_owned(),
        mark("NAME", Sort::Name),
    ])
    .style(HEADING);
    let rows = model.rows(usize::from(area.height.saturating_sub(1)));
    let widths = [7, 7, 6, 1, 5, 7, 7, 9, 4].map(Constraint::Length).into_iter().chain([Constraint::Min(8)]);
    frame.render_widget(Table::new(rows.iter().map(cells), widths).header(heading), area);
}

fn cells(row: &model::Row) -> Row<'static> {
    let record = &row.record;
    Row::new(vec![
        record.pid.to_string(),
        record.ppid.to_string(),
        record.uid.to_string(),
        state::letter(record.state).to_string(),
        format!("{}.{}", row.cpu / 10, row.cpu % 10),
        size(record.rss),
        size(record.vsize),
        time(model::cpu_time(record)),
        record.threads.to_string(),
        format!("{}{}", "  ".repeat(row.depth), row.name),
    ])
}

/// Bytes in at most six characters.
fn size(bytes: u64) -> String {
    const UNITS: [char; 5] = ['K', 'M', 'G', 'T', 'P'];
    let mut amount = bytes / 1024;
    let mut unit = 0;
    while amount >= 10_000 && unit + 1 < UNITS.len() {
        amount /= 1024;
        unit += 1;
    }
    UNITS.get(unit).map_or_else(String::new, |unit| format!("{amount}{unit}"))
}

/// Nanoseconds as minutes, seconds and hundredths.
fn time(nanoseconds: u64) -> String {
    let hundredths = nanoseconds / 10_000_000;
    format!("{}:{:02}.{:02}", hundredths / 6000, hundredths / 100 % 60, hundredths % 100)
}

fn key_line(model: &Model) -> String {
    match model.filter() {
        (text, true) => format!("name contains: {text}_   (Enter keeps it, Esc forgets it)"),
        ("", false) => {
            "q quit  by c cpu m mem t time p pid n name  r reverse f tree / filter e events".to_owned()
        }
        (text, false) => format!("only names with \"{text}\" (Esc: all)  q quit  f tree  e events"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use procmon::abi::event::{Event, FORK};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::model::tests::process;
    use super::super::model::{Key, Model};
    use super::*;

    fn screen(model: &mut Model, columns: u16, lines: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let cells: Vec<&str> = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
        cells.chunks(usize::from(columns)).map(|line| line.concat() + "\n").collect()
    }

    fn model() -> Model {
        let mut model = Model::default();
        let shell = procmon::abi::process::Record { rss: 3 << 20, vsize: 20 << 30, ..process(42, 1, "sh") };
        model.set_processes(vec![process(1, 0, "init"), shell], Instant::now());
        model.add_events(
            [Event { kind: FORK, pid: 42, comm: *b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0", ..Event::default() }]
                .into_iter(),
        );
        model
    }

    #[test]
    fn a_terminal_of_80_by_24_shows_everything() {
        let shown = screen(&mut model(), 80, 24);
        for expected in [
            "2 processes, 2 threads",
            "PID",
            "%CPU*",
            "3072K",
            "20G",
            "events, the last",
            "fork       42 sh",
            "q quit",
            "e events",
        ] {
            assert!(shown.contains(expected), "{expected:?} is not in\n{shown}");
        }
    }

    #[test]
    fn a_small_terminal_shows_the_table_alone() {
        let shown = screen(&mut model(), 40, 6);
        assert!(shown.contains("init") && !shown.contains("events, the last"), "{shown}");
        screen(&mut model(), 1, 1);
    }

    #[test]
    fn events_can_be_hidden() {
        let mut model = model();
        model.press(Key::Letter('e'));
        assert!(!screen(&mut model, 80, 24).contains("events, the last"));
    }

    #[test]
    fn sizes_and_times_stay_short() {
        assert_eq!(
            [size(0), size(10 << 20), size(1 << 40), size(u64::MAX)],
            ["0K", "10M", "1024G", "16383P"]
        );
        assert_eq!([time(0), time(61_230_000_000)], ["0:00.00", "1:01.23"]);
    }
}
