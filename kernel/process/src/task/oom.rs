// SPDX-License-Identifier: MIT OR Apache-2.0
//! Out of memory: somebody has to go, and it is whoever has most, with what the kernel holds for it.

use core::sync::atomic::{AtomicBool, Ordering};

use alloc::sync::{Arc, Weak};

use exo_hal::{PAGE_SIZE, cpu, log, mm::frame, sync::SpinLock, thread, time, trap::Regs};

use crate::{
    errno::Errno,
    fs::{FileTable, dentry::cache},
    mm::fault::Unresolved,
    sched::wait,
    signal::{Info, number},
    task::{Process, current, has_signal, kill, table, work},
};

/// Who was chosen last, and when.
static VICTIM: SpinLock<(Weak<Process>, u64)> = SpinLock::new((Weak::new(), 0));
/// So long nobody else is chosen while the last one is still ending.
const TIME_TO_END_NS: u64 = 2_000_000_000;

/// Kernel pages of each thread: its stack and structures.
const THREAD_PAGES: usize = 8;
/// How long somebody waits for the memory of whoever was ended before the next look.
const PATIENCE_NS: u64 = 1_000_000;
/// How long [`make_room`] looks again, and a call is done again whose memory others take each time: whoever was ended gets the CPU late on a busy
/// machine, and those who take it have to be ended first.
const LOOKS_FOR_NS: u64 = 10_000_000_000;
/// Who has this in its oom_score_adj is never ended for memory.
pub const NEVER: i32 = -1000;

/// Bytes that a table of descriptors takes, with what only its descriptors keep. Nothing is locked by who asks, here and below, so that what
/// others have locked is waited for: left out, it could be most of what a process has, and somebody else would be ended for it.
fn table_bytes(table: &FileTable) -> usize {
    let mut bytes = table.kernel_memory();
    let mut from = 0;
    while let Some((next, files)) = table.some_files(from) {
        from = next;
        // What several hold is freed by the last of them: a share each. The list here is one more holder.
        bytes +=
            files.iter().map(|f| f.file().kernel_memory() / (Arc::strong_count(f) - 1).max(1)).sum::<usize>();
    }
    bytes
}

/// Pages of the kernel's memory that ending the process frees: page tables, stacks, queued signals, areas, descriptors, and what only its
/// descriptors keep.
fn kernel_pages(process: &Process) -> usize {
    let memory = process.memory.lock().clone();
    let mut bytes = memory.area_bytes();
    bytes += process.posix_timers.kernel_memory();
    bytes += process.pending.lock().kernel_memory();
    let (mut threads, mut next) = (0, 0);
    let mut table: Option<Arc<FileTable>> = None;
    let from = |next: u32| process.threads.lock().range(next..).next().map(|(_, thread)| thread.clone());
    while let Some(thread) = from(next) {
        (threads, next) = (threads + 1, thread.tid() + 1);
        bytes += thread.pending.lock().kernel_memory();
        let own = thread.files.arc();
        // Most threads share one.
        if table.as_ref().is_none_or(|last| !Arc::ptr_eq(last, &own)) {
            bytes += table_bytes(&own);
            table = Some(own);
        }
    }
    memory.table_pages() + threads * THREAD_PAGES + bytes / PAGE_SIZE
}

/// Pages that ending the process frees, more or less.
fn pages(process: &Process) -> usize {
    let memory = process.memory.lock().clone();
    memory.resident_pages() + kernel_pages(process)
}

/// As Linux's `oom_badness`: pages, moved by the process's setting; none if it must not be ended.
fn badness(process: &Process) -> Option<i64> {
    let adjust = process.oom_adjust.load(Ordering::Relaxed);
    if process.pid == 1 || process.has_ended() || adjust == NEVER {
        return None;
    }
    Some(pages(process) as i64 + i64::from(adjust) * (frame::totals().0 as i64 / 1000))
}

/// What /proc/PID/oom_score shows, as Linux scales it: 0 to 2000.
pub fn score(process: &Process) -> i64 {
    let total = frame::totals().0.max(1) as i64;
    badness(process).map_or(0, |badness| ((1000 + badness * 1000 / total) * 2 / 3).max(0))
}

/// What has been done about a lack of memory.
enum Relief {
    /// Somebody else ends, or is being looked for.
    Wait,
    /// The running process ends.
    Own,
    /// There is nobody to end.
    Nobody,
}

/// The process with the most memory, the first program aside.
fn largest() -> Option<Arc<Process>> {
    let mut largest: Option<(i64, Arc<Process>)> = None;
    for process in table::walk() {
        if let Some(badness) = badness(&process) {
            if largest.as_ref().is_none_or(|(most, _)| badness > *most) {
                largest = Some((badness, process));
            }
        }
        cpu::interrupt_window();
    }
    largest.map(|(_, process)| process)
}

/// Ends the process with the most memory and all that share it. Takes locks of processes, so nothing may be locked here.
fn end_largest() -> Relief {
    // One at a time: who looks while a process gives its memory back would find the next largest.
    static CHOOSING: AtomicBool = AtomicBool::new(false);
    if CHOOSING.swap(true, Ordering::Acquire) {
        return Relief::Wait;
    }
    let relief = choose();
    CHOOSING.store(false, Ordering::Release);
    relief
}

/// Who was chosen last, if it has still time to end.
fn ending() -> Option<Arc<Process>> {
    let (last, when) = VICTIM.lock().clone();
    last.upgrade().filter(|p| !p.has_ended() && time::now_ns() < when + TIME_TO_END_NS)
}

fn is_somebody_ending() -> bool {
    ending().is_some()
}

