// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads: each is a thread of the host that runs while it has a CPU, which it gets from, and gives to, another one.

use std::{
    any::Any,
    cell::RefCell,
    marker::PhantomData,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use parking_lot::{Condvar, Mutex};

use crate::{
    USER_END,
    cpu::{fpu, percpu},
    hooks, machine,
    mm::{NoMemory, heap},
    sync,
    trap::Regs,
};

/// The test's task type. What the scheduler knows of a task is its head.
///
/// # Safety
/// Implemented by exactly one type. That is `repr(C)`, and its first field is its head.
#[expect(unsafe_code, reason = "the same promise as on bare metal")]
pub unsafe trait TaskType: Send + Sync + 'static {
    /// What the scheduler knows of a task.
    type Head: Head;
}

/// The beginning of a task, of which each has one [`Thread`].
///
/// # Safety
/// Implemented by one type, the [`TaskType`]'s head. The function gives the same thread for ever, one that was made for that type of task.
#[expect(unsafe_code, reason = "the same promise as on bare metal")]
pub unsafe trait Head: Send + Sync + Sized + 'static {
    /// The task's hardware side.
    fn thread(&self) -> &Thread;
}

type AnyTask = dyn Any + Send + Sync;

/// A counted reference to a task of which only the head is known.
pub struct TaskRef<H: Head> {
    task: Arc<AnyTask>,
    head: fn(&AnyTask) -> &H,
}

fn head_of<T: TaskType>(task: &AnyTask) -> &T::Head {
    let task: &T = task.downcast_ref().expect("made of this type");
    #[expect(unsafe_code, reason = "what `TaskType` promises")]
    // SAFETY: a task begins with its head, and is borrowed as long as this.
    unsafe {
        &*std::ptr::from_ref(task).cast()
    }
}

impl<H: Head> TaskRef<H> {
    /// Whether `head` is that of this task.
    pub fn is(&self, head: &H) -> bool {
        std::ptr::eq(&raw const **self, head)
    }

    /// The whole task.
    ///
    /// # Panics
    /// If it is of another type.
    pub fn whole<T: TaskType<Head = H>>(&self) -> &T {
        self.task.downcast_ref().expect("there is one type of tasks")
    }
}

impl<T: TaskType> From<Arc<T>> for TaskRef<T::Head> {
    fn from(task: Arc<T>) -> Self {
        Self { task, head: head_of::<T> }
    }
}

impl<H: Head> Clone for TaskRef<H> {
    fn clone(&self) -> Self {
        Self { task: self.task.clone(), head: self.head }
    }
}

impl<H: Head> Deref for TaskRef<H> {
    type Target = H;

    fn deref(&self) -> &H {
        (self.head)(&*self.task)
    }
}

/// What a switch needs, and what belongs to the program: its floating-point state and two segment bases.
pub struct Thread {
    turns: Arc<HostThread>,
    fs_base: AtomicU64,
    gs_base: AtomicU64,
}

/// How a thread of the host gets a CPU.
struct HostThread {
    is_idle: bool,
    has_started: AtomicBool,
    /// What it starts with.
    regs: Regs,
    /// None for a CPU's idle thread.
    fpu: Option<Mutex<Vec<u8>>>,
    running: AtomicBool,
    /// It stays when other threads end with their machine.
    is_kept: AtomicBool,
    next: Mutex<Option<Command>>,
    came: Condvar,
}

enum Command {
    /// It has this CPU, and runs this task. The task that had it before has left it.
    Run { cpu: usize, task: Arc<AnyTask>, before: Option<(Arc<HostThread>, Arc<AnyTask>)> },
    /// The machine is at rest, and the thread of the host has to end.
    End,
}

/// What a thread of the host that has to end unwinds with.
struct Ends;

thread_local! {
    /// The running task: a [`TaskRef`] of the one type there is.
    static CURRENT: RefCell<Option<Arc<AnyTask>>> = const { RefCell::new(None) };
    /// The thread that this thread of the host is there for.
    static RUNS: RefCell<Option<Arc<HostThread>>> = const { RefCell::new(None) };
}

/// Threads of the host that have begun.
static STARTED: Mutex<Vec<(Arc<HostThread>, JoinHandle<()>)>> = Mutex::new(Vec::new());

impl HostThread {
    fn new(is_idle: bool, regs: Regs) -> Arc<Self> {
        Arc::new(Self {
            is_idle,
            has_started: AtomicBool::new(false),
            regs,
            fpu: (!is_idle).then(|| Mutex::new(fpu::initial())),
            running: AtomicBool::new(false),
            is_kept: AtomicBool::new(false),
            next: Mutex::new(None),
            came: Condvar::new(),
        })
    }

