// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads as the hardware sees them: a kernel stack, the floating-point state, two segment bases.

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use alloc::sync::Arc;

use crate::{
    cpu::{
        self, fpu,
        percpu::{self, Previous},
        stacks,
    },
    mm::{
        NoMemory,
        kernel_stack::{self, KernelStack},
    },
    sync,
    trap::regs::Regs,
};

/// The kernel's task type. What the scheduler knows of a task is its head, so that the scheduler needs to know no more.
///
/// # Safety
/// Implemented by exactly one type. That is `repr(C)`, and its first field is its head.
pub unsafe trait TaskType: Send + Sync + 'static {
    /// What the scheduler knows of a task.
    type Head: Head;
}

/// The beginning of a task, of which each has one [`Thread`].
///
/// # Safety
/// Implemented by one type, the [`TaskType`]'s head. The function gives the same thread for ever, one that was made for that type of task.
pub unsafe trait Head: Send + Sync + Sized + 'static {
    /// The task's hardware side.
    fn thread(&self) -> &Thread;
}

/// How references to a task are counted whose type is not known.
struct Counting {
    more: unsafe fn(*const ()),
    less: unsafe fn(*const ()),
}

impl Counting {
    const fn of<T: TaskType>() -> &'static Self {
        const { &Self { more: one_more::<T>, less: one_less::<T> } }
    }
}

/// # Safety
/// `task` is from `Arc::<T>::into_raw`, and its reference is not given back meanwhile.
unsafe fn one_more<T>(task: *const ()) {
    // SAFETY: the caller vouches for it.
    unsafe { Arc::increment_strong_count(task.cast::<T>()) };
}

/// # Safety
/// `task` is from `Arc::<T>::into_raw`, and its reference passes to this.
unsafe fn one_less<T>(task: *const ()) {
    // SAFETY: the caller vouches for it.
    drop(unsafe { Arc::from_raw(task.cast::<T>()) });
}

/// A counted reference to a task of which only the head is known: an [`Arc`] of the [`TaskType`], as one word.
pub struct TaskRef<H: Head>(NonNull<H>);

// SAFETY: as an `Arc` of the task, which is `Send` and `Sync`.
unsafe impl<H: Head> Send for TaskRef<H> {}
// SAFETY: the same.
unsafe impl<H: Head> Sync for TaskRef<H> {}

impl<H: Head> TaskRef<H> {
    /// Whether `head` is that of this task.
    #[inline(always)]
    pub fn is(&self, head: &H) -> bool {
        ptr::eq(self.0.as_ptr(), head)
    }

    /// The whole task.
    #[inline(always)]
    pub fn whole<T: TaskType<Head = H>>(&self) -> &T {
        // SAFETY: it was made from an `Arc` of the one type there is, which begins with the head; this reference keeps it.
        unsafe { self.0.cast::<T>().as_ref() }
    }

    /// The reference as a pointer, which owns it.
    fn into_raw(self) -> *const () {
        ManuallyDrop::new(self).0.as_ptr().cast_const().cast()
    }

    /// One more reference to a task.
    ///
    /// # Safety
    /// `task` is from `into_raw`, and that reference is not given back meanwhile.
    #[inline(always)]
    unsafe fn another(task: NonNull<H>) -> Self {
        // SAFETY: the reference keeps the task, whose thread was made for its type.
        unsafe { (task.as_ref().thread().counting.more)(task.as_ptr().cast_const().cast()) };
        Self(task)
    }
}

impl<T: TaskType> From<Arc<T>> for TaskRef<T::Head> {
    #[inline(always)]
    fn from(task: Arc<T>) -> Self {
        // SAFETY: a pointer to a value. What begins with the head lies where the head does.
        Self(unsafe { NonNull::new_unchecked(Arc::into_raw(task).cast_mut().cast()) })
    }
}

impl<H: Head> Clone for TaskRef<H> {
    #[inline(always)]
    fn clone(&self) -> Self {
        // SAFETY: this reference is one.
        unsafe { Self::another(self.0) }
    }
}

