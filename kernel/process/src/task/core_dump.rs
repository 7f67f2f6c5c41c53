// SPDX-License-Identifier: MIT OR Apache-2.0
//! Core files: what a program's memory and registers were when a signal ended it. As on a Linux that was told nothing else, the file
//! is `core` in the working directory, RLIMIT_CORE bounds what is written to it, and the status of the process says that there is one.
//!
//! The thread that got the signal claims the process's end, so that no other status counts, and writes when the others have ended. Each of
//! them leaves its registers on its way out.

pub mod state;

use core::sync::atomic::Ordering;

use alloc::{sync::Arc, vec::Vec};

use exo_core::thread::soft_limit;
use exo_hal::{PAGE_SIZE, mm::frame::Frame, trap::Regs};
use exo_logic::{
    areas::{Area, Flags},
    core_file::{self as layout, Ids, ProcessSummary, Range, ThreadStatus, kind},
};

use self::state::ThreadState;
use super::{Current, Process, Task, kill, limits, process};
use crate::{
    errno::{Errno, Result},
    fallible,
    fs::{
        inode::{InodeContent, directory::What},
        path::{self, Follow, Path},
        permission,
        writing::Writing,
    },
    io_buf::{Frames, IoSource},
    mm::{self, AddressSpace, Backing, Pages, VmObject},
    sched::{spans, wait},
    signal::{Info, number},
};

/// In a status: a core file was written.
pub const DUMPED: u32 = 0x80;
/// Signals that end a process with a core file.
const DUMPING: [u32; 10] = [
    number::SIGQUIT,
    number::SIGILL,
    number::SIGTRAP,
    number::SIGABRT,
    number::SIGBUS,
    number::SIGFPE,
    number::SIGSEGV,
    number::SIGXCPU,
    number::SIGXFSZ,
    number::SIGSYS,
];
/// Bits of /proc/PID/coredump_filter: which memory is written.
mod filter {
    pub(super) const ANONYMOUS_PRIVATE: u32 = 1;
    pub(super) const ANONYMOUS_SHARED: u32 = 2;
    pub(super) const FILE_PRIVATE: u32 = 4;
    pub(super) const FILE_SHARED: u32 = 8;
    pub(super) const ELF_HEADERS: u32 = 16;
}
/// The most that the list of mapped files may take.
const FILES_MOST: usize = 1 << 20;

/// Whether this signal ends a process with a core file.
pub fn is_dumping(signal: u32) -> bool {
    DUMPING.contains(&signal)
}

/// A thread is about to end; its registers are kept if a core file is to be written.
pub fn note_end(task: &Current, regs: &Regs) {
    if task.process.core_dump.lock().threads.is_none() {
        return;
    }
    // What ends the process ends each of its threads.
    let state = ThreadState::of(task, regs, task.process.group_exit.load(Ordering::Relaxed) as u32);
    if let (Ok(state), Some(threads)) = (state, &mut task.process.core_dump.lock().threads) {
        // A thread that there is no memory for is missing in the file.
        if threads.try_reserve(1).is_ok() {
            threads.push(state);
        }
    }
}

/// Ends the running process for a signal, with a core file if there may be one.
pub fn end_process(task: &Current, info: &Info, regs: &Regs) {
    let signal = info.signal as u32;
    let process = &task.process;
    let limit = soft_limit(limits::index::CORE);
    let may = is_dumping(signal)
        && limit >= PAGE_SIZE as u64
        && process.dumpable.load(Ordering::Relaxed) == 1
        && claim(process, signal);
    if may && collect_threads(task) && write(task, info, regs, limit).is_ok() {
        process.group_exit.store(u64::from(signal | DUMPED), Ordering::Release);
    }
    kill::exit_process(task, signal);
}

/// Takes the end of the process for `signal`; false if another thread has it.
fn claim(process: &Process, signal: u32) -> bool {
    let claimed = process.group_exit.compare_exchange(
        process::NOT_ENDING,
        u64::from(signal),
        Ordering::AcqRel,
        Ordering::Relaxed,
    );
    if claimed.is_ok() {
        // Who dumps does it itself, and is not told.
        process.all_told.store(true, Ordering::Release);
        process.core_dump.lock().threads = Some(Vec::new());
    }
    claimed.is_ok()
}

