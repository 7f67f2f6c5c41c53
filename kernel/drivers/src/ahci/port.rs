// SPDX-License-Identifier: MIT OR Apache-2.0
//! A port with a disk: requests on their way to the drive and back. What happens after errors is in `recovery`.
//!
//! A drive takes either queued commands, many at a time, or one other command alone. Requests wait in their order until they
//! may be given to it: a flush waits for the queued commands before it, and those behind it wait for the flush.

use arrayvec::ArrayVec;
use exo_platform::{MAX_TRANSFER, Registers, SpinLock, pci};

use super::{
    command::SLOTS,
    identify::Drive,
    memory::{PortMemory, QueueMode},
    registers::port,
};
use crate::block::{
    Cause, DeviceName, Geometry, Operation, Refused, Request, Requests, Tag,
    slots::{InFlight, Slots},
};

/// What the port is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Commands are taken.
    Running,
    /// The command list was told to stop; the link is reset afterwards if `resets_link`.
    Stopping { until_ns: u64, resets_link: bool },
    /// The link was reset; the drive should be back by then.
    Linking { until_ns: u64 },
    /// The drive was removed, given up or shut down.
    Ended,
}

/// What is kept beside a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extra {
    pub(super) manner: QueueMode,
    /// It took too long.
    pub(super) is_late: bool,
}

/// What the port's lock guards.
pub(super) struct Inner {
    pub(super) phase: Phase,
    pub(super) slots: Slots<Extra>,
    /// Slots that the drive has not been given yet, in order.
    pub(super) waiting: ArrayVec<u16, SLOTS>,
    /// Slots that the drive has as queued commands, a bit each.
    pub(super) queued: u32,
    /// The slot that the drive has alone.
    pub(super) alone: Option<u16>,
    /// Slots that the drive has finished, whose sinks have not been told yet.
    pub(super) finished: u32,
    /// Why requests are refused now.
    pub(super) refusal: Option<Cause>,
    /// Recoveries since a command last succeeded.
    pub(super) resets: u32,
}

/// See the module's description.
pub(super) struct Port {
    pub(super) name: DeviceName,
    pub(super) number: usize,
    pub(super) registers: Registers,
    pub(super) function: pci::Function,
    pub(super) memory: PortMemory,
    pub(super) inner: SpinLock<Inner>,
    drive: Drive,
    pub(super) is_queueing: bool,
    depth: u16,
}

impl Inner {
    #[inline]
    pub(super) fn note_finished(&mut self, finished: u32) {
        self.finished |= finished;
        self.queued &= !finished;
        if self.alone.is_some_and(|slot| finished & (1 << slot) != 0) {
            self.alone = None;
        }
        if finished != 0 {
            self.resets = 0;
        }
    }

    #[inline]
    fn take_finished(&mut self) -> Option<InFlight<Extra>> {
        while self.finished != 0 {
            let slot = self.finished.trailing_zeros() as u16;
            self.finished &= self.finished - 1;
            // Gone already if the port was closed meanwhile.
            if let Some(content) = self.slots.take(slot) {
                return Some(content);
            }
        }
        None
    }
}

impl Port {
    /// A port whose drive answers and whose command list runs.
    pub(super) fn new(
        name: DeviceName,
        number: usize,
        registers: Registers,
        function: pci::Function,
        memory: PortMemory,
        drive: Drive,
        adapter_slots: Option<u32>,
    ) -> Self {
        let slots = adapter_slots.unwrap_or(1).min(SLOTS as u32) as u16;
        let is_queueing = adapter_slots.is_some() && drive.queue_depth > 1;
        // Without queueing the slots are a queue of this driver's own, so their number is its own choice too.
        let depth = if is_queueing { slots.min(drive.queue_depth.into()) } else { SLOTS as u16 };
        let inner = Inner {
            phase: Phase::Running,
            slots: Slots::new(depth),
            waiting: ArrayVec::new(),
            queued: 0,
            alone: None,
            finished: 0,
            refusal: None,
            resets: 0,
        };
        Self {
            name,
            number,
            registers,
            function,
            memory,
            inner: SpinLock::new(inner),
            drive,
            is_queueing,
            depth,
        }
    }

    fn manner_of(&self, operation: Operation) -> QueueMode {
        match operation {
            Operation::Read | Operation::Write if self.is_queueing => QueueMode::Queued,
            _ => QueueMode::Alone,
        }
    }

    /// Gives the drive what it can take now.
    #[inline]
    pub(super) fn issue(&self, inner: &mut Inner) {
        if inner.phase != Phase::Running || inner.alone.is_some() {
            return;
        }
        let mut batch = 0_u32;
        let mut taken = 0;
        for &slot in &inner.waiting {
            let Some(content) = inner.slots.get(slot) else { break };
            if content.extra.manner == QueueMode::Alone {
                if inner.queued == 0 && batch == 0 {
                    inner.alone = Some(slot);
                    taken = 1;
                }
                break;
            }
            batch |= 1 << slot;
            taken += 1;
        }
        for index in 0..taken {
            if let Some(&slot) = inner.waiting.get(index) {
                inner.slots.restamp(slot);
            }
        }
        inner.waiting.drain(..taken);
        if batch != 0 {
            inner.queued |= batch;
            self.registers.write32(port::SATA_ACTIVE, batch);
            self.registers.write32(port::COMMAND_ISSUE, batch);
        } else if let Some(slot) = inner.alone {
            self.registers.write32(port::COMMAND_ISSUE, 1 << slot);
        }
    }