impl<H: Head> Drop for TaskRef<H> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: this reference is given back, by the function for the task's type.
        unsafe { ((*self.0.as_ptr()).thread().counting.less)(self.0.as_ptr().cast_const().cast()) };
    }
}

impl<H: Head> Deref for TaskRef<H> {
    type Target = H;

    #[inline(always)]
    fn deref(&self) -> &H {
        // SAFETY: this reference keeps the task.
        unsafe { self.0.as_ref() }
    }
}

/// What a switch saves and restores.
pub struct Thread {
    /// None for a CPU's idle thread, which runs on the stack that the CPU started with and never in user mode.
    stack: Option<KernelStack>,
    /// The kernel stack pointer while the thread does not run.
    rsp: UnsafeCell<u64>,
    running: AtomicBool,
    fs_base: AtomicU64,
    gs_base: AtomicU64,
    fpu: Option<fpu::State>,
    /// Turns in a row in which the thread had its floating-point state loaded.
    fpu_turns: AtomicU8,
    counting: &'static Counting,
}

// SAFETY: `rsp` is touched only by `switch`, which makes sure through `running` that one CPU has the thread.
unsafe impl Sync for Thread {}

unsafe extern "C" {
    fn switch_stacks(save: *mut u64, to: u64, running: *const AtomicBool);
    static thread_start: u8;
}

/// Gives back the memory of all stacks that are kept for threads to come. How many frames that was.
pub fn release_stacks() -> usize {
    kernel_stack::release(0)
}

/// What `switch_stacks` pops before it returns: six registers.
const SAVED_WORDS: u64 = 6;

impl Thread {
    /// The thread of a task of type `T`, that will start in user mode with `regs`, after `exo_thread_start`.
    pub fn new<T: TaskType>(regs: &Regs) -> Result<Self, NoMemory> {
        let stack = KernelStack::new()?;
        let at = stack.end() - size_of::<Regs>() as u64;
        let rsp = at - 8 * (SAVED_WORDS + 1);
        // SAFETY: a mapped stack that nobody uses; both places are inside it, below its end.
        unsafe {
            (at as *mut Regs).write(*regs);
            for word in 0..SAVED_WORDS {
                ((rsp + 8 * word) as *mut u64).write(0);
            }
            ((rsp + 8 * SAVED_WORDS) as *mut u64).write(&raw const thread_start as u64);
        }
        Ok(Self {
            stack: Some(stack),
            rsp: UnsafeCell::new(rsp),
            running: AtomicBool::new(false),
            fs_base: AtomicU64::new(0),
            gs_base: AtomicU64::new(0),
            fpu: Some(fpu::State::new()?),
            fpu_turns: AtomicU8::new(0),
            counting: Counting::of::<T>(),
        })
    }

    /// That of a CPU's idle task, which [`adopt`] makes of what runs.
    pub fn idle<T: TaskType>() -> Self {
        Self {
            stack: None,
            rsp: UnsafeCell::new(0),
            running: AtomicBool::new(false),
            fs_base: AtomicU64::new(0),
            gs_base: AtomicU64::new(0),
            fpu: None,
            fpu_turns: AtomicU8::new(0),
            counting: Counting::of::<T>(),
        }
    }

    /// Whether some CPU has the thread's registers, or is still on its stack.
    #[inline]
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// The bases of the user's FS and GS segments.
    pub fn segment_bases(&self) -> (u64, u64) {
        (self.fs_base.load(Ordering::Relaxed), self.gs_base.load(Ordering::Relaxed))
    }

    /// Sets the bases; in the CPU too if this thread is the one that runs here. What is no user address becomes 0.
    pub fn set_segment_bases(&self, fs: u64, gs: u64) {
        let valid = |base: u64| if base < crate::USER_END as u64 { base } else { 0 };
        self.fs_base.store(valid(fs), Ordering::Relaxed);
        self.gs_base.store(valid(gs), Ordering::Relaxed);
        if self.is_this() {
            cpu::set_fs_base(valid(fs));
            cpu::set_user_gs_base(valid(gs));
        }
    }

