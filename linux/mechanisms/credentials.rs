// SPDX-License-Identifier: GPL-2.0

//! What the caller may see of others' processes.
//!
//! Ask when a program opens a file, and keep the answer with the file: a descriptor may be handed to
//! somebody else, who then can do what the one who opened it could, and no less and no more.
//!
//! C header: [`include/linux/capability.h`](srctree/include/linux/capability.h)

use kernel::{
    bindings,
    fs::File,
    task::Kuid, //
};

/// Whose processes the holder of an open file may look into.
#[derive(Clone, Copy)]
pub enum ProcessAccess {
    /// Everybody's: it was opened with `CAP_SYS_PTRACE`.
    All,
    /// This user's.
    Own(Kuid),
}

impl ProcessAccess {
    /// Returns what the caller may see, who is opening `file`.
    pub fn of_opener(file: &File) -> Self {
        // CAST: A small number.
        // SAFETY: The question is about the caller, which stays.
        if unsafe { bindings::capable(bindings::CAP_SYS_PTRACE as i32) } {
            Self::All
        } else {
            Self::Own(file.cred().euid())
        }
    }

    /// Tells whether a process of `user` may be looked into.
    pub fn permits(self, user: u32) -> bool {
        match self {
            Self::All => true,
            Self::Own(own) => own.into_raw().val == user,
        }
    }
}
