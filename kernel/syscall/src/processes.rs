// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes and threads: clone, exec, exit, wait; limits, scheduling, the small print.

use core::sync::atomic::Ordering;

use alloc::{format, sync::Arc, vec::Vec};

use exo_hal::{PAGE_SIZE, USER_END, cpu::percpu::cpu_count, mm::frame, trap::Regs};
use exo_io::pid_fd;
use exo_logic::credentials::{Ids, capability};
use linux_raw_sys::general as abi;
use zerocopy::{Immutable, IntoBytes};

use super::{lookup::start, pidfds};
use crate::{
    errno::{Errno, Result},
    fs::path::Follow,
    room, sched,
    signal::number,
    task::{
        Process, Task,
        account::Event,
        clone as cloning,
        credentials::capable,
        current,
        exec::{self, Strings},
        kill,
        limits::{self, Limit},
        process::Usage,
        table,
        wait::{self, Found, Options, Which},
    },
    user::{self, TimeVal},
};

pub(super) fn clone(regs: &mut Regs) -> Result {
    let request = cloning::Request {
        // CLONE_DETACHED, which has no meaning any more, is let through.
        flags: regs.rdi & !0xff & u64::from(u32::MAX),
        exit_signal: (regs.rdi & 0xff) as u32,
        stack: regs.rsi,
        parent_tid: regs.rdx as usize,
        child_tid: regs.r10 as usize,
        tls: regs.r8,
    };
    // There is one place for both numbers.
    let both = u64::from(abi::CLONE_PIDFD | abi::CLONE_PARENT_SETTID);
    if request.flags & both == both {
        return Err(Errno::EINVAL);
    }
    clone_with_pidfd(&request, request.parent_tid, regs)
}

/// With CLONE_PIDFD, the parent gets a descriptor of the new process or thread, and finds its number at `pidfd`.
fn clone_with_pidfd(request: &cloning::Request, pidfd: usize, regs: &Regs) -> Result {
    if request.flags & u64::from(abi::CLONE_PIDFD) == 0 {
        return cloning::clone(request, regs, None);
    }
    let is_thread = request.flags & u64::from(abi::CLONE_THREAD) != 0;
    cloning::clone(request, regs, Some(&mut |task| pidfds::enter_new(task, is_thread, pidfd)))
}

pub(super) fn fork(regs: &mut Regs) -> Result {
    cloning::clone(&cloning::Request { exit_signal: number::SIGCHLD, ..Default::default() }, regs, None)
}

pub(super) fn vfork(regs: &mut Regs) -> Result {
    let flags = u64::from(abi::CLONE_VM | abi::CLONE_VFORK);
    let request = cloning::Request { flags, exit_signal: number::SIGCHLD, ..Default::default() };
    cloning::clone(&request, regs, None)
}

/// `struct clone_args`: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup.
type CloneArguments = [u64; 11];

/// Reads it; a program may know less of it, or more, as long as it does not use that.
fn read_clone_arguments(address: usize, size: usize) -> Result<CloneArguments> {
    const FIRST_SIZE: usize = 64;
    let mut arguments: CloneArguments = [0; 11];
    let known = size_of::<CloneArguments>();
    if size > PAGE_SIZE {
        return Err(Errno::E2BIG);
    }
    if size < FIRST_SIZE {
        return Err(Errno::EINVAL);
    }
    let bytes = arguments.as_mut_bytes();
    user::copy_in(bytes.get_mut(..size.min(known)).unwrap_or_default(), address)?;
    for at in known..size {
        if user::read::<u8>(address.wrapping_add(at))? != 0 {
            return Err(Errno::E2BIG);
        }
    }
    Ok(arguments)
}

