// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that take all they can get. Each runs in a process of its own under a limit or, for memory, with none; afterwards
//! the system must work as before.

use std::io::{self, Write as _};
use std::os::fd::FromRawFd as _;
use std::process::Command;
use std::time::Duration;

use crate::{Outcome, failed};

pub(crate) fn run() -> Outcome {
    // The first one: what the kernel has once taken for its own lists serves the next ones.
    many_arguments()?;
    println!("many arguments: ok");
    fork_bomb()?;
    println!("fork bomb: ok");
    memory_hog_with_limit()?;
    println!("memory hog with a limit: ok");
    memory_hog()?;
    println!("memory hog: ok");
    descriptor_hog()?;
    println!("descriptor hog: ok");
    large_tables()?;
    println!("large tables of descriptors: ok");
    spike()?;
    println!("spike of small allocations: ok");
    spike_of_threads()?;
    println!("spike of threads: ok");
    works()
}

/// Whether the system still does what it should.
pub(crate) fn works() -> Outcome {
    let output = Command::new("/bin/sh").args(["-c", "seq 100 | sort -n | tail -n 1"]).output()?;
    if output.status.success() && output.stdout == b"100\n" {
        Ok(())
    } else {
        Err(failed(format!("the system no longer works: {output:?}")))
    }
}

/// A child process; `Err` of its end is the signal that killed it.
pub(crate) struct Child(libc::pid_t);

impl Child {
    pub(crate) fn wait(&mut self) -> Result<Result<i32, i32>, io::Error> {
        let mut status = 0;
        // SAFETY: the kernel writes the status into `status`.
        if unsafe { libc::waitpid(self.0, &mut status, 0) } != self.0 {
            return Err(io::Error::last_os_error());
        }
        Ok(if libc::WIFSIGNALED(status) {
            Err(libc::WTERMSIG(status))
        } else {
            Ok(libc::WEXITSTATUS(status))
        })
    }

    /// Kills the child, and its process group if it has one of its own.
    pub(crate) fn kill(&mut self) -> Result<(), io::Error> {
        // SAFETY: the child was not waited for, so the numbers are its own.
        unsafe {
            libc::kill(-self.0, libc::SIGKILL);
            if libc::kill(self.0, libc::SIGKILL) == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }
    }

    /// Its number.
    pub(crate) fn id(&self) -> libc::pid_t {
        self.0
    }
}

/// Forks; the child, which leads a process group of its own, does `work` and ends with what that returns.
pub(crate) fn fork(work: impl FnOnce() -> i32) -> Result<Child, io::Error> {
    // SAFETY: this program has one thread whenever it forks, so no lock is held by another that the child lacks.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: only changes this process's group, and ends it without the parent's exit handlers.
            unsafe {
                libc::setpgid(0, 0);
                libc::_exit(work())
            }
        }
        pid => {
            // Both do it, so that it is done whoever runs first. SAFETY: changes the child's group only.
            unsafe { libc::setpgid(pid, pid) };
            Ok(Child(pid))
        }
    }
}

/// Sets both limits of a resource.
pub(crate) fn limit(resource: libc::__rlimit_resource_t, value: u64) {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the kernel reads the structure.
    unsafe { libc::setrlimit(resource, &limit) };
}

/// What decides whether this process is ended when memory is out.
const OOM_ADJUST: &str = "/proc/self/oom_score_adj";

/// Bytes that programs may still have.
fn available() -> Result<u64, std::io::Error> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| std::io::Error::other("/proc/meminfo has no MemAvailable"))
}

/// Does `work` while a file has all memory but `left` bytes, beyond which the kernel has its reserve.
pub(crate) fn with_little_memory(left: u64, work: impl FnOnce() -> Outcome) -> Outcome {
    // One without a name: those with one may not have all memory.
    // SAFETY: the name is a string, and the descriptor a new one.
    let mut file = unsafe { std::fs::File::from_raw_fd(libc::memfd_create(c"fill".as_ptr(), 0)) };
    // Who runs short is not to end this process, which has most.
    std::fs::write(OOM_ADJUST, "-1000")?;
    // Not more than that even for a moment: a fault of any other program in it would end somebody.
    let piece = vec![0xa5; 1 << 20];
    while available()? > left + piece.len() as u64 {
        file.write_all(&piece)?;
    }
    let result = work();
    // Before this process may be ended again: it would be chosen for what the file has.
    drop(file);
    std::fs::write(OOM_ADJUST, "0")?;
    result
}

