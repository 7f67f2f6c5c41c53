// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules of user and group ids and of capabilities (man 7 credentials, capabilities), apart from who has them.

/// An argument that leaves an id as it is.
pub const UNCHANGED: u32 = u32::MAX;

/// The caller lacks the privilege for a change (EPERM).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied;

/// The ids of one kind, users' or groups'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Who started the program.
    pub real: u32,
    /// As whom it acts.
    pub effective: u32,
    /// What it may go back to.
    pub saved: u32,
    /// As whom it uses files.
    pub fs: u32,
}

impl Ids {
    fn is_one_of_three(&self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    /// setuid, setgid.
    pub fn set(self, id: u32, privileged: bool) -> Result<Self, Denied> {
        if privileged {
            return Ok(Self { real: id, effective: id, saved: id, fs: id });
        }
        if id != self.real && id != self.saved {
            return Err(Denied);
        }
        Ok(Self { effective: id, fs: id, ..self })
    }

    /// setreuid, setregid.
    pub fn set_two(self, real: u32, effective: u32, privileged: bool) -> Result<Self, Denied> {
        let mut new = self;
        if real != UNCHANGED {
            if !privileged && real != self.real && real != self.effective {
                return Err(Denied);
            }
            new.real = real;
        }
        if effective != UNCHANGED {
            if !privileged && !self.is_one_of_three(effective) {
                return Err(Denied);
            }
            new.effective = effective;
        }
        if real != UNCHANGED || effective != UNCHANGED && effective != self.real {
            new.saved = new.effective;
        }
        new.fs = new.effective;
        Ok(new)
    }

    /// setresuid, setresgid.
    pub fn set_three(self, real: u32, effective: u32, saved: u32, privileged: bool) -> Result<Self, Denied> {
        let allowed = |id| id == UNCHANGED || privileged || self.is_one_of_three(id);
        if ![real, effective, saved].into_iter().all(allowed) {
            return Err(Denied);
        }
        let choose = |new, old| if new == UNCHANGED { old } else { new };
        let mut new = Self {
            real: choose(real, self.real),
            effective: choose(effective, self.effective),
            saved: choose(saved, self.saved),
            fs: self.fs,
        };
        if effective != UNCHANGED || new != self {
            new.fs = new.effective;
        }
        Ok(new)
    }

    /// setfsuid, setfsgid: an id that is not allowed changes nothing.
    pub fn set_fs(self, id: u32, privileged: bool) -> Self {
        let allowed = id != UNCHANGED && (privileged || id == self.fs || self.is_one_of_three(id));
        if allowed { Self { fs: id, ..self } } else { self }
    }
}

/// Capabilities, by their numbers.
pub mod capability {
    /// Changes of a file's owner.
    pub const CHOWN: u32 = 0;
    /// Files whatever their permission bits say.
    pub const DAC_OVERRIDE: u32 = 1;
    /// The same, to read them and to search directories.
    pub const DAC_READ_SEARCH: u32 = 2;
    /// What else only a file's owner may do.
    pub const FOWNER: u32 = 3;
    /// Keeps the set-user-id and set-group-id bits of files that it changes.
    pub const FSETID: u32 = 4;
    /// Signals to anybody.
    pub const KILL: u32 = 5;
    /// Any group id.
    pub const SETGID: u32 = 6;
    /// Any user id.
    pub const SETUID: u32 = 7;
    /// Changes of the bounding set and of the secure bits.
    pub const SETPCAP: u32 = 8;
    /// Ports below 1024.
    pub const NET_BIND_SERVICE: u32 = 10;
    /// Changes of interfaces.
    pub const NET_ADMIN: u32 = 12;
    /// Raw sockets.
    pub const NET_RAW: u32 = 13;
    /// Locks memory beyond the limit.
    pub const IPC_LOCK: u32 = 14;
    /// chroot.
    pub const SYS_CHROOT: u32 = 18;
    /// Others' memory.
    pub const SYS_PTRACE: u32 = 19;
    /// Mounts, the host's name, others' terminals.
    pub const SYS_ADMIN: u32 = 21;
    /// Reads and clears the kernel's log.
    pub const SYSLOG: u32 = 34;
    /// reboot.
    pub const SYS_BOOT: u32 = 22;
    /// Priorities.
    pub const SYS_NICE: u32 = 23;
    /// Limits.
    pub const SYS_RESOURCE: u32 = 24;
    /// The clock.
    pub const SYS_TIME: u32 = 25;
    /// Device nodes.
    pub const MKNOD: u32 = 27;
    /// A file's own capabilities.
    pub const SETFCAP: u32 = 31;
    /// Timers that wake the machine from suspend.
    pub const WAKE_ALARM: u32 = 35;
    /// The last that there is.
    pub const LAST: u32 = 40;
    /// All of them, one bit each.
    pub const ALL: u64 = (1 << (LAST + 1)) - 1;
    /// Those about files: chown, dac_override, dac_read_search, fowner, fsetid, linux_immutable, mknod, mac_override.
    pub const FILES: u64 = 0b1_1111 | (1 << 9) | (1 << 27) | (1 << 32);
}

/// The capability sets of a thread, a bit for each capability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// In force.
    pub effective: u64,
    /// What may be put in force.
    pub permitted: u64,
    /// What exec may keep.
    pub inheritable: u64,
    /// What exec may ever give.
    pub bounding: u64,
    /// What exec gives to programs of ordinary users.
    pub ambient: u64,
}

impl Capabilities {
    /// The superuser's.
    pub const ROOT: Self = Self {
        effective: capability::ALL,
        permitted: capability::ALL,
        inheritable: 0,
        bounding: capability::ALL,
        ambient: 0,
    };

