// SPDX-License-Identifier: MIT OR Apache-2.0
//! seccomp: the system calls that a device needs while it runs, and no others.
//!
//! A call that is on no list ends the process with `SIGSYS`, and the kernel's log (audit type 1326) has its number: whoever
//! makes such a call has taken the program over, and a machine without a device is better than one with somebody else's.
//! A few calls that libraries make on their own, and get on without, fail with `EPERM` instead.

use std::collections::BTreeMap;

use libc::{
    CLONE_CHILD_CLEARTID, CLONE_DETACHED, CLONE_FILES, CLONE_FS, CLONE_PARENT_SETTID, CLONE_SETTLS,
    CLONE_SIGHAND, CLONE_SYSVSEM, CLONE_THREAD, CLONE_VM, F_DUPFD_CLOEXEC, F_GET_SEALS, F_GETFD, F_GETFL,
    F_SETFL, O_ACCMODE, O_CREAT, O_RDONLY, O_TRUNC, PR_SET_NAME, PR_SET_VMA, PROT_EXEC, SO_LINGER,
    SOL_SOCKET, SYS_accept4, SYS_brk, SYS_clock_getres, SYS_clock_gettime, SYS_clock_nanosleep, SYS_clone,
    SYS_clone3, SYS_close, SYS_eventfd2, SYS_exit, SYS_exit_group, SYS_faccessat, SYS_fcntl, SYS_fstat,
    SYS_futex, SYS_getcwd, SYS_getpid, SYS_getrandom, SYS_getsockname, SYS_getsockopt, SYS_gettid,
    SYS_gettimeofday, SYS_getuid, SYS_io_destroy, SYS_io_getevents, SYS_io_setup, SYS_io_submit, SYS_ioctl,
    SYS_madvise, SYS_memfd_create, SYS_mmap, SYS_mprotect, SYS_mremap, SYS_munmap, SYS_nanosleep,
    SYS_newfstatat, SYS_openat, SYS_ppoll, SYS_prctl, SYS_pread64, SYS_prlimit64, SYS_read, SYS_readlinkat,
    SYS_recvfrom, SYS_recvmsg, SYS_restart_syscall, SYS_rseq, SYS_rt_sigaction, SYS_rt_sigprocmask,
    SYS_rt_sigreturn, SYS_sched_getaffinity, SYS_sched_yield, SYS_sendmsg, SYS_sendto, SYS_set_robust_list,
    SYS_setsockopt, SYS_shutdown, SYS_sigaltstack, SYS_statx, SYS_sysinfo, SYS_tgkill, SYS_uname,
    SYS_unlinkat, SYS_write, SYS_writev,
};
#[cfg(target_arch = "x86_64")]
use libc::{SYS_access, SYS_lstat, SYS_open, SYS_poll, SYS_readlink, SYS_stat, SYS_unlink};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads,
};
use thiserror::Error;

/// What is allowed whatever its arguments.
const ALLOWED: &[i64] = &[
    // Clients: their messages and descriptors, and signals to their eventfds.
    SYS_accept4,
    SYS_recvmsg,
    SYS_sendmsg,
    SYS_recvfrom,
    SYS_sendto,
    SYS_read,
    SYS_pread64,
    SYS_write,
    SYS_writev,
    SYS_shutdown,
    SYS_close,
    SYS_io_submit,
    SYS_io_getevents,
    SYS_io_destroy,
    SYS_ppoll,
    SYS_fstat,
    SYS_statx,
    // Memory; guest memory is mapped and unmapped all the time. With `mmap` and `mprotect` below.
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    // Threads that wait for each other, and end. Those that were started last may still be at their beginning, which is
    // what the last two are for.
    SYS_futex,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_exit,
    SYS_exit_group,
    SYS_sigaltstack,
    SYS_rseq,
    SYS_set_robust_list,
    // Signals: to end, and for a client that cuts a mapped file short.
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_restart_syscall,
    // Time, keys, names for the log.
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_gettimeofday,
    SYS_getrandom,
    SYS_getpid,
    SYS_gettid,
    SYS_getuid,
    // The sockets' removal.
    SYS_newfstatat,
    SYS_unlinkat,
];

