// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs for tests: tasks with a place in a tree of files, on a machine with one CPU. What they do with files is in [`files`].

mod files;

use std::{
    ops::Deref,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use exo_core::{
    credentials::Credentials,
    errno::Errno,
    fallible,
    limits::{self, Limits},
    sched::{
        self,
        policy::{Policy, Schedule},
        spans, timer,
        wait::{Deadline, WaitQueue, sleep_until, wait_on},
    },
    thread::{Kind, Task, Thread, running, work},
};
use exo_hal::{
    PAGE_SIZE,
    hooks::Hooks,
    mm::{frame, user},
    sync::SpinLock,
    thread::{self, TaskType, current},
    time,
    trap::Regs,
};
use exo_logic::credentials::Ids;
use exo_mm::dead_pages;
use exo_test_support::stage::{self, Stage};
use exo_vfs::{
    FsContext,
    context::{self, CurrentTask},
    dentry::Dentry,
    device,
    file_system::FileSystem,
    inode::Inode,
    mount::{self, Mount},
    mounting::{self, Mountable},
    path::Path,
    superblock::{Single, SuperBlock},
};
use parking_lot::Mutex;

pub(crate) use files::*;

/// Pages that the file system of a test may have.
const MOST_PAGES: usize = 4096;
/// The program's memory: so many bytes from here on.
pub(crate) const MEMORY: usize = 0x10_0000;
pub(crate) const MEMORY_SIZE: usize = 128 * PAGE_SIZE;

type Main = Box<dyn FnOnce() + Send>;

/// A thread of a program.
#[repr(C)]
pub(crate) struct TestTask {
    thread: Thread,
    fs: FsContext,
    process: u32,
    main: Mutex<Option<Main>>,
    has_ended: AtomicBool,
    end: WaitQueue,
    is_deliverable: AtomicBool,
    /// Signals that its own calls have caused.
    pub(crate) signals: SpinLock<Vec<u32>>,
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

    fn activate_memory(&self) {}

    fn tick(&self) {}

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

/// Where the running task is in the tree of files.
struct Here;

impl CurrentTask for Here {
    fn root(&self) -> Path {
        current::<TestTask>().fs.root.lock().clone()
    }

    fn directory(&self) -> Path {
        current::<TestTask>().fs.directory.lock().clone()
    }

    fn process(&self) -> u32 {
        current::<TestTask>().process
    }

    fn umask(&self) -> u32 {
        current::<TestTask>().fs.umask.load(Ordering::Relaxed)
    }
}

impl TestTask {
    fn new(thread: Thread, fs: FsContext, main: Option<Main>) -> Arc<Self> {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        Arc::new(Self {
            thread,
            fs,
            process: LAST.fetch_add(1, Ordering::Relaxed) as u32 + 1,
            main: Mutex::new(main),
            has_ended: AtomicBool::new(false),
            end: WaitQueue::new(),
            is_deliverable: AtomicBool::new(false),
            signals: SpinLock::new(Vec::new()),
            limits: SpinLock::new(limits::initial()),
        })
    }

    /// Waits until it has ended.
    pub(crate) fn join(&self) {
        let _ = wait_on(&[&self.end], None, false, || self.has_ended().then_some(()));
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst)
    }

    /// Kills it.
    pub(crate) fn kill(self: &Arc<Self>) {
        self.work.fetch_or(work::EXIT, Ordering::AcqRel);
        sched::prod(self);
    }

    /// Gives it a signal that it handles.
    pub(crate) fn interrupt(self: &Arc<Self>) {
        self.is_deliverable.store(true, Ordering::Relaxed);
        self.work.fetch_or(work::SIGNAL, Ordering::AcqRel);
        sched::prod(self);
    }
}

fn start_at(fs: FsContext, main: Main) -> Arc<TestTask> {
    let machine = thread::Thread::new::<TestTask>(&Regs::of_call(0)).unwrap();
    let schedule = Schedule::new(Policy::DEFAULT, 0);
    let thread = Thread::new::<TestTask>(machine, 1, schedule, Kind::Program, Arc::new(Credentials::root()));
    let task = TestTask::new(thread, fs, Some(main));
    TASKS.lock().push(task.clone());
    sched::start(task.clone());
    task
}

/// Starts another process at the same place. It runs when this one waits.
pub(crate) fn start(main: impl FnOnce() + Send + 'static) -> Arc<TestTask> {
    start_at(current::<TestTask>().fs.duplicate(), Box::new(main))
}

/// Lets the other tasks run until they wait or have ended.
pub(crate) fn let_others_run() {
    // Time passes when all of them wait.
    sleep_until(Some(Deadline::Boot(time::now_ns() + 1_000_000)));
}

/// A value that tasks share, and that is never given back.
pub(crate) fn shared<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// The running task is killed, and comes to a preemption point as soon as it looks for one.
pub(crate) fn kill_self() {
    running().work.fetch_or(work::EXIT, Ordering::AcqRel);
    time::advance(1_000_000);
}

/// Sets a resource limit of the running program.
pub(crate) fn set_limit(which: usize, soft: u64) {
    current::<TestTask>().limits.lock()[which].soft = soft;
}

/// The signals that the running program has sent itself since it was asked.
pub(crate) fn take_signals() -> Vec<u32> {
    std::mem::take(&mut *current::<TestTask>().signals.lock())
}

/// Does `step` as a user with groups, the first of which is its own.
pub(crate) fn acting_as<T>(user: u32, groups: &[u32], step: impl FnOnce() -> T) -> T {
    let ids = |id| Ids { real: id, effective: id, saved: id, fs: id };
    let supplementary = Arc::new(groups[1..].to_vec());
    let root = Credentials { groups: ids(groups[0]), supplementary, ..Credentials::root() };
    let before = running().credentials.replace(Arc::new(root.with_users(ids(user))));
    let result = step();
    running().credentials.replace(before);
    result
}

/// The working directory becomes another.
pub(crate) fn change_directory(path: &str) {
    let path = at(path);
    let old = std::mem::replace(&mut *current::<TestTask>().fs.directory.lock(), path);
    drop(old);
}

/// The root directory becomes another.
pub(crate) fn change_root(path: &str) {
    let path = at(path);
    let old = std::mem::replace(&mut *current::<TestTask>().fs.root.lock(), path);
    drop(old);
}

static INIT: Once = Once::new();
static TASKS: Mutex<Vec<Arc<TestTask>>> = Mutex::new(Vec::new());

/// A type of file system in which programs make files.
pub(crate) struct Stored;

impl FileSystem for Stored {
    fn name(&self) -> &'static str {
        "stored"
    }

    fn magic(&self) -> i64 {
        1
    }

    fn holds_files(&self) -> bool {
        true
    }
}

