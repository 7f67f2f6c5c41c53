// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random system calls. Some processes make them; one that ends, by a call or by a signal, is replaced, until all calls are made.
//! Half of the calls have random arguments; the other half are short sequences that mean something, an area of the kernel each. What a
//! call does is not looked at: the kernel must survive, end who is killed, give the memory back, and work afterwards.

mod descriptors;
mod locks;
mod memory;
mod modes;
mod names;
mod orphans;
mod pressure;
mod processes;
mod shared;
mod signals;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::shared::{Caller, SLOTS, Shared};
use crate::limits::{Child, fork, works};
use crate::{Outcome, failed};

/// What to do.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) calls: u64,
    pub(crate) seed: u64,
    pub(crate) processes: usize,
}

impl Default for Options {
    fn default() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { calls: 20_000, seed: u64::from(now.subsec_nanos()), processes: 2 * cpus }
    }
}

/// A process that makes no call for this long waits for something that will not come, and is replaced.
const PATIENCE: Duration = Duration::from_millis(100);
/// Numbers from 0 that are tried; above them come Exo-Kernel's own from 0x1000.
const NUMBERS: u64 = 470;
/// What would rightly end the machine.
const NOT_TRIED: [u64; 1] = [libc::SYS_reboot as u64];
/// Calls whose first argument is a process's number: they get their own, since the parent and the first process, which the
/// kernel would rightly let root end or starve, are part of the test.
const ABOUT_PROCESSES: [libc::c_long; 9] = [
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_prlimit64,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
];
/// No process lives longer than this, whatever it does.
const LIFE: Duration = Duration::from_secs(4);
/// By when a killed process must have ended, on a busy host too.
const LAST_PATIENCE: Duration = Duration::from_secs(30);
/// The part of a slot that is the number of a call.
const NUMBER: u64 = 0xffff_ffff;
/// More calls than there can be between two looks.
const IMPOSSIBLE: u64 = 100_000_000;
/// After how many attackers those are ended that they left behind.
const ATTACKERS_PER_SWEEP: u64 = 64;
/// KiB that the kernel may keep for its own lists.
const KEPT: u64 = 48 << 10;
/// Where processes live while they try, so that what they remove was made for that.
const PLAYGROUND: &str = "/tmp/fuzz";

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// A process that makes calls.
struct Attacker {
    child: Child,
    since: Instant,
    /// When it was seen to make a call last, and what it had in its slot then.
    progress: Instant,
    seen: u64,
    /// When it was killed.
    killed: Option<Instant>,
    slot: usize,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let Options { calls, seed, .. } = *options;
    let processes = options.processes.clamp(1, SLOTS);
    println!("fuzz: seed {seed}, {calls} calls, {processes} processes at a time");
    std::fs::create_dir_all(PLAYGROUND)?;
    orphans::adopt()?;
    let free_before = free_memory()?;
    let devices = names_in_dev()?;
    mount_playground()?;
    let shared = Shared::new()?;
    let (mut started, mut waited) = (0_u64, BTreeMap::<u64, u64>::new());
    let mut running: Vec<Attacker> = Vec::new();
    let mut last = 0;
    while last < calls {
        while running.len() < processes {
            let slot = (0..processes).find(|slot| running.iter().all(|r| r.slot != *slot)).unwrap_or(0);
            started += 1;
            let own_seed = seed ^ started.wrapping_mul(0x2545_f491_4f6c_dd1d);
            let child = fork(|| attack(own_seed, &shared, slot, calls))
                .map_err(|error| failed(format!("cannot start process {started}: {error}")))?;
            let now = Instant::now();
            if started % ATTACKERS_PER_SWEEP == 0 {
                orphans::end(&running).map_err(|error| failed(format!("cannot end orphans: {error}")))?;
            }
            running.push(Attacker { child, since: now, progress: now, seen: 0, killed: None, slot });
        }
        std::thread::sleep(Duration::from_millis(5));
        let mut made = shared.calls().load(Ordering::Relaxed);
        if made.wrapping_sub(last) > IMPOSSIBLE {
            // One of the calls wrote here.
            shared.calls().store(last, Ordering::Relaxed);
            made = last;
        }
        last = made;
        for attacker in &mut running {
            let current = shared.current(attacker.slot).load(Ordering::Relaxed);
            if current != attacker.seen {
                attacker.seen = current;
                attacker.progress = Instant::now();
            }
            let is_stuck = attacker.progress.elapsed() > PATIENCE || attacker.since.elapsed() > LIFE;
            if attacker.killed.is_none() && is_stuck {
                *waited.entry(current & NUMBER).or_default() += 1;
                attacker.killed = Some(Instant::now());
                // It may have ended meanwhile.
                let _ = attacker.child.kill();
            }
        }
        end_of(&mut running, &shared)?;
    }
    for attacker in &mut running {
        attacker.killed = Some(Instant::now());
        let _ = attacker.child.kill();
    }
    while !running.is_empty() {
        std::thread::sleep(Duration::from_millis(5));
        end_of(&mut running, &shared)?;
    }
    orphans::end(&running)?;
    let made = shared.calls().load(Ordering::Relaxed);
    println!(
        "fuzz: {made} calls by {started} processes; killed while they waited in (call: times) {waited:?}"
    );
    unmount_playground();
    if !Path::new("/bin/sh").exists() {
        return Err(failed("the processes have removed the shell"));
    }
    works()?;
    clean_dev(&devices)?;
    memory_is_back(free_before)
}

