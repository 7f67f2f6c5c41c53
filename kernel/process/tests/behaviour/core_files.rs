// SPDX-License-Identifier: MIT OR Apache-2.0
//! Core files: when one is written, and what is in it.

use exo_test_support::{call, programs::*};

use crate::support::*;

const DUMPED: u32 = 0x80;
const UNLIMITED: u64 = u64::MAX;
const NT_PRSTATUS: u32 = 1;
const NT_FPREGSET: u32 = 2;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// A core file.
struct Core {
    bytes: Vec<u8>,
    /// Type, offset, address, bytes in the file and in memory.
    segments: Vec<(u32, usize, u64, usize, u64)>,
}

impl Core {
    fn read() -> Self {
        let bytes = content("core");
        assert_eq!(&bytes[..7], b"\x7fELF\x02\x01\x01");
        assert_eq!(bytes[16], 4, "ET_CORE");
        let (table, count) =
            (word(&bytes, 32) as usize, usize::from(bytes[56]) | (usize::from(bytes[57]) << 8));
        let segment = |index: usize| {
            let at = table + 56 * index;
            let field = |offset| word(&bytes, at + offset);
            (half(&bytes, at), field(8) as usize, field(16), field(32) as usize, field(40))
        };
        let segments = (0..count).map(segment).collect();
        Self { bytes, segments }
    }

    /// Types and contents of the notes.
    fn notes(&self) -> Vec<(u32, &[u8])> {
        let &(_, offset, _, size, _) = self.segments.iter().find(|segment| segment.0 == 4).expect("PT_NOTE");
        let (mut rest, mut notes) = (&self.bytes[offset..offset + size], Vec::new());
        while !rest.is_empty() {
            let (name, length) = (half(rest, 0) as usize, half(rest, 4) as usize);
            let at = 12 + name.next_multiple_of(4);
            notes.push((half(rest, 8), &rest[at..at + length]));
            rest = &rest[(at + length.next_multiple_of(4)).min(rest.len())..];
        }
        notes
    }

    /// What was at an address, if it was written.
    fn memory(&self, address: u64, count: usize) -> Option<&[u8]> {
        let inside = |&&(kind, _, start, stored, _): &&(u32, usize, u64, usize, u64)| {
            kind == 1 && (start..start + stored as u64).contains(&address)
        };
        let &(_, offset, start, ..) = self.segments.iter().find(inside)?;
        let at = offset + (address - start) as usize;
        Some(&self.bytes[at..at + count])
    }
}

#[test]
fn a_core_file_has_registers_and_memory_of_who_crashed() {
    machine(|| {
        let child = fork(|| {
            set_limit(abi::RLIMIT_CORE, UNLIMITED);
            let secret = map(8192).unwrap();
            memory::write(secret, b"in its memory");
            let mut regs = user::regs();
            (regs.rbx, regs.r12) = (secret as u64, 0x1234_5678);
            user::set_regs(regs);
            user::touch(8, true);
        });
        assert_eq!(end_of(child), abi::SIGSEGV | DUMPED);
        let core = Core::read();
        let notes = core.notes();
        let of_kind =
            |kind| notes.iter().find(|note| note.0 == kind).unwrap_or_else(|| panic!("note {kind}")).1;
        let status = of_kind(NT_PRSTATUS);
        assert_eq!((half(status, 0), status[12]), (abi::SIGSEGV, abi::SIGSEGV as u8));
        assert_eq!(half(status, 32), child as u32, "its number");
        let registers = &status[112..];
        assert_eq!(word(registers, 3 * 8), 0x1234_5678, "r12");
        let at = word(registers, 5 * 8);
        assert_eq!(core.memory(at, 13), Some(&b"in its memory"[..]), "where rbx points");
        let info = of_kind(NT_PRPSINFO);
        assert_eq!(half(info, 24), child as u32);
        assert_eq!(&info[40..44], b"test", "its name");
        assert_eq!(of_kind(NT_FPREGSET).len(), 512);
        of_kind(NT_AUXV);
    });
}

#[test]
fn each_thread_has_its_registers_in_it() {
    machine(|| {
        let child = fork(|| {
            set_limit(abi::RLIMIT_CORE, UNLIMITED);
            for _ in 0..2 {
                thread(|| call!(abi::__NR_pause));
            }
            let_others_run();
            kill(pid() as i64, abi::SIGQUIT).unwrap();
        });
        assert_eq!(end_of(child), abi::SIGQUIT | DUMPED);
        let core = Core::read();
        let mut threads: Vec<_> =
            core.notes().iter().filter(|note| note.0 == NT_PRSTATUS).map(|note| half(note.1, 32)).collect();
        assert_eq!(threads[0], child as u32, "who got the signal comes first");
        threads.sort_unstable();
        threads.dedup();
        assert_eq!(threads.len(), 3);
    });
}

