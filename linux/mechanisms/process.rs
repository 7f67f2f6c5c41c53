// SPDX-License-Identifier: GPL-2.0

//! Processes and threads, looked at in an RCU read section from which they borrow.
//!
//! C headers: [`include/linux/sched.h`](srctree/include/linux/sched.h),
//! [`include/linux/sched/signal.h`](srctree/include/linux/sched/signal.h)

use super::{
    credentials::Owner,
    pid::PidRef,
    time_ns, //
};
use core::{
    marker::PhantomData,
    ptr::{
        addr_of,
        addr_of_mut,
        NonNull, //
    },
};
use kernel::{
    bindings, container_of,
    page::PAGE_SIZE,
    prelude::*,
    sync::rcu,
    task::{
        Kuid,
        Pid, //
    },
};

/// Length of a name, the zero at its end included (`TASK_COMM_LEN`).
pub const COMM_LENGTH: usize = 16;

/// How often times are read again because a thread ended meanwhile. After that, what was read is
/// taken: it misses a thread or counts it twice, once in a long while.
const TRIES: u32 = 4;

#[expect(
    improper_ctypes,
    reason = "a lock class key has no fields without lockdep"
)]
extern "C" {
    /// Whether `prctl(PR_GET_DUMPABLE)` says that users may look into the process.
    fn mechanisms_is_dumpable(task: *mut bindings::task_struct) -> bool;
    /// `read_seqbegin()` of a process's times.
    fn mechanisms_stats_read_begin(signal: *mut bindings::signal_struct) -> c_uint;
    /// `read_seqretry()` of a process's times.
    fn mechanisms_stats_read_retry(signal: *mut bindings::signal_struct, sequence: c_uint) -> bool;
}

/// A thread or process that stays for `'a`, an RCU read section.
///
/// # Invariants
///
/// `task` points to a `struct task_struct` that is not freed during `'a`.
#[derive(Clone, Copy)]
pub struct Process<'a> {
    task: NonNull<bindings::task_struct>,
    _section: PhantomData<&'a rcu::Guard>,
}

/// The numbers of a process in some PID namespace; 0 for what is not to be seen there.
#[derive(Clone, Copy)]
pub struct NamespaceIds {
    /// The thread.
    pub pid: Pid,
    /// The process.
    pub tgid: Pid,
    /// Its parent process.
    pub ppid: Pid,
}

/// How much memory a process has, in bytes.
#[derive(Clone, Copy, Default)]
pub struct MemoryUsage {
    /// All that it has mapped.
    pub mapped: u64,
    /// What of it is resident.
    pub resident: u64,
}

/// How long the threads of a process have run, those that have ended included, in nanoseconds.
#[derive(Clone, Copy, Default)]
pub struct CpuTimes {
    /// In user mode, as sampled by the timer tick.
    pub user: u64,
    /// In the kernel, as sampled by the timer tick.
    pub system: u64,
    /// Altogether, as measured by the scheduler.
    pub running: u64,
}

impl<'a> Process<'a> {
    /// Finds the thread or process that has this number in the caller's PID namespace.
    pub fn find(number: Pid, _guard: &'a rcu::Guard) -> Option<Self> {
        // SAFETY: Any number may be asked for. The `struct pid` stays for the read section.
        let task = unsafe {
            bindings::pid_task(bindings::find_vpid(number), bindings::pid_type_PIDTYPE_PID)
        };

        // INVARIANT: Tasks are freed after a grace period.
        Some(Self {
            task: NonNull::new(task)?,
            _section: PhantomData,
        })
    }

    /// Returns the thread or process that `pid` stands for, unless it has gone.
    pub fn of(pid: &PidRef, _guard: &'a rcu::Guard) -> Option<Self> {
        // SAFETY: The `struct pid` is counted.
        let task = unsafe { bindings::pid_task(pid.as_ptr(), bindings::pid_type_PIDTYPE_PID) };

        // INVARIANT: Tasks are freed after a grace period.
        Some(Self {
            task: NonNull::new(task)?,
            _section: PhantomData,
        })
    }

    /// Returns all processes there are, in all namespaces, oldest first. Threads and the idle tasks
    /// of the CPUs are not among them.
    pub fn all(_guard: &'a rcu::Guard) -> impl Iterator<Item = Self> {
        let first = addr_of_mut!(bindings::init_task);

        // SAFETY: The list is made of the `tasks` of tasks, and goes in a circle from `init_task`.
        unsafe { rcu_list_iter(addr_of!((*first).tasks)) }.map(|node| Self {
            // SAFETY: See above; not null, as it is inside of a task.
            // INVARIANT: Tasks are freed a grace period after they left the list.
            task: unsafe {
                NonNull::new_unchecked(container_of!(node, bindings::task_struct, tasks).cast_mut())
            },
            _section: PhantomData,
        })
    }

