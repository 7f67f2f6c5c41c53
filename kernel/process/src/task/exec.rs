// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting a program: execve.

mod load;

use core::sync::atomic::Ordering;

use alloc::{sync::Arc, vec::Vec};

use exo_core::thread::soft_limit;
use exo_hal::{PAGE_SIZE, trap::Regs};
use exo_logic::elf::{self, Plan};
use linux_raw_sys::{auxvec as abi, general as abi_mount};
use zerocopy::IntoBytes;

use load::{Image, Loaded, Program, STACK_TOP};

use super::{
    AltStack, Credentials, Current, Name, credentials, current, exit, kill, limits, observer, process, table,
    work,
};
use crate::{
    errno::{Errno, Result},
    fallible,
    fs::{
        inode::InodeContent,
        path::{self, Follow, Path},
    },
    futex,
    io_buf::IoBuf,
    mm::AddressSpace,
    random, room,
};

/// Arguments and environment together: a quarter of the stack's limit, in these bounds, as on Linux.
const ARGUMENTS_LEAST: u64 = 128 << 10;
const ARGUMENTS_MOST: u64 = 6 << 20;
/// Scripts that name scripts that name scripts …, as on Linux.
const SCRIPT_DEPTH: usize = 5;
/// How much of a script's first line counts, as on Linux.
const SCRIPT_LINE: usize = 256;
/// The personality of programs whose addresses shall not be random.
const ADDR_NO_RANDOMIZE: u32 = 0x0004_0000;

/// A program's arguments and environment.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    /// The arguments, the program's name first.
    pub arguments: Vec<Vec<u8>>,
    /// The environment.
    pub environment: Vec<Vec<u8>>,
}

/// How many bytes the strings and the pointers to them may have.
pub fn room_for_strings() -> usize {
    (soft_limit(limits::index::STACK) / 4).clamp(ARGUMENTS_LEAST, ARGUMENTS_MOST) as usize
}

impl Strings {
    fn size(&self) -> usize {
        self.arguments.iter().chain(&self.environment).map(|s| s.len() + 1 + size_of::<usize>()).sum()
    }
}

/// The file at a path. A link that is not to be followed is no program.
pub fn find_node(start: Option<&Path>, path: &[u8], follow: Follow) -> Result<Path> {
    let found = path::resolve(start, path, follow)?;
    if matches!(found.content, InodeContent::Link(_)) { Err(Errno::ELOOP) } else { Ok(found) }
}

