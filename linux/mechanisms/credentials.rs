// SPDX-License-Identifier: GPL-2.0

//! What the holder of an open file may see of other users' processes.
//!
//! Asked when the file is opened and kept with it: a descriptor can be passed on.
//!
//! C header: [`include/linux/ptrace.h`](srctree/include/linux/ptrace.h)

use kernel::{
    bindings,
    fs::File, //
};

/// The user and group that a process belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Owner(u64);

impl Owner {
    /// Of a process that only a privileged reader may look into. (−1 is no user.)
    pub const PRIVILEGED: Self = Self(u64::MAX);

    /// Of a process all of whose user and group IDs are these.
    pub(super) fn new(uid: u32, gid: u32) -> Self {
        Self(u64::from(uid) << 32 | u64::from(gid))
    }

    /// Converts to a word, for storing.
    pub fn to_word(self) -> u64 {
        self.0
    }

    /// Converts back.
    pub fn from_word(word: u64) -> Self {
        Self(word)
    }
}

/// Whose processes the holder of an open file may look into.
#[derive(Clone, Copy)]
pub enum ProcessAccess {
    /// Everybody's: opened with `CAP_SYS_PTRACE`.
    All,
    /// This user's.
    Own(Owner),
}

impl ProcessAccess {
    /// Returns the access of the caller, who is opening `file`.
    pub fn of_opener(file: &File) -> Self {
        // CAST: A small number.
        // SAFETY: The question is about the caller, which stays.
        if unsafe { bindings::capable(bindings::CAP_SYS_PTRACE as i32) } {
            return Self::All;
        }
        // SAFETY: The file keeps its credentials, which do not change.
        let cred = unsafe { &*(*file.as_ptr()).f_cred };
        Self::Own(Owner::new(cred.fsuid.val, cred.fsgid.val))
    }

    /// Tells whether processes of `owner` may be looked into.
    pub fn permits(self, owner: Owner) -> bool {
        match self {
            Self::All => true,
            Self::Own(own) => own == owner && owner != Owner::PRIVILEGED,
        }
    }
}