    fn give(self: &Arc<Self>, command: Command) {
        *self.next.lock() = Some(command);
        self.came.notify_one();
        if !self.has_started.swap(true, Ordering::Relaxed) {
            assert!(!self.is_idle, "an idle task that no CPU has adopted");
            let own = self.clone();
            // Before it runs: everything may be over by the time that this thread of the host goes on.
            let mut started = STARTED.lock();
            let thread = std::thread::spawn(move || own.live());
            started.push((self.clone(), thread));
        }
    }

    /// Waits for a CPU, and is on that when it returns.
    fn await_command(&self) {
        let mut next = self.next.lock();
        let command = loop {
            match next.take() {
                Some(command) => break command,
                None => self.came.wait(&mut next),
            }
        };
        drop(next);
        match command {
            Command::Run { cpu, task, before } => {
                percpu::set_cpu_index(cpu);
                CURRENT.set(Some(task));
                if let Some((turns, task)) = before {
                    turns.running.store(false, Ordering::Release);
                    drop(task);
                }
            }
            Command::End => resume_unwind(Box::new(Ends)),
        }
    }

    fn live(self: &Arc<Self>) {
        RUNS.set(Some(self.clone()));
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| {
            self.await_command();
            let mut regs = self.regs;
            (hooks::get().thread_start)(&mut regs)
        }));
        if !ends_thread(&*panic) {
            machine::report_panic(panic);
        }
    }
}

/// For tests: whether the running thread stays when its machine has come to rest, as what is started once and waits for ever does, for
/// machines to come.
pub fn keep_this(keep: bool) {
    RUNS.with_borrow(|runs| runs.iter().for_each(|turns| turns.is_kept.store(keep, Ordering::Relaxed)));
}

/// For tests: whether this, which unwinds a thread of the host, does so because the machine is at rest and the thread has to end. Who
/// catches it lets it go on.
pub fn ends_thread(panic: &(dyn Any + Send)) -> bool {
    panic.is::<Ends>()
}

/// Gives back the memory of stacks that are kept for threads to come: none here.
pub fn release_stacks() -> usize {
    0
}

impl Thread {
    /// The thread of a task of type `T`. It calls the hook `thread_start`.
    ///
    /// # Errors
    /// When [the heap](crate::mm::heap) has no room for it.
    pub fn new<T: TaskType>(regs: &Regs) -> Result<Self, NoMemory> {
        heap::may_keep(fpu::state_size())?;
        Ok(Self::with(HostThread::new(false, *regs)))
    }

    fn with(turns: Arc<HostThread>) -> Self {
        Self { turns, fs_base: AtomicU64::new(0), gs_base: AtomicU64::new(0) }
    }

    /// That of a CPU's idle task, which [`adopt`] makes of what runs.
    pub fn idle<T: TaskType>() -> Self {
        Self::with(HostThread::new(true, Regs::in_kernel()))
    }

    /// Whether some CPU runs the thread, or has not quite left it.
    pub fn is_running(&self) -> bool {
        self.turns.running.load(Ordering::Acquire)
    }

    /// The bases of the user's FS and GS segments.
    pub fn segment_bases(&self) -> (u64, u64) {
        (self.fs_base.load(Ordering::Relaxed), self.gs_base.load(Ordering::Relaxed))
    }

    /// Sets the bases. What is no user address becomes 0.
    pub fn set_segment_bases(&self, fs: u64, gs: u64) {
        let valid = |base: u64| if base < USER_END as u64 { base } else { 0 };
        self.fs_base.store(valid(fs), Ordering::Relaxed);
        self.gs_base.store(valid(gs), Ordering::Relaxed);
    }

    /// Whether this is the thread that runs here.
    fn is_this(&self) -> bool {
        RUNS.with_borrow(|runs| runs.as_ref().is_some_and(|turns| Arc::ptr_eq(turns, &self.turns)))
    }

    /// Copies the running thread's floating-point state to this one, which is new: nothing happens if it runs.
    pub fn inherit_fpu(&self) {
        let running = RUNS.with_borrow(Clone::clone);
        let (Some(own), Some(other)) =
            (&self.turns.fpu, running.as_ref().and_then(|turns| turns.fpu.as_ref()))
        else {
            return;
        };
        if !self.is_running() {
            let bytes = other.lock().clone();
            *own.lock() = bytes;
        }
    }

    /// Calls `with` with this thread's floating-point state as bytes; none if it is not the one that runs.
    pub fn with_fpu_bytes<R>(&self, with: impl FnOnce(&[u8]) -> R) -> R {
        match self.turns.fpu.as_ref().filter(|_| self.is_this()) {
            Some(state) => {
                let bytes = state.lock().clone();
                with(&bytes)
            }
            None => with(&[]),
        }
    }

