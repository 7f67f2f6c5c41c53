// SPDX-License-Identifier: MIT OR Apache-2.0
//! New threads and processes: clone, clone3, fork, vfork.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use alloc::{collections::BTreeMap, sync::Arc};

use exo_core::thread::soft_limit;
use exo_hal::{cpu::percpu::cpu_index, mm::frame, sync::SpinLock, time, trap::Regs};
use exo_logic::credentials::capability;
use linux_raw_sys::general as abi;

use super::{
    Process, Seed, Status, Task, current, kill,
    limits::index,
    observer,
    process::{Alarm, NOT_ENDING, Usage},
    table,
};
use crate::{
    errno::{Errno, Result},
    fallible,
    fs::Files,
    room,
    sched::{
        self,
        policy::Schedule,
        wait::{WaitQueue, wait_on},
    },
    signal::{Pending, SignalSet, Stop, stop},
    user,
};

/// Kernel memory that a new process may need, in frames: stacks, tables, structures.
const PROCESS_FRAMES: usize = 16;

/// What a parent waits for after vfork: the child has its own memory, or is gone.
#[derive(Default)]
pub struct Completion {
    done: AtomicBool,
    queue: WaitQueue,
}

impl Completion {
    /// It has happened.
    pub fn complete(&self) {
        self.done.store(true, Ordering::Release);
        self.queue.wake_all();
    }

    /// Waits until it has happened; only the end of the task interrupts that.
    fn wait(&self) {
        let _ = wait_on(&[&self.queue], None, false, || self.done.load(Ordering::Acquire).then_some(()));
    }
}

/// What clone is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request {
    /// CLONE_ flags.
    pub flags: u64,
    /// Signal to the parent at the child's end.
    pub exit_signal: u32,
    /// The child's stack pointer; 0 for the parent's.
    pub stack: u64,
    /// Where the parent finds the child's number (CLONE_PARENT_SETTID).
    pub parent_tid: usize,
    /// Where the child finds it, or where it is cleared at its end.
    pub child_tid: usize,
    /// Base of the child's FS segment (CLONE_SETTLS).
    pub tls: u64,
}

/// Flags of clone3 beyond those of clone.
pub const CLEAR_SIGHAND: u64 = 1 << 32;

/// CLONE_PTRACE and CLONE_UNTRACED have no effect without a tracer, nor have CLONE_DETACHED, CLONE_SYSVSEM and CLONE_IO here.
const SUPPORTED: u32 = abi::CLONE_VM
    | abi::CLONE_FS
    | abi::CLONE_FILES
    | abi::CLONE_SIGHAND
    | abi::CLONE_PTRACE
    | abi::CLONE_PIDFD
    | abi::CLONE_VFORK
    | abi::CLONE_PARENT
    | abi::CLONE_THREAD
    | abi::CLONE_SYSVSEM
    | abi::CLONE_SETTLS
    | abi::CLONE_PARENT_SETTID
    | abi::CLONE_CHILD_CLEARTID
    | abi::CLONE_CHILD_SETTID
    | abi::CLONE_DETACHED
    | abi::CLONE_UNTRACED
    | abi::CLONE_IO;

fn has(flags: u64, flag: u32) -> bool {
    flags & u64::from(flag) != 0
}

