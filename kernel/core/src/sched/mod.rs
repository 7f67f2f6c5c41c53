// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scheduler: one run queue for each CPU in the order of [`policy`], time slices, idle CPUs take work from busy ones.
//!
//! A task is in at most one queue (`queued`). It may be queued while it still runs, having been woken before it came to sleep; only its
//! own CPU takes it from the queue then. Nothing here runs concurrently on one CPU: interrupts are off in the kernel.

pub mod mutex;
pub mod policy;
pub mod spans;
pub mod timer;
pub mod wait;

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

use alloc::collections::VecDeque;

use exo_hal::{
    MAX_CPUS, cpu,
    cpu::percpu::{cpu_count, cpu_index},
    dev::apic,
    mm::paging,
    once::Once,
    sync::SpinLock,
    thread as machine, time, tlb,
};

use exo_logic::{inheritance::Priority, sleep::RunState};

use crate::{
    account::Event,
    thread::{self, AsThread, Running, Thread, ThreadRef, running},
};
use policy::{BEGINNING, FAIR, PREEMPTION_NS, Policy, ROUND_NS, WAKE_UP_LEAD};

/// How long a task runs while others wait.
pub const SLICE_NS: u64 = 10_000_000;
/// Of each so many nanoseconds …
const REAL_TIME_PERIOD_NS: u64 = 1_000_000_000;
/// … real-time tasks get so many while others wait, as on Linux (`sched_rt_runtime_us`): one that never waits stops nobody for good.
const REAL_TIME_SHARE_NS: u64 = 950_000_000;

/// A task in a run queue, which is in the order of the keys.
struct Entry {
    key: u64,
    task: ThreadRef,
}

/// On cache lines of its own: a CPU reads its own on every way back to user mode, and others must not slow that down.
#[repr(align(128))]
struct Cpu {
    queue: SpinLock<VecDeque<Entry>>,
    length: AtomicUsize,
    /// The running task's place in the order as of its switch, the last for the idle task.
    running_key: AtomicU64,
    /// How far virtual time has come: that of the task that was picked last, and never less than before.
    virtual_now: AtomicU64,
    /// When the period of real-time tasks began, and what they have had of it.
    real_time_since: AtomicU64,
    real_time_ns: AtomicU64,
    idle: Once<ThreadRef>,
    /// A switch is due before the next return to user mode.
    reschedule: AtomicBool,
    /// … since the running task's turn among its equals is over.
    turn_is_over: AtomicBool,
    /// When the running task got the CPU, in nanoseconds.
    since: AtomicU64,
    switches: AtomicU64,
    idle_ns: AtomicU64,
}

static CPUS: [Cpu; MAX_CPUS] = [const {
    Cpu {
        queue: SpinLock::new(VecDeque::new()),
        length: AtomicUsize::new(0),
        running_key: AtomicU64::new(u64::MAX),
        virtual_now: AtomicU64::new(BEGINNING),
        real_time_since: AtomicU64::new(0),
        real_time_ns: AtomicU64::new(0),
        idle: Once::new(),
        reschedule: AtomicBool::new(false),
        turn_is_over: AtomicBool::new(false),
        since: AtomicU64::new(0),
        switches: AtomicU64::new(0),
        idle_ns: AtomicU64::new(0),
    }
}; MAX_CPUS];

/// CPUs that have nothing to do.
static IDLE: AtomicU64 = AtomicU64::new(0);

#[inline]
fn this_cpu() -> &'static Cpu {
    &CPUS[cpu_index()]
}

/// Whether another task waits for this CPU.
#[inline]
pub fn has_waiting() -> bool {
    this_cpu().length.load(Ordering::Relaxed) > 0
}

/// Whether a switch is due.
#[inline]
pub fn should_reschedule() -> bool {
    this_cpu().reschedule.load(Ordering::Relaxed)
}

/// Switches between tasks since boot, and nanoseconds that each CPU was idle.
pub fn statistics(cpu: usize) -> (u64, u64) {
    (CPUS[cpu].switches.load(Ordering::Relaxed), CPUS[cpu].idle_ns.load(Ordering::Relaxed))
}

/// Tasks that run or wait to run.
pub fn runnable_count() -> usize {
    (0..cpu_count())
        .map(|cpu| {
            CPUS[cpu].length.load(Ordering::Relaxed)
                + usize::from(IDLE.load(Ordering::Relaxed) & (1 << cpu) == 0)
        })
        .sum()
}

