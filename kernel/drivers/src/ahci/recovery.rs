// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a port does when a command fails or takes too long, and when the drive goes.
//!
//! After an error of a queued command nobody knows from the registers which one it was, and the drive drops all. The link is
//! reset, and each of them is given to the drive again, alone: one that fails then is to blame, and the others just took
//! longer. This works on every drive, also on those without a log of errors (ACS-3, log 10h). Source: Serial ATA AHCI 1.3.1,
//! sections 6.2 and 10.4.

use exo_platform::{now_ns, spin_for_ns};

use super::{
    memory::QueueMode,
    port::{Extra, Inner, Phase, Port},
    registers::port,
};
use crate::{
    DriverError,
    block::{Cause, slots::InFlight},
    bus::wait_until,
};

/// How long the command list may take to stop (AHCI 10.3.2).
const STOP_LIMIT_NS: u64 = 500_000_000;
/// How long a drive may take to come back after the link was reset. Linux waits 10 s first.
const LINK_LIMIT_NS: u64 = 10_000_000_000;
/// How long a reset of the link is signalled: at least 1 ms (AHCI 10.4.2).
const RESET_NS: u64 = 1_000_000;
/// Recoveries without a command that succeeded in between, after which the drive is given up. As each of 32 commands may fail
/// for itself, only those that time out count.
const MAX_RESETS: u32 = 3;
/// How long commands under way may take at shutdown.
const SHUTDOWN_LIMIT_NS: u64 = 2_000_000_000;

impl Port {
    /// Begins to recover from what the port reports in its interrupt register, which was cleared.
    pub(super) fn handle_trouble(&self, report: u32) {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Running {
            return;
        }
        if report == u32::MAX {
            drop(inner);
            return self.close(Cause::Removed);
        }
        if report & (port::CONNECT_CHANGE | port::PHY_CHANGE) != 0 {
            // The drive that is there now, if there is one, need not be the one that was.
            drop(inner);
            return self.close(Cause::Removed);
        }
        let status = self.registers.read32(port::TASK_FILE);
        let is_error = report & port::ERRORS != 0 || status & port::ERROR != 0;
        if is_error && (inner.queued != 0 || inner.alone.is_some()) {
            let failed = self.blame(&mut inner, status & 0xffff);
            drop(inner);
            if let Some(content) = failed {
                content.request.end(|| self.name, Err(Cause::Medium(status & 0xffff)));
            }
            self.advance(now_ns());
        }
    }

    /// An error came with `status`: takes out the request that is to blame, if that is certain, and begins to recover.
    fn blame(&self, inner: &mut Inner, status: u32) -> Option<InFlight<Extra>> {
        // What succeeded before the error is finished as always.
        let active = self.registers.read32(port::SATA_ACTIVE);
        if active != u32::MAX && inner.queued != 0 {
            inner.note_finished(inner.queued & !active);
        }
        let was_queued = inner.queued;
        let culprit = match inner.alone.take() {
            Some(slot) => Some(slot),
            None if was_queued.count_ones() == 1 => Some(was_queued.trailing_zeros() as u16),
            None => None,
        };
        let failed = culprit.and_then(|slot| inner.slots.take(slot));
        if let Some(slot) = culprit {
            inner.queued &= !(1 << slot);
        }
        self.take_back(inner, QueueMode::Alone);
        let is_busy = status & (port::BUSY | port::DATA_REQUEST) != 0;
        self.stop(inner, was_queued != 0 || is_busy);
        failed
    }

    /// Puts what the drive had back to the front of what waits, in order. With [`QueueMode::Alone`] it is given to the drive one by
    /// one from now on.
    fn take_back(&self, inner: &mut Inner, manner: QueueMode) {
        let mut slots = core::mem::take(&mut inner.queued);
        if let Some(slot) = inner.alone.take() {
            slots |= 1 << slot;
        }
        while slots != 0 {
            // From the last to the first, each to the front.
            let slot = 31 - slots.leading_zeros() as u16;
            slots &= !(1 << slot);
            let Some(content) = inner.slots.get_mut(slot) else { continue };
            if manner == QueueMode::Alone {
                content.extra.manner = QueueMode::Alone;
            }
            let content = &*content;
            // It fitted before, and fits the same way again.
            let _ = self.memory.lay_out(slot, &content.request, content.extra.manner);
            let _ = inner.waiting.try_insert(0, slot);
        }
    }

    /// Tells the adapter to leave the command list alone.
    fn stop(&self, inner: &mut Inner, resets_link: bool) {
        let command = self.registers.read32(port::COMMAND);
        self.registers.write32(port::COMMAND, command & !port::START);
        let until_ns = now_ns().saturating_add(STOP_LIMIT_NS);
        inner.phase = Phase::Stopping { until_ns, resets_link };
    }

    /// Looks for what takes too long and goes on with what is being mended. Called a few times a second.
    pub(super) fn check(&self, now_ns: u64) {
        let status = self.registers.read32(port::SATA_STATUS);
        if status == u32::MAX {
            return self.close(Cause::Removed);
        }
        let phase = {
            let mut inner = self.inner.lock();
            inner.slots.set_time(now_ns);
            inner.phase
        };
        match phase {
            Phase::Running => self.check_running(status),
            Phase::Stopping { .. } | Phase::Linking { .. } => self.advance(now_ns),
            Phase::Ended => {}
        }
    }

