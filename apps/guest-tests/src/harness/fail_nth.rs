// SPDX-License-Identifier: MIT OR Apache-2.0
//! Systematic failure: an operation is run again and again; the first time, the first allocation or user copy that the
//! module makes on its way fails, the second time the second one, and so on, until a run passes in which nothing failed.
//!
//! The kernel's part is `fail-nth` (`Documentation/fault-injection/fault-injection.rst`), which the checked kernel has.
//! A task writes N to its `fail-nth` file; the N-th *chance* that it then takes fails, and that one only. Reading the file
//! tells what is left: 0 means that the failure has happened. What counts as a chance is set in debugfs: here, each that has
//! code of a module on its stack, save for the few that are [`SPARED`].
//!
//! Each run is a process of its own (this program with `--armed N`), which arms itself last and then makes one call. What it
//! does by ending, closing its files, is part of the run: the file is read while the process is a zombie. Threads, children
//! and kernel threads are not armed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::arguments::ARMED;
use super::{Mark, Options, Output, Stop, fail, reports, skip, slowness};

const DEBUGFS: &str = "/sys/kernel/debug";
const OWN_COUNTER: &str = "/proc/self/fail-nth";

/// An operation with more chances than this does not end.
const MOST_RUNS: u32 = 1000;

/// How long one run may take on a kernel without detectors.
const RUN_LIMIT: Duration = Duration::from_secs(10);

/// How a process under test says that its call failed; its output is the number of the error.
const STATUS_REFUSED: i32 = 3;

/// Where modules lie in the kernel's address space: `MODULES_VADDR` without KASLR, with which they lie within it, too
/// (`arch/x86/include/asm/pgtable_64_types.h`).
const MODULES: (u64, u64) = (0xffff_ffff_a000_0000, 0xffff_ffff_ff00_0000);

/// The kinds of failure, each a folder in debugfs, and the errors that tell of them.
const KINDS: [(&str, Errno); 3] =
    [("failslab", Errno::NOMEM), ("fail_page_alloc", Errno::NOMEM), ("fail_usercopy", Errno::FAULT)];

/// Settings whose defaults would spare most chances: allocations that may wait, `vmalloc`'s pages, single pages.
const UNSPARING: [(&str, &str, u64); 4] = [
    ("failslab", "ignore-gfp-wait", 0),
    ("fail_page_alloc", "ignore-gfp-wait", 0),
    ("fail_page_alloc", "ignore-gfp-highmem", 0),
    ("fail_page_alloc", "min-order", 0),
];

/// The end of a run in which the failure has changed nothing.
const UNNOTICED: &str = "unnoticed";

/// Where the caches of small allocations are, and what each has for being spared or not.
const CACHES: (&str, &str) = ("/sys/kernel/slab", "failslab");

/// Caches whose allocations do not fail, as they are none of the module's: what the detectors note down of each allocation
/// (without it they overlook a fault, no more), and entries of `/proc`. `register_irq_proc()` leaves out the entry that it
/// cannot make, and `unregister_irq_proc()` then warns that it is missing (`kernel/irq/proc.c`): the kernel's own mistake.
const SPARED: [&str; 4] = ["debug_objects_cache", "kmemleak_object", "kmemleak_scan_area", "proc_dir_entry"];

/// Innermost stack frames that are searched for the module, the most that the kernel takes.
const DEPTH: u64 = 32;

/// Each failure that is not a detector's own is logged with its stack.
const VERBOSE: u64 = 2;

/// How a call ended, if it came to that.
pub(crate) type Called = Result<Result<(), Errno>, Stop>;

/// What is run again and again.
pub(crate) struct Operation {
    /// Brings the machine to where each run starts. Not armed.
    pub(crate) before: fn(&Options) -> Result<(), Stop>,
    /// The process under test: opens what it needs, arms itself, makes the call, and returns what became of it.
    pub(crate) call: fn(&Options, Arm) -> Called,
    /// Looks at what the call has left, which must fit to how it ended. Not armed.
    pub(crate) after: fn(&Options, Result<(), Errno>) -> Result<(), Stop>,
    /// Errors that the kernel's core makes of a failed allocation of its own, out of the module's reach.
    pub(crate) also: &'static [Errno],
    /// Chances that the operation surely has: with fewer, they were not seen.
    pub(crate) at_least: u32,
}

/// The means of a process under test to arm itself. To be used last: what comes after it may fail.
#[must_use = "a process that does not arm itself proves nothing"]
pub(crate) struct Arm {
    counter: File,
    nth: u32,
}

