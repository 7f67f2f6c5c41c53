// SPDX-License-Identifier: GPL-2.0

//! Callbacks for fork, exec, exit and rename of processes.
//!
//! The tracepoints are not exported by name, so they are found in the list of all, and the types of
//! their arguments stand here. Callbacks run in the process that the event is about and must not
//! sleep.
//!
//! C headers: [`include/linux/tracepoint.h`](srctree/include/linux/tracepoint.h),
//! [`include/trace/events/sched.h`](srctree/include/trace/events/sched.h)

use super::process::Process;
use core::ptr::{
    null_mut,
    NonNull, //
};
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
    task::Pid, //
};

/// The callbacks. None of them may sleep.
pub trait ProcessEvents: Send + Sync + 'static {
    /// `parent` has made `child`, which did not run yet. Both can be threads of one process.
    fn fork(&self, parent: Process<'_>, child: Process<'_>);

    /// `process` runs another program from here on. `caller` was the thread that asked for it; now
    /// it has the number of the process.
    fn exec(&self, process: Process<'_>, caller: Pid);

    /// `thread` ends; if it is the `last`, then so does its process.
    fn exit(&self, thread: Process<'_>, last: bool);

    /// `thread` will be called `name`.
    fn rename(&self, thread: Process<'_>, name: &CStr);
}

/// Calls a [`ProcessEvents`] until it is dropped.
pub struct ProcessProbes<E: ProcessEvents> {
    // Dropped in this order: unregister all, wait for those inside, then the object can go.
    _probes: [Probe; 4],
    _inside: SynchronizeTracepoints,
    _events: Arc<E>,
}

impl<E: ProcessEvents> ProcessProbes<E> {
    /// Starts calling `events`.
    ///
    /// # Safety
    ///
    /// The returned value must be dropped before the module is unloaded: tracepoints call its code.
    ///
    /// # Errors
    ///
    /// [`ENOENT`] if this kernel lacks one of the tracepoints, [`ENOMEM`].
    pub unsafe fn new(events: Arc<E>) -> Result<Self> {
        // First, so that it is dropped last, whatever fails below.
        let inside = SynchronizeTracepoints;
        let data = Arc::as_ptr(&events).cast_mut().cast::<c_void>();

        // SAFETY: Each function takes what its tracepoint passes on (see the headers), after
        // `data`, which is an `E` that stays until all probes are unregistered and nobody is
        // inside.
        let probes = unsafe {
            [
                Probe::new(c"sched_process_fork", Self::fork as *mut c_void, data)?,
                Probe::new(c"sched_process_exec", Self::exec as *mut c_void, data)?,
                Probe::new(c"sched_process_exit", Self::exit as *mut c_void, data)?,
                Probe::new(c"task_rename", Self::rename as *mut c_void, data)?,
            ]
        };

        Ok(Self {
            _probes: probes,
            _inside: inside,
            _events: events,
        })
    }

    /// `TP_PROTO(struct task_struct *parent, struct task_struct *child)`
    ///
    /// # Safety
    ///
    /// `data` must be an `E`, the rest what the tracepoint passes on.
    unsafe extern "C" fn fork(
        data: *mut c_void,
        parent: *mut bindings::task_struct,
        child: *mut bindings::task_struct,
    ) {
        let guard = rcu::read_lock();
        // SAFETY: Both tasks stay for the call: one calls, the other did not run yet.
        unsafe {
            let (parent, child) = (
                Process::from_raw(parent, &guard),
                Process::from_raw(child, &guard),
            );
            (*data.cast::<E>()).fork(parent, child);
        }
    }

    /// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`
    ///
    /// # Safety
    ///
    /// `data` must be an `E`, the rest what the tracepoint passes on.
    unsafe extern "C" fn exec(
        data: *mut c_void,
        process: *mut bindings::task_struct,
        old_pid: bindings::pid_t,
        _program: *mut bindings::linux_binprm,
    ) {
        let guard = rcu::read_lock();
        // SAFETY: The task calls, so it stays for the call.
        unsafe { (*data.cast::<E>()).exec(Process::from_raw(process, &guard), old_pid) };
    }

    /// `TP_PROTO(struct task_struct *p, bool group_dead)`
    ///
    /// # Safety
    ///
    /// `data` must be an `E`, the rest what the tracepoint passes on.
    unsafe extern "C" fn exit(
        data: *mut c_void,
        thread: *mut bindings::task_struct,
        group_dead: bool,
    ) {
        let guard = rcu::read_lock();
        // SAFETY: The task calls, so it stays for the call.
        unsafe { (*data.cast::<E>()).exit(Process::from_raw(thread, &guard), group_dead) };
    }

    /// `TP_PROTO(struct task_struct *task, const char *comm)`
    ///
    /// # Safety
    ///
    /// `data` must be an `E`, the rest what the tracepoint passes on.
    unsafe extern "C" fn rename(
        data: *mut c_void,
        thread: *mut bindings::task_struct,
        name: *const c_char,
    ) {
        let guard = rcu::read_lock();
        // SAFETY: The caller of the tracepoint keeps the task and the C string for the call.
        unsafe {
            let (thread, name) = (Process::from_raw(thread, &guard), CStr::from_char_ptr(name));
            (*data.cast::<E>()).rename(thread, name);
        }
    }
}

/// A function that is registered at a tracepoint, until it is dropped.
///
/// # Invariants
///
/// `function` is registered at `tracepoint` with `data`.
struct Probe {
    tracepoint: NonNull<bindings::tracepoint>,
    function: *mut c_void,
    data: *mut c_void,
}

// SAFETY: Tracepoints belong to no thread.
unsafe impl Send for Probe {}

// SAFETY: A shared reference can do nothing.
unsafe impl Sync for Probe {}

impl Probe {
    /// Registers `function` at the kernel's tracepoint `name`.
    ///
    /// # Safety
    ///
    /// `function` must be an `extern "C" fn` that takes `data` and the arguments of this
    /// tracepoint, and may be called with them until the value is dropped and
    /// [`SynchronizeTracepoints`] after it.
    unsafe fn new(name: &'static CStr, function: *mut c_void, data: *mut c_void) -> Result<Self> {
        let tracepoint = find(name).ok_or_else(|| {
            pr_err!("this kernel has no tracepoint {name}\n");
            ENOENT
        })?;

        // SAFETY: Tracepoints of the kernel itself stay. The rest is the caller's promise.
        to_result(unsafe {
            bindings::tracepoint_probe_register(tracepoint.as_ptr(), function, data)
        })?;

        // INVARIANT: Registered above.
        Ok(Self {
            tracepoint,
            function,
            data,
        })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // SAFETY: Registered by the type invariants. When there is no memory for a shorter list of
        // functions, the kernel puts one that does nothing in its place, so this does not fail.
        unsafe {
            bindings::tracepoint_probe_unregister(
                self.tracepoint.as_ptr(),
                self.function,
                self.data,
            )
        };
    }
}

/// When dropped, waits until nobody is in a function that was unregistered before.
struct SynchronizeTracepoints;

impl Drop for SynchronizeTracepoints {
    fn drop(&mut self) {
        // SAFETY: Tracepoints that must not sleep, as all of ours, are called in this read section.
        unsafe { bindings::synchronize_srcu(&raw mut bindings::tracepoint_srcu) };
    }
}

/// Looks a tracepoint of the kernel up.
fn find(name: &CStr) -> Option<NonNull<bindings::tracepoint>> {
    struct Search<'a> {
        name: &'a CStr,
        found: *mut bindings::tracepoint,
    }

    /// # Safety
    ///
    /// `tracepoint` must be one, `search` must point to a [`Search`] that nobody else uses.
    unsafe extern "C" fn compare(tracepoint: *mut bindings::tracepoint, search: *mut c_void) {
        // SAFETY: By the requirements of this function. Each tracepoint has a C string as its name.
        unsafe {
            let search = &mut *search.cast::<Search<'_>>();
            if CStr::from_char_ptr((*tracepoint).name) == search.name {
                search.found = tracepoint;
            }
        }
    }

    let mut search = Search {
        name,
        found: null_mut(),
    };

    // SAFETY: The function is called for each tracepoint, before this returns.
    unsafe {
        bindings::for_each_kernel_tracepoint(Some(compare), (&raw mut search).cast::<c_void>())
    };
    NonNull::new(search.found)
}
