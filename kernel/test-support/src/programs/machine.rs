// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine with a first program that starts the test, and takes in who has lost its parent.

use std::sync::{
    Arc, Once,
    atomic::{AtomicUsize, Ordering},
};

use exo_core::{
    fallible,
    sched::{
        self,
        policy::{Policy, Schedule},
        spans, timer,
    },
    thread::work,
};
use exo_hal::{
    hooks::Hooks,
    mm::{frame, paging, user::may_wait},
    thread,
    trap::Regs,
};
use exo_mm::{AddressSpace, dead_pages};
use exo_process::{
    fault,
    signal::{Info, SignalSet, number},
    task::{Credentials, Name, Process, Seed, Task, current, file_context, kernel_thread, table},
};
use exo_vfs::{Files, context, inode::Inode, mount, mounting, superblock};
use linux_raw_sys::general as abi;
use parking_lot::Mutex;

use super::{
    calls::{self, Result},
    memory::{self, STACK, STACK_SIZE, string},
    user,
};
use crate::{call, stage, stage::Stage};

/// The directory that a test has for itself: a file system of its own.
pub const HOME: &str = "/tmp";

static INIT: Once = Once::new();
/// Frames in use when the test began.
static FRAMES: AtomicUsize = AtomicUsize::new(0);

type Main = Box<dyn FnOnce() + Send>;

/// Runs `first` as a program of the superuser on a fresh machine with one CPU, and returns when all programs have ended.
///
/// # Panics
/// When a program panics, one waits for what never comes, or something of theirs stays.
pub fn machine(first: impl FnOnce() + Send + 'static) {
    let stage = Stage::prepare(Hooks {
        cpu_main: || sched::run_cpu(Task::new_idle(Process::empty(0))),
        thread_start,
        timer: timer::expire,
        copy_fault: |address, write| fault::of_copy(address, write, may_wait()),
        out_of_memory: || {
            exo_core::room::refuse(0);
        },
        refuses_allocation: fallible::is_nth,
    });
    INIT.call_once(init);
    stage.power_on(1);
    memory::reset();
    let main: Main = Box::new(first);
    let slot = Arc::new(Mutex::new(Some(main)));
    stage.run(move || {
        spans::reset();
        start_first(move || first_program(slot.lock().take().expect("one start")));
    });
    let waiting = waiting();
    if !waiting.is_empty() {
        let report = format!("no CPU has anything to do, and no timer is set, but these wait: {waiting:?}");
        stage::note_panic(Box::new(report));
        stage.run(kill_all);
    }
    if !self::waiting().is_empty() {
        stage.give_up("a program that is killed does not end");
    }
    stage.end_threads();
    user::forget_code();
    paging::unload();
    stage.check();
    assert_eq!(sched::runnable_count(), 0, "tasks in run queues when all have ended");
    assert_eq!(frame::in_use(), FRAMES.load(Ordering::Relaxed), "frames in use after the test and before");
}

/// Numbers and names of the processes that there are.
fn waiting() -> Vec<(u32, String)> {
    let name = |process: &Process| String::from_utf8_lossy(process.name().bytes()).into_owned();
    table::processes().iter().map(|process| (process.pid, name(process))).collect()
}

fn kill_all() {
    for process in table::processes() {
        if process.pid != 1 {
            process.signal(Info::kernel(number::SIGKILL));
        }
    }
}

/// What is done once, as at the start of the kernel.
fn init() {
    context::set_current(&file_context::Running);
    mount::init();
    exo_fs::init().unwrap();
    exo_mm::init().unwrap();
    exo_fs::terminals::init();
    for (name, kind) in [("dev", "devtmpfs"), ("proc", "proc"), ("sys", "sysfs"), ("tmp", "")] {
        let directory = Inode::directory(&superblock::ROOT, 0o755);
        let directory = mount::root().dentry.add(name.as_bytes(), &directory).unwrap();
        if !kind.is_empty() {
            let at = mount::root().with(directory);
            mounting::mount(kind.as_bytes(), at, kind.as_bytes(), abi::MS_RELATIME, &[]).unwrap();
        }
    }
}