/// Ends the other threads, and waits until they are gone; false if the process is killed meanwhile.
fn collect_threads(task: &Current) -> bool {
    kill::tell_others_to_exit(task, 0);
    let alone = || (task.process.threads.lock().len() == 1).then_some(());
    wait::wait_on(&[&task.process.continued], None, false, alone).is_ok()
}

impl ThreadState {
    fn of(task: &Task, regs: &Regs, signal: u32) -> Result<Self> {
        let floating_point = task.machine.with_fpu_bytes(|bytes| -> Result<Vec<u8>> {
            let mut copy = fallible::list(bytes.len())?;
            copy.extend(bytes);
            Ok(copy)
        })?;
        let process = &task.process;
        let children = *process.children_usage.lock();
        let (all, user) = (task.cpu_ns(), task.user_ns());
        let system = |all: u64, user: u64| all.saturating_sub(user);
        let status = ThreadStatus {
            signal,
            pending: task.pending.lock().set().0,
            blocked: task.blocked.load(Ordering::Relaxed),
            ids: ids_of(process, task.tid()),
            times: [user, system(all, user), children.user_ns, system(children.cpu_ns, children.user_ns)],
            registers: registers(task, regs),
            has_floating_point: !floating_point.is_empty(),
        };
        Ok(Self { status, floating_point })
    }

    /// Its notes, with those of the process behind the first of the first thread.
    fn push_notes(&self, out: &mut Vec<u8>, of_process: &[u8]) -> Result<()> {
        /// Bytes that FXSAVE stores.
        const FXSAVE: usize = 512;
        /// In those: where the kernel leaves the features that are in force.
        const FEATURES: usize = 464;
        out.try_reserve(of_process.len() + 2 * self.floating_point.len() + 1024)
            .map_err(|_| Errno::ENOMEM)?;
        layout::push_note(out, b"CORE", kind::STATUS, &self.status.bytes());
        out.extend(of_process);
        if let Some(legacy) = self.floating_point.get(..FXSAVE) {
            layout::push_note(out, b"CORE", kind::FLOATING_POINT, legacy);
        }
        if self.floating_point.len() > FXSAVE {
            let mut whole: Vec<u8> = fallible::list(self.floating_point.len())?;
            whole.extend(&self.floating_point);
            if let Some(place) = whole.get_mut(FEATURES..FEATURES + 8) {
                place.copy_from_slice(&exo_hal::cpu::fpu::features().to_le_bytes());
            }
            layout::push_note(out, b"LINUX", kind::EXTENDED_STATE, &whole);
        }
        Ok(())
    }
}

fn ids_of(process: &Process, own: u32) -> Ids {
    Ids {
        own,
        parent: process.parent.lock().upgrade().map_or(0, |parent| parent.pid),
        group: process.group.load(Ordering::Relaxed),
        session: process.session.load(Ordering::Relaxed),
    }
}

/// In the order of `struct user_regs_struct`.
fn registers(task: &Task, regs: &Regs) -> [u64; 27] {
    let (fs, gs) = task.machine.segment_bases();
    let (cs, ss) = regs.selectors();
    let call = if regs.is_system_call() { regs.error() } else { u64::MAX };
    [
        regs.r15,
        regs.r14,
        regs.r13,
        regs.r12,
        regs.rbp,
        regs.rbx,
        regs.r11,
        regs.r10,
        regs.r9,
        regs.r8,
        regs.rax,
        regs.rcx,
        regs.rdx,
        regs.rsi,
        regs.rdi,
        call,
        regs.rip(),
        cs,
        regs.flags(),
        regs.rsp(),
        ss,
        fs,
        gs,
        0,
        0,
        0,
        0,
    ]
}

/// Whether the program has changed a page of an area that shows a file: it has a page of its own then.
fn is_changed(memory: &AddressSpace, area: &Area<Backing>, object: &dyn VmObject, offset: u64) -> bool {
    (area.start..area.end).step_by(PAGE_SIZE).any(|at| {
        let index = offset.saturating_add((at - area.start) as u64) / PAGE_SIZE as u64;
        let differs = |frame: &Frame| {
            object.resident_page(index).is_none_or(|of_file| of_file.number() != frame.number())
        };
        if spans::point() {
            // The process is killed: nothing more is written.
            return true;
        }
        memory.locate(at).is_some_and(|frame| differs(&frame))
    })
}

