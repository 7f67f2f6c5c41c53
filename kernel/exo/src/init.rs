// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a machine that works to the first program.

use alloc::{sync::Arc, vec::Vec};

use exo_core::names::RELEASE;
use exo_fs::{sysfs_cpus, terminals};
use exo_hal::{
    boot,
    cpu::percpu::cpu_count,
    log,
    mm::{frame, paging},
    power::{self, Exit},
    smp, time,
    trap::Regs,
};
use exo_logic::{boot_options::Options, cpio::Archive};
use exo_vfs::superblock;
use linux_raw_sys::general as abi;

use crate::{
    disk, drivers,
    errno::{Errno, Result},
    fs::{
        Files, context,
        dentry::Dentry,
        inode::{Inode, InodeContent, kind},
        mount, mounting,
        open::open_path,
        path::{self, Follow},
        pipe::Pipe,
    },
    mm::{self, AddressSpace, Pages},
    sched::{
        self,
        policy::{Policy, Schedule},
    },
    signal::SignalSet,
    task::{
        Credentials, Name, Process, Seed, Task,
        exec::{self, Strings},
        file_context, table,
    },
};

/// How the names of pseudo-terminals' slaves look: of the group of terminals, as usual.
const PTS_OPTIONS: &[u8] = b"gid=5,mode=620,ptmxmode=666";

/// Boots: everything that needs one CPU, then the others, then the first program.
pub fn main() -> ! {
    log!("Exo-Kernel {}: {} KiB of memory", RELEASE, frame::totals().0 * 4);
    let bad = paging::count_writable_and_executable();
    assert!(bad == 0, "{bad} kernel pages are both writable and executable");
    if let Err(error) = prepare() {
        log!("cannot start: error {}", error.0);
        power::power_off(Exit::Panic);
    }
    let idle = Task::new_idle(idle_process());
    smp::start_others();
    log!("{} CPUs, {} MHz cycle counter", cpu_count(), time::cycles_khz() / 1000);
    sysfs_cpus::init();
    drivers::start();
    crate::power::set_stop_devices(drivers::stop);
    match first_task() {
        Ok(task) => sched::start(task),
        Err(error) => {
            log!("cannot start the first program: error {}", error.0);
            power::power_off(Exit::Panic);
        }
    }
    sched::run_cpu(idle)
}

/// The life of the other CPUs.
pub fn other_cpu() -> ! {
    sched::run_cpu(Task::new_idle(idle_process()))
}

fn idle_process() -> Arc<Process> {
    Process::empty(0)
}

fn prepare() -> Result<()> {
    context::set_current(&file_context::Running);
    mount::init();
    exo_fs::init()?;
    mm::init()?;
    terminals::init();
    let count = unpack(&boot::take_initrd().ok_or(Errno::ENOENT)?)?;
    log!("{count} files from the initial RAM disk");
    for (name, kind) in [("dev", "devtmpfs"), ("proc", "proc"), ("sys", "sysfs"), ("tmp", "tmpfs")] {
        let directory = make_directories(name.as_bytes())?;
        if name != "tmp" {
            let at = mount::root().with(directory);
            mounting::mount(kind.as_bytes(), at, kind.as_bytes(), abi::MS_RELATIME, &[])?;
        }
    }
    let devices = mount::root().with(make_directories(b"dev")?).topmost();
    let terminals = devices.with(devices.dentry.lookup(b"pts")?);
    mounting::mount(b"devpts", terminals, b"devpts", abi::MS_RELATIME, PTS_OPTIONS)?;
    Ok(())
}

/// The directory at a path of plain names, made where it is missing.
fn make_directories(path: &[u8]) -> Result<Arc<Dentry>> {
    let mut at = mount::root().dentry;
    for name in path.split(|b| *b == b'/').filter(|n| !n.is_empty() && *n != b".") {
        at = match at.lookup(name) {
            Ok(found) => found,
            Err(Errno::ENOENT) => at.add(name, &Inode::directory(&superblock::ROOT, 0o755))?,
            Err(error) => return Err(error),
        };
    }
    Ok(at)
}