/// Starts the process with number 1.
fn start_first(main: impl FnOnce() + Send + 'static) {
    FRAMES.store(frame::in_use(), Ordering::Relaxed);
    let process = Process::empty(1);
    *process.memory.lock() = AddressSpace::new().unwrap();
    let task = Task::new(Seed {
        tid: 1,
        process: process.clone(),
        files: Files::empty(),
        regs: &Regs::at_start(user::once(main), (STACK + STACK_SIZE) as u64),
        name: Name::new(b"init"),
        blocked: SignalSet::default(),
        affinity: u64::MAX,
        credentials: Arc::new(Credentials::root()),
        schedule: Schedule::new(Policy::DEFAULT, 0),
    })
    .unwrap();
    process.threads.lock().insert(1, task.clone());
    table::add_task(&task);
    table::add_process(&process);
    // Its number is never given to another.
    while table::last_number() == 0 {
        let _ = table::new_number();
    }
    sched::start(task);
}

/// Maps what each program has, and runs the test; ends when it has no children any more.
fn first_program(main: Main) {
    memory::map_data();
    let flags = abi::MAP_PRIVATE | abi::MAP_ANONYMOUS | abi::MAP_FIXED;
    call!(abi::__NR_mmap, STACK, STACK_SIZE, abi::PROT_READ | abi::PROT_WRITE, flags, -1, 0).unwrap();
    for _ in 0..3 {
        calls::open("/dev/null", abi::O_RDWR).unwrap();
    }
    call!(abi::__NR_mount, string("none"), string(HOME), string("tmpfs"), 0, 0).unwrap();
    calls::fork(move || {
        let prepare = || -> Result {
            call!(abi::__NR_chdir, string(HOME))?;
            call!(abi::__NR_prctl, abi_prctl::PR_SET_NAME, string("test"))
        };
        prepare().unwrap();
        main();
    });
    while calls::wait(-1, 0).is_ok() {}
    if let Err(error) = calls::unmount(HOME) {
        // Whoever still uses it has no number any more.
        call!(abi::__NR_umount2, string(HOME), abi_mount::MNT_DETACH).unwrap();
        stage::note_panic(Box::new(format!("the file system of the test is in use after it: {error:?}")));
    }
    end_first();
}

/// Values that the headers have elsewhere.
mod abi_prctl {
    pub(super) const PR_SET_NAME: u32 = 15;
}
mod abi_mount {
    pub(super) const MNT_DETACH: u32 = 2;
}

/// The first program must not end. Its thread does, and what it has goes.
fn end_first() -> ! {
    let task = current();
    let process = task.process.clone();
    task.files.leave();
    process.fs.leave();
    table::remove_task(1);
    table::remove_process(1);
    process.threads.lock().clear();
    let memory = std::mem::replace(&mut *process.memory.lock(), AddressSpace::none());
    memory.clear();
    AddressSpace::none().activate();
    drop(memory);
    dead_pages::give_back();
    drop(process);
    sched::end_current()
}

fn thread_start(regs: &mut Regs) -> ! {
    sched::finish_switch();
    if regs.begins_in_kernel() {
        keep_while_it_works();
        stage::watch(kernel_thread::run_if_kernel_thread);
        unreachable!("a kernel thread without anything to do");
    }
    user::begin(regs)
}

/// Some kernel threads are started by the first who needs them, and wait for ever for more to do.
fn keep_while_it_works() {
    let task = current();
    let mut slot = task.main.lock();
    if let Some(main) = slot.take() {
        *slot = Some(Box::new(move || {
            thread::keep_this(true);
            main();
            thread::keep_this(false);
        }));
    }
}

/// The running program is killed by itself, and comes to a preemption point as soon as it looks for one.
pub fn kill_self() {
    current().work.fetch_or(work::EXIT, Ordering::AcqRel);
    exo_hal::time::advance(calls::MS);
}
