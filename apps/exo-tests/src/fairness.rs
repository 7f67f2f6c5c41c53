// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nobody starves: whatever others do on the same CPU, a program that only counts gets at least two fifths of an even share. And one with
//! little weight gets that too while somebody waits for a lock of its.

use std::io::{self, Read as _, Write as _};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use exo_user::Endpoint;

use crate::limits::{Child, fork};
use crate::uring::pipe;
use crate::{Outcome, failed};

/// How long is counted.
const WINDOW: Duration = Duration::from_millis(400);
/// Of an even share, at least.
const LEAST: f64 = 0.4;

type Group = io::Result<Vec<Child>>;

/// What others do: a name, and what starts them.
type Others = (&'static str, fn() -> Group);

const OTHERS: [Others; 6] = [
    ("a program that counts too", || Ok(vec![fork(|| count(&AtomicU64::new(0)))?])),
    ("two that send each other messages", messages),
    ("two that wake each other through pipes", pipes),
    ("two that yield all the time", || Ok(vec![fork(yields)?, fork(yields)?])),
    ("one that sleeps for a microsecond each time", || Ok(vec![fork(naps)?])),
    ("one with a timer of a microsecond", || Ok(vec![fork(timer)?])),
];

pub(crate) fn run() -> Outcome {
    on_first_cpu()?;
    let counted = shared()?;
    let mut counter = fork(|| count(counted))?;
    let alone = counted_in_window(counted);
    let mut short = String::new();
    for (name, start) in OTHERS {
        let mut others = start()?;
        // They and the counter have found their places.
        std::thread::sleep(WINDOW / 8);
        let share = counted_in_window(counted) / alone * (others.len() + 1) as f64;
        for other in &mut others {
            other.kill()?;
            let _ = other.wait()?;
        }
        println!("beside {name}: {:.0} % of an even share", share * 100.0);
        if share < LEAST {
            short += &format!("; beside {name} it got {:.0} %", share * 100.0);
        }
    }
    short += &beside_real_time(counted, alone)?;
    counter.kill()?;
    let _ = counter.wait()?;
    short += &lent_weight(counted, alone)?;
    if short.is_empty() { Ok(()) } else { Err(failed(format!("a counter starves{short}"))) }
}

/// A program with a real-time priority that never waits leaves others a twentieth of each second. What they got otherwise.
fn beside_real_time(
    counted: &AtomicU64,
    alone: f64,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    // Two periods. It ends by itself, should nobody else come to end it.
    let time = Duration::from_secs(2);
    let mut real_time = fork(|| {
        let parameters = libc::sched_param { sched_priority: 1 };
        // SAFETY: the kernel reads the structure.
        if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) } != 0 {
            return 1;
        }
        let begin = Instant::now();
        while begin.elapsed() < time {}
        0
    })?;
    let (begin, before) = (Instant::now(), counted.load(Ordering::Relaxed));
    let end = real_time.wait()?;
    if end != Ok(0) {
        return Ok(format!("; one with a real-time priority ended with {end:?}"));
    }
    let windows = begin.elapsed().as_secs_f64() / WINDOW.as_secs_f64();
    let share = (counted.load(Ordering::Relaxed) - before) as f64 / alone / windows;
    println!("beside one with a real-time priority: {:.1} % of the CPU", share * 100.0);
    // A twentieth less what this process took of it, and a period may have begun before.
    if share < 0.02 {
        Ok(format!("; beside one with a real-time priority it got {:.1} %", share * 100.0))
    } else {
        Ok(String::new())
    }
}

