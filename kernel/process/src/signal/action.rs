// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a process does on signals.

use exo_hal::sync::SpinLock;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{number, set::IGNORED_BY_DEFAULT};

/// `struct sigaction` of the kernel interface.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Action {
    /// Address of the handler, or 0 (default) or 1 (ignore).
    pub handler: u64,
    /// See [`action_flag`].
    pub flags: u64,
    /// Where the handler returns to.
    pub restorer: u64,
    /// Signals blocked while it runs.
    pub mask: u64,
}

/// Handler of a signal that does what it does by itself.
pub(super) const DEFAULT: u64 = 0;
/// Handler of a signal that is ignored.
pub const IGNORE: u64 = 1;

/// What a process does on each signal.
pub struct Actions(pub SpinLock<[Action; number::LAST as usize]>);

/// All default.
impl Default for Actions {
    fn default() -> Self {
        Self(SpinLock::new([Action::default(); number::LAST as usize]))
    }
}

impl Actions {
    /// A copy for a new process.
    pub fn duplicate(&self) -> Self {
        Self(SpinLock::new(*self.0.lock()))
    }

    /// The action on a signal.
    pub fn get(&self, signal: u32) -> Action {
        self.0.lock().get((signal as usize).wrapping_sub(1)).copied().unwrap_or_default()
    }

    /// Sets the action on a signal.
    pub fn set(&self, signal: u32, action: Action) {
        if let Some(slot) = self.0.lock().get_mut((signal as usize).wrapping_sub(1)) {
            *slot = action;
        }
    }

    /// For exec: handlers are gone, what is ignored stays ignored.
    pub fn reset_handlers(&self) {
        for action in self.0.lock().iter_mut() {
            *action = Action {
                handler: if action.handler == IGNORE { IGNORE } else { DEFAULT },
                ..Action::default()
            };
        }
    }

    /// Whether a signal is ignored.
    pub fn ignores(&self, signal: u32) -> bool {
        match self.get(signal).handler {
            IGNORE => true,
            DEFAULT => IGNORED_BY_DEFAULT.has(signal),
            _ => false,
        }
    }
}