/// Where a task goes in its queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Enqueue {
    /// It has slept, or is new.
    Woken,
    /// The same, and who woke it is about to wait itself.
    HandedOver,
    /// It ran until now: behind those of the same key …
    Behind,
    /// … or before them, since somebody better took the CPU from it.
    Before,
}

impl Cpu {
    fn insert(&self, task: ThreadRef, before_equals: bool) {
        let mut queue = self.queue.lock();
        // With the queue locked: who changes the key looks for the task in here afterwards.
        let key = task.schedule.key();
        if !before_equals && queue.back().is_none_or(|last| last.key <= key) {
            queue.push_back(Entry { key, task });
        } else {
            let goes_before = |entry: &Entry| if before_equals { entry.key < key } else { entry.key <= key };
            let at = queue.partition_point(goes_before);
            queue.insert(at, Entry { key, task });
        }
        self.length.store(queue.len(), Ordering::Relaxed);
    }

    /// Whether real-time tasks have had their share of this period, with `more` nanoseconds that are not counted yet.
    fn real_time_is_used_up(&self, more: u64) -> bool {
        let now = time::now_ns();
        if now.saturating_sub(self.real_time_since.load(Ordering::Relaxed)) >= REAL_TIME_PERIOD_NS {
            self.real_time_since.store(now, Ordering::Relaxed);
            self.real_time_ns.store(0, Ordering::Relaxed);
        }
        self.real_time_ns.load(Ordering::Relaxed) + more >= REAL_TIME_SHARE_NS
    }
}

/// A task counts virtual time by the queue of its CPU, and goes over to that of another.
#[inline(always)]
fn move_to(task: &Thread, cpu: usize) {
    let from = task.cpu.load(Ordering::Relaxed);
    if from != cpu {
        task.cpu.store(cpu, Ordering::Relaxed);
        let virtual_now = |cpu: usize| CPUS[cpu].virtual_now.load(Ordering::Relaxed);
        task.schedule.moves(virtual_now(from), virtual_now(cpu));
    }
}

fn enqueue(task: ThreadRef, cpu: usize, how: Enqueue) {
    if task.queued.swap(true, Ordering::AcqRel) {
        return;
    }
    move_to(&task, cpu);
    let that = &CPUS[cpu];
    if matches!(how, Enqueue::Woken | Enqueue::HandedOver) {
        task.schedule.wake_at(that.virtual_now.load(Ordering::Relaxed));
    }
    let key = task.schedule.key();
    let lead = if key < FAIR { 0 } else { WAKE_UP_LEAD };
    let takes_cpu = how == Enqueue::Woken && key + lead < that.running_key.load(Ordering::Relaxed);
    if takes_cpu {
        task.schedule.charge(PREEMPTION_NS);
    }
    that.insert(task, how == Enqueue::Before);
    if cpu == cpu_index() {
        if takes_cpu {
            that.reschedule.store(true, Ordering::Relaxed);
        }
        return;
    }
    // Between the queue's new length and the look at who idles: a CPU that goes idle does it the other way round.
    fence(Ordering::SeqCst);
    if takes_cpu || IDLE.load(Ordering::Relaxed) & (1 << cpu) != 0 {
        that.reschedule.store(true, Ordering::Relaxed);
        apic::reschedule(cpu);
    }
}

/// The CPU with the shortest queue that `task` may use, idle ones first.
fn least_busy(task: &Thread) -> usize {
    let allowed = task.affinity.load(Ordering::Relaxed);
    let idle = IDLE.load(Ordering::Relaxed) & allowed;
    if idle != 0 {
        return idle.trailing_zeros() as usize;
    }
    let candidates = (0..cpu_count()).filter(|cpu| allowed & (1 << cpu) != 0);
    candidates.min_by_key(|&cpu| CPUS[cpu].length.load(Ordering::Relaxed)).unwrap_or(0)
}

/// Starts a new task.
pub fn start(task: impl Into<ThreadRef>) {
    let task = task.into();
    let cpu = least_busy(&task);
    enqueue(task, cpu, Enqueue::Woken);
}