    /// Which slots the drive has finished, of those it was given.
    #[inline]
    fn finished(&self, inner: &Inner) -> u32 {
        if inner.phase != Phase::Running {
            return 0;
        }
        if inner.queued != 0 {
            return inner.queued & !self.registers.read32(port::SATA_ACTIVE);
        }
        match inner.alone {
            Some(slot) if self.registers.read32(port::COMMAND_ISSUE) & (1 << slot) == 0 => {
                // A command that failed may leave the list too.
                let is_error = self.registers.read32(port::TASK_FILE) & port::ERROR != 0;
                if is_error { 0 } else { 1 << slot }
            }
            _ => 0,
        }
    }

    /// Takes what the drive has finished and tells the sinks, then gives the drive what waited for that; how many. Looks at the
    /// registers only if `looks` or if a frame came: the frame may be seen a moment before the registers change, but then an
    /// interrupt follows.
    pub(super) fn reap(&self, looks: bool) -> usize {
        let mut count = 0;
        let mut is_first = true;
        loop {
            let content = {
                let mut inner = self.inner.lock();
                if is_first
                    && (inner.queued != 0 || inner.alone.is_some())
                    && (self.memory.take_news() || looks)
                {
                    let finished = self.finished(&inner);
                    inner.note_finished(finished);
                }
                is_first = false;
                let content = inner.take_finished();
                if content.is_none() && count > 0 {
                    self.issue(&mut inner);
                }
                content
            };
            let Some(content) = content else { return count };
            content.request.end(|| self.name, Ok(()));
            count += 1;
        }
    }

    /// The adapter says that something happened on this port.
    pub(super) fn interrupt(&self) {
        let report = self.registers.read32(port::INTERRUPTS);
        // What is cleared before the commands are looked at cannot be lost: what comes later interrupts again.
        self.registers.write32(port::INTERRUPTS, report);
        self.reap(true);
        if report & port::TROUBLE != 0 {
            self.handle_trouble(report);
        }
    }
}

impl Requests for Port {
    fn name(&self) -> DeviceName {
        self.name
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            sectors: self.drive.sectors,
            sector_size: self.drive.sector_size,
            max_transfer: MAX_TRANSFER,
            queues: 1,
            depth: usize::from(self.depth),
            read_only: false,
            discard: self.drive.has_trim,
            numa: None,
        }
    }

    fn model(&self) -> &str {
        &self.drive.model
    }

    fn serial(&self) -> &str {
        &self.drive.serial
    }

    fn submit(&self, _cpu: usize, request: Request) -> Result<Tag, Refused> {
        if let Err(cause) = self.geometry().check(&request) {
            return Err(self.refuse(request, cause));
        }
        let mut inner = self.inner.lock();
        if let Some(cause) = inner.refusal {
            return Err(self.refuse(request, cause));
        }
        let manner = self.manner_of(request.operation);
        let extra = Extra { manner, is_late: false };
        let (slot, tag) =
            inner.slots.insert(request, extra).map_err(|request| self.refuse(request, Cause::QueueFull))?;
        let laid_out = match inner.slots.get(slot) {
            Some(content) => self.memory.lay_out(slot, &content.request, manner),
            None => Err(Cause::Protocol),
        };
        if let Err(cause) = laid_out {
            if let Some(content) = inner.slots.take(slot) {
                return Err(self.refuse(content.request, cause));
            }
        }
        // There is a place for each slot.
        let _ = inner.waiting.try_push(slot);
        Ok(tag)
    }

    fn ring(&self, _cpu: usize) {
        self.issue(&mut self.inner.lock());
    }

    fn poll(&self, _cpu: usize) -> usize {
        self.reap(false)
    }

    fn cancel(&self, _cpu: usize, tag: Tag) -> bool {
        let request = {
            let mut inner = self.inner.lock();
            // What was taken back from a list that has not stopped yet may still be worked on.
            if matches!(inner.phase, Phase::Stopping { .. }) {
                return false;
            }
            let Some(slot) = inner.slots.slot_of(tag) else { return false };
            let Some(index) = inner.waiting.iter().position(|waiting| *waiting == slot) else { return false };
            inner.waiting.remove(index);
            let Some(content) = inner.slots.take(slot) else { return false };
            content.request
        };
        request.end(|| self.name, Err(Cause::Cancelled));
        true
    }

    fn check_timeouts(&self, now_ns: u64) {
        self.check(now_ns);
    }

    fn is_present(&self) -> bool {
        self.inner.lock().phase != Phase::Ended
    }
}