pub(super) fn clone3(regs: &mut Regs) -> Result {
    let arguments = read_clone_arguments(regs.rdi as usize, regs.rsi as usize)?;
    let [flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, _] =
        arguments;
    let reports_as_others = u64::from(abi::CLONE_THREAD | abi::CLONE_PARENT);
    // The old calls' exit signal is among their flags.
    let not_here = u64::from(abi::CLONE_DETACHED) | 0xff;
    let both = u64::from(abi::CLONE_PIDFD | abi::CLONE_PARENT_SETTID);
    let stack_end = stack.checked_add(stack_size).filter(|end| *end <= USER_END as u64);
    if flags & not_here != 0
        || exit_signal != 0 && flags & reports_as_others != 0
        || exit_signal > u64::from(number::LAST)
        || (stack == 0) != (stack_size == 0)
        || flags & both == both && pidfd == parent_tid
        // Nobody chooses a number here.
        || set_tid != 0
        || set_tid_size != 0
    {
        return Err(Errno::EINVAL);
    }
    let request = cloning::Request {
        flags,
        exit_signal: exit_signal as u32,
        stack: stack_end.ok_or(Errno::EINVAL)?,
        parent_tid: parent_tid as usize,
        child_tid: child_tid as usize,
        tls,
    };
    clone_with_pidfd(&request, pidfd as usize, regs)
}

fn read_strings(list: usize, room: &mut usize) -> Result<Vec<Vec<u8>>> {
    /// Page frames that must be free for one string more, beyond those for the list: it grows by doubling, and the old one goes when
    /// the new one is there.
    const FRAMES: usize = 16;
    /// As many strings as an ordinary program has.
    const FEW: usize = 1000;
    /// The longest argument with its end, as on Linux.
    const STRING_MAX: usize = 128 << 10;
    let mut out = Vec::new();
    // No list at all counts as an empty one, as on Linux.
    if list == 0 {
        return Ok(out);
    }
    let mut at = list;
    loop {
        let string: usize = user::read(at)?;
        if string == 0 {
            return Ok(out);
        }
        let string = user::read_string(string, (*room).min(STRING_MAX), Errno::E2BIG)?;
        *room = room.checked_sub(string.len() + 9).ok_or(Errno::E2BIG)?;
        // Nobody is ended for the sake of a list that is too long itself.
        let frames = FRAMES + 3 * out.len() * size_of::<Vec<u8>>() / PAGE_SIZE;
        if !frame::available(frames) && (out.len() > FEW || !room::has_room(frames)) {
            return Err(Errno::ENOMEM);
        }
        out.push(string);
        at = at.checked_add(8).ok_or(Errno::EFAULT)?;
    }
}

