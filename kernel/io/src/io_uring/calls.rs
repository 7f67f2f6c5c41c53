// SPDX-License-Identifier: MIT OR Apache-2.0
//! The three system calls.

use alloc::sync::Arc;

use exo_hal::{cpu::percpu::cpu_count, time};
use exo_logic::uring::{Layout, entry::SUPPORTED, layout::offset};
use linux_raw_sys::{
    general::O_RDWR,
    io_uring::{self as abi, io_uring_register_op as register_op},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    file::{self, RingFile},
    resources::{Buffer, MOST_BUFFERS, MOST_FILES, Resources},
    ring::{Ring, Settings},
};
use crate::{
    anonymous,
    errno::{Errno, Result},
    fallible,
    fs::{FileTable, OpenFile},
    sched::wait::wait_for,
    signal::{self, SignalSet},
    task::current,
    user::{self, IoVec, TimeSpec},
};

/// `struct io_uring_params`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    /// head, tail, ring_mask, ring_entries, flags, dropped, array, resv1, user_addr (two words).
    sq_off: [u32; 10],
    /// head, tail, ring_mask, ring_entries, overflow, cqes, flags, resv1, user_addr (two words).
    cq_off: [u32; 10],
}

/// What a ring may be set up with.
const SETUP_FLAGS: u32 = abi::IORING_SETUP_SQPOLL
    | abi::IORING_SETUP_SQ_AFF
    | abi::IORING_SETUP_CQSIZE
    | abi::IORING_SETUP_CLAMP
    | abi::IORING_SETUP_SUBMIT_ALL
    | abi::IORING_SETUP_COOP_TASKRUN
    | abi::IORING_SETUP_TASKRUN_FLAG
    | abi::IORING_SETUP_SINGLE_ISSUER
    | abi::IORING_SETUP_DEFER_TASKRUN;

/// What says how the submitting thread is interrupted to complete requests. It never is: whoever completes one writes the ring.
const TASK_RUN: u32 =
    abi::IORING_SETUP_COOP_TASKRUN | abi::IORING_SETUP_TASKRUN_FLAG | abi::IORING_SETUP_DEFER_TASKRUN;

/// What programs may count on.
const FEATURES: u32 = abi::IORING_FEAT_SINGLE_MMAP
    | abi::IORING_FEAT_NODROP
    | abi::IORING_FEAT_SUBMIT_STABLE
    | abi::IORING_FEAT_RW_CUR_POS
    | abi::IORING_FEAT_FAST_POLL
    | abi::IORING_FEAT_SQPOLL_NONFIXED
    | abi::IORING_FEAT_EXT_ARG
    | abi::IORING_FEAT_CQE_SKIP;

/// How long a polling worker looks for work if the program does not say, in milliseconds, as on Linux.
const DEFAULT_IDLE_MS: u32 = 1000;

fn settings(params: &Params) -> Result<Settings> {
    let has = |flag: u32| params.flags & flag != 0;
    let polled = has(abi::IORING_SETUP_SQPOLL);
    if params.flags & !SETUP_FLAGS != 0
        || params.reserved != [0; 3]
        || has(abi::IORING_SETUP_SQ_AFF) && !polled
        || has(TASK_RUN) && polled
        || has(abi::IORING_SETUP_DEFER_TASKRUN) && !has(abi::IORING_SETUP_SINGLE_ISSUER)
        || has(abi::IORING_SETUP_TASKRUN_FLAG)
            && !has(abi::IORING_SETUP_COOP_TASKRUN | abi::IORING_SETUP_DEFER_TASKRUN)
    {
        return Err(Errno::EINVAL);
    }
    let affinity = if has(abi::IORING_SETUP_SQ_AFF) {
        let cpu = params.sq_thread_cpu;
        if cpu as usize >= cpu_count() {
            return Err(Errno::EINVAL);
        }
        1 << cpu
    } else {
        u64::MAX
    };
    let idle_ms = if params.sq_thread_idle == 0 { DEFAULT_IDLE_MS } else { params.sq_thread_idle };
    let idle_ns = u64::from(idle_ms) * 1_000_000;
    Ok(Settings { flags: params.flags, idle_ns, affinity, issuer: current().tid() })
}