/// As many arguments as a program may have, which are many times as long in the kernel, when it has hardly more than its reserve.
fn many_arguments() -> Outcome {
    const COUNT: usize = 200_000;
    let argument = c"x";
    let mut arguments = vec![argument.as_ptr(); COUNT];
    arguments.push(std::ptr::null());
    with_little_memory(4 << 20, || {
        let end = fork(|| {
            let none = std::ptr::null();
            // SAFETY: both lists end with a null pointer, and what they point to are strings.
            unsafe { libc::execve(c"/bin/true".as_ptr(), arguments.as_ptr(), &raw const none) };
            if io::Error::last_os_error().raw_os_error() == Some(libc::ENOMEM) { 0 } else { 1 }
        })?
        .wait()?;
        if end == Ok(0) { Ok(()) } else { Err(failed(format!("many arguments ended with {end:?}"))) }
    })?;
    works()
}

/// Each process forks until it may not, and stays.
fn fork_bomb() -> Outcome {
    let mut bomb = fork(|| {
        limit(libc::RLIMIT_NPROC, 200);
        // The superuser has no such limit. SAFETY: changes this process's ids alone.
        if unsafe { libc::setuid(1000) } != 0 {
            return 1;
        }
        loop {
            // SAFETY: as every process here does nothing but fork.
            if unsafe { libc::fork() } < 0 {
                // SAFETY: takes nothing.
                unsafe { libc::sched_yield() };
            }
        }
    })?;
    std::thread::sleep(Duration::from_millis(800));
    for _ in 0..100 {
        // Those that were being made while the group was killed are members, too.
        let _ = bomb.kill();
        std::thread::sleep(Duration::from_millis(10));
        // SAFETY: signal 0 only asks whether there is anybody.
        if unsafe { libc::kill(-bomb.id(), 0) } != 0 {
            break;
        }
        // SAFETY: reaps whoever has ended, without waiting.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
    }
    works()
}

/// Takes memory and writes to it until there is no more.
fn eat() -> i32 {
    const PIECE: usize = 1 << 20;
    loop {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at a place that the kernel chooses.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), PIECE, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return 7;
        }
        for offset in (0..PIECE).step_by(4096) {
            // SAFETY: inside the mapping that was just made.
            unsafe { at.cast::<u8>().add(offset).write_volatile(1) };
        }
    }
}

fn memory_hog_with_limit() -> Outcome {
    let end = fork(|| {
        limit(libc::RLIMIT_AS, 64 << 20);
        eat()
    })?
    .wait()?;
    if end != Ok(7) {
        return Err(failed(format!("with a limit, a mapping must fail: {end:?}")));
    }
    works()
}

/// With no limit the kernel must end it.
fn memory_hog() -> Outcome {
    let end = fork(eat)?.wait()?;
    if end != Err(libc::SIGKILL) && end != Ok(7) {
        return Err(failed(format!("a memory hog ended with {end:?}")));
    }
    works()
}

fn descriptor_hog() -> Outcome {
    let end = fork(|| {
        let mut open = 0;
        // SAFETY: opens one more each time and touches no memory.
        while unsafe { libc::open(c"/dev/null".as_ptr(), 0) } >= 0 {
            open += 1;
        }
        if open > 10 && io::Error::last_os_error().raw_os_error() == Some(libc::EMFILE) { 0 } else { 1 }
    })?
    .wait()?;
    if end != Ok(0) {
        return Err(failed(format!("a descriptor hog must be told EMFILE: {end:?}")));
    }
    works()
}

