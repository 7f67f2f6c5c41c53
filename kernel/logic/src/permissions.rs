// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the permission bits of a file allow (POSIX, "File Access Permissions"; capabilities(7)), apart from who has files.

use crate::credentials::{Capabilities, capability};

/// Reading; of a directory, its names.
pub const READ: u32 = 4;
/// Writing; in a directory, making and removing names.
pub const WRITE: u32 = 2;
/// Executing; of a directory, finding what is in it.
pub const EXECUTE: u32 = 1;

/// Which of a file's three groups of bits counts for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The file's owner.
    Owner,
    /// Who is in the file's group, and is not its owner.
    Group,
    /// Everybody else.
    Other,
}

/// Whether all of `wanted` ([`READ`], [`WRITE`], [`EXECUTE`]) is allowed for a file with the permission bits `mode`.
#[must_use]
pub fn allows(mode: u32, is_directory: bool, class: Class, wanted: u32, capabilities: &Capabilities) -> bool {
    let bits = match class {
        Class::Owner => mode >> 6,
        Class::Group => mode >> 3,
        Class::Other => mode,
    };
    if wanted & !bits & 7 == 0 {
        return true;
    }
    let only_looks = if is_directory { wanted & WRITE == 0 } else { wanted == READ };
    if only_looks && capabilities.has(capability::DAC_READ_SEARCH) {
        return true;
    }
    // What nobody may execute, not even the superuser does.
    let executes = wanted & EXECUTE != 0 && !is_directory;
    capabilities.has(capability::DAC_OVERRIDE) && (!executes || mode & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Capabilities =
        Capabilities { effective: 0, permitted: 0, inheritable: 0, bounding: 0, ambient: 0 };

    #[test]
    fn one_class_alone_counts() {
        // The owner may do less than everybody else.
        assert!(!allows(0o077, false, Class::Owner, READ, &NONE));
        assert!(allows(0o077, false, Class::Group, READ | WRITE | EXECUTE, &NONE));
        assert!(allows(0o641, false, Class::Owner, READ | WRITE, &NONE));
        assert!(!allows(0o641, false, Class::Group, WRITE, &NONE));
        assert!(allows(0o641, false, Class::Other, EXECUTE, &NONE));
        assert!(!allows(0o641, false, Class::Other, READ | EXECUTE, &NONE));
        assert!(allows(0, false, Class::Other, 0, &NONE));
    }

    #[test]
    fn the_superuser_does_not_execute_what_nobody_may() {
        let root = Capabilities::ROOT;
        assert!(allows(0, false, Class::Other, READ | WRITE, &root));
        assert!(!allows(0o666, false, Class::Owner, EXECUTE, &root));
        assert!(allows(0o001, false, Class::Owner, EXECUTE, &root));
        assert!(allows(0, true, Class::Other, READ | WRITE | EXECUTE, &root));
    }

    #[test]
    fn who_may_read_all_files_writes_none() {
        let reader = Capabilities { effective: 1 << capability::DAC_READ_SEARCH, ..NONE };
        assert!(allows(0, false, Class::Other, READ, &reader));
        assert!(!allows(0o111, false, Class::Owner, READ | EXECUTE, &reader));
        assert!(allows(0, true, Class::Other, READ | EXECUTE, &reader));
        assert!(!allows(0, true, Class::Other, WRITE | EXECUTE, &reader));
        assert!(!allows(0, false, Class::Other, WRITE, &reader));
    }
}