/// `io_uring_setup`.
pub fn setup(entries: u32, at: usize) -> Result {
    let mut params: Params = user::read(at)?;
    let settings = settings(&params)?;
    let completions = (params.flags & abi::IORING_SETUP_CQSIZE != 0).then_some(params.cq_entries);
    let clamp = params.flags & abi::IORING_SETUP_CLAMP != 0;
    let layout = Layout::new(entries, completions, clamp).ok_or(Errno::EINVAL)?;
    params.sq_entries = layout.submissions;
    params.cq_entries = layout.completions;
    params.features = FEATURES;
    params.sq_off = [
        offset::SQ_HEAD,
        offset::SQ_TAIL,
        offset::SQ_MASK,
        offset::SQ_ENTRIES,
        offset::SQ_FLAGS,
        offset::SQ_DROPPED,
        layout.array(),
        0,
        0,
        0,
    ];
    params.cq_off = [
        offset::CQ_HEAD,
        offset::CQ_TAIL,
        offset::CQ_MASK,
        offset::CQ_ENTRIES,
        offset::CQ_OVERFLOW,
        offset::COMPLETIONS,
        offset::CQ_FLAGS,
        0,
        0,
        0,
    ];
    let ring = Ring::new(layout, settings)?;
    user::write(at, &params)?;
    let file = anonymous::open(RingFile::new(ring.clone()), 0o600, O_RDWR)?;
    if ring.is_polled() {
        ring.start_worker()?;
    }
    current().files.arc().add(file, true, 0)
}

/// `struct io_uring_getevents_arg`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct WaitArgument {
    mask: u64,
    mask_size: u32,
    min_wait_us: u32,
    time: u64,
}

/// The flags of `io_uring_enter` that are known.
const ENTER_FLAGS: u32 = abi::IORING_ENTER_GETEVENTS
    | abi::IORING_ENTER_SQ_WAKEUP
    | abi::IORING_ENTER_SQ_WAIT
    | abi::IORING_ENTER_EXT_ARG;

/// `io_uring_enter`.
pub fn enter(fd: i32, to_submit: u32, min_complete: u32, flags: u32, argument: usize, size: usize) -> Result {
    if flags & !ENTER_FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let files = current().files.arc();
    let ring = file::of(&*files.get(fd)?)?;
    let submitted = if ring.is_polled() {
        if flags & abi::IORING_ENTER_SQ_WAKEUP != 0 {
            ring.wake_worker();
        }
        if flags & abi::IORING_ENTER_SQ_WAIT != 0 {
            wait_for_room(&ring)?;
        }
        to_submit as usize
    } else if to_submit > 0 {
        ring.check_issuer(abi::IORING_SETUP_SINGLE_ISSUER)?;
        let count = ring.submit(to_submit, &files)?;
        if count != to_submit as usize {
            return Ok(count);
        }
        count
    } else {
        0
    };
    if flags & abi::IORING_ENTER_GETEVENTS == 0 {
        return Ok(submitted);
    }
    ring.check_issuer(abi::IORING_SETUP_DEFER_TASKRUN)?;
    let waited = wait_argument(flags, argument, size).and_then(|(mask, deadline)| {
        ring.flush();
        if ring.ready() >= min_complete.min(ring.layout.completions) {
            return Ok(());
        }
        if let Some(mask) = mask {
            signal::set_temporary_mask(&current(), mask);
        }
        ring.wait(min_complete, deadline)
    });
    match waited {
        Err(error) if submitted == 0 => Err(error),
        _ => Ok(submitted),
    }
}