    /// Takes a task that the kernel has passed on.
    ///
    /// # Safety
    ///
    /// `task` must be valid, and stay so for the read section of `_guard`.
    pub unsafe fn from_raw(task: *mut bindings::task_struct, _guard: &'a rcu::Guard) -> Self {
        // INVARIANT: By the requirements of this function.
        Self {
            // SAFETY: Valid by the requirements of this function, so not null.
            task: unsafe { NonNull::new_unchecked(task) },
            _section: PhantomData,
        }
    }

    fn as_ptr(self) -> *mut bindings::task_struct {
        self.task.as_ptr()
    }

    fn signal(self) -> *mut bindings::signal_struct {
        // SAFETY: By the type invariants. A task keeps its `signal` until it is freed.
        unsafe { (*self.as_ptr()).signal }
    }

    /// Returns the number of the thread in the initial namespace.
    pub fn pid(self) -> Pid {
        // SAFETY: By the type invariants. It changes when a thread that is not the first calls
        // `execve()`, as a whole.
        unsafe { addr_of!((*self.as_ptr()).pid).read_volatile() }
    }

    /// Returns the number of the process in the initial namespace.
    pub fn tgid(self) -> Pid {
        // SAFETY: By the type invariants. It never changes.
        unsafe { (*self.as_ptr()).tgid }
    }

    /// Returns the number of the parent process in the initial namespace, 0 if there is none.
    pub fn parent_tgid(self) -> Pid {
        self.parent().map_or(0, Self::tgid)
    }

    /// Returns the parent process.
    fn parent(self) -> Option<Self> {
        // SAFETY: By the type invariants. Changed by others, as a whole.
        let parent = unsafe {
            // One that was removed from the tables does not keep its parent.
            if addr_of!((*self.as_ptr()).thread_pid)
                .read_volatile()
                .is_null()
            {
                return None;
            }
            addr_of!((*self.as_ptr()).real_parent).read_volatile()
        };

        // INVARIANT: A parent is freed a grace period after its children got another.
        Some(Self {
            task: NonNull::new(parent)?,
            _section: PhantomData,
        })
    }

    /// Returns the numbers in the caller's PID namespace.
    pub fn ids_in_current_ns(self) -> NamespaceIds {
        NamespaceIds {
            pid: self.number_in_current_ns(bindings::pid_type_PIDTYPE_PID),
            tgid: self.number_in_current_ns(bindings::pid_type_PIDTYPE_TGID),
            ppid: self.parent().map_or(0, |parent| {
                parent.number_in_current_ns(bindings::pid_type_PIDTYPE_TGID)
            }),
        }
    }

    fn number_in_current_ns(self, kind: bindings::pid_type) -> Pid {
        // SAFETY: By the type invariants. Without a namespace, the caller's is meant.
        unsafe { bindings::__task_pid_nr_ns(self.as_ptr(), kind, core::ptr::null_mut()) }
    }

    /// Returns the real user.
    pub fn user(self) -> Kuid {
        // SAFETY: By the type invariants.
        Kuid::from_raw(unsafe { bindings::task_uid(self.as_ptr()) })
    }

    /// Returns the real user as the caller's user namespace numbers it, or the number that stands
    /// for all who have none there.
    pub fn uid_in_current_ns(self) -> u32 {
        match self.user().into_uid_in_current_ns() {
            // SAFETY: Written by `sysctl kernel.overflowuid`, as a whole. CAST: Not negative.
            u32::MAX => unsafe { addr_of!(bindings::overflowuid).read_volatile() as u32 },
            user => user,
        }
    }

    /// Returns who may see how the process ended: as `ptrace_may_access()` decides for a process
    /// without memory.
    pub fn owner(self) -> Owner {
        // SAFETY: By the type invariants; credentials are freed a grace period after they were
        // replaced.
        let (cred, is_dumpable) = unsafe {
            (
                &*addr_of!((*self.as_ptr()).real_cred).read_volatile(),
                mechanisms_is_dumpable(self.as_ptr()),
            )
        };
        let (uid, gid) = (cred.uid.val, cred.gid.val);
        let is_uniform = [cred.euid.val, cred.suid.val] == [uid; 2]
            && [cred.egid.val, cred.sgid.val] == [gid; 2];

        if is_uniform && is_dumpable {
            Owner::new(uid, gid)
        } else {
            Owner::PRIVILEGED
        }
    }

