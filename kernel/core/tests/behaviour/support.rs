// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tasks for tests, and a machine that runs them.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use exo_core::{
    credentials::Credentials,
    fallible,
    limits::{self, Limits},
    sched::{
        self,
        policy::{Policy, Schedule},
        spans, timer,
        wait::{Deadline, WaitQueue, sleep_until, wait_on},
    },
    thread::{Kind, Task, Thread, work},
};
use exo_hal::{
    cpu::{
        self,
        percpu::{cpu_count, cpu_index},
    },
    hooks::Hooks,
    sync::SpinLock,
    thread::{self, TaskType},
    time,
    trap::Regs,
};
use exo_logic::sleep::RunState;
use exo_test_support::stage::{self, ROUND_NS, Stage};
use linux_raw_sys::general as abi;
use parking_lot::Mutex;

/// A millisecond in nanoseconds.
pub(crate) const MS: u64 = 1_000_000;

type Main = Box<dyn FnOnce() + Send>;

/// A task of a test.
#[repr(C)]
pub(crate) struct TestTask {
    thread: Thread,
    name: &'static str,
    main: Mutex<Option<Main>>,
    has_ended: AtomicBool,
    end: WaitQueue,
    /// Whether the signal that it may have is not blocked.
    pub(crate) is_deliverable: AtomicBool,
    /// Ticks that came while it ran.
    pub(crate) ticks: AtomicU32,
    /// Signals that its own calls have caused.
    pub(crate) signals: SpinLock<Vec<u32>>,
    /// How often its page tables were loaded.
    pub(crate) loads: AtomicU32,
    /// Its resource limits.
    pub(crate) limits: SpinLock<Limits>,
}

#[expect(unsafe_code, reason = "the promise that `TestTask` is the only task type")]
// SAFETY: the only type that implements it, in the order of C, with its thread first.
unsafe impl TaskType for TestTask {
    type Head = Thread;
}

impl Deref for TestTask {
    type Target = Thread;

    fn deref(&self) -> &Thread {
        &self.thread
    }
}

impl Task for TestTask {
    fn has_deliverable_signal(&self) -> bool {
        self.is_deliverable.load(Ordering::Relaxed)
    }

    fn activate_memory(&self) {
        self.loads.fetch_add(1, Ordering::Relaxed);
    }

    fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    fn signal(&self, number: u32) {
        self.signals.lock().push(number);
    }

    fn soft_limit(&self, which: usize) -> u64 {
        self.limits.lock()[which].soft
    }

    fn soft_limit_now(&self, which: usize) -> Option<u64> {
        Some(self.limits.try_lock()?.get(which)?.soft)
    }
}

/// A task to be.
pub(crate) struct New {
    name: &'static str,
    policy: Policy,
    affinity: u64,
}

/// A task of this name, with nice value 0, that may use all CPUs.
pub(crate) fn task(name: &'static str) -> New {
    New { name, policy: Policy::DEFAULT, affinity: u64::MAX >> (64 - cpu_count()) }
}

/// SCHED_FIFO with this priority.
pub(crate) fn fifo(real_time: u32) -> Policy {
    Policy { number: abi::SCHED_FIFO, real_time, ..Policy::DEFAULT }
}

/// SCHED_RR with this priority.
pub(crate) fn round_robin(real_time: u32) -> Policy {
    Policy { number: abi::SCHED_RR, real_time, ..Policy::DEFAULT }
}

/// SCHED_OTHER with this nice value.
pub(crate) fn nice(nice: i32) -> Policy {
    Policy { nice, ..Policy::DEFAULT }
}

impl New {
    pub(crate) fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// On these CPUs alone, one bit each.
    pub(crate) fn on(self, affinity: u64) -> Self {
        Self { affinity, ..self }
    }

    /// Starts it, as a child of the running task if there is one.
    pub(crate) fn start(self, main: impl FnOnce() + Send + 'static) -> Arc<TestTask> {
        let is_in_task = thread::has_current() && !thread::running::<Thread>().is_idle();
        let key = is_in_task.then(|| thread::running::<Thread>().schedule.key_after(sched::running_ns()));
        let schedule = Schedule::new(self.policy, key.unwrap_or(0));
        let machine = thread::Thread::new::<TestTask>(&Regs::of_call(0)).unwrap();
        let thread = Thread::new::<TestTask>(machine, self.affinity, schedule, Kind::Program, root());
        let task = Arc::new(TestTask::new(self.name, thread, Some(Box::new(main))));
        TASKS.lock().push(task.clone());
        sched::start(task.clone());
        task
    }
}

impl TestTask {
    fn new(name: &'static str, thread: Thread, main: Option<Main>) -> Self {
        Self {
            thread,
            name,
            main: Mutex::new(main),
            has_ended: AtomicBool::new(false),
            end: WaitQueue::new(),
            is_deliverable: AtomicBool::new(false),
            ticks: AtomicU32::new(0),
            signals: SpinLock::new(Vec::new()),
            loads: AtomicU32::new(0),
            limits: SpinLock::new(limits::initial()),
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst)
    }

    /// Waits until it has ended.
    pub(crate) fn join(&self) {
        let _ = wait_on(&[&self.end], None, false, || self.has_ended().then_some(()));
    }

    /// Whether it sleeps, and has left its CPU.
    pub(crate) fn sleeps(&self) -> bool {
        self.state.get() == RunState::Sleeping && !self.machine.is_running()
    }

    /// Gives it a signal that it handles.
    pub(crate) fn signal(self: &Arc<Self>) {
        self.is_deliverable.store(true, Ordering::Relaxed);
        self.work.fetch_or(work::SIGNAL, Ordering::AcqRel);
        sched::prod(self);
    }