/// The signal mask and the deadline of a wait.
fn wait_argument(flags: u32, argument: usize, size: usize) -> Result<(Option<SignalSet>, Option<u64>)> {
    let WaitArgument { mask, mask_size, min_wait_us, time } = if flags & abi::IORING_ENTER_EXT_ARG == 0 {
        WaitArgument { mask: argument as u64, mask_size: size as u32, ..WaitArgument::default() }
    } else if size == size_of::<WaitArgument>() {
        user::read(argument)?
    } else {
        return Err(Errno::EINVAL);
    };
    if min_wait_us != 0 || mask != 0 && mask_size as usize != size_of::<u64>() {
        return Err(Errno::EINVAL);
    }
    let deadline = match time {
        0 => None,
        time => Some(time::now_ns().saturating_add(user::read::<TimeSpec>(time as usize)?.to_ns()?)),
    };
    let mask = match mask {
        0 => None,
        mask => Some(SignalSet(user::read(mask as usize)?)),
    };
    Ok((mask, deadline))
}

/// Waits until the worker of a polled ring has made room for a submission.
fn wait_for_room(ring: &Ring) -> Result<()> {
    let room = || {
        let free = ring.waiting() < ring.layout.submissions;
        (free || ring.is_closing()).then_some(())
    };
    wait_for(&ring.taken, room).map_err(|_| Errno::EINTR)
}

/// `io_uring_register`.
pub fn register(fd: i32, operation: u32, argument: usize, count: u32) -> Result {
    const fn number(operation: register_op) -> u32 {
        operation as u32
    }
    const BUFFERS: u32 = number(register_op::IORING_REGISTER_BUFFERS);
    const NO_BUFFERS: u32 = number(register_op::IORING_UNREGISTER_BUFFERS);
    const FILES: u32 = number(register_op::IORING_REGISTER_FILES);
    const NO_FILES: u32 = number(register_op::IORING_UNREGISTER_FILES);
    const FILES_UPDATE: u32 = number(register_op::IORING_REGISTER_FILES_UPDATE);
    const PROBE: u32 = number(register_op::IORING_REGISTER_PROBE);
    let ring = file::of(&*current().files.get(fd)?)?;
    ring.check_issuer(abi::IORING_SETUP_SINGLE_ISSUER)?;
    let count = count as usize;
    match operation {
        BUFFERS => register_buffers(&ring, argument, count),
        NO_BUFFERS if argument == 0 && count == 0 => unregister(&ring, |all| all.buffers.take().is_some()),
        FILES => register_files(&ring, argument, count),
        NO_FILES if argument == 0 && count == 0 => unregister(&ring, |all| all.files.take().is_some()),
        FILES_UPDATE => update_files(&ring, argument, count),
        PROBE => probe(argument, count),
        _ => Err(Errno::EINVAL),
    }
}

fn unregister(ring: &Ring, take: impl FnOnce(&mut Resources) -> bool) -> Result {
    if take(&mut ring.resources.lock()) { Ok(0) } else { Err(Errno::ENXIO) }
}

fn register_buffers(ring: &Ring, at: usize, count: usize) -> Result {
    if ring.resources.lock().buffers.is_some() {
        return Err(Errno::EBUSY);
    }
    if count == 0 || count > MOST_BUFFERS {
        return Err(Errno::EINVAL);
    }
    let memory = current().memory();
    let mut buffers = fallible::list(count)?;
    for index in 0..count {
        let place = at.checked_add(index * size_of::<IoVec>()).ok_or(Errno::EFAULT)?;
        let vector: IoVec = user::read(place)?;
        // An empty place, as on Linux.
        let is_empty = vector.base == 0 && vector.length == 0;
        buffers.push(if is_empty { None } else { Some(fallible::arc(Buffer::new(&memory, &vector)?)?) });
    }
    let mut resources = ring.resources.lock();
    if resources.buffers.is_some() {
        return Err(Errno::EBUSY);
    }
    resources.buffers = Some(buffers);
    Ok(0)
}

fn descriptor(at: usize, index: usize) -> Result<i32> {
    user::read(at.checked_add(index * size_of::<i32>()).ok_or(Errno::EFAULT)?)
}

