// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong with a node.

use std::fmt;

use rustix::io::Errno;

/// An operation on a node that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    path: &'static str,
    operation: &'static str,
    errno: Errno,
}

impl Error {
    pub(super) fn new(path: &'static str, operation: &'static str, errno: Errno) -> Self {
        Self { path, operation, errno }
    }

    /// The error that the kernel returned.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, operation, errno } = self;
        match (*operation, *errno) {
            ("open", Errno::NOENT) => write!(f, "there is no {path}: is the module procmon loaded?"),
            ("open", Errno::ACCESS) => {
                write!(f, "no permission for {path}: be root, or of the group that its udev rule names")
            }
            ("open", Errno::PERM) => write!(f, "{path} cannot be opened in a PID namespace of its own"),
            (_, Errno::NOTTY) => write!(
                f,
                "{path} is not a procmon node, or its module is another version ({operation}: {errno})"
            ),
            _ => write!(f, "{path}: {operation}: {errno}"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_node_asks_for_the_module() {
        let error = Error::new("/dev/procmon", "open", Errno::NOENT);
        assert_eq!(error.to_string(), "there is no /dev/procmon: is the module procmon loaded?");
    }

    #[test]
    fn other_errors_name_the_operation() {
        let error = Error::new("/dev/procmon", "SNAPSHOT", Errno::NOMEM);
        assert!(error.to_string().starts_with("/dev/procmon: SNAPSHOT: "), "{error}");
    }
}