/// A program with the least weight holds a lock and counts beside another: it gets next to nothing until somebody waits for the lock. What
/// it got otherwise.
fn lent_weight(counted: &AtomicU64, alone: f64) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let page = shared()?;
    // SAFETY: the page is never unmapped, and its first half word is used as this alone.
    let word = unsafe { AtomicU32::from_ptr(std::ptr::from_ref(page).cast::<u32>().cast_mut()) };
    // SAFETY: the word stays where it is; the call has no other memory.
    let lock = || unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_LOCK_PI, 0, std::ptr::null::<()>())
    };
    let mut owner = fork(|| {
        // SAFETY: concerns this process alone.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
        lock();
        count(counted)
    })?;
    while word.load(Ordering::Relaxed) == 0 {
        std::thread::sleep(WINDOW / 100);
    }
    let mut other = fork(|| count(&AtomicU64::new(0)))?;
    std::thread::sleep(WINDOW / 8);
    let before = counted_in_window(counted) / alone * 2.0;
    let mut waiter = fork(|| {
        lock();
        0
    })?;
    std::thread::sleep(WINDOW / 8);
    let lent = counted_in_window(counted) / alone * 2.0;
    for child in [&mut waiter, &mut other, &mut owner] {
        child.kill()?;
        let _ = child.wait()?;
    }
    println!(
        "with a lock that nobody waits for: {:.0} % of an even share, and then {:.0} %",
        before * 100.0,
        lent * 100.0
    );
    if before < LEAST / 2.0 && lent >= LEAST {
        Ok(String::new())
    } else {
        Ok(format!(
            "; who holds a lock got {:.0} % while nobody waited for it, and {:.0} % then",
            before * 100.0,
            lent * 100.0
        ))
    }
}

fn on_first_cpu() -> io::Result<()> {
    // SAFETY: a set of CPUs may be all zeros, and the kernel reads it.
    let result = unsafe {
        let mut cpus: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(0, &mut cpus);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &cpus)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A number that children share.
fn shared() -> io::Result<&'static AtomicU64> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping of a page, which stays and is zero; an AtomicU64 may be all zeros.
    unsafe {
        let page = libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0);
        if page == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(&*page.cast::<AtomicU64>())
        }
    }
}

fn counted_in_window(counted: &AtomicU64) -> f64 {
    let before = counted.load(Ordering::Relaxed);
    std::thread::sleep(WINDOW);
    (counted.load(Ordering::Relaxed) - before) as f64
}

fn count(counted: &AtomicU64) -> i32 {
    loop {
        counted.fetch_add(1, Ordering::Relaxed);
    }
}

fn messages() -> Group {
    let endpoint = Endpoint::new()?;
    let server = fork(|| {
        let mut request = endpoint.receive();
        while let Ok(message) = request {
            request = endpoint.answer_and_receive(message.caller, message.words);
        }
        0
    })?;
    let client = fork(|| {
        while endpoint.call([1, 2, 3]).is_ok() {}
        0
    })?;
    Ok(vec![server, client])
}

fn pipes() -> Group {
    let ((mut requests, mut ask), (mut answers, mut answer)) = (pipe()?, pipe()?);
    let mut word = [0; 8];
    let server = fork(|| {
        while requests.read_exact(&mut word).is_ok() && answer.write_all(&word).is_ok() {}
        0
    })?;
    let client = fork(|| {
        while ask.write_all(&word).is_ok() && answers.read_exact(&mut word).is_ok() {}
        0
    })?;
    Ok(vec![server, client])
}

fn yields() -> i32 {
    loop {
        std::thread::yield_now();
    }
}

fn naps() -> i32 {
    loop {
        std::thread::sleep(Duration::from_micros(1));
    }
}

extern "C" fn nothing(_signal: libc::c_int) {}

fn timer() -> i32 {
    let often = libc::timeval { tv_sec: 0, tv_usec: 1 };
    let timer = libc::itimerval { it_interval: often, it_value: often };
    // SAFETY: the handler does nothing; the kernel reads the structure.
    unsafe {
        libc::signal(libc::SIGALRM, nothing as extern "C" fn(libc::c_int) as libc::sighandler_t);
        libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut());
        loop {
            libc::pause();
        }
    }
}
