// SPDX-License-Identifier: GPL-2.0

//! Kernel threads that work and sleep in turns.
//!
//! The request to stop is a flag under the lock that the thread holds until it sleeps, so that no
//! stop is missed; dropping a [`Kthread`] waits for its function to return.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use core::ptr::NonNull;
use kernel::{
    bindings,
    error::from_err_ptr,
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        CondVar,
        CondVarTimeoutResult,
        Mutex, //
    },
    task::Task,
    time::msecs_to_jiffies, //
};

/// What a thread does.
pub trait KthreadMain: Send + Sync + 'static {
    /// The thread's life. It must return soon after [`StopToken::sleep`] has returned `false`.
    fn run(&self, stop: &StopToken);
}

/// How a thread sleeps.
#[pin_data]
pub struct StopToken {
    #[pin]
    stop: Mutex<bool>,
    #[pin]
    stopped: CondVar,
}

impl StopToken {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            stop <- new_mutex!(false),
            stopped <- new_condvar!(),
        })
    }

    /// Sleeps for so many milliseconds, or until the thread is to stop. Returns whether to go on.
    pub fn sleep(&self, milliseconds: u32) -> bool {
        let mut left = msecs_to_jiffies(milliseconds);
        let mut stop = self.stop.lock();

        while !*stop {
            match self.stopped.wait_interruptible_timeout(&mut stop, left) {
                CondVarTimeoutResult::Timeout => return !*stop,
                // Woken for no reason that matters. (Threads of the kernel get no signals.)
                CondVarTimeoutResult::Woken { jiffies }
                | CondVarTimeoutResult::Signal { jiffies } => left = jiffies,
            }
        }
        false
    }

    fn request_stop(&self) {
        *self.stop.lock() = true;
        self.stopped.notify_all();
    }
}

#[pin_data]
struct Shared<W> {
    work: Arc<W>,
    #[pin]
    stop: StopToken,
}

/// A running thread. Dropping it tells the thread to stop, and waits until it has.
///
/// # Invariants
///
/// `task` was made by `kthread_create_on_node()` for [`Kthread::main`] with the address of
/// `shared`, and `kthread_stop()` was not called for it.
pub struct Kthread<W: KthreadMain> {
    task: ARef<Task>,
    shared: Pin<KBox<Shared<W>>>,
}

impl<W: KthreadMain> Kthread<W> {
    /// Starts a thread, called `name` (of which `ps` shows 15 characters).
    ///
    /// # Safety
    ///
    /// The returned value must be dropped before the module is unloaded: the thread runs its code.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], or [`EINTR`] if the program that loads the module was killed meanwhile.
    pub unsafe fn spawn(name: &'static CStr, work: Arc<W>) -> Result<Self> {
        let shared = KBox::pin_init(
            pin_init!(Shared {
                work,
                stop <- StopToken::new(),
            }),
            GFP_KERNEL,
        )?;

        // SAFETY: The name is a C string that "%s" prints. `shared` stays until the thread has
        // ended, which `drop` waits for.
        let task = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(Self::main),
                core::ptr::from_ref(&*shared).cast_mut().cast(),
                bindings::NUMA_NO_NODE,
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            )
        })?;

        let task = NonNull::new(task).ok_or(ENOMEM)?.cast::<Task>();

        // Counted, because a thread whose function has returned ends by itself.
        // SAFETY: A thread that was not started yet cannot have gone. `Task` is transparent.
        let task: ARef<Task> = unsafe { task.as_ref() }.into();
        task.wake_up();

        // INVARIANT: Made above.
        Ok(Self { task, shared })
    }

    /// The thread's function.
    ///
    /// # Safety
    ///
    /// `data` must be the address of a `Shared<W>` that stays until this has returned.
    unsafe extern "C" fn main(data: *mut c_void) -> c_int {
        // SAFETY: By the requirements of this function.
        let shared = unsafe { &*data.cast::<Shared<W>>() };

        shared.work.run(&shared.stop);
        0
    }
}

impl<W: KthreadMain> Drop for Kthread<W> {
    fn drop(&mut self) {
        self.shared.stop.request_stop();

        // SAFETY: By the type invariants a thread that was not stopped yet, and whose task we hold.
        // This returns when the function has returned, or (if it was not called yet) never will be.
        unsafe { bindings::kthread_stop(self.task.as_ptr()) };
    }
}