fn check(request: &Request) -> Result<()> {
    let flags = request.flags;
    let sane = flags & !(u64::from(SUPPORTED) | CLEAR_SIGHAND) == 0
        && (!has(flags, abi::CLONE_THREAD) || has(flags, abi::CLONE_SIGHAND))
        && (!has(flags, abi::CLONE_SIGHAND) || has(flags, abi::CLONE_VM) && flags & CLEAR_SIGHAND == 0)
        && !(has(flags, abi::CLONE_PIDFD) && has(flags, abi::CLONE_DETACHED))
        // A sibling of the first process would have no parent.
        && !(has(flags, abi::CLONE_PARENT) && current().pid == 1);
    if sane { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Threads beyond which there are no more for anybody, as many as Linux has by default: one for 128 KiB of memory.
fn most_threads() -> usize {
    const FRAMES_A_THREAD: usize = 32;
    (frame::totals().0 / FRAMES_A_THREAD).max(1024)
}

fn check_number_of_threads() -> Result<()> {
    let task = current();
    let credentials = task.credentials.get();
    let exempt = credentials.users.real == 0
        || credentials.has(capability::SYS_RESOURCE)
        || credentials.has(capability::SYS_ADMIN);
    if table::TASKS.load(Ordering::Relaxed) >= most_threads()
        || !exempt && credentials.user.threads.load(Ordering::Relaxed) as u64 >= soft_limit(index::NPROC)
    {
        return Err(Errno::EAGAIN);
    }
    Ok(())
}

/// What is still to be done with a thread that is made, before it can fail no more.
pub type Prepare<'a> = &'a mut dyn FnMut(&Arc<Task>) -> Result<()>;

/// Makes a new thread or process that goes on with the caller's registers; its number. `prepare` is asked last.
pub fn clone(request: &Request, regs: &Regs, prepare: Option<Prepare<'_>>) -> Result {
    check(request)?;
    check_number_of_threads()?;
    let tables = if has(request.flags, abi::CLONE_VM) { 0 } else { current().memory().table_pages() };
    if !room::has_room(tables + PROCESS_FRAMES) {
        return Err(Errno::ENOMEM);
    }
    let parent = current();
    let flags = request.flags;
    let mut child_regs = *regs;
    child_regs.rax = 0;
    if request.stack != 0 {
        child_regs.set_rsp(request.stack);
    }
    let tid = table::new_number().ok_or(Errno::EAGAIN)?;
    let process =
        if has(flags, abi::CLONE_THREAD) { parent.process.clone() } else { new_process(request, tid)? };
    let table = parent.files.arc();
    let files =
        if has(flags, abi::CLONE_FILES) { table } else { fallible::arc(table.duplicate(usize::MAX)?)? };
    // Nothing may be locked while memory is found for the task: what was made is given back if there is none.
    let name = *parent.name.lock();
    let task = Task::new(Seed {
        tid,
        process: process.clone(),
        files: Files::new(files),
        regs: &child_regs,
        name,
        blocked: SignalSet(parent.blocked.load(Ordering::Relaxed)),
        affinity: parent.affinity.load(Ordering::Relaxed),
        credentials: parent.credentials.get(),
        schedule: Schedule::new(
            parent.schedule.policy().of_child(),
            parent.schedule.key_after(sched::running_ns()),
        ),
    })?;
    task.no_new_privileges.store(parent.no_new_privileges.load(Ordering::Relaxed), Ordering::Relaxed);
    task.personality.store(parent.personality.load(Ordering::Relaxed), Ordering::Relaxed);
    task.machine.inherit_fpu();
    let (fs, gs) = parent.machine.segment_bases();
    let fs = if has(flags, abi::CLONE_SETTLS) { request.tls } else { fs };
    task.machine.set_segment_bases(fs, gs);
    if !has(flags, abi::CLONE_VM) || has(flags, abi::CLONE_VFORK) {
        let alt_stack = *parent.alt_stack.lock();
        *task.alt_stack.lock() = alt_stack;
    }
    if has(flags, abi::CLONE_CHILD_CLEARTID) {
        task.clear_tid.store(request.child_tid, Ordering::Relaxed);
    }
    if has(flags, abi::CLONE_PARENT_SETTID) {
        user::write(request.parent_tid, &tid)?;
    }
    if has(flags, abi::CLONE_CHILD_SETTID) {
        let memory = process.memory.lock().clone();
        memory.write_u32(request.child_tid, tid)?;
    }
    let completion = match has(flags, abi::CLONE_VFORK) {
        true => Some(fallible::arc(Completion::default())?),
        false => None,
    };
    let parent_process = if has(flags, abi::CLONE_PARENT) {
        parent.process.parent.lock().upgrade().ok_or(Errno::EINVAL)?
    } else {
        parent.process.clone()
    };
    *task.vfork.lock() = completion.clone();
    if let Some(prepare) = prepare {
        prepare(&task)?;
    }
    // From here on nothing fails.
    stop::add_thread(&process, &task);
    table::add_task(&task);
    if has(flags, abi::CLONE_THREAD) {
        // The process may have been told to end while we were at it: the new thread ends with it.
        let status = if kill::is_ending(&process) {
            Some(process.group_exit.load(Ordering::Acquire) as u32)
        } else {
            (parent.is_killed() || process.exec_thread.load(Ordering::Acquire) != 0)
                .then(|| parent.exit_status.load(Ordering::Relaxed))
        };
        if let Some(status) = status {
            kill::tell_to_exit(&task, status);
        }
    } else {
        let parent_thread = match has(flags, abi::CLONE_PARENT) {
            true => parent.process.parent_thread.load(Ordering::Relaxed),
            false => parent.tid(),
        };
        process.parent_thread.store(parent_thread, Ordering::Relaxed);
        *process.parent.lock() = Arc::downgrade(&parent_process);
        parent_process.children.lock().insert(process.pid, process.clone());
        table::add_process(&process);
        observer::tell(|observer| observer.forked(&parent, &process));
    }
    task.cpu.store(cpu_index(), Ordering::Relaxed);
    sched::start(task);
    if let Some(completion) = completion {
        completion.wait();
    }
    Ok(tid as usize)
}

fn new_process(request: &Request, pid: u32) -> Result<Arc<Process>> {
    let parent = current();
    let parent = &parent.process;
    let flags = request.flags;
    let memory = parent.memory.lock().clone();
    let memory = match has(flags, abi::CLONE_VM) {
        true => memory,
        false => memory.fork()?,
    };
    let fs =
        if has(flags, abi::CLONE_FS) { parent.fs.clone() } else { fallible::arc(parent.fs.duplicate())? };
    // A sibling reports its end as its sibling does: nobody chooses a signal for a process that is not its own parent.
    let exit_signal = if has(flags, abi::CLONE_PARENT) {
        parent.exit_signal.load(Ordering::Relaxed)
    } else {
        request.exit_signal
    };
    let actions = if has(flags, abi::CLONE_SIGHAND) {
        parent.actions()
    } else {
        fallible::arc(parent.actions().duplicate())?
    };
    if flags & CLEAR_SIGHAND != 0 {
        actions.reset_handlers();
    }
    // Nothing may be locked while memory is found for the process, as for the task.
    let terminal = parent.terminal.lock().clone();
    let auxiliary = parent.auxiliary.lock().clone();
    let limits = *parent.limits.lock();
    let executable = parent.executable.lock().clone();
    let strings = *parent.strings.lock();
    fallible::arc(Process {
        pid,
        started: time::now_ns(),
        parent: SpinLock::new(Arc::downgrade(parent)),
        children: SpinLock::new(BTreeMap::new()),
        threads: SpinLock::new(BTreeMap::new()),
        memory: SpinLock::new(memory),
        fs,
        actions: SpinLock::new(actions),
        pending: SpinLock::new(Pending::default()),
        signalled: WaitQueue::new(),
        ended: WaitQueue::new(),
        group: AtomicU32::new(parent.group.load(Ordering::Relaxed)),
        session: AtomicU32::new(parent.session.load(Ordering::Relaxed)),
        terminal: SpinLock::new(terminal),
        hung_up_group: AtomicU32::new(0),
        status: SpinLock::new(Status::Running),
        stop: SpinLock::new(Stop::default()),
        group_exit: AtomicU64::new(NOT_ENDING),
        all_told: AtomicBool::new(false),
        exec_thread: AtomicU32::new(0),
        has_execed: AtomicBool::new(false),
        is_subreaper: AtomicBool::new(false),
        parent_thread: AtomicU32::new(0),
        last_user: AtomicU32::new(0),
        dumpable: AtomicU32::new(parent.dumpable.load(Ordering::Relaxed)),
        auxiliary: SpinLock::new(auxiliary),
        dump_filter: AtomicU32::new(parent.dump_filter.load(Ordering::Relaxed)),
        core_dump: SpinLock::default(),
        child_changed: WaitQueue::new(),
        continued: WaitQueue::new(),
        limits: SpinLock::new(limits),
        alarm: SpinLock::new(Alarm::default()),
        ended_ns: AtomicU64::new(0),
        ended_user_ns: AtomicU64::new(0),
        cpu_timers: SpinLock::default(),
        posix_timers: Default::default(),
        ended_account: Default::default(),
        children_usage: SpinLock::new(Usage::default()),
        executable: SpinLock::new(executable),
        exit_signal: AtomicU32::new(exit_signal),
        first_name: SpinLock::new(None),
        strings: SpinLock::new(strings),
        oom_adjust: AtomicI32::new(parent.oom_adjust.load(Ordering::Relaxed)),
    })
}