/// Makes a sleeping task runnable; true if it slept.
#[inline]
pub fn wake(task: &impl AsThread) -> bool {
    let slept = task.as_thread().state.wake();
    if slept {
        enqueue_woken(task.counted());
    }
    slept
}

fn enqueue_woken(task: ThreadRef) {
    // It goes back to its last CPU, whose caches know it; a CPU that idles will take it over at the next tick if it has to
    // wait there for long.
    let mut cpu = task.cpu.load(Ordering::Relaxed);
    if !task.machine.is_running() && task.affinity.load(Ordering::Relaxed) & (1 << cpu) == 0 {
        cpu = least_busy(&task);
    }
    enqueue(task, cpu, Enqueue::Woken);
}

/// Makes a sleeping task runnable on this CPU, for a hand-off: who calls this is about to wait itself.
#[inline]
pub fn wake_here(task: &impl AsThread) {
    let (thread, own) = (task.as_thread(), cpu_index());
    if thread.machine.is_running() || thread.affinity.load(Ordering::Relaxed) & (1 << own) == 0 {
        wake(task);
    } else if thread.state.wake() {
        enqueue(task.counted(), own, Enqueue::HandedOver);
    }
}

/// Changes a task's place in the order by `change`, which is told how far its queue has come.
fn reorder(task: &Thread, change: impl FnOnce(u64)) {
    change(CPUS[task.cpu.load(Ordering::Relaxed)].virtual_now.load(Ordering::Relaxed));
    // Who queues the task at this moment says where and then reads the key; this does it the other way round.
    fence(Ordering::SeqCst);
    let cpu = task.cpu.load(Ordering::Relaxed);
    let waiting = if task.queued.load(Ordering::Relaxed) { take_from_queue(task, cpu) } else { None };
    if let Some(task) = waiting {
        // `queued` has stayed set all the while: nobody else puts it into a queue.
        task.queued.store(false, Ordering::Release);
        enqueue(task, cpu, Enqueue::Woken);
    } else if task.is_running_here() {
        CPUS[cpu_index()].running_key.store(task.schedule.key(), Ordering::Relaxed);
        CPUS[cpu_index()].reschedule.store(true, Ordering::Relaxed);
    } else if task.machine.is_running() {
        CPUS[cpu].running_key.store(task.schedule.key(), Ordering::Relaxed);
        CPUS[cpu].reschedule.store(true, Ordering::Relaxed);
        if cpu != cpu_index() {
            apic::reschedule(cpu);
        }
    }
}

fn take_from_queue(task: &Thread, cpu: usize) -> Option<ThreadRef> {
    let mut queue = CPUS[cpu].queue.lock();
    let at = queue.iter().position(|entry| entry.task.is(task));
    let entry = at.and_then(|at| queue.remove(at))?;
    CPUS[cpu].length.store(queue.len(), Ordering::Relaxed);
    Some(entry.task)
}

/// Sets a task's policy.
pub fn set_policy(task: &Thread, policy: Policy) {
    reorder(task, |now| task.schedule.set(policy, now));
}

/// Lends a task the priority of one that waits for it; [`NOTHING`](exo_logic::inheritance::NOTHING) takes it back.
pub fn lend(task: &Thread, priority: Priority) {
    reorder(task, |now| task.schedule.lend(priority, now));
}

/// Makes the task notice new work (a signal) soon: wakes it, or interrupts the CPU that runs it.
pub fn prod(task: &impl AsThread) {
    let thread = task.as_thread();
    if !wake(task) && thread.machine.is_running() {
        let cpu = thread.cpu.load(Ordering::Relaxed);
        if cpu != cpu_index() {
            apic::reschedule(cpu);
        }
    }
}