impl Mountable for Stored {
    /// It has no options.
    fn mount(&self, data: &[u8]) -> Result<Arc<Dentry>, Errno> {
        if data.is_empty() {
            Ok(Dentry::root(Inode::directory(Arc::new(SuperBlock::new(&Self)?), 0o755)))
        } else {
            Err(Errno::EINVAL)
        }
    }
}

/// One that shows what the kernel makes, as /proc does.
struct Shown;

impl FileSystem for Shown {
    fn name(&self) -> &'static str {
        "shown"
    }

    fn magic(&self) -> i64 {
        2
    }

    fn has_ends(&self) -> bool {
        false
    }
}

static DEVICES: Single = Single::new(&Stored, 3);
pub(crate) static SHOWN: Single = Single::new(&Shown, 4);

fn init() {
    mount::init();
    DEVICES.init();
    SHOWN.init();
    mounting::register(&Stored).unwrap();
    device::set_root(Dentry::root(Inode::directory(&DEVICES, 0o755)));
    context::set_current(&Here);
}

/// Mounts a new file system, for a test to have as its root.
fn mount_new_root() -> Arc<Mount> {
    let superblock = Arc::new(SuperBlock::new(&Stored).unwrap());
    superblock.quota.set_limit(MOST_PAGES).unwrap();
    let mount = Mount::new(Dentry::root(Inode::directory(superblock, 0o755)), b"test".to_vec(), 0);
    mount::attach(&mount, mount::root()).unwrap();
    mount
}

/// Runs `first` as the superuser's program in an empty file system on a fresh machine, and returns when all tasks have ended.
///
/// # Panics
/// When a task panics, one waits for what never comes, or something of the file system stays.
pub(crate) fn machine(first: impl FnOnce() + Send + 'static) {
    let stage = Stage::prepare(Hooks {
        cpu_main,
        thread_start,
        timer: timer::expire,
        copy_fault: |_, _| false,
        out_of_memory: || {},
        refuses_allocation: fallible::is_nth,
    });
    INIT.call_once(init);
    stage.power_on(1);
    user::map(MEMORY, MEMORY_SIZE / PAGE_SIZE);
    let (frames, mounts) = (frame::in_use(), mount::list().len());
    let mount = mount_new_root();
    let superblock = Arc::downgrade(&mount.superblock);
    let root = Path::root_of(mount);
    let fs = FsContext::new();
    *fs.root.lock() = root.clone();
    *fs.directory.lock() = root.clone();
    stage.run(|| {
        spans::reset();
        start_at(fs, Box::new(first));
    });
    let waiting = end_those_that_wait(&stage);
    stage.end_threads();
    TASKS.lock().clear();
    mount::unmount(root, true, false).unwrap();
    stage.check();
    assert_eq!(waiting, 0, "tasks that wait for what never comes");
    assert_eq!(mount::list().len(), mounts, "mounts after the test and before");
    assert_eq!(superblock.strong_count(), 0, "something of the file system is left");
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
    let thread = Thread::new::<TestTask>(machine, 1, schedule, Kind::Idle, Arc::new(Credentials::root()));
    sched::run_cpu(TestTask::new(thread, FsContext::new(), None))
}

fn thread_start(_regs: &mut Regs) -> ! {
    sched::finish_switch();
    let task = thread::current::<TestTask>();
    let main = task.main.lock().take().expect("a task starts once");
    stage::watch(main);
    dead_pages::give_back();
    task.fs.leave();
    task.has_ended.store(true, Ordering::SeqCst);
    task.end.wake_all();
    sched::end_current()
}

#[test]
#[should_panic(expected = "something of the file system is left")]
fn an_inode_that_is_lost_fails_the_test() {
    machine(|| std::mem::forget(Arc::clone(&at("/"))));
}

#[test]
#[should_panic(expected = "tasks that wait for what never comes")]
fn a_wait_for_what_never_comes_fails_the_test() {
    machine(|| {
        let never: &'static WaitQueue = shared(WaitQueue::new());
        let _ = wait_on(&[never], None, false, || None::<()>);
    });
}

#[test]
#[should_panic(expected = "a task's own")]
fn a_panic_in_a_task_fails_the_test() {
    machine(|| start(|| panic!("a task's own")).join());
}
