// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals.
//!
//! ```text
//! set, info, action ◀── pending ◀── (threads and processes) ◀── stop ◀── send ◀── frame ◀── deliver
//! ```

mod action;
pub mod constants;
mod deliver;
pub mod frame;
mod info;
mod pending;
mod send;
mod set;
pub mod stop;
mod stop_state;

pub use action::{Action, Actions, IGNORE};
pub use constants::{action_flag, code, number};
pub use deliver::before_user_mode;
pub use info::{Info, Layout};
pub use pending::{Charge, Pending, Taken};
pub use send::{
    end_temporary_mask, force, from_running, hand_on, has_stopped, is_deliverable, pending, send_to_process,
    send_to_self, send_to_task, set_action, set_mask, set_temporary_mask, take_pending,
};
pub use set::{SignalSet, UNBLOCKABLE, is_valid};
pub use stop_state::{Owed, Stop};