/// Takes the first task of a queue that is to run instead of `stays`, the running task if that can go on.
fn take(from: usize, steal: bool, stays: Option<&Thread>) -> Option<ThreadRef> {
    if CPUS[from].length.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let own = cpu_index();
    let mut queue = CPUS[from].queue.lock();
    // A task that is still on its old stack is left to the CPU that it is on.
    let fit = |entry: &Entry| {
        let task = &entry.task;
        let allowed = !steal || task.affinity.load(Ordering::Relaxed) & (1 << own) != 0;
        allowed && (!task.machine.is_running() || !steal && task.is_running_here())
    };
    let is_real_time = |key: u64| key < FAIR;
    let stays = stays.map_or(u64::MAX, |task| task.schedule.key());
    let first = queue.front()?;
    let entry = if !is_real_time(first.key) && !is_real_time(stays) && fit(first) {
        queue.pop_front()?
    } else {
        // A real-time task that goes on has not been charged for its turn so far.
        let uncounted = if is_real_time(stays) { running_ns() } else { 0 };
        take_other(&mut queue, fit, stays, CPUS[from].real_time_is_used_up(uncounted))?
    };
    CPUS[from].length.store(queue.len(), Ordering::Relaxed);
    let task = entry.task;
    task.queued.store(false, Ordering::Release);
    if steal {
        move_to(&task, own);
    }
    Some(task)
}

/// The first that is fit, where real-time tasks are among those that want to run. `stays` is the key of the running task, or the largest
/// number if that does not go on.
#[cold]
fn take_other(
    queue: &mut VecDeque<Entry>,
    fit: impl Fn(&Entry) -> bool,
    stays: u64,
    real_time_is_used_up: bool,
) -> Option<Entry> {
    let at = queue.iter().position(&fit)?;
    let key = queue.get(at)?.key;
    if key.min(stays) < FAIR && real_time_is_used_up {
        match queue.iter().position(|entry| entry.key >= FAIR && fit(entry)) {
            Some(fair) => return queue.remove(fair),
            None if stays != u64::MAX => return None,
            None => {}
        }
    } else if stays < FAIR && key > stays {
        // A real-time task goes on before worse ones, and others before nobody.
        return None;
    }
    queue.remove(at)
}

/// The next task for this CPU.
fn pick() -> Option<ThreadRef> {
    let own = cpu_index();
    loop {
        let found = take(own, false, None)
            .or_else(|| (1..cpu_count()).find_map(|step| take((own + step) % cpu_count(), true, None)));
        let task = match found {
            Some(task) => task,
            // A task that comes from another CPU is about to leave its stack there.
            None if has_waiting() => {
                tlb::answer();
                core::hint::spin_loop();
                continue;
            }
            None => return None,
        };
        if task.state.get() == RunState::Dead {
            continue;
        }
        if task.affinity.load(Ordering::Relaxed) & (1 << own) == 0 && !task.machine.is_running() {
            let cpu = least_busy(&task);
            enqueue(task, cpu, Enqueue::Woken);
            continue;
        }
        return Some(task);
    }
}

/// Gives the CPU to the best of the tasks that wait for it, if that is not worse than the running one. A task whose state is not
/// RUNNABLE comes back when it was woken; a dead one never.
pub fn schedule() {
    switch_away(Enqueue::Before);
}

/// The same, and the running task goes behind its equals.
pub fn give_way() {
    switch_away(Enqueue::Behind);
}

#[inline(always)]
fn switch_away(how: Enqueue) {
    let this = this_cpu();
    this.reschedule.store(false, Ordering::Relaxed);
    let task = running();
    let runnable = task.state.is_runnable();
    let may_stay = runnable && task.affinity.load(Ordering::Relaxed) & (1 << cpu_index()) != 0;
    if may_stay && this.length.load(Ordering::Relaxed) == 0 {
        return;
    }
    let next = if may_stay {
        take(cpu_index(), false, Some(&task)).filter(|t| t.state.get() != RunState::Dead)
    } else {
        pick()
    };
    let Some(next) = next.or_else(|| if may_stay { None } else { this.idle.get().cloned() }) else {
        return;
    };
    next.state.set_runnable();
    if next.is(&task) {
        return;
    }
    let how = runnable.then(|| {
        let turn_is_over = this.turn_is_over.swap(false, Ordering::Relaxed);
        if turn_is_over { Enqueue::Behind } else { how }
    });
    switch_to(next, &task, how);
}

/// Ends the running task for good.
pub fn end_current() -> ! {
    running().state.end();
    loop {
        schedule();
    }
}

