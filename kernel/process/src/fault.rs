// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of a page fault that the memory of the running program was asked about.

use exo_hal::mm::frame;

use crate::{
    mm::fault::Unresolved,
    signal::{Info, code, number},
    task::{account::Event, current, oom},
};

/// Frames beyond the reserve with which a page fault that found no memory is tried again: more than a CPU takes at once for its stock, so
/// that it finds one then.
const PLENTY: usize = 64;

/// The program itself has touched an address: the signal for that. Without one the access is tried again, or the program ends on its way back.
pub fn of_program(address: usize, write: bool, execute: bool) -> Option<Info> {
    let task = current();
    let memory = task.memory();
    let (signal, code) = match memory.handle_fault(address, write, execute) {
        Ok(()) => {
            task.account.count(Event::Fault, 1);
            return None;
        }
        Err(Unresolved::NoMemory) => {
            if !frame::available(PLENTY) {
                oom::relieve();
            }
            return None;
        }
        Err(Unresolved::Killed) => return None,
        // What another thread changes right now is looked at when it is done.
        Err(Unresolved::NotMapped | Unresolved::NotAllowed) if memory.await_change() => return None,
        Err(Unresolved::NotMapped) => (number::SIGSEGV, code::SEGV_MAPERR),
        Err(Unresolved::NotAllowed) => (number::SIGSEGV, code::SEGV_ACCERR),
        Err(Unresolved::BeyondEnd | Unresolved::Failed | Unresolved::MustWait) => {
            (number::SIGBUS, code::BUS_ADRERR)
        }
    };
    Some(Info::fault(signal, code, address))
}

/// The kernel has, in a copy to or from the program's memory: whether the access may be tried again. It sleeps only if it `may_wait`.
pub fn of_copy(address: usize, write: bool, may_wait: bool) -> bool {
    let memory = current().memory();
    let resolved = if may_wait {
        memory.handle_fault(address, write, false)
    } else {
        memory.handle_fault_now(address, write, false)
    };
    match resolved {
        Ok(()) => {
            current().account.count(Event::Fault, 1);
            true
        }
        Err(Unresolved::NoMemory) => {
            frame::available(PLENTY) || oom::resolve_from_reserve(address, write, may_wait)
        }
        Err(_) => false,
    }
}
