// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scheduler: one run queue for each CPU, round robin with time slices, idle CPUs take work from busy ones.
//!
//! A task is in at most one queue (`queued`). It may be queued while it still runs, having been woken before it came to sleep; only its
//! own CPU takes it from the queue then. Nothing here runs concurrently on one CPU: interrupts are off in the kernel.

pub mod mutex;
pub mod timer;
pub mod wait;

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use alloc::{collections::VecDeque, sync::Arc};

use exo_hal::{
    MAX_CPUS,
    boot::spin_once::Once,
    cpu,
    cpu::percpu::{cpu_count, cpu_index},
    dev::apic,
    mm::user_table,
    sync::SpinLock,
    thread, time, tlb,
};

use crate::task::{Current, Task, current};

/// How long a task runs while others wait.
pub const SLICE_NS: u64 = 10_000_000;

/// A task's `state`.
pub mod state {
    /// Runs, or waits in a run queue.
    pub const RUNNABLE: u8 = 0;
    /// Waits for something; `wake` makes it runnable.
    pub const SLEEPING: u8 = 1;
    /// Has ended; never runs again.
    pub const DEAD: u8 = 2;
}

/// On cache lines of its own: a CPU reads its own on every way back to user mode, and others must not slow that down.
#[repr(align(128))]
struct Cpu {
    queue: SpinLock<VecDeque<Arc<Task>>>,
    length: AtomicUsize,
    idle: Once<Arc<Task>>,
    /// A switch is due before the next return to user mode.
    reschedule: AtomicBool,
    /// When the running task got the CPU, in nanoseconds.
    since: AtomicU64,
    switches: AtomicU64,
    idle_ns: AtomicU64,
}

