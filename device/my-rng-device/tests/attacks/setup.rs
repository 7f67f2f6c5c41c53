// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that serves two machines, one of which is attacked through, and what must hold meanwhile.
//!
//! The bounds are those that are promised. So that a busy host breaks none of them:
//! - an access of the other machine is charged without the time for which the device's thread and the one that measures
//!   were ready to run and got no processor (the kernel's `schedstat`), or this machine got none from its host (steal);
//! - the end may take longer than that of a program that nobody attacks, told at the same moment, by what is promised;
//! - bytes are compared with the program's own clock, and too few of them are excused by the time for which its workers were
//!   ready to run and got no processor; too many never are;
//! - what an attack may cost is taken from clocks of processor time and the program's own stamps and counters;
//! - an attack that breaks a bound is made again, and the majority of three counts ([`promised`]). Whatever an attack can
//!   do it can do each time.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use my_rng_device::control::client as control;
use my_rng_device::control::protocol::Status;
use rustix::process::{Pid, Signal, kill_process};

use crate::common::client::{CONFIG, Client, REGION_READ, access};
use crate::common::program::{Owned, PATIENCE, Program, sockets, text};

/// Longest that an access of the other machine may take.
const ACCESS: Duration = Duration::from_millis(50);
/// Longest that the status may take.
const STATUS: Duration = Duration::from_secs(1);
/// Longest that the end may take, beyond that of a program that nobody attacks.
const END: Duration = Duration::from_secs(3);

/// Makes an attack, which says what was broken. Only what two of three attacks break was broken by the attack.
#[track_caller]
pub(crate) fn promised(attack: impl Fn() -> Result<(), String>) {
    let mut broken = Vec::new();
    for _ in 0..3 {
        match attack() {
            Ok(()) if broken.is_empty() => return,
            Ok(()) => {}
            Err(what) => broken.push(what),
        }
    }
    assert!(broken.len() < 2, "broken: {broken:?}");
}

/// `Err` with what was found, unless it is as it was promised.
pub(crate) fn expect(good: bool, found: impl FnOnce() -> String) -> Result<(), String> {
    if good { Ok(()) } else { Err(found()) }
}

/// The program, which serves two machines, and the second of them, at work.
pub(crate) struct Setup {
    _directory: tempfile::TempDir,
    pub(crate) a: PathBuf,
    control: PathBuf,
    pub(crate) program: Owned,
    /// A program that nobody attacks, for comparison.
    calm: Program,
    stop: Arc<AtomicBool>,
    other: Option<JoinHandle<Duration>>,
    longest_status: Cell<Duration>,
}

impl Setup {
    pub(crate) fn start(more: &[&str]) -> Self {
        Self::start_with(more, Stdio::null())
    }