/// How much of an area is written.
fn stored(memory: &AddressSpace, area: &Area<Backing>, filter: u32) -> usize {
    let whole = area.end - area.start;
    let shared = area.flags.contains(Flags::SHARED);
    let wants = |bit: u32| if filter & bit != 0 { whole } else { 0 };
    if area.flags.contains(Flags::DONT_DUMP) {
        return 0;
    }
    match &area.backing {
        Backing::Anonymous => wants(filter::ANONYMOUS_PRIVATE),
        // Pages of devices are read by nobody without being asked.
        Backing::File { object, .. } if !matches!(object.sharing(), mm::Sharing::Free) => 0,
        Backing::File { file: None, .. } => wants(filter::ANONYMOUS_SHARED),
        Backing::File { .. } if shared => wants(filter::FILE_SHARED),
        // What a program has changed counts as its own memory.
        Backing::File { object, offset, .. } if is_changed(memory, area, &**object, *offset) => {
            wants(filter::ANONYMOUS_PRIVATE)
        }
        Backing::File { object, offset: 0, .. }
            if filter & (filter::ELF_HEADERS | filter::FILE_PRIVATE) == filter::ELF_HEADERS =>
        {
            let mut magic = [0; 4];
            object.read(0, &mut magic);
            if magic == *b"\x7fELF" { PAGE_SIZE.min(whole) } else { 0 }
        }
        Backing::File { .. } => wants(filter::FILE_PRIVATE),
    }
}

/// Where the bytes of a range are that the program has not touched: in a file from an offset on, or nowhere.
type Untouched = Option<(Arc<dyn VmObject>, u64)>;

/// What is mapped.
struct Mapped {
    ranges: Vec<Range>,
    untouched: Vec<Untouched>,
    /// The note about the files.
    files: Vec<u8>,
}

fn memory_of(memory: &AddressSpace, filter: u32) -> Result<Mapped> {
    let mut count = 0;
    memory.each_area(|_| count += 1);
    let mut ranges = fallible::list(count)?;
    let mut untouched: Vec<Untouched> = fallible::list(count)?;
    let (mut files, mut names, mut mapped) = (Vec::new(), Vec::new(), 0u64);
    let mut at = 0;
    while let Some(area) = memory.area_above(at) {
        at = area.end;
        if ranges.len() == ranges.capacity() {
            // Somebody shares the memory and has mapped more meanwhile.
            break;
        }
        let (start, end) = (area.start as u64, area.end as u64);
        ranges.push(Range { start, end, stored: stored(memory, &area, filter) as u64, flags: area.flags });
        untouched.push(match &area.backing {
            Backing::File { object, offset, .. } => Some((object.clone(), *offset)),
            Backing::Anonymous => None,
        });
        if let Backing::File { offset, file: Some(file), .. } = &area.backing {
            let room = files.try_reserve(24).is_ok() && names.try_reserve(crate::user::PATH_MAX).is_ok();
            if room && files.len() + names.len() < FILES_MOST {
                files.extend(
                    [start, end, offset / PAGE_SIZE as u64].iter().flat_map(|word| word.to_le_bytes()),
                );
                names.extend(file.path());
                names.push(0);
                mapped += 1;
            }
        }
        if spans::point() {
            return Err(Errno::EINTR);
        }
    }
    let mut note: Vec<u8> = fallible::list(16 + files.len() + names.len())?;
    note.extend(mapped.to_le_bytes());
    note.extend((PAGE_SIZE as u64).to_le_bytes());
    note.extend(files);
    note.extend(names);
    Ok(Mapped { ranges, untouched, files: note })
}

fn notes(task: &Current, info: &Info, regs: &Regs, files: &[u8]) -> Result<Vec<u8>> {
    let process = &task.process;
    let credentials = task.credentials.get();
    let places = *process.strings.lock();
    let mut arguments = [0; 79];
    let length = places.environment.saturating_sub(places.arguments).min(arguments.len());
    let memory = process.memory.lock().clone();
    let read = memory.read(places.arguments, arguments.get_mut(..length).unwrap_or_default());
    let arguments = arguments.get_mut(..read).unwrap_or_default();
    arguments.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
    let summary = ProcessSummary {
        nice: task.schedule.policy().nice as i8,
        user: credentials.users.real,
        group: credentials.groups.real,
        ids: ids_of(process, process.pid),
        name: task.name.lock().bytes(),
        arguments,
    }
    .bytes();
    let auxiliary = process.auxiliary.lock().clone();
    let mut of_process: Vec<u8> = fallible::list(files.len() + auxiliary.len() + 1024)?;
    layout::push_note(&mut of_process, b"CORE", kind::PROCESS, &summary);
    layout::push_note(&mut of_process, b"CORE", kind::SIGNAL, zerocopy::IntoBytes::as_bytes(info));
    layout::push_note(&mut of_process, b"CORE", kind::AUXILIARY, &auxiliary);
    layout::push_note(&mut of_process, b"CORE", kind::FILES, files);
    let mut out = Vec::new();
    ThreadState::of(task, regs, info.signal as u32)?.push_notes(&mut out, &of_process)?;
    let others = process.core_dump.lock().threads.take().unwrap_or_default();
    others.iter().try_for_each(|thread| thread.push_notes(&mut out, &[]))?;
    Ok(out)
}