    /// Whether this is the thread that runs here.
    #[inline]
    fn is_this(&self) -> bool {
        // SAFETY: this CPU's own area.
        unsafe { ptr::eq((*percpu::area()).thread.cast(), self) }
    }

    /// Copies the running thread's floating-point state to this one, which is new: nothing happens if it runs.
    pub fn inherit_fpu(&self) {
        // SAFETY: `switch` set the pointer to the running thread, which stays while it runs.
        let running = unsafe { (*percpu::area()).thread.cast::<Self>().as_ref() };
        let (Some(own), Some(other)) = (&self.fpu, running.and_then(|t| t.fpu.as_ref())) else { return };
        // Whoever has the flag has the state.
        if self.running.swap(true, Ordering::Acquire) {
            return;
        }
        if is_live() {
            other.save();
        }
        own.copy_from(other);
        self.running.store(false, Ordering::Release);
    }

    /// Calls `with` with this thread's floating-point state as bytes; none if it is not the one that runs.
    pub fn with_fpu_bytes<R>(&self, with: impl FnOnce(&[u8]) -> R) -> R {
        match &self.fpu {
            Some(state) if self.is_this() => {
                if is_live() {
                    state.save();
                }
                with(state.bytes())
            }
            _ => with(&[]),
        }
    }

    /// Sets this thread's floating-point state, `None` for the initial one, if it is the one that runs.
    pub fn set_fpu(&self, bytes: Option<&[u8]>) {
        if let Some(state) = self.fpu.as_ref().filter(|_| self.is_this()) {
            match bytes {
                Some(bytes) => state.set_bytes(bytes),
                None => state.reset(),
            }
            if is_live() {
                state.load();
            }
        }
    }
}

/// Whether the running thread's floating-point state is in the CPU.
#[inline]
fn is_live() -> bool {
    // SAFETY: this CPU's own area.
    unsafe { (*percpu::area()).fpu_live }
}

fn set_live(live: bool) {
    // SAFETY: this CPU's own area.
    unsafe { (*percpu::area()).fpu_live = live };
}

/// The running program used a floating-point register for the first time in its turn. False if that cannot be why the CPU trapped.
pub(crate) fn load_fpu() -> bool {
    // SAFETY: `switch` set the pointer to the running thread.
    let state = unsafe { (*percpu::area()).thread.cast::<Thread>().as_ref() }.and_then(|t| t.fpu.as_ref());
    match state {
        Some(state) if !is_live() => {
            fpu::allow();
            state.load();
            set_live(true);
            true
        }
        _ => false,
    }
}

