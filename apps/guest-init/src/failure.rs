// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one error type of this program: a message for a person, and the status that the host gets.

use std::fmt;

use crate::STATUS_NOT_PREPARED;

/// Why the machine could not do what it was started for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    /// A failure to prepare the machine: status 125.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), status: STATUS_NOT_PREPARED }
    }

    /// A failure with a status of its own.
    pub(crate) fn with_status(message: impl Into<String>, status: u8) -> Self {
        Self { message: message.into(), status }
    }

    /// The status that the host gets.
    pub(crate) fn status(&self) -> u8 {
        self.status
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