/// Switches to `next`; the running task goes to `how` in its queue, if it is still runnable.
fn switch_to(next: ThreadRef, task: &Running, how: Option<Enqueue>) {
    let this = this_cpu();
    this.charge(task);
    this.switches.fetch_add(1, Ordering::Relaxed);
    task.account.count(if how.is_some() { Event::Preemption } else { Event::Wait }, 1);
    this.runs_next(&next);
    if !next.is_idle() {
        thread::activate_memory(&next);
    }
    if let Some(how) = how.filter(|_| !task.is_idle()) {
        let own = task.affinity.load(Ordering::Relaxed) & (1 << cpu_index()) != 0;
        enqueue(task.counted(), if own { cpu_index() } else { least_busy(task) }, how);
    }
    machine::switch(next);
    finish_switch();
}

impl Cpu {
    /// Counts the running task's time up to now.
    fn charge(&self, task: &Thread) {
        let now = time::now_ns();
        let ran = now.saturating_sub(self.since.swap(now, Ordering::Relaxed));
        task.run_ns.fetch_add(ran, Ordering::Relaxed);
        task.schedule.charge(ran);
        if task.schedule.key() < FAIR {
            self.real_time_ns.fetch_add(ran, Ordering::Relaxed);
        }
    }

    fn runs_next(&self, next: &Thread) {
        let key = if next.is_idle() { u64::MAX } else { next.schedule.key() };
        self.running_key.store(key, Ordering::Relaxed);
        if key > self.virtual_now.load(Ordering::Relaxed) && !next.is_idle() {
            self.virtual_now.store(key, Ordering::Relaxed);
        }
    }
}

/// What the first code after a switch has to do.
#[inline(always)]
pub fn finish_switch() {
    timer::arm_tick();
    // Tasks that end, or wait again, may follow each other for long without one that comes to user mode.
    spans::let_interrupts_in();
}

/// Nanoseconds that the running task has had since it got the CPU.
pub fn running_ns() -> u64 {
    time::now_ns().saturating_sub(this_cpu().since.load(Ordering::Relaxed))
}

/// The timer's tick: ends the time slice, and lets idle CPUs help.
pub fn tick() {
    let this = this_cpu();
    let task = running();
    let ran = running_ns();
    if !task.is_idle() {
        thread::tick(&task);
        // Who wakes up or is new counts from here, also while nobody else has run for long.
        let key = task.schedule.key_after(ran);
        this.running_key.store(key, Ordering::Relaxed);
        this.virtual_now.fetch_max(key, Ordering::Relaxed);
    }
    if this.length.load(Ordering::Relaxed) == 0 {
        return;
    }
    let first = this.queue.lock().front().map_or(u64::MAX, |entry| entry.key);
    let key = task.schedule.key_after(ran);
    let is_real_time = key < FAIR;
    let round_is_over =
        is_real_time && first == key && task.schedule.takes_turns() && ran + SLICE_NS / 10 >= ROUND_NS;
    let over = first < key || is_real_time && this.real_time_is_used_up(ran);
    if over || round_is_over {
        this.turn_is_over.store(round_is_over, Ordering::Relaxed);
        this.reschedule.store(true, Ordering::Relaxed);
    }
    if let Some(cpu) = tlb::bits(IDLE.load(Ordering::Relaxed)).next() {
        apic::reschedule(cpu);
    }
}

/// The life of a CPU that has become ready: runs tasks, and waits when there are none.
pub fn run_cpu(idle: impl Into<ThreadRef>) -> ! {
    let idle = idle.into();
    let this = this_cpu();
    this.idle.set(idle.clone());
    let own = 1u64 << cpu_index();
    machine::adopt(idle);
    loop {
        IDLE.fetch_or(own, Ordering::SeqCst);
        let start = time::now_ns();
        // A task that is queued from here on comes with an interrupt, which ends the wait below.
        let next = loop {
            if let Some(task) = pick() {
                break task;
            }
            paging::enter_lazy_tlb();
            timer::arm_idle();
            cpu::wait_for_interrupt();
            cpu::span::begin();
        };
        IDLE.fetch_and(!own, Ordering::SeqCst);
        this.idle_ns.fetch_add(time::now_ns().saturating_sub(start), Ordering::Relaxed);
        next.state.set_runnable();
        this.reschedule.store(false, Ordering::Relaxed);
        timer::leave_idle();
        let idle = running();
        switch_to(next, &idle, None);
    }
}

/// The CPUs that a task may use have changed: if it runs where it may not, it is moved.
pub fn migrate(task: &impl AsThread) {
    if task.as_thread().is_running_here() {
        schedule();
    } else {
        prod(task);
    }
}
