// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs for tests: tasks with an address space, on a machine with one CPU.

use std::{
    ops::Deref,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
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
        wait::{WaitQueue, wait_on},
    },
    thread::{Kind, Task, Thread, running, work},
};
use exo_hal::{
    PAGE_SIZE,
    hooks::Hooks,
    mm::{frame, paging, user},
    sync::SpinLock,
    thread::{self, TaskType, current},
    time,
    trap::Regs,
};
use exo_logic::areas::{Flags, MAY_ALL};
use exo_mm::{AddressSpace, Backing, Pages, dead_pages, map::Placement};
use exo_test_support::stage::{self, Stage};
use parking_lot::Mutex;

pub(crate) const PAGE: usize = PAGE_SIZE;
/// An address that is free in every test that uses it.
pub(crate) const BASE: usize = 0x1000_0000;
pub(crate) const READ: Flags = Flags::READ.union(MAY_ALL);
pub(crate) const WRITE: Flags = READ.union(Flags::WRITE);

type Main = Box<dyn FnOnce() + Send>;

/// A thread of a program.
#[repr(C)]
pub(crate) struct TestTask {
    thread: Thread,
    memory: SpinLock<Arc<AddressSpace>>,
    main: Mutex<Option<Main>>,
    has_ended: AtomicBool,
    end: WaitQueue,
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
        false
    }

    fn activate_memory(&self) {
        self.memory.lock().activate();
    }

    fn tick(&self) {}

    fn signal(&self, _number: u32) {}

    fn soft_limit(&self, which: usize) -> u64 {
        self.limits.lock()[which].soft
    }

    fn soft_limit_now(&self, which: usize) -> Option<u64> {
        Some(self.limits.try_lock()?.get(which)?.soft)
    }
}

impl TestTask {
    fn new(thread: Thread, memory: Arc<AddressSpace>, main: Option<Main>) -> Arc<Self> {
        Arc::new(Self {
            thread,
            memory: SpinLock::new(memory),
            main: Mutex::new(main),
            has_ended: AtomicBool::new(false),
            end: WaitQueue::new(),
            limits: SpinLock::new(limits::initial()),
        })
    }

    /// Waits until it has ended.
    pub(crate) fn join(&self) {
        let _ = wait_on(&[&self.end], None, false, || self.has_ended().then_some(()));
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst)
    }
}

/// Starts a thread in an address space.
pub(crate) fn start(memory: Arc<AddressSpace>, main: impl FnOnce() + Send + 'static) -> Arc<TestTask> {
    let machine = thread::Thread::new::<TestTask>(&Regs::of_call(0)).unwrap();
    let schedule = Schedule::new(Policy::DEFAULT, 0);
    let thread = Thread::new::<TestTask>(machine, 1, schedule, Kind::Program, root());
    let task = TestTask::new(thread, memory, Some(Box::new(main)));
    TASKS.lock().push(task.clone());
    sched::start(task.clone());
    task
}

/// The address space of the running program.
pub(crate) fn space() -> Arc<AddressSpace> {
    current::<TestTask>().memory.lock().clone()
}

/// Runs `step` in another address space.
pub(crate) fn within<T>(memory: &Arc<AddressSpace>, step: impl FnOnce() -> T) -> T {
    let enter = |memory: Arc<AddressSpace>| {
        memory.activate();
        std::mem::replace(&mut *current::<TestTask>().memory.lock(), memory)
    };
    let before = enter(memory.clone());
    let result = step();
    enter(before);
    result
}

/// Sets a resource limit of the running program.
pub(crate) fn set_limit(which: usize, soft: u64) {
    current::<TestTask>().limits.lock()[which].soft = soft;
}

/// The running task is killed, and comes to a preemption point as soon as it looks for one.
pub(crate) fn kill_self() {
    running().work.fetch_or(work::EXIT, Ordering::AcqRel);
    time::advance(1_000_000);
}

/// Maps `pages` pages of private memory that can be written.
pub(crate) fn anonymous(pages: usize) -> usize {
    space().map(Placement::Hint(0), pages * PAGE, WRITE, Backing::Anonymous, false).unwrap()
}

/// The same at a fixed place.
pub(crate) fn anonymous_at(address: usize, pages: usize) -> usize {
    space().map(Placement::Fixed(address), pages * PAGE, WRITE, Backing::Anonymous, false).unwrap()
}

/// A file as what backs a mapping.
pub(crate) fn backing(pages: &Arc<Pages>, offset: u64, shared: bool) -> Backing {
    Backing::File { object: pages.clone(), offset, shared, file: None }
}

/// Maps `count` pages of a file from its start on, to be read and written.
pub(crate) fn map_file(file: &Arc<Pages>, count: usize, shared: bool) -> usize {
    let flags = if shared { WRITE | Flags::SHARED } else { WRITE };
    space().map(Placement::Hint(0), count * PAGE, flags, backing(file, 0, shared), false).unwrap()
}

