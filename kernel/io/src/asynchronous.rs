// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals about files (O_ASYNC, F_SETOWN, F_SETSIG): the owner of an open file is told when it can be read, or written if it cannot be
//! read at all. That there is room again in what can be read too is not told.
//!
//! What changes a file may hold locks, so a thread of the kernel sends the signals.

use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::sync::SpinLock;
use linux_raw_sys::general as abi;

use crate::{
    errno::{Errno, Result},
    sched::wait::{Observer, WaitQueue, wait_on},
    signal::{self, Info, number},
    task::{Credentials, Task, kernel_thread, table},
};
use exo_vfs::{OpenFile, poll::Events};

/// What is kept of a file that its owner is told about.
pub struct Asynchronous {
    me: Weak<Self>,
    file: Weak<OpenFile>,
    /// The descriptor by which that was asked for, for `si_fd`.
    fd: AtomicI32,
    /// It waits to be looked at.
    is_due: AtomicBool,
}

/// Files that have changed.
static DUE: SpinLock<Vec<Arc<Asynchronous>>> = SpinLock::new(Vec::new());
static CHANGED: WaitQueue = WaitQueue::new();
static STARTED: AtomicBool = AtomicBool::new(false);

/// `POLL_` codes of Linux's `asm-generic/siginfo.h`, and what `si_band` says with each.
const READABLE: (i32, u64) = (1, 0x41);
const WRITABLE: (i32, u64) = (2, 0x304);
const ERROR: (i32, u64) = (4, 8);
const HUNG_UP: (i32, u64) = (6, 0x18);

impl Observer for Asynchronous {
    fn changed(&self) {
        if self.is_due.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(me) = self.me.upgrade() else { return };
        let mut due = DUE.lock();
        if due.try_reserve(1).is_err() {
            self.is_due.store(false, Ordering::Release);
            return;
        }
        due.push(me);
        drop(due);
        CHANGED.wake_all();
    }
}

impl Asynchronous {
    fn is_of(&self, file: &OpenFile) -> bool {
        let slot = file.asynchronous.lock();
        slot.as_ref().is_some_and(|own| core::ptr::addr_eq(Arc::as_ptr(own), self))
    }
}

/// Begins to tell the owner of `file`, which `fd` stands for. EINVAL for a file that never changes by itself.
pub fn begin(file: &Arc<OpenFile>, fd: i32) -> Result<()> {
    let queue = file.file().queue().ok_or(Errno::EINVAL)?;
    if !STARTED.swap(true, Ordering::AcqRel) {
        if let Err(error) = kernel_thread::start(b"asynchronous", None, u64::MAX, Box::new(send_all)) {
            STARTED.store(false, Ordering::Release);
            return Err(error);
        }
    }
    let mut slot = file.asynchronous.lock();
    if slot.is_some() {
        return Ok(());
    }
    let new = Arc::new_cyclic(|me| Asynchronous {
        me: me.clone(),
        file: Arc::downgrade(file),
        fd: AtomicI32::new(fd),
        is_due: AtomicBool::new(false),
    });
    let observer: Arc<dyn Observer> = new.clone();
    queue.observe(&observer)?;
    *slot = Some(new);
    Ok(())
}

/// Ends that.
pub fn end(file: &OpenFile) {
    // The queue forgets it when it is gone.
    let old = file.asynchronous.lock().take();
    drop(old);
}

fn send_all() {
    loop {
        let taken = wait_on(&[&CHANGED], None, false, || {
            let due = core::mem::take(&mut *DUE.lock());
            (!due.is_empty()).then_some(due)
        });
        for asynchronous in taken.unwrap_or_default() {
            // What comes from here on is told again.
            asynchronous.is_due.store(false, Ordering::Release);
            // It may have been ended since.
            if let Some(file) = asynchronous.file.upgrade().filter(|file| asynchronous.is_of(file)) {
                tell(&file, asynchronous.fd.load(Ordering::Relaxed));
            }
            drop(asynchronous);
            kernel_thread::pause();
        }
    }
}

/// What is to be told.
fn reason(file: &OpenFile) -> Option<(i32, u64)> {
    let events = file.file().events();
    if events.contains(Events::IN) && file.can_read() {
        Some(READABLE)
    } else if events.contains(Events::HUP) {
        Some(HUNG_UP)
    } else if events.contains(Events::ERR) {
        Some(ERROR)
    } else if events.contains(Events::OUT) && !file.can_read() {
        Some(WRITABLE)
    } else {
        None
    }
}

fn tell(file: &OpenFile, fd: i32) {
    let Some((code, band)) = reason(file) else { return };
    let Some((owner, sender)) = file.owner_with_credentials() else { return };
    let chosen = file.signal();
    let info = match chosen {
        0 => Info::kernel(number::SIGIO),
        signal => {
            let mut info = Info::kernel(signal);
            info.code = code;
            info.fields[0] = band;
            info.fields[1] = u64::from(fd as u32);
            info
        }
    };
    let number = owner.number as u32;
    match owner.kind as u32 {
        abi::F_OWNER_TID => {
            if let Some(task) = table::task(number).filter(|task| may_tell(&sender, task)) {
                // As on Linux, what finds no room in the queue is lost, and SIGIO says that something was.
                if signal::send_to_task(&task, info).is_err() {
                    let _ = signal::send_to_task(&task, Info::kernel(number::SIGIO));
                }
            }
        }
        abi::F_OWNER_PID => {
            if let Some(process) = table::process_of(number) {
                tell_process(&process, &sender, info);
            }
        }
        _ => {
            for process in table::group(number) {
                tell_process(&process, &sender, info);
            }
        }
    }
}

fn tell_process(process: &crate::task::Process, sender: &Credentials, info: Info) {
    if process.any_thread().is_none_or(|task| !may_tell(sender, &task)) {
        return;
    }
    if signal::send_to_process(process, info).is_err() {
        process.signal(Info::kernel(number::SIGIO));
    }
}

/// Whether who chose the owner may send signals to it.
fn may_tell(sender: &Credentials, task: &Task) -> bool {
    let (own, other) = (&sender.users, &task.credentials.get().users);
    own.effective == 0 || [own.effective, own.real].iter().any(|id| *id == other.saved || *id == other.real)
}