#[test]
fn not_everybody_leaves_one() {
    machine(|| {
        const PR_SET_DUMPABLE: u32 = 4;
        let crash = |limit: u64, signal: u32, prepare: fn()| {
            let child = fork(move || {
                set_limit(abi::RLIMIT_CORE, limit);
                prepare();
                kill(pid() as i64, signal).unwrap();
            });
            end_of(child)
        };
        assert_eq!(crash(0, abi::SIGABRT, || {}), abi::SIGABRT, "without room");
        assert_eq!(crash(UNLIMITED, abi::SIGTERM, || {}), abi::SIGTERM, "for such a signal");
        let hide = || assert_eq!(call!(abi::__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0), Ok(0));
        assert_eq!(crash(UNLIMITED, abi::SIGABRT, hide), abi::SIGABRT, "who hides its memory");
        assert_eq!(open("core", 0), Err(Errno::ENOENT));
        let leave = || assert_eq!(call!(abi::__NR_chdir, memory::string("/proc")), Ok(0));
        assert_eq!(crash(UNLIMITED, abi::SIGABRT, leave), abi::SIGABRT, "where no file can be made");
        assert_eq!(crash(UNLIMITED, abi::SIGABRT, || {}), abi::SIGABRT | DUMPED);
        assert!(content("core").len() > 4096);
    });
}

#[test]
fn a_limit_cuts_it_off() {
    machine(|| {
        let child = fork(|| {
            set_limit(abi::RLIMIT_CORE, 8192);
            kill(pid() as i64, abi::SIGABRT).unwrap();
        });
        let status = end_of(child);
        assert_eq!(status & 0x7f, abi::SIGABRT);
        // Holes do not count: what does is what is stored, which `st_blocks` says.
        let about = zeros(144);
        call!(abi::__NR_stat, memory::string("core"), about).unwrap();
        let stored = get::<u64>(about + 64) * 512;
        assert!((4096..=3 * 4096).contains(&stored), "{stored} bytes");
    });
}

/// Whether the core of a program has what is at two addresses, which `prepare` gives, with as many bytes as are looked at.
#[track_caller]
fn which_are_written(prepare: impl FnOnce() -> [usize; 2] + Send + 'static, bytes: usize) -> [bool; 2] {
    let child = fork(move || {
        set_limit(abi::RLIMIT_CORE, UNLIMITED);
        let [one, other] = prepare();
        let mut regs = user::regs();
        (regs.rbx, regs.r12) = (one as u64, other as u64);
        user::set_regs(regs);
        user::touch(8, true);
    });
    assert_eq!(end_of(child), abi::SIGSEGV | DUMPED);
    let core = Core::read();
    let notes = core.notes();
    let registers = &notes.iter().find(|note| note.0 == NT_PRSTATUS).unwrap().1[112..];
    // RBX and R12.
    [5, 3].map(|register| core.memory(word(registers, 8 * register), bytes).is_some())
}

#[test]
fn what_is_written_can_be_chosen() {
    machine(|| {
        for (filter, private, shared) in [("0x33", true, true), ("1", true, false), ("2", false, true)] {
            let prepare = move || {
                store("/proc/self/coredump_filter", filter.as_bytes()).unwrap();
                let (own, others) = (map(4096).unwrap(), map_shared(4096).unwrap());
                memory::write(own, b"own");
                memory::write(others, b"others'");
                [own, others]
            };
            assert_eq!(which_are_written(prepare, 3), [private, shared], "filter {filter}");
        }
    });
}

#[test]
fn memory_that_is_not_to_be_written_is_not() {
    machine(|| {
        const MADV_DONTDUMP: u32 = 16;
        let prepare = || {
            let (shown, hidden) = (map(4096).unwrap(), map_shared(4096).unwrap());
            memory::write(shown, b"shown");
            memory::write(hidden, b"hidden");
            call!(abi::__NR_madvise, hidden, 4096, MADV_DONTDUMP).unwrap();
            [shown, hidden]
        };
        assert_eq!(which_are_written(prepare, 5), [true, false]);
    });
}
