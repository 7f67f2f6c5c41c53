// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random system calls with random arguments. Some processes make them; one that ends, by a call or by a signal, is replaced,
//! until all calls are made. What a call does is not looked at: the kernel must survive, and work afterwards.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use exo_user::raw;

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
/// Where processes live while they try, so that what they remove was made for that.
const PLAYGROUND: &str = "/tmp/fuzz";

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// What the processes share with their parent: how many calls were made.
struct Shared(*mut libc::c_void);

impl Shared {
    fn new() -> Result<Self, std::io::Error> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at a place that the kernel chooses.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED { Err(std::io::Error::last_os_error()) } else { Ok(Self(at)) }
    }

    fn calls(&self) -> &AtomicU64 {
        // SAFETY: the page is never unmapped by the parent; a child that unmaps its own dies of it, as it may.
        unsafe { AtomicU64::from_ptr(self.0.cast()) }
    }
}

pub(crate) fn run(options: &Options) -> Outcome {
    let Options { calls, seed, processes } = *options;
    println!("fuzz: seed {seed}, {calls} calls, {processes} processes at a time");
    std::fs::create_dir_all(PLAYGROUND)?;
    let shared = Shared::new()?;
    let (mut started, mut lost) = (0_u64, 0_u64);
    let mut running: Vec<(Child, Instant)> = Vec::new();
    let mut last = 0;
    while shared.calls().load(Ordering::Relaxed) < calls {
        while running.len() < processes {
            started += 1;
            let own_seed = seed ^ started.wrapping_mul(0x2545_f491_4f6c_dd1d);
            running.push((fork(|| attack(own_seed, &shared, calls))?, Instant::now()));
        }
        std::thread::sleep(Duration::from_millis(5));
        let made = shared.calls().load(Ordering::Relaxed);
        let stuck = made == last;
        last = made;
        running.retain_mut(|(child, since)| {
            if stuck && since.elapsed() > PATIENCE {
                // It may have ended meanwhile.
                let _ = child.kill();
                lost += 1;
            }
            !has_ended(child)
        });
    }
    for (child, _) in &mut running {
        let _ = child.kill();
        // How it ended is its own affair.
        let _ = child.wait()?;
    }
    println!(
        "fuzz: {} calls by {started} processes, of which {lost} waited for nothing",
        shared.calls().load(Ordering::Relaxed)
    );
    if !Path::new("/bin/sh").exists() {
        return Err(failed("the processes have removed the shell"));
    }
    works()
}

fn has_ended(child: &Child) -> bool {
    // SAFETY: no status is asked for; the number is the child's until this says that it has ended.
    unsafe { libc::waitpid(child.id(), std::ptr::null_mut(), libc::WNOHANG) != 0 }
}

/// The life of a process: calls until it dies of one.
fn attack(seed: u64, shared: &Shared, calls: u64) -> i32 {
    let mut random = Random(seed);
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
    let mut memory = vec![0_u8; 64 << 10];
    for chunk in memory.chunks_mut(8) {
        // Small numbers more often than large ones: structures are made of them.
        let shift = random.below(64);
        let value = (random.next() >> shift).to_le_bytes();
        chunk.copy_from_slice(value.get(..chunk.len()).unwrap_or_default());
    }
    memory.get_mut(..6).unwrap_or_default().copy_from_slice(b"file\0\0");
    let at = memory.as_mut_ptr().expose_provenance() as u64;
    while shared.calls().fetch_add(1, Ordering::Relaxed) < calls {
        let number = match random.below(20) {
            0 => 0x1000 + random.below(16),
            1 => random.next(),
            _ => random.below(NUMBERS),
        };
        if NOT_TRIED.contains(&number) {
            continue;
        }
        let mut arguments = [0; 6];
        for argument in &mut arguments {
            *argument = self::argument(&mut random, at, memory.len() as u64);
        }
        if ABOUT_PROCESSES.iter().any(|call| call.unsigned_abs() == number) {
            arguments[0] = std::process::id().into();
        }
        // SAFETY: nothing that this process has is of use to anybody; it may die of it.
        unsafe { raw::call(number, arguments) };
    }
    0
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
