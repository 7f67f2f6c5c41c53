// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals: actions, masks, sending, waiting.

use core::sync::atomic::Ordering;

use exo_hal::{time, trap::Regs};

use crate::{
    errno::{Errno, Result},
    sched::{
        spans,
        wait::{Ended, sleep_until, wait_on},
    },
    signal::{self, Action, Info, SignalSet, action_flag, code, frame, number},
    task::{Process, current, table},
    user::{self, TimeSpec},
};

pub(super) fn check_size(size: usize) -> Result<()> {
    if size == 8 { Ok(()) } else { Err(Errno::EINVAL) }
}

pub(super) fn rt_sigaction(signal: u32, new: usize, old: usize, size: usize) -> Result {
    check_size(size)?;
    let fixed = signal == number::SIGKILL || signal == number::SIGSTOP;
    let action: Option<Action> = if new == 0 { None } else { Some(user::read(new)?) };
    if !signal::is_valid(signal) || fixed && new != 0 {
        return Err(Errno::EINVAL);
    }
    let process = current().process.clone();
    let before = process.actions().get(signal);
    if let Some(action) = action {
        // Flags that there are not are dropped, so that programs can find out.
        let flags = action.flags & action_flag::ALL;
        let mask = action.mask & !signal::UNBLOCKABLE.0;
        signal::set_action(&process, signal, Action { flags, mask, ..action });
    }
    user::write_optional(old, &before).map(|()| 0)
}

pub(super) fn rt_sigprocmask(how: u32, new: usize, old: usize, size: usize) -> Result {
    check_size(size)?;
    let task = current();
    let before = task.blocked.load(Ordering::Acquire);
    if new != 0 {
        let set: u64 = user::read(new)?;
        let mask = match how {
            0 => before | set,
            1 => before & !set,
            2 => set,
            _ => return Err(Errno::EINVAL),
        };
        signal::set_mask(&task, SignalSet(mask));
    }
    user::write_optional(old, &before).map(|()| 0)
}

pub(super) fn rt_sigreturn(regs: &mut Regs) -> Result {
    let task = current();
    if frame::pop(&task, regs).is_err() {
        // The frame is gone: nothing is left to go on with.
        signal::force(&task, Info::kernel(number::SIGSEGV));
    }
    Ok(0)
}

pub(super) fn rt_sigpending(to: usize, size: usize) -> Result {
    check_size(size)?;
    let task = current();
    user::write(to, &(signal::pending(&task).0 & task.blocked.load(Ordering::Acquire))).map(|()| 0)
}

pub(super) fn rt_sigsuspend(mask: usize, size: usize) -> Result {
    check_size(size)?;
    signal::set_temporary_mask(&current(), SignalSet(user::read(mask)?));
    pause()
}

pub(super) fn pause() -> Result {
    let _: Ended = sleep_until(None);
    Err(Errno::RESTART_UNLESS_HANDLER)
}

pub(super) fn rt_sigtimedwait(set: usize, info: usize, timeout: usize, size: usize) -> Result {
    check_size(size)?;
    let set = SignalSet(user::read::<u64>(set)? & !signal::UNBLOCKABLE.0);
    let deadline = match timeout {
        0 => None,
        address => Some(time::now_ns().saturating_add(user::read::<TimeSpec>(address)?.to_ns()?)),
    };
    let task = current();
    match wait_on(&[], deadline, true, || signal::take_pending(&task, set)) {
        Ok(found) => {
            user::write_optional(info, &found)?;
            Ok(found.signal as usize)
        }
        Err(Ended::TimedOut) => Err(Errno::EAGAIN),
        Err(Ended::Interrupted) => Err(Errno::EINTR),
    }
}