    /// Whether a capability is in force.
    pub const fn has(&self, number: u32) -> bool {
        self.effective & (1 << number) != 0
    }

    /// What is left of them when the user ids change.
    #[must_use]
    pub fn after_users(self, old: &Ids, new: &Ids, keep: bool) -> Self {
        let mut out = self;
        if old.is_one_of_three(0) && !new.is_one_of_three(0) {
            if !keep {
                out.permitted = 0;
                out.effective = 0;
            }
            out.ambient = 0;
        }
        if old.effective == 0 && new.effective != 0 {
            out.effective = 0;
        } else if old.effective != 0 && new.effective == 0 {
            out.effective = out.permitted;
        }
        out
    }

    /// What is left of them when only the id for files changes.
    #[must_use]
    pub fn after_file_user(self, old: u32, new: u32) -> Self {
        let effective = match (old, new) {
            (0, 1..) => self.effective & !capability::FILES,
            (1.., 0) => self.effective | self.permitted & capability::FILES,
            _ => self.effective,
        };
        Self { effective, ..self }
    }

    /// What a program is started with.
    #[must_use]
    pub fn after_exec(self, users: &Ids) -> Self {
        let is_root = users.real == 0 || users.effective == 0;
        let permitted = if is_root { self.inheritable | self.bounding } else { self.ambient };
        let effective = if is_root && users.effective != 0 { 0 } else { permitted };
        Self { effective, permitted, ambient: if is_root { 0 } else { self.ambient }, ..self }
    }

    /// capset.
    pub fn set(self, effective: u64, permitted: u64, inheritable: u64) -> Result<Self, Denied> {
        let within = |set: u64, limit: u64| set & !limit == 0;
        let inherits = within(inheritable, self.inheritable | self.bounding)
            && (self.has(capability::SETPCAP) || within(inheritable, self.inheritable | self.permitted));
        if !inherits || !within(permitted, self.permitted) || !within(effective, permitted) {
            return Err(Denied);
        }
        let ambient = self.ambient & permitted & inheritable;
        Ok(Self { effective, permitted, inheritable, ambient, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Ids = Ids { real: 0, effective: 0, saved: 0, fs: 0 };

    fn ids(real: u32, effective: u32, saved: u32) -> Ids {
        Ids { real, effective, saved, fs: effective }
    }

    #[test]
    fn the_superuser_sets_all_and_others_go_between_real_and_saved() {
        assert_eq!(ROOT.set(7, true), Ok(ids(7, 7, 7)));
        assert_eq!(ids(7, 8, 9).set(9, false), Ok(ids(7, 9, 9)));
        assert_eq!(ids(7, 8, 9).set(8, false), Err(Denied));
    }

    #[test]
    fn a_saved_id_follows_the_effective_one_when_the_real_one_is_set() {
        assert_eq!(ROOT.set_two(UNCHANGED, 7, true), Ok(ids(0, 7, 7)));
        assert_eq!(ids(7, 8, 9).set_two(UNCHANGED, 7, false), Ok(ids(7, 7, 9)));
        assert_eq!(ids(7, 8, 9).set_two(8, 7, false), Ok(ids(8, 7, 7)));
        assert_eq!(ids(7, 8, 9).set_two(9, UNCHANGED, false), Err(Denied));
    }

    #[test]
    fn three_ids_are_set_apart_from_each_other() {
        assert_eq!(ROOT.set_three(UNCHANGED, 7, UNCHANGED, true), Ok(ids(0, 7, 0)));
        assert_eq!(ids(0, 7, 0).set_three(7, UNCHANGED, 7, false), Ok(ids(7, 7, 7)));
        assert_eq!(ids(7, 7, 7).set_three(UNCHANGED, 0, UNCHANGED, false), Err(Denied));
        let files = Ids { fs: 5, ..ids(7, 8, 9) };
        assert_eq!(files.set_three(UNCHANGED, UNCHANGED, UNCHANGED, false), Ok(files));
        assert_eq!(files.set_three(UNCHANGED, 8, UNCHANGED, false), Ok(ids(7, 8, 9)));
    }

    #[test]
    fn an_id_for_files_that_is_not_allowed_changes_nothing() {
        assert_eq!(ids(7, 8, 9).set_fs(9, false).fs, 9);
        assert_eq!(ids(7, 8, 9).set_fs(10, false).fs, 8);
        assert_eq!(ROOT.set_fs(UNCHANGED, true).fs, 0);
    }

    #[test]
    fn capabilities_go_with_the_superuser() {
        let root = Capabilities::ROOT;
        let away = root.after_users(&ROOT, &ids(0, 7, 0), false);
        assert_eq!((away.effective, away.permitted), (0, capability::ALL));
        assert_eq!(away.after_users(&ids(0, 7, 0), &ROOT, false), root);
        let gone = root.after_users(&ROOT, &ids(7, 7, 7), false);
        assert_eq!((gone.effective, gone.permitted), (0, 0));
        let kept = root.after_users(&ROOT, &ids(7, 7, 7), true);
        assert_eq!((kept.effective, kept.permitted), (0, capability::ALL));
        assert_eq!(kept.after_exec(&ids(7, 7, 7)).permitted, 0);
        assert_eq!(gone.after_exec(&ROOT), root);
    }

    #[test]
    fn capset_never_adds_what_is_not_permitted() {
        let less = Capabilities::ROOT.set(1, 3, 0).unwrap();
        assert_eq!((less.effective, less.permitted), (1, 3));
        assert_eq!(less.set(4, 4, 0), Err(Denied));
        assert_eq!(less.set(3, 1, 0), Err(Denied));
    }
}
