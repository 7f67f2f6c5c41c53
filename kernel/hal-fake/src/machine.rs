// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine: its CPUs, its clock and its interrupts. The public functions are for who writes tests.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use crate::{MAX_CPUS, cpu::percpu, hooks, mm};

/// What is done in a device's interrupt.
type Handler = Box<dyn FnOnce() + Send>;

struct Cpu {
    has_started: bool,
    waits: bool,
    /// When the timer interrupts.
    timer: Option<u64>,
    reschedule: bool,
    devices: VecDeque<Handler>,
}

struct State {
    cpus: [Cpu; MAX_CPUS],
    panic: Option<Box<dyn Any + Send>>,
}

static STATE: Mutex<State> = Mutex::new(State {
    cpus: [const {
        Cpu { has_started: false, waits: false, timer: None, reschedule: false, devices: VecDeque::new() }
    }; MAX_CPUS],
    panic: None,
});
/// Changed with [`STATE`] locked.
static NOW: AtomicU64 = AtomicU64::new(0);
/// A CPU may have an interrupt.
static INTERRUPTED: Condvar = Condvar::new();
/// Nothing happens any more, or something has panicked.
static STOPPED: Condvar = Condvar::new();

/// Why a machine did not come to rest.
#[derive(Debug)]
pub enum Failure {
    /// A task or an interrupt has panicked outside of what the test catches: with this.
    Panicked(Box<dyn Any + Send>),
    /// It is still busy after the time that it was given.
    Busy,
}

impl State {
    fn is_pending(&self, cpu: usize) -> bool {
        let it = &self.cpus[cpu];
        let is_there = cpu < percpu::cpu_count();
        is_there && (it.reschedule || !it.devices.is_empty() || it.timer.is_some_and(|at| at <= now_ns()))
    }

    fn all_wait(&self) -> bool {
        (0..percpu::cpu_count()).all(|cpu| self.cpus[cpu].waits && !self.is_pending(cpu))
    }

    fn next_timer(&self) -> Option<u64> {
        self.cpus[..percpu::cpu_count()].iter().filter_map(|cpu| cpu.timer).min()
    }

    /// If all CPUs wait, moves the clock to the next timer, if there is one.
    fn let_time_pass(&self) {
        match self.next_timer().filter(|_| self.all_wait()) {
            Some(next) => move_clock(next),
            None if self.all_wait() => {
                STOPPED.notify_all();
            }
            None => {}
        }
    }
}

/// With the state locked.
fn move_clock(to: u64) {
    NOW.fetch_max(to, Ordering::SeqCst);
    INTERRUPTED.notify_all();
}

pub(crate) fn now_ns() -> u64 {
    NOW.load(Ordering::SeqCst)
}

pub(crate) fn advance(ns: u64) {
    let _state = STATE.lock();
    move_clock(now_ns() + ns);
}

/// How long an interrupt window takes: see [`time::set_window`](crate::time::set_window).
static WINDOW: AtomicU64 = AtomicU64::new(0);

pub(crate) fn set_window(ns: u64) {
    WINDOW.store(ns, Ordering::Relaxed);
}

pub(crate) fn take_time_for_window() {
    let ns = WINDOW.load(Ordering::Relaxed);
    if ns > 0 {
        advance(ns);
    }
}

pub(crate) fn compute(cpu: usize, ns: u64) -> u64 {
    let state = STATE.lock();
    let now = now_ns();
    if state.is_pending(cpu) {
        return ns;
    }
    // Another CPU's timer that is due already is its own matter.
    let timers = state.cpus[..percpu::cpu_count()].iter().filter_map(|cpu| cpu.timer);
    let step = timers.filter(|&at| at > now).map(|at| at - now).min().unwrap_or(ns).min(ns);
    move_clock(now + step);
    ns - step
}

pub(crate) fn set_timer(cpu: usize, ns: u64) {
    STATE.lock().cpus[cpu].timer = Some(now_ns().saturating_add(ns));
}

/// A CPU that this machine lacks, but an earlier one had, stays asleep.
pub(crate) fn reschedule(cpu: usize) {
    STATE.lock().cpus[cpu].reschedule = cpu < percpu::cpu_count();
    INTERRUPTED.notify_all();
}

pub(crate) fn wait_for_interrupt(cpu: usize) {
    let mut state = STATE.lock();
    state.cpus[cpu].waits = true;
    loop {
        state.let_time_pass();
        if state.is_pending(cpu) {
            break;
        }
        INTERRUPTED.wait(&mut state);
    }
    state.cpus[cpu].waits = false;
    drop(state);
    take_interrupts(cpu);
}

/// Each kind once: what comes meanwhile comes next time.
pub(crate) fn take_interrupts(cpu: usize) {
    let mut state = STATE.lock();
    let own = &mut state.cpus[cpu];
    own.reschedule = false;
    let timer = own.timer.take_if(|at| *at <= now_ns());
    let devices = std::mem::take(&mut own.devices);
    drop(state);
    if timer.is_some() {
        (hooks::get().timer)();
    }
    for handler in devices {
        handler();
    }
}

/// A thread of the machine has ended by a panic.
pub(crate) fn report_panic(panic: Box<dyn Any + Send>) {
    STATE.lock().panic.get_or_insert(panic);
    STOPPED.notify_all();
}

/// Starts a machine with `cpus` CPUs, which all wait, no program's memory and plenty of frames. Its clock is that of the machine before,
/// which has come to rest, moved on to a full number of `round_ns` nanoseconds.
pub fn power_on(cpus: usize, round_ns: u64) {
    assert!((1..=MAX_CPUS).contains(&cpus), "1 to {MAX_CPUS} CPUs");
    mm::paging::unload();
    mm::frame::reset();
    mm::user::reset();
    set_window(0);
    let mut state = STATE.lock();
    percpu::set_cpu_count(cpus);
    move_clock((now_ns() / round_ns + 1) * round_ns);
    for cpu in 0..cpus {
        if !std::mem::replace(&mut state.cpus[cpu].has_started, true) {
            std::thread::spawn(move || run_cpu(cpu));
        }
    }
}

fn run_cpu(cpu: usize) {
    percpu::set_cpu_index(cpu);
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| (hooks::get().cpu_main)()));
    report_panic(panic);
}

/// Has `handler` run in an interrupt of CPU `cpu`.
pub fn interrupt(cpu: usize, handler: impl FnOnce() + Send + 'static) {
    STATE.lock().cpus[cpu].devices.push_back(Box::new(handler));
    INTERRUPTED.notify_all();
}

/// Waits outside of the machine until all CPUs wait and no timer is set: from then on nothing happens any more.
pub fn wait_until_at_rest(limit: Duration) -> Result<(), Failure> {
    let end = Instant::now() + limit;
    let mut state = STATE.lock();
    loop {
        if let Some(panic) = state.panic.take() {
            return Err(Failure::Panicked(panic));
        }
        if state.all_wait() && state.next_timer().is_none() {
            return Ok(());
        }
        if STOPPED.wait_until(&mut state, end).timed_out() {
            return Err(Failure::Busy);
        }
    }
}