/// Saves `old`'s state if the CPU has it, and loads `new`'s if it surely needs it.
#[inline]
fn switch_fpu(old: &Thread, new: &Thread) {
    let was_live = is_live();
    if let Some(state) = &old.fpu {
        if was_live {
            state.save();
            // Wraps on purpose: now and then a thread has to show again that it needs its state.
            old.fpu_turns.store(old.fpu_turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        } else {
            old.fpu_turns.store(0, Ordering::Relaxed);
        }
    }
    match &new.fpu {
        Some(state) if new.fpu_turns.load(Ordering::Relaxed) >= fpu::EAGER_AFTER => {
            if !was_live {
                fpu::allow();
            }
            state.load();
            set_live(true);
        }
        _ if was_live => {
            fpu::forbid();
            set_live(false);
        }
        _ => {}
    }
}

/// Makes `task`, whose thread is an [idle](Thread::idle) one, this CPU's running task without a switch, for ever.
///
/// # Panics
/// When this CPU has a running task, or the thread belongs to another CPU or is no idle one.
pub fn adopt<H: Head>(task: TaskRef<H>) {
    let thread = task.thread();
    assert!(!has_current() && thread.stack.is_none(), "a CPU adopts its own idle task, once");
    assert!(!thread.running.swap(true, Ordering::AcqRel), "the idle task belongs to another CPU");
    // SAFETY: this CPU's own area, which owns the reference from now on.
    unsafe { (*percpu::area()).task = task.into_raw() };
}

/// Switches from the running task to `next`, which this CPU keeps alive as long as it runs. Returns when something switches back;
/// the task that ran here before is let go of then. A thread that begins lets go of it before it calls the kernel.
///
/// # Panics
/// When `next` runs already, or nothing runs here yet.
pub fn switch<H: Head>(next: TaskRef<H>) {
    sync::may_sleep();
    assert!(has_current(), "a CPU has an idle task before it switches");
    // SAFETY: this CPU's own area. Its reference to the running task passes to `previous`, where it stays until the switch is complete.
    let (from, to) = unsafe {
        let area = percpu::area();
        (&*(*area).task.cast::<H>(), next.0.as_ref())
    };
    let (old, new) = (from.thread(), to.thread());
    assert!(!new.running.swap(true, Ordering::AcqRel), "the task runs on another CPU");
    // SAFETY: the flag gives us the new thread's stack pointer alone.
    let stack_pointer = unsafe { *new.rsp.get() };
    assert!(stack_pointer != 0, "an idle task that no CPU has adopted");
    switch_fpu(old, new);
    if new.fpu.is_some() {
        cpu::set_fs_base(new.fs_base.load(Ordering::Relaxed));
        let gs = new.gs_base.load(Ordering::Relaxed);
        if gs != 0 || old.gs_base.load(Ordering::Relaxed) != 0 || old.fpu.is_none() {
            cpu::set_user_gs_base(gs);
        }
    }
    match &new.stack {
        Some(stack) => stacks::set_kernel_stack(stack.end()),
        None => stacks::forget_kernel_stack(),
    }
    // SAFETY: this CPU's own area. The old thread's `running` is cleared only once nothing uses its stack. Both tasks are kept alive by the area's references; nothing that has to be dropped
    // is on this stack, which may never run again.
    unsafe {
        let area = percpu::area();
        (*area).previous = Previous { task: (*area).task, release: old.counting.less };
        (*area).task = next.into_raw();
        (*area).thread = ptr::from_ref(new).cast();
        switch_stacks(old.rsp.get(), stack_pointer, &raw const old.running);
    }
    finish_switch();
}

/// The first thing after a switch: lets go of the task that ran before.
pub(crate) fn finish_switch() {
    // SAFETY: this CPU's own area; `switch` has put the reference there, and it is taken once.
    unsafe {
        let Previous { task, release } = core::mem::replace(&mut (*percpu::area()).previous, Previous::NONE);
        release(task);
    }
}

/// The head of the running task. Not to be sent to other threads, so that it cannot outlive its turn.
pub struct Running<H> {
    _of_this_thread: PhantomData<*const H>,
}

/// The head of the running task.
#[inline(always)]
pub fn running<H: Head>() -> Running<H> {
    Running { _of_this_thread: PhantomData }
}

impl<H: Head> Running<H> {
    /// A counted reference.
    #[inline(always)]
    pub fn counted(&self) -> TaskRef<H> {
        // SAFETY: the CPU's own reference, which it keeps until the thread has been switched away from; a running task is never null.
        unsafe { TaskRef::another(NonNull::new_unchecked(percpu::task().cast::<H>().cast_mut())) }
    }
}

impl<H: Head> Deref for Running<H> {
    type Target = H;

    #[inline(always)]
    fn deref(&self) -> &H {
        // SAFETY: as of `Current`, which begins with it.
        unsafe { &*percpu::task().cast::<H>() }
    }
}

/// The running task. Not to be sent to other threads, so that it cannot outlive its turn.
pub struct Current<T> {
    _of_this_thread: PhantomData<*const T>,
}

/// The running task.
#[inline(always)]
pub fn current<T: TaskType>() -> Current<T> {
    Current { _of_this_thread: PhantomData }
}

impl<T: TaskType> Deref for Current<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: set by `adopt` or `switch` from a reference to the one type that implements TaskType, which the CPU keeps until the
        // thread has been switched away from; it is on this stack that the borrow ends.
        unsafe { &*percpu::task().cast::<T>() }
    }
}

/// Whether there is a running task yet.
pub fn has_current() -> bool {
    !percpu::task().is_null()
}