/// What only some architectures have, and their libraries may use instead.
#[cfg(target_arch = "x86_64")]
const ALLOWED_OLD: &[i64] = &[SYS_poll, SYS_stat, SYS_lstat, SYS_unlink];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_OLD: &[i64] = &[];

/// What fails with `EPERM`: the C library's and the standard library's looks at their surroundings, such as those of a
/// panic that wants to print names.
const REFUSED: &[i64] = &[
    SYS_openat,
    SYS_readlinkat,
    SYS_faccessat,
    SYS_getcwd,
    SYS_ioctl,
    SYS_prlimit64,
    SYS_sysinfo,
    SYS_uname,
];
#[cfg(target_arch = "x86_64")]
const REFUSED_OLD: &[i64] = &[SYS_open, SYS_readlink, SYS_access];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_OLD: &[i64] = &[];

/// What a device that is added needs when it starts, beside threads: a look at its socket, and what its server signals with.
const ADDING: &[i64] = &[SYS_getsockopt, SYS_getsockname, SYS_eventfd2, SYS_io_setup, SYS_memfd_create];

/// The flags with which C libraries start a thread. Nothing that has other ones is started: no process, no namespace.
const THREAD: i32 = CLONE_VM
    | CLONE_FS
    | CLONE_FILES
    | CLONE_SIGHAND
    | CLONE_THREAD
    | CLONE_SYSVSEM
    | CLONE_SETTLS
    | CLONE_PARENT_SETTID
    | CLONE_CHILD_CLEARTID;

/// `fcntl`'s commands for a socket that must not make its device wait.
const FCNTL_ADDING: [i32; 2] = [F_GETFL, F_SETFL];

/// `fcntl`'s commands: whether a file is memory, and copies of descriptors.
const FCNTL: [i32; 3] = [F_GET_SEALS, F_GETFD, F_DUPFD_CLOEXEC];

