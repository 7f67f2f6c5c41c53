// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events of processes: into the ring of this CPU, and out by `read`, `poll` and `mmap` on `/dev/procmon_events`. Nothing is recorded
//! while nobody has that open, only counted.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use exo_hal::{
    MAX_CPUS, PAGE_SIZE,
    cpu::percpu::{cpu_count, cpu_index},
    mm::frame::Frame,
    once::Once,
    sync::SpinLock,
    time,
};
use exo_logic::{
    areas::Flags,
    event_reader::{Reader, Source},
    event_rings::{self, Memory, Rings},
};
use procmon_abi::{
    event::{COMM, EVENT_SIZE, EXEC, EXIT, Event, FORK},
    ioctl::{EVENTS_LOST, EVENTS_SKIP},
};

use super::{bytes, filter, settings};
use crate::{
    errno::{Errno, Result},
    fs::{
        device::Opener,
        file::{File, Io, MapRequest},
        poll,
    },
    io_buf::IoBuf,
    mm::{Pages, Sharing, VmObject},
    sched::wait::{Deadline, WaitQueue, sleep_until, wait_for},
    task::{Name, Process, Task, observer::ProcessObserver},
    user,
};

/// How long a reader that was woken goes on sleeping. Events come in bursts, and a reader that wakes for each of them costs more
/// than all the rest here.
const LINGER_NS: u64 = 1_000_000;

/// How many processes have come and gone.
#[derive(Clone, Copy, Default)]
pub(super) struct Activity {
    pub(super) forks: u64,
    pub(super) execs: u64,
    pub(super) exits: u64,
}

/// On cache lines of its own, as what else a CPU has.
#[repr(align(128))]
struct Counters {
    forks: AtomicU64,
    execs: AtomicU64,
    exits: AtomicU64,
}

static COUNTERS: [Counters; MAX_CPUS] =
    [const { Counters { forks: AtomicU64::new(0), execs: AtomicU64::new(0), exits: AtomicU64::new(0) } };
        MAX_CPUS];

/// The rings' pages.
struct Frames(Vec<Frame>);

impl Memory for Frames {
    fn words(&self, page: usize) -> Option<&[AtomicU64]> {
        self.0.get(page).map(|frame| &frame.words()[..])
    }
}

struct Events {
    rings: Rings<Frames>,
    /// How many events each ring has had. Nearly always taken by its own CPU.
    recorded: Vec<SpinLock<u64>>,
    /// Readers that wait.
    readers: WaitQueue,
}

static EVENTS: Once<Events> = Once::new();
/// Open files and mappings of `/dev/procmon_events`.
static READERS: AtomicU32 = AtomicU32::new(0);

impl Source for Events {
    fn count(&self) -> usize {
        self.rings.count()
    }

    fn recorded_in(&self, ring: usize) -> u64 {
        self.recorded.get(ring).map_or(0, |recorded| *recorded.lock())
    }

    fn event(&self, ring: usize, next: u64) -> Option<Event> {
        let recorded = self.recorded.get(ring)?.lock();
        self.rings.event(ring, *recorded, next)
    }

    fn now(&self) -> u64 {
        time::now_ns()
    }
}

/// Makes the rings.
pub(super) fn init() -> Result<()> {
    let (count, slots) = (cpu_count(), settings::ring_events()?);
    let pages = event_rings::pages(count, slots).ok_or(Errno::ENOMEM)?;
    let mut frames = Vec::new();
    frames.try_reserve_exact(pages).map_err(|_| Errno::ENOMEM)?;
    for _ in 0..pages {
        frames.push(Frame::allocate_zeroed().ok_or(Errno::ENOMEM)?);
    }
    EVENTS.set(Events {
        rings: Rings::new(Frames(frames), count, slots),
        recorded: (0..count).map(|_| SpinLock::new(0)).collect(),
        readers: WaitQueue::new(),
    });
    Ok(())
}

/// How many processes have come and gone since boot.
pub(super) fn activity() -> Activity {
    let mut sum = Activity::default();
    for counters in &COUNTERS {
        sum.forks = sum.forks.wrapping_add(counters.forks.load(Ordering::Relaxed));
        sum.execs = sum.execs.wrapping_add(counters.execs.load(Ordering::Relaxed));
        sum.exits = sum.exits.wrapping_add(counters.exits.load(Ordering::Relaxed));
    }
    sum
}

/// How many readers there are.
pub(super) fn readers() -> u32 {
    READERS.load(Ordering::Relaxed)
}

/// How many events were recorded since boot.
pub(super) fn recorded() -> u64 {
    EVENTS.get().map_or(0, |events| (0..events.count()).map(|ring| events.recorded_in(ring)).sum())
}

fn record(kind: u32, process: &Process, pid: u32, name: Name, detail: u64) {
    let Some(events) = EVENTS.get().filter(|_| readers() > 0) else { return };
    let ring = cpu_index();
    let Some(recorded) = events.recorded.get(ring) else { return };
    let parent = process.parent.lock().upgrade().map_or(0, |parent| parent.pid);
    let event = Event {
        pid: pid as i32,
        tgid: process.pid as i32,
        ppid: parent as i32,
        comm: name.0,
        kind,
        detail,
        // Everybody is user 0; what is left is the ring's to fill in.
        ..Event::default()
    };
    events.rings.record(ring, &mut recorded.lock(), event, time::now_ns);
    events.readers.wake_all();
}