/// Forgets those that have ended; an error if one lives on although it was killed.
fn end_of(running: &mut Vec<Attacker>, shared: &Shared) -> Outcome {
    running.retain(|attacker| !has_ended(&attacker.child));
    match running.iter().find(|r| r.killed.is_some_and(|at| at.elapsed() > LAST_PATIENCE)) {
        Some(attacker) => {
            let number = shared.current(attacker.slot).load(Ordering::Relaxed) & NUMBER;
            Err(failed(format!("a killed process does not end: its last call is number {number}")))
        }
        None => Ok(()),
    }
}

fn mount_playground() -> Outcome {
    // SAFETY: mounts a file system of this program's own; nothing else of its memory is touched.
    let result = unsafe {
        libc::mount(c"fuzz".as_ptr(), c"/tmp/fuzz".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null())
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}

/// Takes the playground away, with all that was mounted in it and on it.
fn unmount_playground() {
    for _ in 0..1000 {
        // SAFETY: unmounts what was mounted for this test.
        if unsafe { libc::umount2(c"/tmp/fuzz".as_ptr(), libc::MNT_DETACH) } != 0 {
            return;
        }
    }
}

fn names_in_dev() -> std::io::Result<BTreeSet<OsString>> {
    std::fs::read_dir("/dev")?.map(|entry| Ok(entry?.file_name())).collect()
}

/// Removes what attackers have made in /dev: a devtmpfs that one of them mounts in the playground is this very one.
fn clean_dev(before: &BTreeSet<OsString>) -> std::io::Result<()> {
    // One of them may have made it read-only.
    // SAFETY: changes a mount's flags; nothing of this program's memory is touched.
    if unsafe {
        libc::mount(std::ptr::null(), c"/dev".as_ptr(), std::ptr::null(), libc::MS_REMOUNT, std::ptr::null())
    } != 0
    {
        return Err(std::io::Error::last_os_error());
    }
    for name in names_in_dev()?.difference(before) {
        let path = Path::new("/dev").join(name);
        if path.symlink_metadata()?.is_dir() {
            std::fs::remove_dir_all(path)?;
        } else {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// KiB that nobody uses.
fn free_memory() -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemFree:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| failed("/proc/meminfo has no MemFree"))
}

/// What the processes had is free again; some of it the kernel keeps for its own lists.
fn memory_is_back(before: u64) -> Outcome {
    let deadline = Instant::now() + LAST_PATIENCE;
    loop {
        let lost = before.saturating_sub(free_memory()?);
        if lost <= KEPT {
            println!("fuzz: {lost} KiB less are free than before");
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(failed(format!("{lost} KiB did not come back")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn has_ended(child: &Child) -> bool {
    // SAFETY: no status is asked for; the number is the child's until this says that it has ended.
    unsafe { libc::waitpid(child.id(), std::ptr::null_mut(), libc::WNOHANG) != 0 }
}

/// A sequence of calls of one area.
type Area = fn(&mut Caller<'_>);

/// Areas, each as often as it stands here.
const AREAS: [Area; 15] = [
    memory::step,
    memory::step,
    names::step,
    names::step,
    signals::step,
    signals::step,
    descriptors::step,
    descriptors::step,
    processes::step,
    processes::step,
    modes::step,
    modes::step,
    locks::step,
    locks::step,
    // It takes what there is, and keeps the others from their work.
    pressure::step,
];

/// The life of a process: calls until it dies of one.
fn attack(seed: u64, shared: &Shared, slot: usize, calls: u64) -> i32 {
    // A folder that is the root for it, so that it can do as it likes there, and nothing of it on the parent's streams.
    // SAFETY: changes this process only.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        for fd in 0..3 {
            libc::dup2(null, fd);
        }
        libc::chroot(c"/tmp/fuzz".as_ptr());
        libc::chdir(c"/".as_ptr());
        libc::alarm(5);
    }
    let mut caller = Caller::new(seed, shared, slot);
    while !caller.is_done(calls) {
        // Sequences have about ten calls, so that half of all are theirs.
        if caller.random.below(11) == 0 {
            let area = caller.random.below(AREAS.len() as u64) as usize;
            if let Some(step) = AREAS.get(area) {
                step(&mut caller);
            }
        } else {
            any_call(&mut caller);
        }
    }
    0
}

/// Any call with any arguments.
fn any_call(caller: &mut Caller<'_>) {
    let number = match caller.random.below(20) {
        0 => 0x1000 + caller.random.below(16),
        1 => caller.random.next(),
        _ => caller.random.below(NUMBERS),
    };
    if NOT_TRIED.contains(&number) {
        return;
    }
    let (memory, length) = (caller.memory(), caller.length());
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = self::argument(&mut caller.random, memory, length);
    }
    if ABOUT_PROCESSES.iter().any(|call| call.unsigned_abs() == number) {
        arguments[0] = std::process::id().into();
    }
    caller.call(number, arguments);
}

/// An argument as programs give them, or as nobody would.
fn argument(random: &mut Random, memory: u64, length: u64) -> u64 {
    match random.below(12) {
        0 => 0,
        1 => random.below(8),
        2 => random.below(4096),
        3..=5 => memory + random.below(length),
        6 => memory + random.below(length) / 4096 * 4096,
        7 => 1 << random.below(64),
        8 => u64::MAX - random.below(300),
        // The end of what a program can have, and the kernel's half.
        9 => 0x7fff_ffff_f000 + random.below(8192),
        10 => 0xffff_8000_0000_0000 | random.next() >> 17,
        _ => random.next() >> random.below(64),
    }
}
