// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals: actions, masks, sending, waiting.

use core::sync::atomic::Ordering;

use exo_hal::{time, trap::Regs};

use crate::{
    errno::{Errno, Result},
    sched::wait::{Ended, sleep_until, wait_on},
    signal::{self, Action, Info, SignalSet, code, frame, number},
    task::{current, table},
    user::{self, TimeSpec},
};

fn check_size(size: usize) -> Result<()> {
    if size == 8 { Ok(()) } else { Err(Errno::EINVAL) }
}

pub(super) fn rt_sigaction(signal: u32, new: usize, old: usize, size: usize) -> Result {
    check_size(size)?;
    let fixed = signal == number::SIGKILL || signal == number::SIGSTOP;
    if !signal::is_valid(signal) || fixed && new != 0 {
        return Err(Errno::EINVAL);
    }
    let actions = current().process.actions.clone();
    let before = actions.get(signal);
    if new != 0 {
        let action: Action = user::read(new)?;
        actions.set(signal, action);
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
    let set = task.pending.lock().set().0 | task.process.pending.lock().set().0;
    user::write(to, &(set & task.blocked.load(Ordering::Acquire))).map(|()| 0)
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
    let set = SignalSet(user::read(set)?);
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

fn valid_or_zero(signal: u32) -> Result<()> {
    if signal == 0 || signal::is_valid(signal) { Ok(()) } else { Err(Errno::EINVAL) }
}

pub(super) fn kill(pid: i32, signal: u32) -> Result {
    valid_or_zero(signal)?;
    let own = current().pid;
    let targets = match pid {
        0 => table::group(current().process.group.load(Ordering::Relaxed)),
        -1 => table::processes().into_iter().filter(|p| p.pid != 1 && p.pid != own).collect(),
        1.. => table::process(pid as u32).into_iter().collect(),
        _ => table::group(pid.unsigned_abs()),
    };
    if targets.is_empty() {
        return Err(Errno::ESRCH);
    }
    if signal != 0 {
        for process in &targets {
            process.signal(Info::from_user(signal, code::USER));
        }
    }
    Ok(0)
}

fn send_to_thread(group: Option<u32>, tid: u32, signal: u32) -> Result {
    valid_or_zero(signal)?;
    let task = table::task(tid).ok_or(Errno::ESRCH)?;
    if group.is_some_and(|pid| pid != task.pid) {
        return Err(Errno::ESRCH);
    }
    if signal != 0 {
        signal::send_to_task(&task, Info::from_user(signal, code::TKILL))?;
    }
    Ok(0)
}

pub(super) fn tkill(tid: u32, signal: u32) -> Result {
    if tid as i32 <= 0 { Err(Errno::EINVAL) } else { send_to_thread(None, tid, signal) }
}

pub(super) fn tgkill(pid: u32, tid: u32, signal: u32) -> Result {
    if tid as i32 <= 0 || pid as i32 <= 0 {
        Err(Errno::EINVAL)
    } else {
        send_to_thread(Some(pid), tid, signal)
    }
}

/// What a program says about a signal that it sends to process or thread `target`.
fn told_by_program(target: u32, signal: u32, info: usize) -> Result<Info> {
    valid_or_zero(signal)?;
    let mut info: Info = user::read(info)?;
    // The codes from 0 up are the kernel's, that of tkill is its own; a thread may tell itself what it likes.
    if (info.code >= 0 || info.code == code::TKILL) && target != current().tid {
        return Err(Errno::EPERM);
    }
    info.signal = signal as i32;
    Ok(info)
}

pub(super) fn rt_sigqueueinfo(pid: u32, signal: u32, info: usize) -> Result {
    let info = told_by_program(pid, signal, info)?;
    let process = table::process(pid).ok_or(Errno::ESRCH)?;
    if signal != 0 {
        process.signal(info);
    }
    Ok(0)
}

pub(super) fn rt_tgsigqueueinfo(pid: u32, tid: u32, signal: u32, info: usize) -> Result {
    if tid as i32 <= 0 || pid as i32 <= 0 {
        return Err(Errno::EINVAL);
    }
    let info = told_by_program(tid, signal, info)?;
    let task = table::task(tid).filter(|task| task.pid == pid).ok_or(Errno::ESRCH)?;
    if signal != 0 {
        signal::send_to_task(&task, info)?;
    }
    Ok(0)
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
