// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log: lines on standard error, written by a thread of its own, so that nobody who serves waits for a reader that has
//! stalled; and no more of them than a person or a disk can take, whoever causes them.
//!
//! At most [`BURST`] lines come at once and [`PER_SECOND`] more each second; of one device a fifth of that, so that one
//! client's cannot crowd out what others have to say. Lines that are left out are counted, and their number is logged.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Lines that can come at once.
pub const BURST: u64 = 50;
/// Lines a second after that.
pub const PER_SECOND: u64 = 40;
/// A device's share.
const SHARE: u64 = 5;
/// Lines that wait to be written; one more is left out.
const MAX_WAITING: usize = 256;
/// How long the end waits for a reader.
const GRACE: Duration = Duration::from_millis(200);

thread_local! {
    /// The device that this thread works for; 0: none.
    static DEVICE: Cell<usize> = const { Cell::new(0) };
}

/// Lines that were left out, since the start.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

static LINES: OnceLock<Lines> = OnceLock::new();

/// How many lines were left out since the program started.
pub fn left_out() -> u64 {
    LEFT_OUT.load(Ordering::Relaxed)
}

/// From now on this thread's lines are on the account of that device, counted from 0.
pub fn set_device(number: usize) {
    DEVICE.set(number.wrapping_add(1));
}

/// Makes this the program's log, at that level. Lines wait until [`start`] is called.
pub fn init(level: LevelFilter) {
    let lines = LINES.get_or_init(Lines::default);
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Trace).target(env_logger::Target::Pipe(Box::new(Sink(lines))));
    // journald takes a priority before each line (sd-daemon(3)).
    if is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) {
        builder.format(|to, record| writeln!(to, "<{}>{}", priority(record.level()), record.args()));
    }
    let log = Bounded { inner: builder.build(), budget: Mutex::new(Budget::new(Instant::now())), lines };
    if log::set_boxed_logger(Box::new(log)).is_ok() {
        log::set_max_level(level);
        std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
    }
}

/// Whether standard error is the stream that the journal's variable names, by device and inode.
fn is_journal(stream: Option<&str>) -> bool {
    let Ok(found) = rustix::fs::fstat(rustix::stdio::stderr()) else { return false };
    let (device, inode) = stream.and_then(|stream| stream.split_once(':')).unwrap_or_default();
    device.parse() == Ok(found.st_dev) && inode.parse() == Ok(found.st_ino)
}

/// syslog's number of a level.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Starts the thread that writes.
///
/// # Errors
/// There is none to be had.
pub fn start() -> io::Result<()> {
    let lines = LINES.get_or_init(Lines::default);
    lines.state().has_writer = true;
    thread::Builder::new().name("log".to_owned()).spawn(|| lines.write_for_ever(io::stderr())).map(drop)
}

/// Writes what waits, unless its reader has stalled.
pub fn flush() {
    let Some(lines) = LINES.get() else { return };
    lines.flush(Instant::now(), io::stderr());
}

/// The lines that wait.
#[derive(Debug, Default)]
struct Lines {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    writing: bool,
    has_writer: bool,
}

