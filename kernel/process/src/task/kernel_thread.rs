// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads that run in the kernel alone: work that has to wait and is nobody's system call.
//!
//! Such a thread is a task like any other, with a process of its own that no list names. It may have a program's memory
//! loaded, to copy to and from it on the program's behalf. As all kernel code it runs with interrupts off, so one that does not
//! wait soon must pass [`pause`] now and then.

use core::sync::atomic::{AtomicU32, Ordering};

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use exo_hal::{mm::frame, sync::SpinLock, trap::Regs};

use super::{Credentials, Name, Process, Seed, Task, current};
use crate::{
    errno::{Errno, Result},
    fallible,
    fs::Files,
    sched::{
        self,
        policy::{Policy, Schedule},
    },
    signal::SignalSet,
};

/// What a kernel thread does. It ends when this returns.
pub type Main = Box<dyn FnOnce() + Send>;

/// Starts a kernel thread on the CPUs in `affinity`. With `on_behalf_of`, it has that process's memory loaded, and its
/// session, group, terminal and limits; never its files or signals, so that it keeps none of them open.
pub fn start(
    name: &[u8],
    on_behalf_of: Option<&Arc<Process>>,
    affinity: u64,
    main: Main,
) -> Result<Arc<Task>> {
    if RUNNING.lock().len() >= MOST || !frame::available(FRAMES) {
        return Err(Errno::EAGAIN);
    }
    let process = Process::empty(0);
    if let Some(other) = on_behalf_of {
        *process.parent.lock() = Arc::downgrade(other);
        *process.memory.lock() = other.memory.lock().clone();
        *process.terminal.lock() = other.terminal.lock().clone();
        *process.limits.lock() = *other.limits.lock();
        let copy = |to: &AtomicU32, from: &AtomicU32| {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        };
        copy(&process.group, &other.group);
        copy(&process.session, &other.session);
    }
    let task = Task::new(Seed {
        tid: 0,
        process,
        files: Files::empty(),
        regs: &Regs::in_kernel(),
        name: Name::new(name),
        blocked: SignalSet(u64::MAX),
        affinity,
        credentials: Arc::new(Credentials::root()),
        schedule: Schedule::new(Policy::DEFAULT, 0),
    })?;
    *task.main.lock() = Some(main);
    fallible::push(&mut RUNNING.lock(), task.clone())?;
    sched::start(task.clone());
    Ok(task)
}

/// Kernel threads that have not ended. No table of processes names them, and one that only waits for a time has nobody else to keep it.
static RUNNING: SpinLock<Vec<Arc<Task>>> = SpinLock::new(Vec::new());
/// Most of them: programs can have some started, and none of their limits counts those.
const MOST: usize = 256;
/// Kernel memory that a thread needs, in frames.
const FRAMES: usize = 16;

/// Runs what the running task is there for, if it is a kernel thread; then does not return.
pub fn run_if_kernel_thread() {
    let main = current().main.lock().take();
    if let Some(main) = main {
        main();
        {
            let own = current();
            RUNNING.lock().retain(|task| !core::ptr::eq::<Task>(&**task, &*own));
        }
        sched::end_current();
    }
}

/// For a thread that looks for work again and again: lets interrupts in, and other tasks run.
pub fn pause() {
    sched::spans::window();
    sched::give_way();
}