impl Arm {
    fn new(nth: u32) -> io::Result<Self> {
        Ok(Self { counter: File::options().write(true).open(OWN_COUNTER)?, nth })
    }

    /// From here on, the chances of this thread count.
    ///
    /// # Errors
    /// As of writing to the file.
    pub(crate) fn now(mut self) -> Result<(), Stop> {
        Ok(self.counter.write_all(self.nth.to_string().as_bytes())?)
    }
}

/// What became of the chances of an operation.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    chances: u32,
    /// How often each kind of failure had each end.
    ends: BTreeMap<(&'static str, String), u32>,
}

impl Survey {
    /// How many failures of this kind, a folder in debugfs, the operation has noticed.
    pub(crate) fn failures_of(&self, kind: &str) -> u32 {
        let noticed = |(of, end): &(&str, String)| *of == kind && end != UNNOTICED;
        self.ends.iter().filter(|(key, _)| noticed(key)).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} chances", self.chances)?;
        for (index, ((kind, end), count)) in self.ends.iter().enumerate() {
            write!(f, "{} {count} {kind} {end}", if index == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

/// Proves that each run of the operation ends in success or in a clean error, without a report in the kernel's log, and
/// leaves what [`Operation::after`] expects. The last run is the one in which nothing failed, so the module still works then.
///
/// Prints how many chances there were and what became of them.
pub(crate) fn survives(options: &Options, operation: &Operation) -> Result<(), Stop> {
    survey(options, operation).map(|survey| println!("{survey}"))
}

/// The same, for who wants to know more.
pub(crate) fn survey(options: &Options, operation: &Operation) -> Result<Survey, Stop> {
    if let Some(nth) = options.armed {
        return Err(under_test(options, operation, nth));
    }
    count_what_modules_do()?;
    let mut log = Mark::here()?;
    let mut survey = Survey::default();
    for nth in 1..=MOST_RUNS {
        (operation.before)(options).map_err(|stop| in_run(nth, "what comes before it", stop))?;
        no_report(&mut log, nth, &Failed::default())?;
        let run = Run::new(options, nth).map_err(|stop| in_run(nth, "the run itself", stop))?;
        let failed = Failed::read(&mut log, nth)?;
        judge(&run, &failed, operation.also)
            .and_then(|()| (operation.after)(options, run.result))
            .map_err(|stop| in_run(nth, failed.kind(), stop))?;
        no_report(&mut log, nth, &failed)?;
        if run.left == 0 {
            let count = survey.ends.entry((failed.kind(), run.end())).or_default();
            *count = count.saturating_add(1);
            continue;
        }
        survey.chances = nth.saturating_sub(run.left);
        if survey.chances < operation.at_least {
            return fail(format!(
                "{} chances to fail were seen, expected at least {}: the settings in {DEBUGFS} or the range of the \
                 modules, {:#x} to {:#x}, do not fit this kernel",
                survey.chances, operation.at_least, MODULES.0, MODULES.1
            ));
        }
        return Ok(survey);
    }
    fail(format!("after {MOST_RUNS} runs there is still something that can fail"))
}

/// The process of one run. Ends it with what [`Run::new`] understands; returns if it could not even begin.
fn under_test(options: &Options, operation: &Operation, nth: u32) -> Stop {
    let called = Arm::new(nth).map_err(Stop::from).and_then(|arm| (operation.call)(options, arm));
    let status = match called {
        Ok(Ok(())) => 0,
        Ok(Err(errno)) => {
            println!("{}", errno.raw_os_error());
            STATUS_REFUSED
        }
        Err(stop) => return stop,
    };
    std::process::exit(status)
}

/// How one run went.
struct Run {
    /// What the file said at the end: 0 if the failure has happened.
    left: u32,
    result: Result<(), Errno>,
}

impl Run {
    fn new(options: &Options, nth: u32) -> Result<Self, Stop> {
        let mut output = Output::new()?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(options.for_one(&options.test))
            .args([format!("--{ARMED}"), nth.to_string()])
            .stdin(Stdio::null())
            .stdout(output.end()?)
            .stderr(output.end()?)
            .spawn()?;
        let ended = wait_for_zombie(&child, RUN_LIMIT * slowness())?;
        if !ended {
            let stack = fs::read_to_string(format!("/proc/{}/stack", child.id())).unwrap_or_default();
            kill_process(pid_of(&child)?, Signal::KILL)?;
            return fail(format!("it did not end; in the kernel it was at\n{stack}"));
        }
        let left = fs::read_to_string(format!("/proc/{}/fail-nth", child.id()))?;
        let status = child.wait()?;
        let said = output.read()?;
        let result = match status.code() {
            Some(0) => Ok(()),
            Some(STATUS_REFUSED) => match said.trim().parse() {
                Ok(errno) => Err(Errno::from_raw_os_error(errno)),
                Err(_) => return fail(format!("it named no error: {said:?}")),
            },
            _ => return fail(format!("{status}: {said}")),
        };
        Ok(Self { left: left.trim().parse()?, result })
    }

    fn end(&self) -> String {
        match self.result {
            Ok(()) => UNNOTICED.to_owned(),
            Err(errno) => name_of(errno),
        }
    }
}

/// What the kernel has made fail in a run.
#[derive(Default)]
struct Failed {
    /// The kind and its error, if the kernel tells: of what its detectors allocate for themselves, it does not.
    kind: Option<(&'static str, Errno)>,
    log: Vec<String>,
}

impl Failed {
    /// From the log of the run itself, before anything else is written there.
    fn read(log: &mut Mark, nth: u32) -> Result<Self, Stop> {
        let lines = log.lines()?;
        let failed = Self { kind: lines.iter().find_map(|line| kind_of(line)), log: lines };
        if reports::first_report(&failed.log).is_empty() { Ok(failed) } else { reported(nth, &failed) }
    }

    fn kind(&self) -> &'static str {
        self.kind.map_or("unnamed", |(kind, _)| kind)
    }

    /// The kernel's lines about it, with the stack.
    fn log(&self) -> String {
        let lines = self.log.iter().take_while(|line| !reports::is_report(line));
        lines.map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// The kind of failure that this line of the log tells of: `FAULT_INJECTION: forcing a failure.\x0aname failslab, …`.
fn kind_of(line: &str) -> Option<(&'static str, Errno)> {
    line.contains("FAULT_INJECTION: forcing a failure").then_some(())?;
    KINDS.into_iter().find(|(kind, _)| line.contains(&format!("name {kind},")))
}

/// Whether the run ended as it may.
fn judge(run: &Run, failed: &Failed, also: &[Errno]) -> Result<(), Stop> {
    let Err(errno) = run.result else { return Ok(()) };
    if run.left > 0 {
        return fail(format!("it failed with {}, though nothing was made to fail", name_of(errno)));
    }
    let clean = match failed.kind {
        Some((_, expected)) => errno == expected,
        None => KINDS.iter().any(|&(_, expected)| errno == expected),
    };
    if clean || also.contains(&errno) {
        Ok(())
    } else {
        fail(format!("it failed with {}\n{}", name_of(errno), failed.log()))
    }
}

/// Fails if looking at what the run has left brought a report.
fn no_report(log: &mut Mark, nth: u32, failed: &Failed) -> Result<(), Stop> {
    let lines = log.lines()?;
    if reports::first_report(&lines).is_empty() { Ok(()) } else { reported(nth, failed) }
}

/// The report itself is shown by who runs the tests, for any test.
fn reported<T>(nth: u32, failed: &Failed) -> Result<T, Stop> {
    fail(format!("run {nth} (failed: {}) brought a report\n{}", failed.kind(), failed.log()))
}

fn in_run(nth: u32, failed: &str, stop: Stop) -> Stop {
    match stop {
        Stop::Failed(why) => Stop::Failed(format!("run {nth} (failed: {failed}): {why}")),
        skipped @ Stop::Skipped(_) => skipped,
    }
}

/// Sets what counts as a chance, or skips on a kernel that cannot fail on demand.
fn count_what_modules_do() -> Result<(), Stop> {
    if !Path::new(OWN_COUNTER).exists() {
        return skip(format!("this kernel cannot fail on demand: it has no {OWN_COUNTER}"));
    }
    for (kind, file, value) in UNSPARING {
        set(kind, file, value)?;
    }
    spare_caches()?;
    set("failslab", "cache-filter", 1)?;
    for (kind, _) in KINDS {
        set(kind, "require-start", MODULES.0)?;
        set(kind, "require-end", MODULES.1)?;
        set(kind, "stacktrace-depth", DEPTH)?;
        set(kind, "verbose", VERBOSE)?;
    }
    Ok(())
}

fn set(kind: &str, file: &str, value: u64) -> Result<(), Stop> {
    let path = Path::new(DEBUGFS).join(kind).join(file);
    if !path.exists() {
        return skip(format!("this kernel cannot fail on demand: it has no {}", path.display()));
    }
    fs::write(&path, value.to_string())?;
    let back = fs::read_to_string(&path)?;
    if number(back.trim()) == Some(value) {
        Ok(())
    } else {
        fail(format!("{} was set to {value:#x} and is {}", path.display(), back.trim()))
    }
}

/// Marks each cache as one that may fail or not.
fn spare_caches() -> Result<(), Stop> {
    let (folder, file) = CACHES;
    let missing = SPARED.iter().find(|name| !Path::new(folder).join(name).exists());
    if let Some(name) = missing {
        return fail(format!("{folder} has no {name}: this kernel calls it otherwise"));
    }
    for cache in fs::read_dir(folder)? {
        let cache = cache?;
        let spared = SPARED.iter().any(|name| cache.file_name() == *name);
        fs::write(cache.path().join(file), if spared { "0" } else { "1" })
            .or_else(|error| fail(format!("{}/{file}: {error}", cache.path().display())))?;
    }
    Ok(())
}

/// A number as debugfs writes it: decimal, hexadecimal with 0x, or Y and N.
fn number(text: &str) -> Option<u64> {
    match text {
        "Y" => Some(1),
        "N" => Some(0),
        _ => text
            .strip_prefix("0x")
            .map_or_else(|| text.parse().ok(), |digits| u64::from_str_radix(digits, 16).ok()),
    }
}

fn name_of(errno: Errno) -> String {
    match errno {
        Errno::NOMEM => "ENOMEM".to_owned(),
        Errno::FAULT => "EFAULT".to_owned(),
        Errno::BUSY => "EBUSY".to_owned(),
        Errno::INVAL => "EINVAL".to_owned(),
        other => other.to_string(),
    }
}

fn pid_of(child: &Child) -> Result<Pid, Stop> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).map_or_else(|| fail("a process has no number"), Ok)
}

/// Waits until the process has ended, but leaves it to be reaped; `false` if it takes too long.
fn wait_for_zombie(child: &Child, limit: Duration) -> Result<bool, Stop> {
    let pid = pid_of(child)?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let deadline = Instant::now() + limit;
    while waitid(WaitId::Pid(pid), options)?.is_none() {
        if Instant::now() > deadline {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(left: u32, result: Result<(), Errno>) -> Run {
        Run { left, result }
    }

    fn failed(kind: Option<&str>) -> Failed {
        let kind = KINDS.into_iter().find(|(name, _)| Some(*name) == kind);
        Failed { kind, log: Vec::new() }
    }

    #[test]
    fn the_log_tells_what_failed() {
        let line = "FAULT_INJECTION: forcing a failure.\\x0aname fail_usercopy, interval 1, probability 0, space 0, times -1";
        assert_eq!(kind_of(line), Some(("fail_usercopy", Errno::FAULT)));
        assert_eq!(kind_of("name fail_usercopy, interval 1"), None);
    }

    #[test]
    fn the_error_must_be_that_of_what_failed() {
        let memory = failed(Some("failslab"));
        assert!(judge(&run(0, Ok(())), &memory, &[]).is_ok());
        assert!(judge(&run(0, Err(Errno::NOMEM)), &memory, &[]).is_ok());
        assert!(judge(&run(0, Err(Errno::FAULT)), &memory, &[]).is_err());
        assert!(judge(&run(0, Err(Errno::FAULT)), &failed(Some("fail_usercopy")), &[]).is_ok());
        assert!(judge(&run(0, Err(Errno::NOMEM)), &failed(None), &[]).is_ok());
        assert!(judge(&run(0, Err(Errno::IO)), &failed(None), &[]).is_err());
        assert!(judge(&run(0, Err(Errno::IO)), &memory, &[Errno::IO]).is_ok());
    }

    #[test]
    fn a_run_without_a_failure_must_succeed() {
        assert!(judge(&run(3, Ok(())), &failed(None), &[]).is_ok());
        assert!(judge(&run(3, Err(Errno::NOMEM)), &failed(None), &[]).is_err());
    }

    #[test]
    fn numbers_of_debugfs_are_understood() {
        assert_eq!(number("0xffffffffa0000000"), Some(MODULES.0));
        assert_eq!((number("N"), number("Y"), number("32"), number("x")), (Some(0), Some(1), Some(32), None));
    }
}