fn exec_at(
    directory: i32,
    path: u64,
    arguments: u64,
    environment: u64,
    flags: u32,
    regs: &mut Regs,
) -> Result {
    if flags & !(abi::AT_SYMLINK_NOFOLLOW | abi::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = user::read_path(path as usize)?;
    let (node, name) = if path.is_empty() {
        if flags & abi::AT_EMPTY_PATH == 0 {
            return Err(Errno::ENOENT);
        }
        // No path leads to a file without a name; a script's interpreter gets this one.
        (current().files.get(directory)?.path().clone(), format!("/dev/fd/{directory}").into_bytes())
    } else {
        let from = start(directory, &path)?;
        let follow = if flags & abi::AT_SYMLINK_NOFOLLOW != 0 { Follow::No } else { Follow::Yes };
        let node = exec::find_node(from.as_ref(), &path, follow)?;
        let mut name = if from.is_some() { format!("/dev/fd/{directory}/").into_bytes() } else { Vec::new() };
        name.extend(path);
        (node, name)
    };
    let mut room = exec::room_for_strings();
    let strings = Strings {
        arguments: read_strings(arguments as usize, &mut room)?,
        environment: read_strings(environment as usize, &mut room)?,
    };
    exec::exec(node, &name, strings, regs)?;
    Ok(0)
}

pub(super) fn execve(regs: &mut Regs) -> Result {
    exec_at(abi::AT_FDCWD, regs.rdi, regs.rsi, regs.rdx, 0, regs)
}

pub(super) fn execveat(regs: &mut Regs) -> Result {
    exec_at(regs.rdi as i32, regs.rsi, regs.rdx, regs.r10, regs.r8 as u32, regs)
}

pub(super) fn exit(status: u32) -> Result {
    kill::exit_thread(&current(), (status & 0xff) << 8);
    Ok(0)
}

pub(super) fn exit_group(status: u32) -> Result {
    kill::exit_process(&current(), (status & 0xff) << 8);
    Ok(0)
}

/// `struct rusage`.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
struct RUsage {
    user: TimeVal,
    system: TimeVal,
    peak_kib: i64,
    /// Never used by Linux, too.
    sizes: [i64; 3],
    faults: i64,
    faults_with_reading: i64,
    swaps: i64,
    /// In sectors of 512 bytes.
    disk_reads: i64,
    disk_writes: i64,
    /// Never used either.
    messages: [i64; 3],
    waits: i64,
    preemptions: i64,
}

impl RUsage {
    fn new(usage: Usage) -> Self {
        let counts = &usage.counts;
        let sectors = |what| (counts.get(what) / 512) as i64;
        Self {
            faults: counts.get(Event::Fault) as i64,
            disk_reads: sectors(Event::DiskByteRead),
            disk_writes: sectors(Event::DiskByteWritten),
            waits: counts.get(Event::Wait) as i64,
            preemptions: counts.get(Event::Preemption) as i64,
            user: TimeVal::from_ns(usage.user_ns),
            system: TimeVal::from_ns(usage.cpu_ns.saturating_sub(usage.user_ns)),
            peak_kib: (usage.peak_pages * 4) as i64,
            ..Self::default()
        }
    }
}

pub(super) fn wait4(pid: i32, status: usize, flags: u32, usage: usize) -> Result {
    let which = match pid {
        -1 => Which::Any,
        0 => Which::Group(current().process.group.load(Ordering::Relaxed)),
        1.. => Which::Pid(pid as u32),
        i32::MIN => return Err(Errno::ESRCH),
        _ => Which::Group(pid.unsigned_abs()),
    };
    if flags & !(abi::WNOHANG | abi::WUNTRACED | abi::WCONTINUED | WHOSE) != 0 {
        return Err(Errno::EINVAL);
    }
    let options = Options { ended: true, ..wait_options(flags) };
    let Some(found) = wait::wait(which, options)? else { return Ok(0) };
    // A bad address does not bring the child back.
    user::write_optional(status, &found.status)?;
    user::write_optional(usage, &RUsage::new(found.usage))?;
    Ok(found.pid as usize)
}

/// Flags that say whose children, and which, are meant.
const WHOSE: u32 = abi::__WNOTHREAD | abi::__WALL | abi::__WCLONE;

fn wait_options(flags: u32) -> Options {
    Options {
        ended: flags & abi::WEXITED != 0,
        stopped: flags & abi::WUNTRACED != 0,
        continued: flags & abi::WCONTINUED != 0,
        no_wait: flags & abi::WNOHANG != 0,
        keep: flags & abi::WNOWAIT != 0,
        clones: flags & abi::__WCLONE != 0,
        all: flags & abi::__WALL != 0,
        own: flags & abi::__WNOTHREAD != 0,
    }
}

pub(super) fn waitid(kind: u32, id: i32, info: usize, flags: u32, usage: usize) -> Result {
    let what = abi::WEXITED | abi::WSTOPPED | abi::WCONTINUED;
    if flags & !(abi::WNOHANG | abi::WNOWAIT | what | WHOSE) != 0 || flags & what == 0 {
        return Err(Errno::EINVAL);
    }
    let mut is_patient = true;
    let which = match kind {
        abi::P_ALL => Which::Any,
        abi::P_PID if id > 0 => Which::Pid(id as u32),
        abi::P_PGID if id == 0 => Which::Group(current().process.group.load(Ordering::Relaxed)),
        abi::P_PGID if id > 0 => Which::Group(id as u32),
        abi::P_PIDFD if id >= 0 => {
            let file = current().files.get(id)?;
            // Without waiting, EAGAIN tells that it goes on.
            is_patient = file.flags() & abi::O_NONBLOCK == 0;
            // The number may be another's already, or never have been a child's.
            Which::Pid(pid_fd::of(&file)?.number().ok_or(Errno::ECHILD)?)
        }
        _ => return Err(Errno::EINVAL),
    };
    let mut options = wait_options(flags);
    let fails_early = !is_patient && !options.no_wait;
    options.no_wait |= !is_patient;
    let found = match wait::wait(which, options) {
        Ok(None) if fails_early => Err(Errno::EAGAIN),
        found => found,
    };
    if let Ok(Some(found)) = &found {
        user::write_optional(usage, &RUsage::new(found.usage))?;
    }
    // si_signo, si_errno, si_code, pad, si_pid, si_uid, si_status: without a child all 0, also where there is an error.
    let words = match &found {
        Ok(Some(Found { pid, uid, status, .. })) => {
            let (code, value) = wait::code_and_value(*status);
            [number::SIGCHLD, 0, code as u32, 0, *pid, *uid, value]
        }
        Err(Errno::RESTART) => return Err(Errno::RESTART),
        _ => [0; 7],
    };
    if info != 0 {
        user::write(info, &[words[0], words[1], words[2]])?;
        user::write(info.wrapping_add(16), &[words[4], words[5], words[6]])?;
    }
    found.map(|_| 0)
}

pub(super) fn getrusage(who: i32, to: usize) -> Result {
    let process = current().process.clone();
    let memory = process.memory.lock().clone();
    let peak_pages = memory.resident_pages();
    let usage = match who {
        0 => Usage {
            cpu_ns: process.cpu_ns(),
            user_ns: process.user_ns(),
            peak_pages,
            counts: process.counts(),
        },
        1 => Usage {
            cpu_ns: current().cpu_ns(),
            user_ns: current().user_ns(),
            peak_pages,
            counts: current().account.get(),
        },
        -1 => *process.children_usage.lock(),
        _ => return Err(Errno::EINVAL),
    };
    user::write(to, &RUsage::new(usage)).map(|()| 0)
}

/// Whose limits a process may see and set: its own, and those of processes of the same user and group.
fn process(pid: u32) -> Result<Arc<Process>> {
    let task = current();
    if pid == 0 {
        return Ok(task.process.clone());
    }
    let process = table::process_of(pid).ok_or(Errno::ESRCH)?;
    let own = task.credentials.get();
    if process.pid == task.pid || own.has(capability::SYS_RESOURCE) {
        return Ok(process);
    }
    let theirs = process.any_thread().ok_or(Errno::ESRCH)?.credentials.get();
    let is_own = |own: &Ids, theirs: &Ids| {
        [theirs.real, theirs.effective, theirs.saved].iter().all(|id| *id == own.real)
    };
    if is_own(&own.users, &theirs.users) && is_own(&own.groups, &theirs.groups) {
        Ok(process)
    } else {
        Err(Errno::EPERM)
    }
}

pub(super) fn prlimit64(pid: u32, which: usize, new: usize, old: usize) -> Result {
    if which >= limits::COUNT {
        return Err(Errno::EINVAL);
    }
    let limit: Option<Limit> = if new == 0 { None } else { Some(user::read(new)?) };
    let process = process(pid)?;
    let may_raise = capable(capability::SYS_RESOURCE);
    let before = {
        let mut all = process.limits.lock();
        let slot = all.get_mut(which).ok_or(Errno::EINVAL)?;
        let before = *slot;
        if let Some(limit) = limit {
            if limit.soft > limit.hard {
                return Err(Errno::EINVAL);
            }
            if which == limits::index::NOFILE && limit.hard > limits::MOST_FILES
                || limit.hard > before.hard && !may_raise
            {
                return Err(Errno::EPERM);
            }
            *slot = limit;
        }
        before
    };
    user::write_optional(old, &before).map(|()| 0)
}

pub(super) fn getrlimit(which: usize, to: usize) -> Result {
    prlimit64(0, which, 0, to)
}

pub(super) fn setrlimit(which: usize, from: usize) -> Result {
    prlimit64(0, which, from, 0)
}

pub(super) fn sched_yield() -> Result {
    sched::give_way();
    Ok(0)
}

pub(super) fn task(tid: u32) -> Result<Arc<Task>> {
    if tid == 0 { Ok(current().arc()) } else { table::task(tid).ok_or(Errno::ESRCH) }
}

pub(super) fn sched_getaffinity(tid: u32, size: usize, to: usize) -> Result {
    let all = u64::MAX >> (64 - cpu_count());
    let mask = task(tid)?.affinity.load(Ordering::Relaxed) & all;
    if size < 8 {
        return Err(Errno::EINVAL);
    }
    user::write(to, &mask)?;
    Ok(8)
}

pub(super) fn sched_setaffinity(tid: u32, size: usize, from: usize) -> Result {
    let mut bytes = [0; 8];
    user::copy_in(bytes.get_mut(..size.min(8)).unwrap_or_default(), from)?;
    let all = u64::MAX >> (64 - cpu_count());
    let mask = u64::from_le_bytes(bytes) & all;
    if mask == 0 {
        return Err(Errno::EINVAL);
    }
    let task = task(tid)?;
    if !super::scheduling::may_change(&task) {
        return Err(Errno::EPERM);
    }
    task.affinity.store(mask, Ordering::Relaxed);
    sched::migrate(&task);
    Ok(0)
}

pub(super) fn arch_prctl(option: u32, address: usize) -> Result {
    const SET_GS: u32 = 0x1001;
    const SET_FS: u32 = 0x1002;
    const GET_FS: u32 = 0x1003;
    const GET_GS: u32 = 0x1004;
    const GET_CPUID: u32 = 0x1011;
    const SET_CPUID: u32 = 0x1012;
    let task = current();
    let (fs, gs) = task.machine.segment_bases();
    match option {
        SET_FS | SET_GS if address >= USER_END => return Err(Errno::EPERM),
        SET_FS => task.machine.set_segment_bases(address as u64, gs),
        SET_GS => task.machine.set_segment_bases(fs, address as u64),
        GET_FS => user::write(address, &fs)?,
        GET_GS => user::write(address, &gs)?,
        // The processor tells programs what it is, and there is no way to keep it from that here.
        GET_CPUID => return Ok(1),
        SET_CPUID => return Err(Errno::ENODEV),
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

pub(super) fn set_tid_address(address: usize) -> Result {
    let task = current();
    task.clear_tid.store(address, Ordering::Relaxed);
    Ok(task.tid() as usize)
}

/// Bytes of `struct robust_list_head`.
const ROBUST_LIST_SIZE: usize = 24;

pub(super) fn set_robust_list(head: usize, size: usize) -> Result {
    if size != ROBUST_LIST_SIZE {
        return Err(Errno::EINVAL);
    }
    current().robust_list.store(head, Ordering::Relaxed);
    Ok(0)
}

pub(super) fn get_robust_list(tid: u32, head: usize, size: usize) -> Result {
    let task = task(tid)?;
    if !current().credentials.get().may_look_into(&task.credentials.get()) {
        return Err(Errno::EPERM);
    }
    let list = task.robust_list.load(Ordering::Relaxed);
    user::write(size, &ROBUST_LIST_SIZE)?;
    user::write(head, &list).map(|()| 0)
}