    /// Sets this thread's floating-point state, `None` for the initial one, if it is the one that runs.
    pub fn set_fpu(&self, bytes: Option<&[u8]>) {
        if let Some(state) = self.turns.fpu.as_ref().filter(|_| self.is_this()) {
            *state.lock() = bytes.map_or_else(fpu::initial, <[u8]>::to_vec);
        }
    }
}

/// Makes `task`, whose thread is an [idle](Thread::idle) one, this CPU's running task without a switch, for ever.
///
/// # Panics
/// When this CPU has a running task, or the thread belongs to another CPU or is no idle one.
pub fn adopt<H: Head>(task: TaskRef<H>) {
    let turns = task.thread().turns.clone();
    assert!(!has_current() && turns.is_idle, "a CPU adopts its own idle task, once");
    assert!(!turns.running.swap(true, Ordering::AcqRel), "the idle task belongs to another CPU");
    turns.has_started.store(true, Ordering::Relaxed);
    RUNS.set(Some(turns));
    CURRENT.set(Some(Arc::new(task)));
}

/// Switches from the running task to `next`, which this CPU keeps alive as long as it runs. Returns when something switches back;
/// the task that ran here before is let go of then.
///
/// # Panics
/// When `next` runs already, nothing runs here yet, or a spin lock is held.
pub fn switch<H: Head>(next: TaskRef<H>) {
    sync::may_sleep();
    let from = running::<H>().thread().turns.clone();
    let to = next.thread().turns.clone();
    assert!(!to.running.swap(true, Ordering::AcqRel), "the task runs on another CPU");
    let before = CURRENT.take().map(|task| (from.clone(), task));
    to.give(Command::Run { cpu: percpu::cpu_index(), task: Arc::new(next), before });
    from.await_command();
}

/// For tests: ends the threads of the host that tasks ran on, when the machine is [at rest](machine::wait_until_at_rest) and all tasks
/// have ended but those that are [kept](keep_this).
pub fn end_threads() {
    let threads = {
        let mut started = STARTED.lock();
        let is_kept = |(turns, _): &(Arc<HostThread>, _)| turns.is_kept.load(Ordering::Relaxed);
        let (kept, others): (Vec<_>, Vec<_>) = std::mem::take(&mut *started).into_iter().partition(is_kept);
        *started = kept;
        others
    };
    for (turns, thread) in threads {
        turns.give(Command::End);
        // Its panic was reported.
        let _ = thread.join();
    }
}

/// The head of the running task. Not to be sent to other threads. As on bare metal this is no counted reference: whoever waits for the last
/// one of a task that has ended does not wait for what lies on that task's stack.
pub struct Running<H: Head> {
    head: NonNull<H>,
    _of_this_thread: PhantomData<*const H>,
}

/// The task that runs on this thread of the host.
#[track_caller]
fn current_ref<H: Head>() -> Arc<TaskRef<H>> {
    let task = CURRENT.with_borrow(Clone::clone).expect("no task runs here");
    task.downcast().expect("there is one type of tasks")
}

/// The head of the running task.
///
/// # Panics
/// When there is none: on a CPU that has adopted none yet, and outside of the machine.
#[track_caller]
pub fn running<H: Head>() -> Running<H> {
    Running { head: NonNull::from(&**current_ref::<H>()), _of_this_thread: PhantomData }
}

impl<H: Head> Running<H> {
    /// A counted reference.
    pub fn counted(&self) -> TaskRef<H> {
        TaskRef::clone(&current_ref())
    }
}

impl<H: Head> Deref for Running<H> {
    type Target = H;

    fn deref(&self) -> &H {
        #[expect(unsafe_code, reason = "what bare metal rests on, too")]
        // SAFETY: this thread of the host has kept the task since it got the CPU, and does until it gives it away; it goes on only with the same
        // task, which whoever switches to it keeps.
        unsafe {
            self.head.as_ref()
        }
    }
}

/// The running task. Not to be sent to other threads.
pub struct Current<T: TaskType> {
    task: NonNull<T>,
    _of_this_thread: PhantomData<*const T>,
}

/// The running task.
///
/// # Panics
/// As [`running`].
#[track_caller]
pub fn current<T: TaskType>() -> Current<T> {
    Current { task: NonNull::from(current_ref::<T::Head>().whole::<T>()), _of_this_thread: PhantomData }
}

impl<T: TaskType> Deref for Current<T> {
    type Target = T;

    fn deref(&self) -> &T {
        #[expect(unsafe_code, reason = "what bare metal rests on, too")]
        // SAFETY: as for `Running`.
        unsafe {
            self.task.as_ref()
        }
    }
}

/// Whether there is a running task yet.
pub fn has_current() -> bool {
    CURRENT.with_borrow(Option::is_some)
}