    /// Returns the name; at least the last byte is zero.
    pub fn name(self) -> [u8; COMM_LENGTH] {
        let mut name = [0; COMM_LENGTH];
        let (_, without_end) = name.split_last_mut().unwrap_or((&mut 0, &mut []));
        // SAFETY: By the type invariants.
        let from = unsafe { addr_of!((*self.as_ptr()).comm) }.cast::<u8>();

        for (index, byte) in without_end.iter_mut().enumerate() {
            // It can change while we look. What we see then is a mixture of both names, as
            // everybody does who looks; but it ends at the first zero, so nothing older shows
            // behind it.
            // SAFETY: `index` is below the length of `comm`.
            match unsafe { from.add(index).read_volatile() } {
                0 => break,
                character => *byte = character,
            }
        }
        name
    }

    /// Returns the state, as one of the flags `TASK_…` and `EXIT_…` that `/proc` tells apart.
    pub fn state(self) -> u32 {
        // SAFETY: By the type invariants. Changed by others, as a whole.
        let (state, exit_state) = unsafe {
            (
                addr_of!((*self.as_ptr()).__state).read_volatile(),
                addr_of!((*self.as_ptr()).exit_state).read_volatile(),
            )
        };

        // As `__task_state_index()`, which reports a wait for a sleeping spin lock, and being
        // frozen, as D.
        if state & (bindings::TASK_RTLOCK_WAIT | bindings::TASK_FROZEN) != 0 {
            return bindings::TASK_UNINTERRUPTIBLE;
        }
        if state & bindings::TASK_IDLE == bindings::TASK_IDLE {
            return bindings::TASK_REPORT_IDLE;
        }
        // CAST: Only flags, all of them positive.
        match (state | exit_state as u32) & bindings::TASK_REPORT {
            0 => bindings::TASK_RUNNING,
            // The last that is set decides.
            several => 1 << several.ilog2(),
        }
    }

    /// Tells whether it runs or waits for a processor.
    pub fn is_runnable(self) -> bool {
        self.state() == bindings::TASK_RUNNING
    }

    /// Returns how much memory the process has: none for a thread of the kernel, and for a process
    /// that has given it up because it ends.
    pub fn memory(self) -> MemoryUsage {
        let task = self.as_ptr();
        let mut memory = MemoryUsage::default();

        // SAFETY: By the type invariants. This lock is what `task->mm` is changed under, so that
        // while it is held the address space stays. Nothing below sleeps.
        unsafe {
            let lock = addr_of_mut!((*task).alloc_lock);
            bindings::spin_lock(lock);

            let mm = (*task).mm;
            // A thread of the kernel may be borrowing somebody's.
            if !mm.is_null() && (*task).flags & bindings::PF_KTHREAD == 0 {
                let pages = addr_of!((*mm).__bindgen_anon_1.total_vm).read_volatile();
                // CAST: Lossless.
                memory.mapped = bytes(pages as u64);
                memory.resident = bytes(resident_pages(mm));
            }
            bindings::spin_unlock(lock);
        }
        memory
    }

    /// Returns how long the process has run.
    pub fn times(self) -> CpuTimes {
        let signal = self.signal();
        let mut times = CpuTimes::default();

        for _ in 0..TRIES {
            // SAFETY: `signal` stays as long as the task.
            let sequence = unsafe { mechanisms_stats_read_begin(signal) };

            // SAFETY: See above. Times of threads that have ended.
            times = unsafe {
                CpuTimes {
                    user: addr_of!((*signal).utime).read_volatile(),
                    system: addr_of!((*signal).stime).read_volatile(),
                    running: addr_of!((*signal).sum_sched_runtime).read_volatile(),
                }
            };
            for thread in self.threads() {
                // SAFETY: By the type invariants.
                let (user, system, running) = unsafe {
                    (
                        addr_of!((*thread.as_ptr()).utime).read_volatile(),
                        addr_of!((*thread.as_ptr()).stime).read_volatile(),
                        addr_of!((*thread.as_ptr()).se.sum_exec_runtime).read_volatile(),
                    )
                };
                times.user = times.user.wrapping_add(user);
                times.system = times.system.wrapping_add(system);
                times.running = times.running.wrapping_add(running);
            }

            // SAFETY: `signal` stays as long as the task.
            if !unsafe { mechanisms_stats_read_retry(signal, sequence) } {
                break;
            }
        }
        times
    }

    /// Returns when it started, in nanoseconds since boot in the caller's time namespace.
    pub fn start_in_current_ns(self) -> u64 {
        // SAFETY: By the type invariants. It never changes.
        time_ns::boottime_in_current_ns(unsafe { (*self.as_ptr()).start_boottime })
    }

    /// Returns the threads of the process.
    pub fn threads(self) -> impl Iterator<Item = Process<'a>> {
        let signal = self.signal();