/// Whether others are ended at present, so that there will be memory.
fn was_somebody_chosen_lately() -> bool {
    let when = VICTIM.lock().1;
    time::now_ns() < when + TIME_TO_END_NS
}

fn choose() -> Relief {
    let relief_by = |victim: &Process| if victim.pid == current().pid { Relief::Own } else { Relief::Wait };
    if let Some(last) = ending() {
        return relief_by(&last);
    }
    let Some(victim) = largest() else { return Relief::Nobody };
    if frame::available(frame::SPARE) {
        // Meanwhile somebody has given some back.
        return Relief::Wait;
    }
    *VICTIM.lock() = (Arc::downgrade(&victim), time::now_ns());
    let memory = victim.memory.lock().clone();
    let (resident, kernel) = (memory.resident_pages() * 4, kernel_pages(&victim) * 4);
    log!(
        "out of memory: process {} is killed, it has {resident} KiB and {kernel} KiB of the kernel's",
        victim.pid
    );
    victim.signal(Info::kernel(number::SIGKILL));
    for other in table::walk() {
        if other.pid != 1 && other.pid != victim.pid && Arc::ptr_eq(&other.memory.lock(), &memory) {
            other.signal(Info::kernel(number::SIGKILL));
        }
    }
    relief_by(&victim)
}

/// How often a call that failed for lack of memory is done at least: each time others may have taken what was there before it. More often only while
/// others are ended, for it may be that what it wants is never there.
const ATTEMPTS: usize = 100;

/// Memory was out during a call, a page fault or an interrupt that is over: makes room by having somebody ended. A call that failed for it has
/// left nothing behind; it is done once more by `call`, as what it takes is not known before, and whoever took the rest is still at it. This is the
/// one place where calls wait for memory: nothing is locked here.
#[cold]
pub fn at_the_end_of(regs: &mut Regs, call: fn(&mut Regs)) {
    let task = current();
    let until = time::now_ns() + LOOKS_FOR_NS;
    for attempt in 1.. {
        relieve();
        let frames = task.frames_wanted.swap(0, Ordering::Relaxed).max(frame::SPARE);
        let has_failed = regs.is_system_call() && regs.rax == -i64::from(Errno::ENOMEM.0) as u64;
        if !has_failed {
            return;
        }
        let has_room = make_room(frames);
        if has_signal() {
            // It may have ended the wait. Once it is handled, the call is done again, as a fork on Linux.
            regs.rax = -i64::from(Errno::RESTART_ALWAYS.0) as u64;
            return;
        }
        let is_in_vain = attempt >= ATTEMPTS && !was_somebody_chosen_lately();
        if !has_room || is_in_vain || time::now_ns() > until {
            return;
        }
        call(regs);
        if task.work.load(Ordering::Acquire) & work::OUT_OF_MEMORY == 0 {
            return;
        }
    }
}

/// The running task found no memory: ends whoever has most and gives it time to go. Called with nothing locked.
pub fn relieve() {
    let task = current();
    task.work.fetch_and(!work::OUT_OF_MEMORY, Ordering::AcqRel);
    if task.is_killed() || frame::available(frame::SPARE) {
        return;
    }
    // Nobody has to end for what nobody uses.
    if thread::release_stacks() > 0 && frame::available(frame::SPARE) {
        return;
    }
    if cache::give_back(cache::MOST) > 0 && frame::available(frame::SPARE) {
        return;
    }
    match end_largest() {
        Relief::Own => {}
        Relief::Wait => {
            // A signal ends the wait, which is as good.
            let _ = wait::sleep_until(Some(wait::Deadline::Boot(time::now_ns() + PATIENCE_NS)));
        }
        // Nobody is left to end but the first program.
        Relief::Nobody => {
            log!("out of memory: process {} is killed, there is nobody else to end", task.pid);
            kill::exit_process(&task, number::SIGKILL);
        }
    }
}

/// Whether programs may have `frames` more frames, which others may have to be ended for. Nobody is for more than [`SPARE`](frame::SPARE), but
/// who is ending anyway is waited for. Called with nothing locked.
pub fn make_room(frames: usize) -> bool {
    let until = time::now_ns() + LOOKS_FOR_NS;
    while !frame::available(frames) {
        if !frame::available(frame::SPARE) {
            relieve();
        } else if is_somebody_ending() {
            let _ = wait::sleep_until(Some(wait::Deadline::Boot(time::now_ns() + PATIENCE_NS)));
        } else {
            return frame::available(frames);
        }
        if has_signal() || time::now_ns() > until {
            return frame::available(frames);
        }
    }
    true
}

/// A copy of the running task to or from its memory needs a page, and there is none. It cannot wait, since what it holds may be what a victim
/// needs to end, and it must not fail, since it may not be its fault: it gets a page of the reserve, and somebody is ended when the call is
/// done. False if the task must end itself: the reserve is used up, or it was told to already.
pub fn resolve_from_reserve(address: usize, write: bool, may_wait: bool) -> bool {
    let task = current();
    if task.is_killed() {
        return false;
    }
    task.work.fetch_or(work::OUT_OF_MEMORY, Ordering::AcqRel);
    let memory = task.memory();
    match frame::with_reserve(|| memory.handle_fault_now(address, write, false)) {
        Ok(()) => return true,
        // Its object has a frame for it now, which has to be filled. If there is none for the tables then, the access is here once more.
        Err(Unresolved::MustWait) if may_wait => {
            return matches!(memory.handle_fault(address, write, false), Ok(()) | Err(Unresolved::NoMemory));
        }
        Err(Unresolved::NoMemory) => {}
        Err(_) => return false,
    }
    log!("out of memory: process {} is killed, whose call needs more than the reserve", task.pid);
    kill::exit_process(&task, number::SIGKILL);
    false
}