    /// Gives it a signal that it has blocked.
    pub(crate) fn signal_blocked(self: &Arc<Self>) {
        self.work.fetch_or(work::SIGNAL, Ordering::AcqRel);
        sched::prod(self);
    }

    /// Has it end.
    pub(crate) fn kill(self: &Arc<Self>) {
        self.work.fetch_or(work::EXIT, Ordering::AcqRel);
        sched::prod(self);
    }
}

/// The running program computes for so long, and is interrupted meanwhile as one in user mode.
pub(crate) fn compute(ns: u64) {
    return_to_user();
    let mut left = ns;
    while left > 0 {
        left = time::compute(left);
        return_to_user();
    }
}

/// Computes until a time of the clock. Others may run last.
pub(crate) fn compute_until(end: u64) {
    while time::now_ns() < end {
        compute((end - time::now_ns()).min(MS));
    }
}

/// Sleeps for so long.
pub(crate) fn sleep(ns: u64) {
    sleep_until(Some(Deadline::Boot(time::now_ns() + ns)));
}

/// Takes interrupts, and switches if it is time to, as on the way back to user mode.
pub(crate) fn return_to_user() {
    cpu::interrupt_window();
    spans::let_interrupts_in();
    if sched::should_reschedule() {
        sched::schedule();
    }
}

/// A value that tasks share, and that is never given back.
pub(crate) fn shared<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// What has happened, in order.
#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<(&'static str, u64)>>);

impl Log {
    pub(crate) fn new() -> &'static Self {
        shared(Self::default())
    }

    /// Notes it with the time.
    pub(crate) fn note(&self, what: &'static str) {
        self.0.lock().push((what, time::now_ns() % ROUND_NS));
    }

    /// What a task does that computes for `ns` nanoseconds and notes `what` then.
    pub(crate) fn computes(&'static self, ns: u64, what: &'static str) -> impl FnOnce() + Send + 'static {
        move || {
            compute(ns);
            self.note(what);
        }
    }

    /// What was noted.
    pub(crate) fn notes(&self) -> Vec<&'static str> {
        self.0.lock().iter().map(|(what, _)| *what).collect()
    }

    /// The same with the times, in nanoseconds since the machine started.
    pub(crate) fn times(&self) -> Vec<(&'static str, u64)> {
        self.0.lock().clone()
    }
}

static TASKS: Mutex<Vec<Arc<TestTask>>> = Mutex::new(Vec::new());

/// Runs `first` as the first task of a fresh machine, and returns when all tasks have ended.
///
/// # Panics
/// When a task panics, there are tasks that wait for what never comes, or somebody keeps one that has ended.
pub(crate) fn machine(cpus: usize, first: impl FnOnce() + Send + 'static) {
    let stage = Stage::prepare(Hooks {
        cpu_main,
        thread_start,
        timer: timer::expire,
        // The core loads no tables and gives no frames.
        copy_fault: |_, _| false,
        out_of_memory: || {},
        refuses_allocation: fallible::is_nth,
    });
    stage.power_on(cpus);
    stage.run(|| {
        spans::reset();
        task("first").start(first);
    });
    end_those_that_wait(&stage);
    stage.end_threads();
    let tasks = std::mem::take(&mut *TASKS.lock());
    stage.check();
    assert_eq!(sched::runnable_count(), 0, "tasks in run queues when all have ended");
    for task in tasks {
        assert_eq!(Arc::strong_count(&task), 1, "somebody keeps task {}, which has ended", task.name);
    }
}

fn alive() -> Vec<&'static str> {
    TASKS.lock().iter().filter(|task| !task.has_ended()).map(|task| task.name).collect()
}

/// All CPUs wait, so who has not ended never will: a failure of the test.
fn end_those_that_wait(stage: &Stage) {
    let names = alive();
    if names.is_empty() {
        return;
    }
    stage::note_panic(Box::new(format!(
        "no CPU has anything to do, and no timer is set, but these wait: {names:?}"
    )));
    stage.run(|| {
        let tasks = TASKS.lock().clone();
        tasks.iter().filter(|task| !task.has_ended()).for_each(TestTask::kill);
    });
    if !alive().is_empty() {
        stage.give_up("a task that is killed does not end");
    }
}

fn cpu_main() -> ! {
    let schedule = Schedule::new(Policy::DEFAULT, 0);
    let machine = thread::Thread::idle::<TestTask>();
    let thread = Thread::new::<TestTask>(machine, 1 << cpu_index(), schedule, Kind::Idle, root());
    sched::run_cpu(Arc::new(TestTask::new("idle", thread, None)))
}

fn thread_start(_regs: &mut Regs) -> ! {
    sched::finish_switch();
    let task = thread::current::<TestTask>();
    let main = task.main.lock().take().expect("a task starts once");
    stage::watch(main);
    task.has_ended.store(true, Ordering::SeqCst);
    task.end.wake_all();
    sched::end_current()
}

#[test]
#[should_panic(expected = "a task's own")]
fn a_panic_in_a_task_fails_the_test() {
    machine(1, || {
        let child = task("child").start(|| panic!("a task's own"));
        child.join();
    });
}

#[test]
#[should_panic(expected = "these wait: [\"first\", \"child\"]")]
fn a_wait_for_what_never_comes_fails_the_test() {
    machine(1, || {
        let never = shared(WaitQueue::new());
        let child = task("child").start(|| {
            let _ = wait_on(&[never], None, false, || None::<()>);
        });
        child.join();
    });
}

/// The superuser's credentials.
fn root() -> Arc<Credentials> {
    Arc::new(Credentials::root())
}