    pub(crate) fn start_with(more: &[&str], error: Stdio) -> Self {
        let (directory, a, b) = sockets();
        let control = directory.path().join("control");
        let mut command = Command::new(env!("CARGO_BIN_EXE_my-rng-device"));
        command.args(["--socket", text(&a), "--socket", text(&b), "--control", text(&control)]);
        command.args(more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(error);
        let mut program = Owned(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let stop = Arc::<AtomicBool>::default();
        let until = stop.clone();
        let calm_socket = directory.path().join("calm.sock");
        let calm = Program::ready(&["--socket", text(&calm_socket)]);
        let process = program.id();
        let (tell, is_connected) = mpsc::channel();
        let other = Some(std::thread::spawn(move || watch(&b, process, &until, &tell)));
        let longest_status = Cell::default();
        let setup = Self { _directory: directory, a, control, program, calm, stop, other, longest_status };
        is_connected.recv().expect("the other machine is connected");
        setup
    }

    pub(crate) fn control(&self) -> &Path {
        &self.control
    }

    pub(crate) fn status(&self) -> Status {
        let start = Instant::now();
        let status = control::status(&self.control).expect("the status");
        self.longest_status.set(self.longest_status.get().max(start.elapsed()));
        status
    }

    /// The other machine goes.
    pub(crate) fn stop_watching(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// The other machine has not noticed anything, the status answers, and the program ends in time and in order.
    pub(crate) fn unharmed(mut self) -> Result<(), String> {
        self.status();
        self.stop_watching();
        let longest = self.other.take().unwrap().join().expect("the other machine is served");
        kill_process(Pid::from_child(&self.program), Signal::TERM).unwrap();
        self.calm.signal(Signal::TERM);
        let [(status, end), (_, calm_end)] = ended([&mut self.program, &mut self.calm.child]);
        assert!(!self.a.exists() && !self.control.exists());
        let longest_status = self.longest_status.get();
        expect(longest < ACCESS, || format!("an access of the other machine took {longest:?}"))?;
        expect(longest_status < STATUS, || format!("the status took {longest_status:?}"))?;
        // 1: something was left behind, as it did not get on for two seconds.
        expect(status.code() == Some(0), || format!("it ended with {status}"))?;
        expect(end < END + calm_end, || format!("the end took {end:?}, that of another program {calm_end:?}"))
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.stop_watching();
    }
}

/// How programs ended, and how long after now.
fn ended(mut programs: [&mut Child; 2]) -> [(ExitStatus, Duration); 2] {
    let start = Instant::now();
    let mut ends = [None; 2];
    while ends.contains(&None) {
        for (program, end) in programs.iter_mut().zip(&mut ends).filter(|(_, end)| end.is_none()) {
            *end = program.try_wait().unwrap().map(|status| (status, start.elapsed()));
        }
        assert!(start.elapsed() < 3 * PATIENCE, "a program does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    ends.map(Option::unwrap)
}

/// The numbers of a process's threads with that name, in order.
fn threads(process: u32, name: &str) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let number = |task: std::fs::DirEntry| {
        let found = std::fs::read_to_string(task.path().join("comm")).ok()?;
        (found.trim() == name).then(|| task.file_name().to_str()?.parse().ok())?
    };
    let mut numbers: Vec<u32> = tasks.filter_map(|task| number(task.unwrap())).collect();
    numbers.sort_unstable();
    numbers
}

/// What a thread got of the processors, as the kernel counts it.
struct SchedStat(File);

impl SchedStat {
    fn open(path: String) -> Self {
        Self(File::open(path).unwrap())
    }

    /// The number at that place of the line: 0 the time on a processor, 1 the time ready to run without one.
    fn number(&self, place: usize) -> Duration {
        let mut text = [0; 128];
        let length = self.0.read_at(&mut text, 0).unwrap_or_default();
        let line = std::str::from_utf8(&text[..length]).unwrap();
        Duration::from_nanos(line.split_whitespace().nth(place).map_or(0, |number| number.parse().unwrap()))
    }

    fn waited(&self) -> Duration {
        self.number(1)
    }
}

/// What the program's threads with that name got of the processors: the time that they ran, and the time that they were
/// ready to and waited.
pub(crate) fn processor_time(program: &Child, name: &str) -> [Duration; 2] {
    let process = program.id();
    let threads = threads(process, name).into_iter();
    let stats: Vec<_> =
        threads.map(|thread| SchedStat::open(format!("/proc/{process}/task/{thread}/schedstat"))).collect();
    [0, 1].map(|place| stats.iter().map(|stat| stat.number(place)).sum())
}

/// The time that this machine wanted and its host gave to others.
fn stolen() -> Duration {
    let mut text = String::new();
    File::open("/proc/stat").unwrap().read_to_string(&mut text).unwrap();
    let ticks =
        text.lines().next().unwrap().split_whitespace().nth(8).map_or(0, |text| text.parse().unwrap());
    // Ticks of USER_HZ, which is 100 on every architecture that this runs on.
    Duration::from_millis(10 * ticks)
}

/// The other machine: reads configuration space again and again. Gives the longest time that took, less what nobody got of the
/// processors.
fn watch(path: &Path, process: u32, until: &AtomicBool, connected: &mpsc::Sender<()>) -> Duration {
    let mut client = Client::connect(path);
    let _ = connected.send(());
    // Its number is above that of the first, and its name is there, as it has answered.
    let device = *threads(process, "device").last().expect("the device has a thread");
    let waits = [
        SchedStat::open("/proc/thread-self/schedstat".to_owned()),
        SchedStat::open(format!("/proc/{process}/task/{device}/schedstat")),
    ];
    let waited = || waits.iter().map(SchedStat::waited).sum::<Duration>();
    let mut longest = Duration::ZERO;
    let mut steal = (Instant::now(), stolen());
    while !until.load(Ordering::SeqCst) {
        if steal.0.elapsed() > ACCESS {
            steal = (Instant::now(), stolen());
        }
        let (start, before) = (Instant::now(), waited());
        let identity = client.request(REGION_READ, &access(CONFIG, 0, 4), &[]);
        assert_eq!((identity.error, identity.payload.len()), (0, 20));
        let mut took = start.elapsed().saturating_sub(waited().saturating_sub(before));
        if took >= ACCESS {
            took = took.saturating_sub(stolen().saturating_sub(steal.1));
        }
        longest = longest.max(took);
        std::thread::sleep(Duration::from_millis(1));
    }
    longest
}