/// As many descriptors as a process may have, in as many processes as there is room for, and questions about all of them: tables whose
/// size programs choose, in the kernel's memory. Each may be told that there is none left, and the kernel goes on.
fn large_tables() -> Outcome {
    const MOST: u64 = 65_536;
    const PROCESSES: usize = 100;
    let holder = || {
        limit(libc::RLIMIT_NOFILE, MOST + 1);
        let refused = io::Error::last_os_error().raw_os_error() == Some(libc::EPERM);
        limit(libc::RLIMIT_NOFILE, MOST);
        let is_enough =
            |result: i32| result >= 0 || io::Error::last_os_error().raw_os_error() == Some(libc::ENOMEM);
        let mut questions = vec![libc::pollfd { fd: -1, events: 0, revents: 0 }; MOST as usize];
        // SAFETY: the kernel reads and writes the questions, as many as there are; the rest touches no memory.
        let went_on = unsafe {
            is_enough(libc::dup2(0, MOST as i32 - 1))
                && is_enough(libc::poll(questions.as_mut_ptr(), MOST, 0))
                && libc::poll(questions.as_mut_ptr(), MOST + 1, 0) < 0
        };
        if !(refused && went_on) {
            return 1;
        }
        // Stays, so that all hold theirs at the same time.
        std::thread::sleep(Duration::from_secs(60));
        0
    };
    let mut holders = Vec::new();
    for _ in 0..PROCESSES {
        match fork(holder) {
            Ok(child) => holders.push(child),
            // There is no room for another, which is an answer.
            Err(error) if [Some(libc::EAGAIN), Some(libc::ENOMEM)].contains(&error.raw_os_error()) => break,
            Err(error) => return Err(error.into()),
        }
    }
    std::thread::sleep(Duration::from_millis(1500));
    for mut holder in holders {
        // It may have ended meanwhile.
        let _ = holder.kill();
        // The kernel, too, may have killed it: somebody has to go when memory is short.
        if holder.wait()? != Err(libc::SIGKILL) {
            return Err(failed("a process with a large table was refused what it may have, or given more"));
        }
    }
    works()
}

/// Thousands of small things in the kernel's heap, and then none: their memory is for everybody again. (On Linux, a part of it stays
/// until somebody needs it, so that only Exo-Kernel is asked.)
fn spike() -> Outcome {
    const FILES: usize = 8000;
    /// What CPUs keep for themselves.
    const KEPT: usize = 1 << 10;
    let heap = || -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        let text = std::fs::read_to_string("/proc/meminfo")?;
        let line = text.lines().find_map(|line| line.strip_prefix("Slab:"));
        Ok(line.ok_or_else(|| failed("no Slab"))?.trim().trim_end_matches(" kB").parse()?)
    };
    if !std::path::Path::new("/proc/exo").exists() {
        return Ok(());
    }
    std::fs::create_dir("/tmp/spike")?;
    let before = heap()?;
    for file in 0..FILES {
        std::fs::File::create(format!("/tmp/spike/{file}"))?;
    }
    let most = heap()?;
    std::fs::remove_dir_all("/tmp/spike")?;
    let after = heap()?;
    if most < before + KEPT || after > before + KEPT {
        return Err(failed(format!("the heap had {before} KiB, {most} KiB and then {after} KiB")));
    }
    Ok(())
}

/// Hundreds of threads at once, and then none: few of their stacks in the kernel stay.
fn spike_of_threads() -> Outcome {
    const THREADS: usize = 400;
    /// What the kernel may keep for threads to come, and CPUs for themselves.
    const KEPT: u64 = 4 << 20;
    /// What it has for a thread at least.
    const STACK: u64 = 16 << 10;
    let before = available()?;
    // In a process of its own, whose memory goes with it.
    let spike = || {
        let gate = std::sync::Barrier::new(THREADS + 1);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                let thread = std::thread::Builder::new().stack_size(16 << 10);
                if thread.spawn_scoped(scope, || gate.wait()).is_err() {
                    std::process::exit(2);
                }
            }
            let is_much = available().is_ok_and(|least| least + THREADS as u64 * STACK <= before);
            gate.wait();
            i32::from(!is_much)
        })
    };
    let end = fork(spike)?.wait()?;
    if end != Ok(0) {
        return Err(failed(format!("the process with {THREADS} threads ended with {end:?}")));
    }
    // A thread that has ended gives its stack back when its CPU turns to another.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let mut after = available()?;
    while after + KEPT < before && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(20));
        after = available()?;
    }
    if after + KEPT < before {
        return Err(failed(format!("{before} bytes were available, and then {after}")));
    }
    Ok(())
}
