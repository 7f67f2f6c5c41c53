// SPDX-License-Identifier: MIT OR Apache-2.0
//! The admin queue: commands about the controller itself, one at a time, and aborts that nobody waits for.

use exo_platform::{NoMemory, Registers, now_ns, spin_for_ns};

use super::{
    command::{Command, CommandStatus},
    registers::{Status, doorbells, offset},
    rings::Rings,
};

/// Entries of both admin queues: one page of commands would be 64, and one command is under way at a time, but for aborts.
const ENTRIES: u16 = 32;
/// Aborts that may be under way. Controllers take few (Abort Command Limit), and more are of no use.
const MAX_ABORTS: u8 = 4;
/// Bit of an identifier that makes the command an abort.
const ABORT: u16 = 1 << 15;
/// How long to wait between two looks at the queue.
const PAUSE_NS: u64 = 2_000;

/// Why an admin command gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdminError {
    /// No answer in time.
    TimedOut,
    /// The controller was pulled out.
    Gone,
    /// It answered with an error.
    Status(CommandStatus),
}

/// The admin queue pair.
pub(super) struct Admin {
    registers: Registers,
    rings: Rings,
    next: u16,
    aborts: u8,
}

impl Admin {
    pub(super) fn new(registers: &Registers, stride: usize) -> Result<Self, NoMemory> {
        let rings = Rings::new(registers.clone(), doorbells(0, stride), (ENTRIES, ENTRIES), None)?;
        Ok(Self { registers: registers.clone(), rings, next: 0, aborts: 0 })
    }

    /// Empties the queue and tells the controller, which is disabled, where it is.
    pub(super) fn announce(&mut self) {
        self.rings.reset();
        self.aborts = 0;
        let (submissions, completions) = self.rings.addresses();
        let less_one = u32::from(ENTRIES - 1);
        self.registers.write32(offset::ADMIN_ATTRIBUTES, (less_one << 16) | less_one);
        for (at, address) in
            [(offset::ADMIN_SUBMISSION, submissions), (offset::ADMIN_COMPLETION, completions)]
        {
            // Two halves: not every controller takes 64 bits at once.
            self.registers.write32(at, address as u32);
            self.registers.write32(at + 4, (address >> 32) as u32);
        }
    }

    /// Carries a command out and waits for its answer, at most `limit_ns`.
    pub(super) fn execute(&mut self, command: Command, limit_ns: u64) -> Result<u32, AdminError> {
        let identifier = self.next % ABORT;
        self.next = self.next.wrapping_add(1);
        self.rings.push(command, identifier);
        self.rings.ring();
        let end = now_ns().saturating_add(limit_ns);
        for turn in 1_u64.. {
            if let Some(answer) = self.take(Some(identifier)) {
                return if answer.1.is_success() { Ok(answer.0) } else { Err(AdminError::Status(answer.1)) };
            }
            // A look at a register keeps an emulated controller from its work, so it is rare.
            if turn % 256 == 0 && Status::read(&self.registers).is_gone() {
                return Err(AdminError::Gone);
            }
            if now_ns() >= end {
                break;
            }
            spin_for_ns(PAUSE_NS);
        }
        Err(if Status::read(&self.registers).is_gone() { AdminError::Gone } else { AdminError::TimedOut })
    }

    /// Asks to abort a command; whether that could be asked.
    pub(super) fn abort(&mut self, queue: u16, identifier: u16) -> bool {
        self.take(None);
        if self.aborts >= MAX_ABORTS {
            return false;
        }
        self.aborts += 1;
        self.rings.push(Command::abort(queue, identifier), ABORT | u16::from(self.aborts));
        self.rings.ring();
        true
    }

    /// Takes what has come, up to the answer to `wanted`; answers that nobody waits for any more are dropped.
    pub(super) fn take(&mut self, wanted: Option<u16>) -> Option<(u32, CommandStatus)> {
        let mut found = None;
        for _ in 0..ENTRIES {
            let Some(completion) = self.rings.pop() else { break };
            if completion.identifier & ABORT != 0 {
                self.aborts = self.aborts.saturating_sub(1);
            } else if Some(completion.identifier) == wanted && completion.queue == 0 {
                found = Some((completion.result, completion.status));
                break;
            }
        }
        self.rings.acknowledge();
        found
    }
}