impl Lines {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self) -> bool {
        self.state().waiting.len() < MAX_WAITING
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if line.is_empty() || state.waiting.len() >= MAX_WAITING {
            return;
        }
        state.waiting.push_back(line.to_vec());
        self.changed.notify_all();
    }

    fn write_for_ever(&self, mut to: impl Write) {
        let mut state = self.state();
        loop {
            let Some(line) = state.waiting.pop_front() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.writing = true;
            drop(state);
            let _ = to.write_all(&line); // Nobody is there to be told.
            state = self.state();
            state.writing = false;
            self.changed.notify_all();
        }
    }

    fn flush(&self, start: Instant, mut to: impl Write) {
        let mut state = self.state();
        if !state.has_writer {
            let lines: Vec<u8> = std::mem::take(&mut state.waiting).into_iter().flatten().collect();
            drop(state);
            let _ = to.write_all(&lines);
            return;
        }
        while (state.writing || !state.waiting.is_empty()) && start.elapsed() < GRACE {
            state = self.changed.wait_timeout(state, GRACE).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Where the formatter writes whole lines.
struct Sink(&'static Lines);

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// So many lines at once, then so many a second.
#[derive(Debug, Clone)]
struct Bucket {
    most: u64,
    per_second: u64,
    /// Thousandths of a line.
    level: u64,
    filled: Instant,
}

impl Bucket {
    fn new(most: u64, per_second: u64, now: Instant) -> Self {
        Self { most, per_second, level: most.saturating_mul(1000), filled: now }
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled).as_millis();
        let gained = u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_mul(self.per_second);
        if gained > 0 {
            self.level = self.level.saturating_add(gained).min(self.most.saturating_mul(1000));
            self.filled = now;
        }
    }

    fn has(&self, lines: u64) -> bool {
        self.level >= lines.saturating_mul(1000)
    }

    fn take(&mut self, lines: u64) {
        self.level = self.level.saturating_sub(lines.saturating_mul(1000));
    }
}

/// Who may log how much.
#[derive(Debug)]
struct Budget {
    all: Bucket,
    /// By device, the first for what belongs to none.
    devices: Vec<Bucket>,
    /// Since that was last said.
    left_out: u64,
    start: Instant,
}

impl Budget {
    fn new(start: Instant) -> Self {
        Self { all: Bucket::new(BURST, PER_SECOND, start), devices: Vec::new(), left_out: 0, start }
    }

    /// Takes a line for that device, and one more if there is a number of lines left out to be said before it, which this
    /// gives. `None`: this one is left out, too.
    fn take(&mut self, device: usize, now: Instant) -> Option<u64> {
        let new = Bucket::new(BURST / SHARE, PER_SECOND / SHARE, self.start);
        if self.devices.len() <= device {
            self.devices.resize(device.saturating_add(1), new);
        }
        let of_device = self.devices.get_mut(device)?;
        of_device.fill(now);
        self.all.fill(now);
        let lines = if self.left_out > 0 { 2 } else { 1 };
        // What belongs to no device nobody else can cause.
        if !self.all.has(lines) || (device > 0 && !of_device.has(lines)) {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        of_device.take(lines);
        self.all.take(lines);
        Some(std::mem::take(&mut self.left_out))
    }
}

/// The log.
struct Bounded {
    inner: env_logger::Logger,
    budget: Mutex<Budget>,
    lines: &'static Lines,
}

impl Log for Bounded {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = if self.lines.has_room() {
            budget.take(DEVICE.get(), Instant::now())
        } else {
            budget.left_out = budget.left_out.saturating_add(1);
            None
        };
        drop(budget);
        let Some(left_out) = left_out else {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if left_out > 0 {
            let mut record = Record::builder();
            record.level(Level::Warn).target(module_path!());
            self.inner.log(&record.args(format_args!("{left_out} lines were left out")).build());
        }
        self.inner.log(record);
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn at_most_a_hundred_lines_come_in_any_second_and_a_device_has_a_fifth() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let (mut tried, mut logged, mut reported) = (0, 0, 0);
        let mut lines = |device: usize, from: u64, count: u64| {
            let now = start + Duration::from_millis(from);
            let said: Vec<_> = (0..count).filter_map(|_| budget.take(device, now)).collect();
            tried += count;
            logged += said.len() as u64;
            reported += said.iter().sum::<u64>();
            assert_eq!(tried, logged + reported + budget.left_out, "none is forgotten");
            said.iter().map(|&left_out| if left_out > 0 { 2_u64 } else { 1 }).sum::<u64>()
        };
        assert_eq!(lines(1, 0, 1000), BURST / SHARE);
        assert_eq!(lines(2, 0, 1000), BURST / SHARE);
        assert_eq!(lines(0, 0, 1000), BURST - 2 * (BURST / SHARE));
        let second: u64 =
            (1..1000).map(|millisecond| lines(0, millisecond, 3) + lines(1, millisecond, 3)).sum();
        assert!(second <= PER_SECOND && BURST + second <= 100, "{second}");
        assert_eq!(lines(1, 60_000, 1000), BURST / SHARE);
    }

    #[test]
    fn a_reader_that_has_stalled_stops_neither_those_who_log_nor_the_end() {
        struct Stalled(mpsc::Receiver<()>);
        impl Write for Stalled {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Err(io::ErrorKind::Other.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines: &'static Lines = Box::leak(Box::default());
        lines.state().has_writer = true;
        let (_never, stalled) = mpsc::channel();
        thread::spawn(move || lines.write_for_ever(Stalled(stalled)));
        (0..10 * MAX_WAITING).for_each(|_| lines.push(b"line\n"));
        assert!(!lines.has_room());
        assert_eq!(lines.state().waiting.len(), MAX_WAITING);
        lines.flush(Instant::now(), io::sink());
    }

    #[test]
    fn without_a_writer_the_end_writes() {
        let lines = Lines::default();
        lines.push(b"one\n");
        lines.push(b"two\n");
        let mut written = Vec::new();
        lines.flush(Instant::now(), &mut written);
        assert_eq!(written, b"one\ntwo\n");
    }

    #[test]
    fn the_priorities_are_those_of_syslog() {
        let all = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
        assert_eq!(all.map(priority), [3, 4, 6, 7, 7]);
    }

    #[test]
    fn lines_of_a_thread_are_its_devices() {
        let of_thread = thread::spawn(|| {
            set_device(3);
            DEVICE.get()
        });
        assert_eq!((of_thread.join().unwrap(), DEVICE.get()), (4, 0));
    }
}