/// Whether the running thread may send `signal` to a process (0: whether it might).
fn check(process: &Process, signal: u32) -> Result<()> {
    if signal != 0 && !signal::is_valid(signal) {
        return Err(Errno::EINVAL);
    }
    let task = current();
    if process.pid == task.pid {
        return Ok(());
    }
    // A zombie has nobody to be asked, and nothing happens to it.
    let Some(target) = process.any_thread() else { return Ok(()) };
    let same_session =
        || process.session.load(Ordering::Relaxed) == task.process.session.load(Ordering::Relaxed);
    if task.credentials.get().may_signal(&target.credentials.get())
        || signal == number::SIGCONT && same_session()
    {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

pub(super) fn send(process: &Process, signal: u32, info: impl FnOnce() -> Info) -> Result<()> {
    check(process, signal)?;
    if signal == 0 { Ok(()) } else { signal::send_to_process(process, info()) }
}

/// To each process of a group: it is enough that one takes it.
pub(super) fn kill_group(group: u32, signal: u32, info: impl Fn() -> Info) -> Result {
    let mut result = Err(Errno::ESRCH);
    for process in table::group(group) {
        if spans::point() {
            break;
        }
        let sent = send(&process, signal, &info);
        if result.is_err() {
            result = sent.map(|()| 0);
        }
    }
    result
}

/// To everybody but the first process and oneself; who may not be sent it is left out.
fn kill_all(signal: u32) -> Result {
    let own = current().pid;
    let mut result = Err(Errno::ESRCH);
    for process in table::walk().filter(|process| process.pid != 1 && process.pid != own) {
        if spans::point() {
            break;
        }
        match send(&process, signal, || signal::from_running(signal, code::USER)) {
            Err(Errno::EPERM) => result = result.or(Ok(0)),
            sent => result = sent.map(|()| 0),
        }
    }
    result
}

pub(super) fn kill(pid: i32, signal: u32) -> Result {
    let info = || signal::from_running(signal, code::USER);
    match pid {
        1.. => {
            let process = table::process_of(pid as u32).ok_or(Errno::ESRCH)?;
            send(&process, signal, info).map(|()| 0)
        }
        0 => kill_group(current().process.group.load(Ordering::Relaxed), signal, info),
        -1 => kill_all(signal),
        i32::MIN => Err(Errno::ESRCH),
        _ => kill_group(pid.unsigned_abs(), signal, info),
    }
}

pub(super) fn send_to_thread(
    group: Option<u32>,
    tid: u32,
    signal: u32,
    info: impl FnOnce() -> Info,
) -> Result {
    let is_in_group = |pid| group.is_none_or(|group| group == pid);
    let Some(task) = table::task(tid).filter(|task| is_in_group(task.pid)) else {
        // A first thread that has ended before the others takes signals, and does nothing with them.
        let process = table::process(tid).filter(|process| is_in_group(process.pid)).ok_or(Errno::ESRCH)?;
        return check(&process, signal).map(|()| 0);
    };
    check(&task.process, signal)?;
    if signal != 0 {
        signal::send_to_task(&task, info())?;
    }
    Ok(0)
}

pub(super) fn tkill(tid: u32, signal: u32) -> Result {
    if tid as i32 <= 0 {
        return Err(Errno::EINVAL);
    }
    send_to_thread(None, tid, signal, || signal::from_running(signal, code::TKILL))
}

pub(super) fn tgkill(pid: u32, tid: u32, signal: u32) -> Result {
    if tid as i32 <= 0 || pid as i32 <= 0 {
        return Err(Errno::EINVAL);
    }
    send_to_thread(Some(pid), tid, signal, || signal::from_running(signal, code::TKILL))
}

/// What a program says about a signal that it sends to process or thread `target`, if that is one alone.
pub(super) fn told_by_program(target: Option<u32>, signal: u32, info: usize) -> Result<Info> {
    let mut info: Info = user::read(info)?;
    // The codes from 0 up are the kernel's, that of tkill is its own; a thread may tell itself what it likes.
    if (info.code >= 0 || info.code == code::TKILL) && target != Some(current().tid()) {
        return Err(Errno::EPERM);
    }
    info.signal = signal as i32;
    Ok(info)
}

pub(super) fn rt_sigqueueinfo(pid: u32, signal: u32, info: usize) -> Result {
    let info = told_by_program(Some(pid), signal, info)?;
    let process = table::process_of(pid).ok_or(Errno::ESRCH)?;
    send(&process, signal, || info).map(|()| 0)
}

pub(super) fn rt_tgsigqueueinfo(pid: u32, tid: u32, signal: u32, info: usize) -> Result {
    if tid as i32 <= 0 || pid as i32 <= 0 {
        return Err(Errno::EINVAL);
    }
    let info = told_by_program(Some(tid), signal, info)?;
    send_to_thread(Some(pid), tid, signal, || info)
}

pub(super) fn sigaltstack(regs: &mut Regs) -> Result {
    let (new, old) = (regs.rdi as usize, regs.rsi as usize);
    let task = current();
    let before = frame::describe_alt_stack(&task.alt_stack.lock().clone(), regs.rsp());
    if new != 0 {
        frame::set_alt_stack(&task, &user::read(new)?, regs.rsp())?;
    }
    user::write_optional(old, &before).map(|()| 0)
}