fn register_files(ring: &Ring, at: usize, count: usize) -> Result {
    if ring.resources.lock().files.is_some() {
        return Err(Errno::EBUSY);
    }
    if count == 0 {
        return Err(Errno::EINVAL);
    }
    if count > MOST_FILES {
        return Err(Errno::EMFILE);
    }
    let table = current().files.arc();
    let mut files = fallible::list(count)?;
    for index in 0..count {
        files.push(file_to_register(&table, descriptor(at, index)?)?);
    }
    let mut resources = ring.resources.lock();
    if resources.files.is_some() {
        return Err(Errno::EBUSY);
    }
    resources.files = Some(files);
    Ok(0)
}

/// `struct io_uring_files_update`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct FilesUpdate {
    offset: u32,
    reserved: u32,
    descriptors: u64,
}

fn update_files(ring: &Ring, at: usize, count: usize) -> Result {
    if count == 0 {
        return Err(Errno::EINVAL);
    }
    let update: FilesUpdate = user::read(at)?;
    if update.reserved != 0 {
        return Err(Errno::EINVAL);
    }
    let places = ring.resources.lock().files.as_ref().ok_or(Errno::ENXIO)?.len();
    let start = update.offset as usize;
    if start.checked_add(count).is_none_or(|end| end > places) {
        return Err(Errno::EINVAL);
    }
    let table = current().files.arc();
    for index in 0..count {
        let step = descriptor(update.descriptors as usize, index).and_then(|fd| match fd {
            abi::IORING_REGISTER_FILES_SKIP => Ok(()),
            fd => replace_file(ring, start + index, file_to_register(&table, fd)?),
        });
        match step {
            Ok(()) => {}
            Err(error) if index == 0 => return Err(error),
            Err(_) => return Ok(index),
        }
    }
    Ok(count)
}

/// The file behind a descriptor that is to be registered; -1 leaves a place empty.
fn file_to_register(files: &FileTable, fd: i32) -> Result<Option<Arc<OpenFile>>> {
    if fd == -1 {
        return Ok(None);
    }
    let file = files.get(fd)?;
    // Rings that hold each other, or themselves, would never be let go.
    if file::is_ring(&file) || file.is_path_only() { Err(Errno::EBADF) } else { Ok(Some(file)) }
}

fn replace_file(ring: &Ring, place: usize, file: Option<Arc<OpenFile>>) -> Result<()> {
    let old = {
        let mut resources = ring.resources.lock();
        let slot = resources.files.as_mut().and_then(|files| files.get_mut(place)).ok_or(Errno::ENXIO)?;
        core::mem::replace(slot, file)
    };
    // Closing may wake others: not with the lock held.
    drop(old);
    Ok(())
}

/// `struct io_uring_probe_op`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct ProbeOp {
    op: u8,
    reserved: u8,
    flags: u16,
    reserved2: u32,
}

/// Tells which operations there are: `struct io_uring_probe`, whose head has the size of two of its elements.
fn probe(at: usize, count: usize) -> Result {
    /// IO_URING_OP_SUPPORTED (io_uring.h).
    const IS_SUPPORTED: u16 = 1;
    const HEAD: usize = 16;
    const MOST: usize = 256;
    if count > MOST {
        return Err(Errno::EINVAL);
    }
    let last = SUPPORTED.iter().map(|op| *op as usize).max().unwrap_or(0);
    let size = HEAD + count * size_of::<ProbeOp>();
    for offset in (0..size).step_by(size_of::<u64>()) {
        if user::read::<u64>(at.checked_add(offset).ok_or(Errno::EFAULT)?)? != 0 {
            return Err(Errno::EINVAL);
        }
    }
    let count = count.min(last + 1);
    for op in 0..count {
        let known = SUPPORTED.iter().any(|known| *known as usize == op);
        let entry =
            ProbeOp { op: op as u8, flags: if known { IS_SUPPORTED } else { 0 }, ..ProbeOp::default() };
        user::write(at.wrapping_add(HEAD + op * size_of::<ProbeOp>()), &entry)?;
    }
    user::write(at, &[last as u8, count as u8])?;
    Ok(0)
}