/// The file that is written, and what may still be.
struct Output {
    path: Path,
    at: u64,
    left: u64,
    _writing: Writing,
}

impl Output {
    /// Makes `core` in the working directory, in the place of what has that name.
    fn create(limit: u64) -> Result<Self> {
        let last = path::walk(None, b"core", Follow::Name)?;
        last.directory.check_writable()?;
        if last.found.is_some() {
            last.directory.unlink(&last.name)?;
        }
        permission::check_new_name(&last.directory)?;
        let umask = super::current().process.fs.umask.load(Ordering::Relaxed);
        let path = last.directory.create(&last.name, What::File, 0o600 & !umask)?;
        Ok(Self { _writing: Writing::new(&path)?, path, at: 0, left: limit })
    }

    fn pages(&self) -> Result<&Arc<Pages>> {
        match &self.path.content {
            InodeContent::File(pages) => Ok(pages),
            _ => Err(Errno::EINVAL),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.put_all(IoSource::kernel(bytes))
    }

    /// Writes, as far as the limit lets it: EFBIG where that ends.
    fn put_all(&mut self, mut from: IoSource<'_>) -> Result<()> {
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX).min(from.left());
        let (_, written) = self.pages()?.write(Some(self.at), &mut from, |_| Ok(limit))?;
        self.at += written as u64;
        self.left -= written as u64;
        if from.is_empty() { Ok(()) } else { Err(Errno::EFBIG) }
    }

    /// Leaves a hole.
    fn skip_to(&mut self, at: u64) {
        self.at = at;
    }
}

fn write(task: &Current, info: &Info, regs: &Regs, limit: u64) -> Result<()> {
    let memory = task.process.memory.lock().clone();
    let filter = task.process.dump_filter.load(Ordering::Relaxed);
    let mapped = memory_of(&memory, filter)?;
    let notes = notes(task, info, regs, &mapped.files)?;
    let mut out = Output::create(limit.min(soft_limit(limits::index::FSIZE)))?;
    // From here on there is a core file, whole or not.
    let _ = fill(&mut out, &memory, &mapped, &notes);
    Ok(())
}

fn fill(out: &mut Output, memory: &AddressSpace, mapped: &Mapped, notes: &[u8]) -> Result<()> {
    let ranges = &mapped.ranges;
    out.put(&layout::header(ranges.len()))?;
    out.put(&layout::notes_header(ranges.len(), notes.len() as u64))?;
    let memory_at = layout::memory_at(ranges.len(), notes.len() as u64);
    let mut offset = memory_at;
    for range in ranges {
        out.put(&layout::range_header(range, offset))?;
        offset += range.stored;
    }
    let end = offset;
    out.put(notes)?;
    out.skip_to(memory_at);
    let mut page: Vec<u8> = fallible::list(PAGE_SIZE)?;
    page.resize(PAGE_SIZE, 0);
    for (range, untouched) in ranges.iter().zip(&mapped.untouched) {
        let (mut at, base) = (range.start, out.at);
        while at < range.start + range.stored {
            let offset = at - range.start;
            // Pages go straight to the file; what has none leaves a hole.
            if let Some(frame) = memory.locate(at as usize) {
                out.put_all(IoSource::frames(Frames::Held(&[frame]), 0, PAGE_SIZE))?;
            } else if let Some((object, from)) = untouched {
                let count = object.read(from + offset, &mut page);
                out.put(page.get(..count).unwrap_or_default())?;
            }
            out.skip_to(base + offset + PAGE_SIZE as u64);
            at += PAGE_SIZE as u64;
            if spans::point() {
                return Err(Errno::EINTR);
            }
        }
    }
    let pages = out.pages()?;
    if pages.size() < end { pages.truncate(end) } else { Ok(()) }
}