/// Whether a byte separates the words of a `#!` line.
fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., last] = bytes {
        if !is_blank(*last) {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// The interpreter and its argument, if any, as a script's first line names them. Of a line that is too long the interpreter has to be
/// there in full.
fn parse_script(head: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let line = head.get(2..head.len().min(SCRIPT_LINE)).unwrap_or_default();
    let end = line.iter().position(|b| *b == b'\n');
    let is_complete = end.is_some() || head.len() < SCRIPT_LINE;
    // A zero byte ends the line too.
    let line = line.get(..end.unwrap_or(line.len())).unwrap_or_default();
    let line = line.split(|b| *b == 0).next().unwrap_or_default();
    let start = line.iter().position(|b| !is_blank(*b)).ok_or(Errno::ENOEXEC)?;
    let line = line.get(start..).unwrap_or_default();
    let name_end = line.iter().position(|b| is_blank(*b));
    if name_end.is_none() && !is_complete {
        return Err(Errno::ENOEXEC);
    }
    let (name, rest) = line.split_at_checked(name_end.unwrap_or(line.len())).unwrap_or_default();
    let rest_start = rest.iter().position(|b| !is_blank(*b)).unwrap_or(rest.len());
    let argument = trim_end(rest.get(rest_start..).unwrap_or_default());
    Ok((name.to_vec(), (!argument.is_empty()).then(|| argument.to_vec())))
}

/// The program in a file, following `#!` lines.
fn find(mut node: Path, path: &[u8], strings: &mut Strings) -> Result<Program> {
    let mut name = path.to_vec();
    for _ in 0..=SCRIPT_DEPTH {
        // From here on nobody may write to it.
        let (executing, pages) = load::open(&node)?;
        let mut head = [0; elf::HEAD];
        let count = pages.read(0, &mut IoBuf::kernel(&mut head))?;
        let head = head.get(..count).unwrap_or_default();
        if !head.starts_with(b"#!") {
            return Program::new(Image::new(executing, pages, head)?, pages);
        }
        let (interpreter, argument) = parse_script(head)?;
        let rest = strings.arguments.split_off(1.min(strings.arguments.len()));
        strings.arguments = Vec::from([interpreter.clone()]);
        strings.arguments.extend(argument);
        strings.arguments.push(name);
        strings.arguments.extend(rest);
        node = find_node(None, &interpreter, Follow::Yes)?;
        name = interpreter;
    }
    Err(Errno::ELOOP)
}

/// Lays out the start of the stack: strings, then the auxiliary vector, the pointers to the strings, their number at the
/// lowest address (System V ABI, 3.4.1). The stack pointer.
fn push_strings(
    memory: &AddressSpace,
    strings: &Strings,
    plan: &Plan,
    loaded: &Loaded,
    path: &[u8],
    credentials: &Credentials,
) -> Result<(usize, process::Strings, Arc<Vec<u8>>)> {
    /// The platform's name, as programs are told it.
    const PLATFORM: &[u8] = b"x86_64\0";
    let count = strings.arguments.len() + strings.environment.len();
    let mut random_bytes = [0; 16];
    random::fill(&mut random_bytes);
    let mut bytes: Vec<u8> =
        fallible::list(strings.size() + PLATFORM.len() + path.len() + 1 + random_bytes.len())?;
    let mut offsets = fallible::list(count)?;
    for string in strings.arguments.iter().chain(&strings.environment) {
        offsets.push(bytes.len());
        bytes.extend(string);
        bytes.push(0);
    }
    let arguments_size = offsets.get(strings.arguments.len()).copied().unwrap_or(bytes.len());
    let strings_size = bytes.len();
    let platform = bytes.len();
    bytes.extend(PLATFORM);
    let file = bytes.len();
    bytes.extend(path);
    bytes.push(0);
    let seed = bytes.len();
    bytes.extend(random_bytes);
    let strings_at = (STACK_TOP - 8 - bytes.len()) & !15;
    let address = |offset: usize| (strings_at + offset) as u64;
    let auxiliary = [
        (abi::AT_HWCAP, u64::from(exo_hal::cpu::cpuid(1, 0)[3])),
        (abi::AT_PAGESZ, PAGE_SIZE as u64),
        (abi::AT_CLKTCK, 100),
        (abi::AT_PHDR, loaded.base.wrapping_add(plan.headers.0)),
        (abi::AT_PHENT, 56),
        (abi::AT_PHNUM, u64::from(plan.headers.1)),
        (abi::AT_BASE, loaded.interpreter_base),
        (abi::AT_FLAGS, 0),
        (abi::AT_ENTRY, loaded.base.wrapping_add(plan.entry)),
        (abi::AT_UID, u64::from(credentials.users.real)),
        (abi::AT_EUID, u64::from(credentials.users.effective)),
        (abi::AT_GID, u64::from(credentials.groups.real)),
        (abi::AT_EGID, u64::from(credentials.groups.effective)),
        (abi::AT_SECURE, u64::from(credentials.acts_as_another())),
        (abi::AT_RANDOM, address(seed)),
        (abi::AT_HWCAP2, 0),
        (abi::AT_EXECFN, address(file)),
        (abi::AT_PLATFORM, address(platform)),
        (abi::AT_MINSIGSTKSZ, exo_hal::cpu::fpu::state_size() as u64 + 1024),
        (abi::AT_NULL, 0),
    ];
    // Their number, the lists with an end each, and the vector.
    let mut words = fallible::list(1 + count + 2 + 2 * auxiliary.len())?;
    words.push(strings.arguments.len() as u64);
    let (argument_offsets, environment_offsets) =
        offsets.split_at_checked(strings.arguments.len()).unwrap_or_default();
    words.extend(argument_offsets.iter().map(|&o| address(o)));
    words.push(0);
    words.extend(environment_offsets.iter().map(|&o| address(o)));
    words.push(0);
    words.extend(auxiliary.iter().flat_map(|&(key, value)| [u64::from(key), value]));
    let vector = words.get(words.len() - 2 * auxiliary.len()..).unwrap_or_default();
    let vector = Arc::new(vector.as_bytes().to_vec());
    let sp = (strings_at - words.len() * 8) & !15;
    memory.write(sp, words.as_bytes())?;
    memory.write(strings_at, &bytes)?;
    let places = process::Strings {
        arguments: strings_at,
        environment: strings_at + arguments_size,
        end: strings_at + strings_size,
    };
    Ok((sp, places, vector))
}

/// The running thread, which is the only one, becomes the first of its process, with handlers of its own.
fn take_over_process(task: &Current) {
    let process = &task.process;
    let old = task.tid();
    if old != process.pid {
        task.set_tid(process.pid);
        table::renumber_task(old, &task.arc());
        let mut threads = process.threads.lock();
        threads.remove(&old);
        threads.insert(process.pid, task.arc());
        drop(threads);
        // Children that this thread made stay its own.
        process.each_child(|child| {
            let _ =
                child.parent_thread.compare_exchange(old, process.pid, Ordering::Relaxed, Ordering::Relaxed);
        });
    }
    process.posix_timers.delete_all();
    let actions = Arc::new(process.actions().duplicate());
    actions.reset_handlers();
    *process.actions.lock() = actions;
}

/// The user and the group that a program acts as because its file has the bits for it.
fn owners_to_act_as(task: &Current, file: &Path) -> (Option<u32>, Option<u32>) {
    if file.mount.has(abi_mount::MS_NOSUID) || task.no_new_privileges.load(Ordering::Relaxed) {
        return (None, None);
    }
    let metadata = file.metadata();
    let has = |bits| metadata.mode & bits == bits;
    let group = abi_mount::S_ISGID | abi_mount::S_IXGRP;
    (has(abi_mount::S_ISUID).then_some(metadata.uid), has(group).then_some(metadata.gid))
}

/// Kernel memory that a new program may need, in frames: tables, the first page of its stack, structures.
const PROGRAM_FRAMES: usize = 16;

/// Replaces the running program. After the first change that cannot be undone, an error ends it.
/// `path` is what the program is told that it was started as.
pub fn exec(node: Path, path: &[u8], mut strings: Strings, regs: &mut Regs) -> Result<()> {
    let task = current();
    if strings.arguments.is_empty() {
        strings.arguments.push(Vec::new());
    }
    let program = find(node, path, &mut strings)?;
    if strings.size() > room_for_strings() {
        return Err(Errno::E2BIG);
    }
    let (user, group) = owners_to_act_as(&task, program.path());
    let credentials = task.credentials.get().after_exec(user, group);
    if !room::has_room(PROGRAM_FRAMES) {
        return Err(Errno::ENOMEM);
    }
    let memory = AddressSpace::new()?;
    memory.add_stack(STACK_TOP)?;
    let is_random = task.personality.load(Ordering::Relaxed) & ADDR_NO_RANDOMIZE == 0;
    let loaded = program.load(&memory, is_random)?;
    let (sp, places, vector) = push_strings(&memory, &strings, program.plan(), &loaded, path, &credentials)?;
    let executing = fallible::arc(program.into_executing())?;

    if !kill::end_other_threads(&task) {
        return Err(Errno::EAGAIN);
    }
    task.files.unshare()?;
    take_over_process(&task);
    exit::release_memory(&task);
    futex::pi::release_all(&task.arc(), false);
    memory.activate();
    let old = core::mem::replace(&mut *task.process.memory.lock(), memory);
    if Arc::strong_count(&old) == 1 {
        old.clear();
    }
    drop(old);
    if let Some(vfork) = task.vfork.lock().take() {
        vfork.complete();
    }
    task.files.close_on_exec();
    let acts_as_another = credentials.acts_as_another();
    credentials::commit(&task, credentials);
    task.process.dumpable.store(u32::from(!acts_as_another), Ordering::Relaxed);
    task.process.has_execed.store(true, Ordering::Release);
    *task.alt_stack.lock() = AltStack::default();
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    *task.name.lock() = Name::new(name);
    *task.process.first_name.lock() = None;
    let old = task.process.executable.lock().replace(executing);
    drop(old);
    *task.process.strings.lock() = places;
    let old = core::mem::replace(&mut *task.process.auxiliary.lock(), vector);
    drop(old);
    task.process.exit_signal.store(crate::signal::number::SIGCHLD, Ordering::Relaxed);
    task.machine.set_segment_bases(0, 0);
    task.machine.set_fpu(None);
    task.work.fetch_and(!work::RESTORE_MASK, Ordering::AcqRel);
    observer::tell(|observer| observer.executes(&task.process, task.tid()));
    *regs = Regs::at_start(loaded.start, sp as u64);
    Ok(())
}
