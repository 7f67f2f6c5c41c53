// SPDX-License-Identifier: MIT OR Apache-2.0
//! The live table.
//!
//! ```text
//! snapshots, events, rates ──▶ model (what is shown: sorted, filtered, as a tree) ──▶ view (80 columns will do)
//!                   keys ──▶ model
//! ```

mod model;
mod rates;
mod view;

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{cursor, execute};
use procmon::{Events, Monitor};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};

use crate::arguments::TopOptions;
use crate::commands::Outcome;
use model::{Key, Model};

/// The size of a terminal that does not tell, as a serial line: that of a VT100.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// How long a key may wait for its effect while events come in.
const PATIENCE: Duration = Duration::from_millis(100);

/// Shows the table until somebody quits.
pub(crate) fn run(options: &TopOptions) -> Outcome {
    let (monitor, mut events) = (Monitor::open()?, Events::open().ok());
    let mut model = Model::default();
    // First, so that an error is printed after the screen is back.
    let screen = Screen::enter()?;
    let mut terminal = terminal()?;
    let mut next_look = Instant::now();
    while !model.quits() {
        let now = Instant::now();
        if now >= next_look {
            model.set_processes(monitor.snapshot()?, now);
            model.set_rates(rates::read());
            next_look = now + options.delay;
        }
        if let Some(events) = &mut events {
            model.add_events(events.read()?);
        }
        terminal.draw(|frame| view::draw(frame, &mut model))?;
        if poll(next_look.saturating_duration_since(Instant::now()).min(PATIENCE))? {
            match read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => model.press(meaning(key)),
                Event::Resize(..) => terminal.autoresize()?,
                _ => {}
            }
        }
    }
    drop(screen);
    Ok(ExitCode::SUCCESS)
}

fn terminal() -> io::Result<Terminal<CrosstermBackend<io::Stdout>>> {
    let backend = CrosstermBackend::new(io::stdout());
    match crossterm::terminal::size() {
        Ok((columns, lines)) if columns > 0 && lines > 0 => Terminal::new(backend),
        _ => {
            let (columns, lines) = USUAL_SIZE;
            let viewport = Viewport::Fixed(Rect::new(0, 0, columns, lines));
            Terminal::with_options(backend, TerminalOptions { viewport })
        }
    }
}

fn meaning(key: KeyEvent) -> Key {
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Interrupt,
        KeyCode::Char(letter) => Key::Letter(letter),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        _ => Key::Other,
    }
}

/// The terminal taken over: single keys, another screen. Given back when dropped, however the program ends. The screen is cleared
/// as well, since a plain terminal on a serial line has no other one.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Self> {
        enable_raw_mode()
            .map_err(|error| io::Error::new(error.kind(), format!("stdin is no terminal: {error}")))?;
        let screen = Self;
        execute!(io::stdout(), EnterAlternateScreen, Clear(ClearType::All), cursor::Hide)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that has gone.
        let top = cursor::MoveTo(0, 0);
        let _ = execute!(io::stdout(), Clear(ClearType::All), top, cursor::Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}