/// A file with this content.
pub(crate) fn file(content: &[u8]) -> Arc<Pages> {
    Arc::new(Pages::from_bytes(content).unwrap())
}

/// The program writes.
pub(crate) fn put(address: usize, bytes: &[u8]) {
    assert_eq!(user::copy_out(address, bytes), Ok(()), "writing at {address:#x}");
}

/// What the program reads.
pub(crate) fn get(address: usize, count: usize) -> Vec<u8> {
    let mut out = vec![0xee; count];
    assert_eq!(user::copy_in(&mut out, address), Ok(()), "reading at {address:#x}");
    out
}

pub(crate) fn can_read(address: usize) -> bool {
    user::copy_in(&mut [0], address).is_ok()
}

/// Whether the program can write a byte; the byte stays as it is.
pub(crate) fn can_write(address: usize) -> bool {
    let mut byte = [0];
    let _ = user::copy_in(&mut byte, address);
    user::copy_out(address, &byte).is_ok()
}

/// Start, end and flags of all areas of the running program.
pub(crate) fn areas() -> Vec<(usize, usize, Flags)> {
    let mut areas = Vec::new();
    space().each_area(|area| areas.push((area.start, area.end, area.flags)));
    areas
}

static INIT: Once = Once::new();
static TASKS: Mutex<Vec<Arc<TestTask>>> = Mutex::new(Vec::new());

/// Runs `first` as a program with an empty address space on a fresh machine, and returns when all tasks have ended.
///
/// # Panics
/// When a task panics, one waits for what never comes, or a frame is lost.
pub(crate) fn machine(first: impl FnOnce() + Send + 'static) {
    let stage = Stage::prepare(Hooks {
        cpu_main,
        thread_start,
        timer: timer::expire,
        copy_fault: |address, write| {
            let memory = space();
            if user::may_wait() {
                memory.handle_fault(address, write, false).is_ok()
            } else {
                memory.handle_fault_now(address, write, false).is_ok()
            }
        },
        out_of_memory: || {},
        refuses_allocation: fallible::is_nth,
    });
    INIT.call_once(|| exo_mm::init().unwrap());
    stage.power_on(1);
    let frames = frame::in_use();
    stage.run(|| {
        spans::reset();
        start(AddressSpace::new().unwrap(), first);
    });
    let waiting = end_those_that_wait(&stage);
    stage.end_threads();
    paging::unload();
    TASKS.lock().clear();
    stage.check();
    assert_eq!(waiting, 0, "tasks that wait for what never comes");
    assert_eq!(frame::in_use(), frames, "frames in use after the test and before");
}

/// All CPUs wait, so who has not ended never will: how many those are. They are killed.
fn end_those_that_wait(stage: &Stage) -> usize {
    let waiting = || {
        let tasks = TASKS.lock();
        tasks.iter().filter(|task| !task.has_ended()).cloned().collect::<Vec<_>>()
    };
    let tasks = waiting();
    let count = tasks.len();
    stage.run(move || {
        for task in tasks {
            task.work.fetch_or(work::EXIT, Ordering::AcqRel);
            sched::prod(&task);
        }
    });
    if !waiting().is_empty() {
        stage.give_up("a task that is killed does not end");
    }
    count
}

fn cpu_main() -> ! {
    let machine = thread::Thread::idle::<TestTask>();
    let schedule = Schedule::new(Policy::DEFAULT, 0);
    let thread = Thread::new::<TestTask>(machine, 1, schedule, Kind::Idle, root());
    sched::run_cpu(TestTask::new(thread, AddressSpace::none(), None))
}

fn thread_start(_regs: &mut Regs) -> ! {
    sched::finish_switch();
    let task = thread::current::<TestTask>();
    let main = task.main.lock().take().expect("a task starts once");
    stage::watch(main);
    dead_pages::give_back();
    let old = std::mem::replace(&mut *task.memory.lock(), AddressSpace::none());
    AddressSpace::none().activate();
    drop(old);
    task.has_ended.store(true, Ordering::SeqCst);
    task.end.wake_all();
    sched::end_current()
}

/// The superuser's credentials.
fn root() -> Arc<Credentials> {
    Arc::new(Credentials::root())
}

#[test]
#[should_panic(expected = "frames in use after the test and before")]
fn a_frame_that_is_lost_fails_the_test() {
    machine(|| std::mem::forget(frame::Frame::allocate()));
}

#[test]
#[should_panic(expected = "tasks that wait for what never comes")]
fn a_wait_for_what_never_comes_fails_the_test() {
    machine(|| {
        let never: &'static WaitQueue = Box::leak(Box::new(WaitQueue::new()));
        let _ = wait_on(&[never], None, false, || None::<()>);
    });
}

#[test]
#[should_panic(expected = "a task's own")]
fn a_panic_in_a_task_fails_the_test() {
    machine(|| start(space(), || panic!("a task's own")).join());
}