/// Counts what happens to processes, and records it for those who follow.
pub(super) struct Recorder;

impl ProcessObserver for Recorder {
    fn forked(&self, maker: &Task, child: &Process) {
        COUNTERS[cpu_index()].forks.fetch_add(1, Ordering::Relaxed);
        if filter::on_fork(&maker.process, child) {
            record(FORK, child, child.pid, child.name(), u64::from(maker.tid()));
        }
    }

    fn executes(&self, process: &Process, caller: u32) {
        COUNTERS[cpu_index()].execs.fetch_add(1, Ordering::Relaxed);
        if filter::follows(process) {
            record(EXEC, process, process.pid, process.name(), u64::from(caller));
        }
    }

    fn ended(&self, process: &Process, status: u32) {
        COUNTERS[cpu_index()].exits.fetch_add(1, Ordering::Relaxed);
        if filter::on_exit(process) {
            record(EXIT, process, process.pid, process.name(), u64::from(status));
        }
    }

    fn renamed(&self, thread: &Task, name: Name) {
        if filter::follows(&thread.process) {
            record(COMM, &thread.process, thread.tid(), name, 0);
        }
    }
}

/// Opens `/dev/procmon_events`.
pub(super) struct Inode;

impl Opener for Inode {
    fn open(&self, _flags: u32) -> Result<Box<dyn File>> {
        let events = EVENTS.get().ok_or(Errno::ENODEV)?;
        // First from where it reads, then that it is there: whoever has seen it in the statistics may count on what comes after.
        let reader = SpinLock::held_over_faults(Reader::new(events));
        Ok(Box::new(EventsFile { events, reader, recording: Arc::new(Recording::new()) }))
    }
}

/// As long as there is one, events are recorded. A file has one, and shares it with its mappings.
struct Recording;

impl Recording {
    fn new() -> Self {
        READERS.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        READERS.fetch_sub(1, Ordering::Relaxed);
    }
}

struct EventsFile {
    events: &'static Events,
    reader: SpinLock<Reader>,
    recording: Arc<Recording>,
}

impl EventsFile {
    /// Gives the program as many whole events as there are and as fit; none is lost by a bad address. EFAULT also if the program's memory has
    /// to be waited for.
    fn give_now(&self, to: &mut IoBuf<'_>) -> Result {
        let mut reader = self.reader.lock();
        to.count(|to| {
            while to.left() >= EVENT_SIZE {
                let Some(event) = reader.peek(self.events) else { break };
                to.put_all_now(&bytes::event(&event))?;
                reader.taken();
            }
            Ok(())
        })
    }

    fn give(&self, to: &mut IoBuf<'_>) -> Result {
        loop {
            match self.give_now(to) {
                Err(Errno::EFAULT) => to.fault_in(EVENT_SIZE)?,
                given => return given,
            }
        }
    }
}

impl File for EventsFile {
    /// Gives whole events, at least one; waits for it unless the file is non-blocking.
    fn read(&self, io: Io, to: &mut IoBuf<'_>) -> Result {
        let length = to.left();
        if length < EVENT_SIZE {
            return Err(Errno::EINVAL);
        }
        loop {
            let given = self.give(to)?;
            if given > 0 {
                return Ok(given);
            }
            let readable = || self.reader.lock().is_readable(self.events).then_some(());
            if readable().is_some() {
                // Something has come just now, and it was too late for this look.
                continue;
            }
            if io.no_wait {
                return Err(Errno::EAGAIN);
            }
            wait_for(&self.events.readers, readable).map_err(|_| Errno::RESTART)?;
            if length > EVENT_SIZE {
                // A signal ends the rest early; then there is something to read all the same.
                let _ = sleep_until(Some(Deadline::Boot(time::now_ns() + LINGER_NS)));
            }
        }
    }

    fn events(&self) -> poll::Events {
        let readable = self.reader.lock().is_readable(self.events);
        if readable { poll::Events::IN } else { poll::Events::empty() }
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.events.readers)
    }

    fn ioctl(&self, request: u32, argument: usize) -> Result {
        match request {
            EVENTS_SKIP => self.reader.lock().skip(self.events),
            EVENTS_LOST => {
                let lost = self.reader.lock().lost();
                user::write(argument, &lost)?;
            }
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }

    /// All rings, or as many pages from the start as are asked for.
    fn map(&self, request: MapRequest) -> Result<Option<Arc<dyn VmObject>>> {
        let frames = &self.events.rings.memory().0;
        if request.offset != 0
            || request.length.div_ceil(PAGE_SIZE) > frames.len()
            || !request.area.contains(Flags::SHARED)
        {
            return Err(Errno::EINVAL);
        }
        if request.area.intersects(Flags::WRITE | Flags::EXECUTE) {
            return Err(Errno::EACCES);
        }
        Ok(Some(Arc::new(Pages::of_frames(frames.clone(), Sharing::ReadOnly, self.recording.clone()))))
    }
}