        // SAFETY: The list is made of the `thread_node` of tasks, and goes in a circle from there.
        unsafe { rcu_list_iter(addr_of!((*signal).thread_head)) }.map(|node| Process {
            // SAFETY: See above; not null, as it is inside of a task.
            // INVARIANT: Tasks are freed a grace period after they left the list.
            task: unsafe {
                NonNull::new_unchecked(
                    container_of!(node, bindings::task_struct, thread_node).cast_mut(),
                )
            },
            _section: PhantomData,
        })
    }

    /// Returns the first thread of the process, which has the name that `/proc` shows for it.
    ///
    /// Only for a process of which a thread still runs, such as one that a tracepoint passes on.
    pub fn leader(self) -> Self {
        // SAFETY: By the type invariants. Changed by others, as a whole.
        let leader = unsafe { addr_of!((*self.as_ptr()).group_leader).read_volatile() };

        // INVARIANT: The first thread is freed a grace period after the last has ended.
        Self {
            // SAFETY: Each task has one.
            task: unsafe { NonNull::new_unchecked(leader) },
            _section: PhantomData,
        }
    }

    /// Returns how many threads the process has.
    pub fn thread_count(self) -> u32 {
        // SAFETY: `signal` stays as long as the task. Changed by others, as a whole.
        let count = unsafe { addr_of!((*self.signal()).nr_threads).read_volatile() };

        u32::try_from(count).unwrap_or(0)
    }

    /// Tells whether the last thread of the process has begun to end.
    pub fn is_ending(self) -> bool {
        // SAFETY: `signal` stays as long as the task. Changed by others, as a whole.
        unsafe { addr_of!((*self.signal()).live.counter).read_volatile() <= 0 }
    }

    /// Tells whether this is the caller.
    pub fn is_current(self) -> bool {
        // SAFETY: Always allowed.
        core::ptr::eq(self.as_ptr(), unsafe { bindings::get_current() })
    }

    /// Tells whether it is on its way to another program. Only the thread itself can ask.
    pub fn is_in_execve(self) -> bool {
        // SAFETY: By the type invariants. The flag is the thread's own.
        self.is_current() && unsafe { (*self.as_ptr()).in_execve() != 0 }
    }

    /// Returns the status of a process whose last thread ends, as `wait(2)` tells it.
    pub fn exit_status(self) -> u32 {
        let signal = self.signal();

        // SAFETY: `signal` stays as long as the task, and so does the first thread of a process of
        // which any thread is there. Nothing of it changes any more when the last thread ends.
        let status = unsafe {
            if (*signal).flags & bindings::SIGNAL_GROUP_EXIT != 0 {
                (*signal).group_exit_code
            } else {
                (*(*self.as_ptr()).group_leader).exit_code
            }
        };

        // CAST: Sixteen bits are used.
        status as u32
    }
}

/// Walks a list of the kernel that changes under RCU, from its head all around.
///
/// # Safety
///
/// `head` must be the head of such a list, and the caller must be in an RCU read section until it
/// is done with what the iterator returns.
unsafe fn rcu_list_iter(
    head: *const bindings::list_head,
) -> impl Iterator<Item = *const bindings::list_head> {
    let mut node = head;

    core::iter::from_fn(move || {
        // SAFETY: A node that was in the list when the read section began, or later. If it was
        // taken out since, it still leads to one that was in the list.
        node = unsafe { addr_of!((*node).next).read_volatile() };
        (node != head).then_some(node)
    })
}

/// Returns how many pages are resident, as `get_mm_rss()`.
///
/// # Safety
///
/// `mm` must be valid.
unsafe fn resident_pages(mm: *const bindings::mm_struct) -> u64 {
    // CAST: Indices of an array.
    const RESIDENT: [usize; 3] = [
        bindings::MM_FILEPAGES as usize,
        bindings::MM_ANONPAGES as usize,
        bindings::MM_SHMEMPAGES as usize,
    ];

    // SAFETY: Valid by the requirements of this function. Changed by others, as a whole; the sum of
    // the differences that the CPUs keep is left out, as `/proc/PID/stat` does.
    let counters = unsafe { addr_of!((*mm).__bindgen_anon_1.rss_stat) };
    RESIDENT
        .iter()
        .map(|&kind| {
            // SAFETY: `kind` is below the number of counters.
            let count = unsafe {
                addr_of!((*counters.cast::<bindings::percpu_counter>().add(kind)).count)
                    .read_volatile()
            };
            // They can be below zero for a while.
            u64::try_from(count).unwrap_or(0)
        })
        .sum()
}

fn bytes(pages: u64) -> u64 {
    // CAST: Lossless.
    pages.saturating_mul(PAGE_SIZE as u64)
}
