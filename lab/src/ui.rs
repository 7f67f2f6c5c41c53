// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a person sees of long work: one line a step, on stderr, with the time it takes. A step that is done at once says nothing.

use std::io::IsTerminal;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

static VERBOSE: AtomicBool = AtomicBool::new(false);
/// The lines of all work under way: that of several tests, if they run at a time.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// A step shorter than this stays silent: a warm start says nothing that it need not.
const PATIENCE: Duration = Duration::from_millis(800);

/// Shows the commands that are run, and their output.
pub(crate) fn set_verbose(verbose: bool) {
    VERBOSE.store(verbose, Ordering::Relaxed);
}

/// True with `-v`.
pub(crate) fn verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

/// Text on stderr, dimmed or coloured only on a terminal that wants it.
pub(crate) fn paint(code: &str, text: &str) -> String {
    paint_for(std::io::stderr().is_terminal(), code, text)
}

/// The same for stdout.
pub(crate) fn paint_stdout(code: &str, text: &str) -> String {
    paint_for(std::io::stdout().is_terminal(), code, text)
}

fn paint_for(terminal: bool, code: &str, text: &str) -> String {
    if terminal && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// A remark for the person, on stderr.
pub(crate) fn note(text: &str) {
    BARS.suspend(|| eprintln!("{} {text}", paint("36", "exo:")));
}

/// Text on stdout, a line or more.
pub(crate) fn say(text: &str) {
    BARS.suspend(|| println!("{text}"));
}

/// Work under way: from [`Step::new`] to its drop.
#[derive(Debug)]
pub(crate) struct Step {
    name: String,
    started: Instant,
    bar: ProgressBar,
    messages: Option<Sender<String>>,
    ticker: Option<JoinHandle<bool>>,
}

impl Step {
    /// Starts a step. `usual` is how long it takes on a machine with two cores, if that is worth saying.
    pub(crate) fn new(name: &str, usual: Option<Duration>) -> Self {
        let bar = if std::io::stderr().is_terminal() && !verbose() {
            BARS.add(ProgressBar::new_spinner())
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) =
            ProgressStyle::with_template("{spinner:.cyan} {prefix} {elapsed:.dim} {wide_msg:.dim}")
        {
            bar.set_style(style);
        }
        let label = match usual {
            Some(time) => format!("{name} (usually {})", humane(time)),
            None => name.to_owned(),
        };
        bar.set_prefix(label.clone());
        let (messages, inbox) = channel::<String>();
        let ticker = std::thread::spawn({
            let bar = bar.clone();
            move || {
                let patience_ends = Instant::now() + PATIENCE;
                let mut shown = false;
                loop {
                    match inbox.recv_timeout(Duration::from_millis(100)) {
                        Ok(message) => bar.set_message(message),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return shown,
                    }
                    if Instant::now() < patience_ends {
                        continue;
                    }
                    if !shown && bar.is_hidden() {
                        note(&format!("{label} …"));
                    }
                    shown = true;
                    bar.tick();
                }
            }
        });
        Self {
            name: name.to_owned(),
            started: Instant::now(),
            bar,
            messages: Some(messages),
            ticker: Some(ticker),
        }
    }

    /// Shows the last thing that the work said.
    pub(crate) fn message(&self, text: &str) {
        if let Some(messages) = &self.messages {
            // The ticker lives as long as the sender does.
            let _ = messages.send(text.trim().to_owned());
        }
    }

    /// Ends the step well: one line if anything was shown before.
    pub(crate) fn done(mut self) {
        if self.stop() {
            note(&format!("{} {}", self.name, paint("2", &format!("({})", humane(self.started.elapsed())))));
        }
    }

    fn stop(&mut self) -> bool {
        self.messages = None;
        let shown = self.ticker.take().is_some_and(|ticker| ticker.join().unwrap_or(false));
        self.bar.finish_and_clear();
        shown
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.stop();
    }
}

/// `4.2 s`, `1 min 7 s`.
pub(crate) fn humane(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds >= 60 {
        format!("{} min {} s", seconds / 60, seconds % 60)
    } else if seconds >= 10 {
        format!("{seconds} s")
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_given_as_a_person_would() {
        assert_eq!(humane(Duration::from_millis(4200)), "4.2 s");
        assert_eq!(humane(Duration::from_secs(59)), "59 s");
        assert_eq!(humane(Duration::from_secs(67)), "1 min 7 s");
    }
}