/// Why there is no seccomp.
#[derive(Debug, Error)]
pub enum SeccompError {
    /// A bug of this program, or an architecture that the crate does not know.
    #[error("the filter: {0}")]
    Filter(#[from] seccompiler::BackendError),
    /// The kernel refuses.
    #[error("{0}")]
    Install(#[from] seccompiler::Error),
}

/// What a process needs beside what every device does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// To start the threads of devices that are added.
    Threads,
    /// To open files and read them.
    Files,
}

/// Confines all threads of the process. `no_new_privs` must be set.
///
/// # Errors
/// The kernel has no seccomp, or a container forbids it.
pub fn restrict(needs: Needs) -> Result<(), SeccompError> {
    let filters = programs(needs)?;
    // Looked up once by whoever asks first, in ways that are forbidden from here on.
    let _ = rustix::param::page_size();
    // The last one installed forbids installing more. Where several filters have an opinion, the strictest one counts.
    filters.iter().try_for_each(|filter| Ok(apply_filter_all_threads(filter)?))
}

fn programs(needs: Needs) -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let refused =
        || REFUSED.iter().chain(REFUSED_OLD).filter(|&&call| !(needs == Needs::Files && call == SYS_openat));
    let any = |calls: &mut dyn Iterator<Item = &i64>| -> BTreeMap<i64, Vec<SeccompRule>> {
        calls.map(|&call| (call, Vec::new())).collect()
    };
    let refusals = SeccompFilter::new(
        any(&mut refused()),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        architecture,
    )?;
    // What is refused must not end the process.
    let mut rules = any(&mut ALLOWED.iter().chain(ALLOWED_OLD).chain(refused()));
    let no_code = is(2, SeccompCmpOp::MaskedEq(PROT_EXEC.unsigned_abs().into()), 0)?;
    rules.insert(SYS_mmap, vec![no_code.clone()]);
    rules.insert(SYS_mprotect, vec![no_code]);
    // A socket that a peer sent is closed without lingering.
    let level = SeccompCondition::new(
        1,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        SOL_SOCKET.unsigned_abs().into(),
    )?;
    let name =
        SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, SO_LINGER.unsigned_abs().into())?;
    rules.insert(SYS_setsockopt, vec![SeccompRule::new(vec![level, name])?]);
    // An abort's signal, to this process alone.
    rules.insert(SYS_tgkill, vec![is(0, SeccompCmpOp::Eq, std::process::id().into())?]);
    // Names of threads, and of a C library's memory.
    let names = [PR_SET_NAME, PR_SET_VMA].map(|what| is(0, SeccompCmpOp::Eq, what.unsigned_abs().into()));
    rules.insert(SYS_prctl, names.into_iter().collect::<Result<_, _>>()?);
    if needs == Needs::Files {
        let no_change = (O_ACCMODE | O_CREAT | O_TRUNC).unsigned_abs().into();
        rules.insert(
            SYS_openat,
            vec![is(2, SeccompCmpOp::MaskedEq(no_change), O_RDONLY.unsigned_abs().into())?],
        );
    }
    let adds = needs == Needs::Threads;
    if adds {
        rules.append(&mut any(&mut ADDING.iter()));
        // Of which musl has one flag more, which means nothing any more.
        let kind = SeccompCmpOp::MaskedEq(u64::from(!CLONE_DETACHED.unsigned_abs()));
        rules.insert(SYS_clone, vec![is(0, kind, THREAD.unsigned_abs().into())?]);
        rules.insert(SYS_clone3, Vec::new()); // Which fails: see below.
    }
    let commands = FCNTL
        .iter()
        .chain(FCNTL_ADDING.iter().filter(|_| adds))
        .map(|command| is(1, SeccompCmpOp::Eq, command.unsigned_abs().into()));
    rules.insert(SYS_fcntl, commands.collect::<Result<_, _>>()?);
    let allowances =
        SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture)?;
    let mut filters = vec![refusals.try_into()?, allowances.try_into()?];
    if adds {
        // Its flags are in memory, where a filter cannot look; without it, C libraries use the older call.
        let no_clone3 = SeccompFilter::new(
            BTreeMap::from([(SYS_clone3, Vec::new())]),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
            architecture,
        )?;
        filters.insert(0, no_clone3.try_into()?);
    }
    Ok(filters)
}

/// The rule that an argument of 32 bits is so.
fn is(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_and_no_call_is_on_two_lists() {
        for (needs, count) in [(Needs::Nothing, 2), (Needs::Threads, 3), (Needs::Files, 2)] {
            let filters = programs(needs).unwrap();
            assert!(filters.len() == count && filters.iter().all(|filter| !filter.is_empty()));
        }
        let mut all: Vec<_> = [
            ALLOWED,
            ALLOWED_OLD,
            REFUSED,
            REFUSED_OLD,
            ADDING,
            &[SYS_clone, SYS_clone3],
            &[SYS_mmap, SYS_mprotect, SYS_tgkill, SYS_fcntl, SYS_prctl, SYS_setsockopt],
        ]
        .concat();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn nothing_that_reaches_out_is_allowed() {
        let forbidden = [
            libc::SYS_execve,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_ptrace,
            libc::SYS_kill,
            libc::SYS_openat,
            libc::SYS_mount,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_process_vm_readv,
            libc::SYS_userfaultfd,
            libc::SYS_seccomp,
            libc::SYS_pidfd_getfd,
        ];
        let allowed = [ALLOWED, ALLOWED_OLD, ADDING].concat();
        assert!(forbidden.iter().all(|call| !allowed.contains(call)));
    }
}