fn unpack(bytes: &[u8]) -> Result<usize> {
    let mut count = 0;
    for entry in Archive::new(bytes) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                log!("the initial RAM disk is damaged after {count} files: {error:?}");
                break;
            }
        };
        let path = entry.name.as_bytes();
        if path.is_empty() || path == b"." {
            continue;
        }
        let split = path.iter().rposition(|b| *b == b'/');
        let (directory, name) = match split {
            Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
            None => (&[][..], path),
        };
        let content = match entry.mode & kind::MASK {
            kind::DIRECTORY => {
                make_directories(path)?.inode.change(|metadata| metadata.mode = entry.mode);
                continue;
            }
            kind::REGULAR => InodeContent::File(Arc::new(Pages::from_bytes(entry.data)?)),
            kind::LINK => InodeContent::Link(entry.data.to_vec()),
            kind::CHARACTER | kind::BLOCK => InodeContent::Device(entry.device.0, entry.device.1),
            kind::FIFO => InodeContent::Fifo(Pipe::new()?),
            _ => continue,
        };
        let node = Inode::new(&superblock::ROOT, entry.mode, content);
        let ns = u64::from(entry.mtime) * 1_000_000_000;
        node.change(|metadata| {
            (metadata.uid, metadata.gid) = (entry.uid, entry.gid);
            (metadata.accessed, metadata.modified) = (ns, ns);
        });
        let directory = make_directories(directory)?;
        // A later file of the same name replaces the earlier one.
        let _ = directory.unlink(name, |_| Ok(()));
        directory.add(name, &node)?;
        count += 1;
    }
    Ok(count)
}

/// The first process's thread: it begins in the kernel, in [`first_program`].
fn first_task() -> Result<Arc<Task>> {
    let pid = table::new_number().ok_or(Errno::EAGAIN)?;
    let process = Process::empty(pid);
    *process.memory.lock() = AddressSpace::new()?;
    let task = Task::new(Seed {
        tid: pid,
        process: process.clone(),
        files: Files::empty(),
        regs: &Regs::in_kernel(),
        name: Name::new(b"init"),
        blocked: SignalSet::default(),
        affinity: u64::MAX,
        credentials: Arc::new(Credentials::root()),
        schedule: Schedule::new(Policy::DEFAULT, 0),
    })?;
    process.threads.lock().insert(task.tid(), task.clone());
    table::add_task(&task);
    table::add_process(&process);
    Ok(task)
}

/// Starts the first program in the running task.
pub fn first_program(regs: &mut Regs) {
    disk::wait_for_partitions();
    let options = Options::parse(exo_hal::boot::info().command_line);
    let task = crate::task::current();
    let console =
        path::resolve(None, b"/dev/console", Follow::Yes).and_then(|found| open_path(&found, abi::O_RDWR));
    if let Ok(console) = console {
        for fd in 0..3 {
            let _ = task.files.replace(fd, console.clone(), false);
        }
    }
    let program = options.init.unwrap_or("/init").as_bytes();
    let mut arguments = Vec::from([program.to_vec()]);
    arguments.extend(options.arguments.iter().map(|a| a.as_bytes().to_vec()));
    let environment = ["HOME=/", "TERM=linux", "PATH=/bin:/sbin:/usr/bin:/usr/sbin"];
    let environment = environment.iter().map(|e| e.as_bytes().to_vec()).collect();
    let strings = Strings { arguments, environment };
    let started =
        exec::find_node(None, program, Follow::Yes).and_then(|node| exec::exec(node, program, strings, regs));
    if let Err(error) = started {
        log!("cannot start {}: error {}", options.init.unwrap_or("/init"), error.0);
        power::power_off(Exit::Panic);
    }
    sched::spans::reset();
    log!("first program after {} ms", time::now_ns() / 1_000_000);
}