    fn check_running(&self, sata_status: u32) {
        if port::detection(sata_status) != port::DETECTED {
            return self.close(Cause::Removed);
        }
        // An interrupt may have been lost.
        self.interrupt();
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Running {
            return;
        }
        let given = inner.queued | inner.alone.map_or(0, |slot| 1 << slot);
        let late = inner.slots.overdue(0).fold(0, |late, slot| late | (1 << slot)) & given;
        if late == 0 {
            return;
        }
        for slot in (0..32).filter(|slot| late & (1 << slot) != 0) {
            if let Some(content) = inner.slots.get_mut(slot) {
                content.extra.is_late = true;
            }
        }
        inner.resets += 1;
        self.take_back(&mut inner, QueueMode::Queued);
        self.stop(&mut inner, true);
        drop(inner);
        self.advance(now_ns());
    }

    /// Goes on with a recovery, as far as the adapter lets it.
    pub(super) fn advance(&self, now_ns: u64) {
        let mut inner = self.inner.lock();
        if let Phase::Stopping { until_ns, resets_link } = inner.phase {
            let is_running = self.registers.read32(port::COMMAND) & port::LIST_RUNNING != 0;
            if is_running && now_ns <= until_ns {
                return;
            }
            if is_running || inner.resets > MAX_RESETS {
                // It may still reach memory that belongs to requests: the whole adapter loses its access.
                if is_running {
                    self.function.disable();
                }
                drop(inner);
                return self.close(Cause::TimedOut);
            }
            // An error that is still shown may be reported once more with the next queued command, and be taken for its own: QEMU's drives
            // do so.
            let shows_error = self.registers.read32(port::TASK_FILE) & port::ERROR != 0;
            if resets_link || self.is_queueing && shows_error {
                self.reset_link();
            }
            inner.phase = Phase::Linking { until_ns: now_ns.saturating_add(LINK_LIMIT_NS) };
        }
        let Phase::Linking { until_ns } = inner.phase else { return };
        let is_linked = port::detection(self.registers.read32(port::SATA_STATUS)) == port::DETECTED;
        let is_busy = self.registers.read32(port::TASK_FILE) & (port::BUSY | port::DATA_REQUEST) != 0;
        if is_linked && !is_busy {
            self.restart(&mut inner);
            drop(inner);
            self.end_all(Cause::TimedOut, |content| content.extra.is_late);
            self.issue(&mut self.inner.lock());
            // Finished before the error came, and not told yet.
            self.reap(true);
        } else if now_ns > until_ns {
            drop(inner);
            self.close(Cause::TimedOut);
        }
    }

    /// Resets the link to the drive, and so the drive.
    fn reset_link(&self) {
        let quiet = port::NO_POWER_SAVING;
        self.registers.write32(port::SATA_CONTROL, quiet | port::LINK_RESET);
        spin_for_ns(RESET_NS);
        self.registers.write32(port::SATA_CONTROL, quiet);
    }

    /// Lets the command list run again. What is late stays where it is until it is ended.
    fn restart(&self, inner: &mut Inner) {
        self.registers.write32(port::SATA_ERROR, u32::MAX);
        self.registers.write32(port::INTERRUPTS, u32::MAX);
        self.memory.clear_frames();
        let command = self.registers.read32(port::COMMAND);
        self.registers.write32(port::COMMAND, command | port::START);
        let slots = &inner.slots;
        inner.waiting.retain(|slot| slots.get(*slot).is_some_and(|content| !content.extra.is_late));
        inner.phase = Phase::Running;
    }

    fn end_all(&self, cause: Cause, mut wanted: impl FnMut(&InFlight<Extra>) -> bool) {
        loop {
            let taken = {
                let mut inner = self.inner.lock();
                let Inner { slots, waiting, queued, alone, .. } = &mut *inner;
                let taken = slots.take_if(&mut wanted);
                waiting.retain(|slot| slots.get(*slot).is_some());
                *queued &= slots.taken().fold(0, |mask, (slot, _)| mask | (1 << slot));
                *alone = alone.filter(|slot| slots.get(*slot).is_some());
                taken
            };
            let Some(content) = taken else { return };
            content.request.end(|| self.name, Err(cause));
        }
    }

    /// Ends everything: the drive is gone, or given up. It touches no memory any more.
    pub(super) fn close(&self, cause: Cause) {
        {
            let mut inner = self.inner.lock();
            if inner.phase == Phase::Ended {
                return;
            }
            inner.phase = Phase::Ended;
            inner.refusal = Some(cause.for_later());
        }
        self.registers.write32(port::INTERRUPT_ENABLE, 0);
        let command = self.registers.read32(port::COMMAND);
        self.registers.write32(port::COMMAND, command & !port::START);
        let is_running = || {
            let command = self.registers.read32(port::COMMAND);
            command != u32::MAX && command & port::LIST_RUNNING != 0
        };
        if !wait_until(STOP_LIMIT_NS, RESET_NS / 100, || !is_running()) {
            // Better the whole adapter loses its access than that it writes where memory is somebody else's by now.
            self.function.disable();
        }
        self.end_all(cause, |_| true);
    }

    /// Finishes what is under way, then stops the port.
    pub(super) fn shut_down(&self) -> Result<(), DriverError> {
        {
            let mut inner = self.inner.lock();
            if inner.phase == Phase::Ended {
                return Ok(());
            }
            inner.refusal = Some(Cause::NotReady);
        }
        let is_drained = wait_until(SHUTDOWN_LIMIT_NS, RESET_NS, || {
            self.reap(true);
            self.inner.lock().slots.in_flight() == 0
        });
        self.close(Cause::NotReady);
        if is_drained { Ok(()) } else { Err(DriverError::TimedOut("commands under way")) }
    }
}
