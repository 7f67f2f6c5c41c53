// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens to a thread before its program goes on: its end, a stop, signals.

use core::sync::atomic::Ordering;

use exo_hal::trap::Regs;

use super::{
    Action, IGNORE, Info, SignalSet,
    action::DEFAULT,
    action_flag, force, frame, has_stopped, number,
    set::{IGNORED_BY_DEFAULT, STOPPING},
    set_mask, stop, take_pending,
};
use crate::{
    sched::wait,
    task::{Current, Task, core_dump, current, exit, session, work},
};

/// Everything that is due before the running program goes on: end, stop, signals.
#[cold]
pub fn before_user_mode(regs: &mut Regs) {
    let task = current();
    loop {
        let due = task.work.load(Ordering::Acquire);
        if due & work::EXIT != 0 {
            core_dump::note_end(&task, regs);
            exit::exit_current();
        }
        if due & work::STOP != 0 {
            wait_until_continued(&task);
            continue;
        }
        if due & work::SIGNAL != 0 {
            task.work.fetch_and(!work::SIGNAL, Ordering::AcqRel);
            handle_signals(&task, regs);
            continue;
        }
        if due & work::RESTORE_MASK != 0 {
            // No handler took the saved mask along.
            task.work.fetch_and(!work::RESTORE_MASK, Ordering::AcqRel);
            set_mask(&task, SignalSet(task.saved_mask.load(Ordering::Acquire)));
            continue;
        }
        break;
    }
    frame::finish_restart(regs, None);
}

fn handle_signals(task: &Current, regs: &mut Regs) {
    loop {
        // Before the signal is taken: a SIGCONT that comes later undoes the stop.
        let continues = stop::continues(&task.process);
        let Some(info) = take_pending(task, SignalSet(!task.blocked.load(Ordering::Acquire))) else { return };
        let signal = info.signal as u32;
        let action = task.process.actions().get(signal);
        match action.handler {
            IGNORE => {}
            DEFAULT if IGNORED_BY_DEFAULT.has(signal) => {}
            DEFAULT if STOPPING.has(signal) => {
                // Nobody could continue a group that has no shell, unless somebody stops it on purpose.
                if signal == number::SIGSTOP || !session::is_orphaned(&task.process) {
                    stop::begin(&task.process, signal, continues);
                    return;
                }
            }
            DEFAULT => {
                core_dump::end_process(task, &info, regs);
                return;
            }
            _ => call_handler(task, regs, &info, action),
        }
    }
}

fn call_handler(task: &Current, regs: &mut Regs, info: &Info, action: Action) {
    let signal = info.signal as u32;
    frame::finish_restart(regs, Some(action.flags));
    if action.flags & action_flag::RESETHAND != 0 {
        task.process.actions().set(signal, Action { handler: DEFAULT, ..action });
    }
    if frame::push(task, regs, &action, info).is_err() {
        // No room for the frame. A handler of SIGSEGV may have a stack of its own.
        if signal == number::SIGSEGV {
            task.process.actions().set(signal, Action::default());
        }
        force(task, Info::kernel(number::SIGSEGV));
        return;
    }
    let mut mask = SignalSet(task.blocked.load(Ordering::Acquire) | action.mask);
    if action.flags & action_flag::NODEFER == 0 {
        mask = mask.and(SignalSet::of(signal));
    }
    set_mask(task, mask);
}

/// Waits at the edge to user mode until the process goes on.
fn wait_until_continued(task: &Task) {
    let is_stopped = || task.work.load(Ordering::Acquire) & work::STOP != 0;
    while is_stopped() && !task.is_killed() {
        has_stopped(task);
        // A stop that follows at once finds the thread here, and has to be told so.
        let changed = || (!is_stopped() || task.stop_owed.0.load(Ordering::Acquire)).then_some(());
        let _ = wait::wait_on(&[&task.process.continued], None, false, changed);
    }
}