static CPUS: [Cpu; MAX_CPUS] = [const {
    Cpu {
        queue: SpinLock::new(VecDeque::new()),
        length: AtomicUsize::new(0),
        idle: Once::new(),
        reschedule: AtomicBool::new(false),
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

fn enqueue(task: Arc<Task>, cpu: usize) {
    if task.queued.swap(true, Ordering::AcqRel) {
        return;
    }
    task.cpu.store(cpu, Ordering::Relaxed);
    {
        let mut queue = CPUS[cpu].queue.lock();
        queue.push_back(task);
        CPUS[cpu].length.store(queue.len(), Ordering::Relaxed);
    }
    if cpu != cpu_index() && IDLE.load(Ordering::SeqCst) & (1 << cpu) != 0 {
        apic::reschedule(cpu);
    }
}

/// The CPU with the shortest queue that `task` may use, idle ones first.
fn least_busy(task: &Task) -> usize {
    let allowed = task.affinity.load(Ordering::Relaxed);
    let idle = IDLE.load(Ordering::Relaxed) & allowed;
    if idle != 0 {
        return idle.trailing_zeros() as usize;
    }
    let candidates = (0..cpu_count()).filter(|cpu| allowed & (1 << cpu) != 0);
    candidates.min_by_key(|&cpu| CPUS[cpu].length.load(Ordering::Relaxed)).unwrap_or(0)
}

/// Starts a new task.
pub fn start(task: Arc<Task>) {
    let cpu = least_busy(&task);
    enqueue(task, cpu);
}

/// Makes a sleeping task runnable; true if it slept.
pub fn wake(task: &Arc<Task>) -> bool {
    if task
        .state
        .compare_exchange(state::SLEEPING, state::RUNNABLE, Ordering::AcqRel, Ordering::Relaxed)
        .is_err()
    {
        return false;
    }
    // It goes back to its last CPU, whose caches know it; a CPU that idles will take it over at the next tick if it has to
    // wait there for long.
    let mut cpu = task.cpu.load(Ordering::Relaxed);
    if !task.thread.is_running() && task.affinity.load(Ordering::Relaxed) & (1 << cpu) == 0 {
        cpu = least_busy(task);
    }
    enqueue(task.clone(), cpu);
    true
}

/// Makes a sleeping task runnable as the next one on this CPU, for a hand-off: who calls this is about to wait itself.
pub fn wake_next(task: &Arc<Task>) {
    let own = cpu_index();
    if task.thread.is_running() || task.affinity.load(Ordering::Relaxed) & (1 << own) == 0 {
        wake(task);
        return;
    }
    let slept =
        task.state.compare_exchange(state::SLEEPING, state::RUNNABLE, Ordering::AcqRel, Ordering::Relaxed);
    if slept.is_ok() && !task.queued.swap(true, Ordering::AcqRel) {
        task.cpu.store(own, Ordering::Relaxed);
        let mut queue = CPUS[own].queue.lock();
        queue.push_front(task.clone());
        CPUS[own].length.store(queue.len(), Ordering::Relaxed);
    }
}

/// Makes the task notice new work (a signal) soon: wakes it, or interrupts the CPU that runs it.
pub fn prod(task: &Arc<Task>) {
    if !wake(task) && task.thread.is_running() {
        let cpu = task.cpu.load(Ordering::Relaxed);
        if cpu != cpu_index() {
            apic::reschedule(cpu);
        }
    }
}

fn take(from: usize, steal: bool) -> Option<Arc<Task>> {
    if CPUS[from].length.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let own = 1u64 << cpu_index();
    let mut queue = CPUS[from].queue.lock();
    // A task that is still on its old stack is left to the CPU that it is on.
    let fit = |t: &Arc<Task>| {
        let is_current = !steal && core::ptr::eq::<Task>(&**t, &*current());
        let allowed = !steal || t.affinity.load(Ordering::Relaxed) & own != 0;
        allowed && (is_current || !t.thread.is_running())
    };
    let at = queue.iter().position(fit)?;
    let task = queue.remove(at)?;
    CPUS[from].length.store(queue.len(), Ordering::Relaxed);
    task.queued.store(false, Ordering::Release);
    Some(task)
}

/// The next task for this CPU.
fn pick() -> Option<Arc<Task>> {
    let own = cpu_index();
    loop {
        let found = take(own, false)
            .or_else(|| (1..cpu_count()).find_map(|step| take((own + step) % cpu_count(), true)));
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
        if task.state.load(Ordering::Acquire) == state::DEAD {
            continue;
        }
        if task.affinity.load(Ordering::Relaxed) & (1 << own) == 0 && !task.thread.is_running() {
            let cpu = least_busy(&task);
            enqueue(task, cpu);
            continue;
        }
        return Some(task);
    }
}

/// Gives the CPU to another task if there is one. A task whose state is not RUNNABLE comes back when it was woken; a dead
/// one never.
pub fn schedule() {
    let this = this_cpu();
    this.reschedule.store(false, Ordering::Relaxed);
    let task = current();
    let runnable = task.state.load(Ordering::Acquire) == state::RUNNABLE;
    let may_stay = runnable && task.affinity.load(Ordering::Relaxed) & (1 << cpu_index()) != 0;
    if may_stay && this.length.load(Ordering::Relaxed) == 0 {
        return;
    }
    let next = if may_stay {
        take(cpu_index(), false).filter(|t| t.state.load(Ordering::Acquire) != state::DEAD)
    } else {
        pick()
    };
    let Some(next) = next.or_else(|| if may_stay { None } else { this.idle.get().cloned() }) else {
        return;
    };
    next.state.store(state::RUNNABLE, Ordering::Release);
    if core::ptr::eq::<Task>(&*next, &*task) {
        return;
    }
    switch_to(next, &task, runnable);
}

/// Ends the running task for good.
pub fn end_current() -> ! {
    current().state.store(state::DEAD, Ordering::Release);
    loop {
        schedule();
    }
}

fn switch_to(next: Arc<Task>, task: &Current, requeue: bool) {
    let this = this_cpu();
    let now = time::now_ns();
    let since = this.since.swap(now, Ordering::Relaxed);
    task.run_ns.fetch_add(now.saturating_sub(since), Ordering::Relaxed);
    this.switches.fetch_add(1, Ordering::Relaxed);
    next.cpu.store(cpu_index(), Ordering::Relaxed);
    if !next.is_idle {
        next.activate_memory();
    }
    if requeue && !task.is_idle {
        let own = task.affinity.load(Ordering::Relaxed) & (1 << cpu_index()) != 0;
        enqueue(task.arc(), if own { cpu_index() } else { least_busy(task) });
    }
    thread::switch::<Task>(next);
    finish_switch();
}

/// What the first code after a switch has to do.
pub fn finish_switch() {
    timer::arm_tick();
}

/// Nanoseconds that the running task has had since it got the CPU.
pub fn running_ns() -> u64 {
    time::now_ns().saturating_sub(this_cpu().since.load(Ordering::Relaxed))
}

/// The timer's tick: ends the time slice, and lets idle CPUs help.
pub fn tick() {
    let this = this_cpu();
    if this.length.load(Ordering::Relaxed) == 0 {
        return;
    }
    if running_ns() + SLICE_NS / 10 >= SLICE_NS {
        this.reschedule.store(true, Ordering::Relaxed);
    }
    if let Some(cpu) = tlb::bits(IDLE.load(Ordering::Relaxed)).next() {
        apic::reschedule(cpu);
    }
}

/// The life of a CPU that has become ready: runs tasks, and waits when there are none.
pub fn run_cpu(idle: Arc<Task>) -> ! {
    let this = this_cpu();
    this.idle.set(idle.clone());
    let own = 1u64 << cpu_index();
    thread::adopt::<Task>(idle);
    loop {
        IDLE.fetch_or(own, Ordering::SeqCst);
        let start = time::now_ns();
        // A task that is queued from here on comes with an interrupt, which ends the wait below.
        let next = loop {
            if let Some(task) = pick() {
                break task;
            }
            user_table::lay_aside();
            timer::arm_idle();
            cpu::wait_for_interrupt();
        };
        IDLE.fetch_and(!own, Ordering::SeqCst);
        this.idle_ns.fetch_add(time::now_ns().saturating_sub(start), Ordering::Relaxed);
        next.state.store(state::RUNNABLE, Ordering::Release);
        timer::leave_idle();
        let idle = current();
        switch_to(next, &idle, false);
    }
}

/// The CPUs that a task may use have changed: if it runs where it may not, it is moved.
pub fn migrate(task: &Arc<Task>) {
    if core::ptr::eq::<Task>(&**task, &*current()) {
        schedule();
    } else {
        prod(task);
    }
}
