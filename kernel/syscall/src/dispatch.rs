// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table of system calls, and the two ways through it.
//!
//! A line is: number, kind, name, handler and its number of arguments. The macro makes a `match` of the lines, which the
//! compiler turns into a jump table. Kinds:
//! * `plain`: `handler(arguments…) -> Result`.
//! * `regs`: the same with the program's registers in front, for calls that change or copy them.
//! * `lean`: also has a function of the same name in [`lean`](super::lean), which is tried first, on the short path that takes no
//!   lock, allocates nothing and never switches.

use core::sync::atomic::Ordering;

use exo_abi::number as exo;
use exo_hal::{
    hooks::LeanCall,
    log,
    trap::{LEAN_ENTRIES, Regs, lean_entry},
};
use exo_logic::seen::Seen;

use super::{
    Argument, attributes, blocks, credentials, descriptors, event_files, fcntl, futexes, identity, info,
    ipcs, lean as lean_calls, locks, memory, messages, mounts, names, open, pidfds, polling, prctl,
    processes, read_write, scheduling, seals, signals, sizes, socket_options, sockets, splice, status,
    timers, times, watches, xattrs,
};
use crate::{
    errno::{Errno, Result},
    io_uring, kernel_log,
    task::{current, work},
};

macro_rules! invoke {
    (plain $handler:path, $regs:ident, 0) => { $handler() };
    (plain $handler:path, $regs:ident, 1) => { $handler(arg($regs.rdi)) };
    (plain $handler:path, $regs:ident, 2) => { $handler(arg($regs.rdi), arg($regs.rsi)) };
    (plain $handler:path, $regs:ident, 3) => { $handler(arg($regs.rdi), arg($regs.rsi), arg($regs.rdx)) };
    (plain $handler:path, $regs:ident, 4) => {
        $handler(arg($regs.rdi), arg($regs.rsi), arg($regs.rdx), arg($regs.r10))
    };
    (plain $handler:path, $regs:ident, 5) => {
        $handler(arg($regs.rdi), arg($regs.rsi), arg($regs.rdx), arg($regs.r10), arg($regs.r8))
    };
    (plain $handler:path, $regs:ident, 6) => {
        $handler(arg($regs.rdi), arg($regs.rsi), arg($regs.rdx), arg($regs.r10), arg($regs.r8), arg($regs.r9))
    };
    (lean $handler:path, $regs:ident, $count:tt) => { invoke!(plain $handler, $regs, $count) };
    (regs $handler:path, $regs:ident, 0) => { $handler($regs) };
}

macro_rules! lean_only {
    (lean, $number:expr, $name:ident, $out:ident) => {
        $out[lean_entry($number)] = Some(lean_calls::$name as LeanCall)
    };
    ($kind:ident, $number:expr, $name:ident, $out:ident) => {
        $out[lean_entry($number)] = None
    };
}

macro_rules! system_calls {
    ($($number:literal $kind:ident $name:ident => $($handler:ident)::+ ($count:tt);)* own: $($own:ident $own_kind:ident $own_name:ident => $($own_handler:ident)::+ ($own_count:tt);)*) => {
        fn dispatch(number: u64, regs: &mut Regs) -> Result {
            match number {
                $($number => invoke!($kind $($handler)::+, regs, $count),)*
                $(exo::$own => invoke!($own_kind $($own_handler)::+, regs, $own_count),)*
                _ => unknown(number),
            }
        }

        /// The functions of the short path, by [`lean_entry`].
        pub const fn lean_table() -> [Option<LeanCall>; LEAN_ENTRIES] {
            let mut out: [Option<LeanCall>; LEAN_ENTRIES] =
                [Some(lean_calls::unknown as LeanCall); LEAN_ENTRIES];
            $(lean_only!($kind, $number, $name, out);)*
            $(lean_only!($own_kind, exo::$own, $own_name, out);)*
            out
        }
    };
}

system_calls! {
    0 lean read => read_write::read(3);
    1 lean write => read_write::write(3);
    2 plain open => open::open(3);
    3 plain close => descriptors::close(1);
    4 plain stat => status::stat(2);
    5 plain fstat => status::fstat(2);
    6 plain lstat => status::lstat(2);
    7 plain poll => polling::poll(3);
    8 plain lseek => read_write::lseek(3);
    9 plain mmap => memory::mmap(6);
    10 plain mprotect => memory::mprotect(3);
    11 plain munmap => memory::munmap(2);
    12 plain brk => memory::brk(1);
    13 plain rt_sigaction => signals::rt_sigaction(4);
    14 plain rt_sigprocmask => signals::rt_sigprocmask(4);
    15 regs rt_sigreturn => signals::rt_sigreturn(0);
    16 plain ioctl => descriptors::ioctl(3);
    17 plain pread64 => read_write::pread64(4);
    18 plain pwrite64 => read_write::pwrite64(4);
    19 plain readv => read_write::readv(3);
    20 plain writev => read_write::writev(3);
    21 plain access => status::access(2);
    22 plain pipe => descriptors::pipe(1);
    23 plain select => polling::select(5);
    24 lean sched_yield => processes::sched_yield(0);
    25 plain mremap => memory::mremap(5);
    26 plain msync => memory::msync(3);
    27 plain mincore => memory::mincore(3);
    28 plain madvise => memory::madvise(3);
    32 plain dup => descriptors::dup(1);
    33 plain dup2 => descriptors::dup2(2);
    34 plain pause => signals::pause(0);
    35 plain nanosleep => times::nanosleep(2);
    36 plain getitimer => times::getitimer(2);
    37 plain alarm => times::alarm(1);
    38 plain setitimer => times::setitimer(3);
    39 lean getpid => identity::getpid(0);
    40 plain sendfile => splice::sendfile(4);
    41 plain socket => sockets::socket(3);
    42 plain connect => sockets::connect(3);
    43 plain accept => sockets::accept(3);
    44 plain sendto => messages::sendto(6);
    45 plain recvfrom => messages::recvfrom(6);
    46 plain sendmsg => messages::sendmsg(3);
    47 plain recvmsg => messages::recvmsg(3);
    48 plain shutdown => sockets::shutdown(2);
    49 plain bind => sockets::bind(3);
    50 plain listen => sockets::listen(2);
    51 plain getsockname => sockets::getsockname(3);
    52 plain getpeername => sockets::getpeername(3);
    53 plain socketpair => sockets::socketpair(4);
    54 plain setsockopt => socket_options::set(5);
    55 plain getsockopt => socket_options::get(5);
    56 regs clone => processes::clone(0);
    57 regs fork => processes::fork(0);
    58 regs vfork => processes::vfork(0);
    59 regs execve => processes::execve(0);
    60 plain exit => processes::exit(1);
    61 plain wait4 => processes::wait4(4);
    62 plain kill => signals::kill(2);
    63 plain uname => info::uname(1);
    72 plain fcntl => fcntl::fcntl(3);
    73 plain flock => locks::flock(2);
    74 plain fsync => read_write::fsync(1);
    75 plain fdatasync => read_write::fsync(1);
    76 plain truncate => sizes::truncate(2);
    77 plain ftruncate => sizes::ftruncate(2);
    79 plain getcwd => names::getcwd(2);
    80 plain chdir => names::chdir(1);
    81 plain fchdir => names::fchdir(1);
    82 plain rename => names::rename(2);
    83 plain mkdir => names::mkdir(2);
    84 plain rmdir => names::rmdir(1);
    85 plain creat => open::creat(2);
    86 plain link => names::link(2);
    87 plain unlink => names::unlink(1);
    88 plain symlink => names::symlink(2);
    89 plain readlink => status::readlink(3);
    90 plain chmod => attributes::chmod(2);
    91 plain fchmod => attributes::fchmod(2);
    92 plain chown => attributes::chown(3);
    93 plain fchown => attributes::fchown(3);
    94 plain lchown => attributes::lchown(3);
    95 plain umask => attributes::umask(1);
    96 plain gettimeofday => times::gettimeofday(2);
    97 plain getrlimit => processes::getrlimit(2);
    98 plain getrusage => processes::getrusage(2);
    99 plain sysinfo => info::sysinfo(1);
    100 plain times => times::times(1);
    102 lean getuid => credentials::getuid(0);
    103 plain syslog => kernel_log::syslog(3);
    104 lean getgid => credentials::getgid(0);
    105 plain setuid => credentials::setuid(1);
    106 plain setgid => credentials::setgid(1);
    107 lean geteuid => credentials::geteuid(0);
    108 lean getegid => credentials::getegid(0);
    109 plain setpgid => identity::setpgid(2);
    110 plain getppid => identity::getppid(0);
    111 plain getpgrp => identity::getpgrp(0);
    112 plain setsid => identity::setsid(0);
    113 plain setreuid => credentials::setreuid(2);
    114 plain setregid => credentials::setregid(2);
    115 plain getgroups => credentials::getgroups(2);
    116 plain setgroups => credentials::setgroups(2);
    117 plain setresuid => credentials::setresuid(3);
    118 plain getresuid => credentials::getresuid(3);
    119 plain setresgid => credentials::setresgid(3);
    120 plain getresgid => credentials::getresgid(3);
    121 plain getpgid => identity::getpgid(1);
    122 plain setfsuid => credentials::setfsuid(1);
    123 plain setfsgid => credentials::setfsgid(1);
    124 plain getsid => identity::getsid(1);
    125 plain capget => credentials::capget(2);
    126 plain capset => credentials::capset(2);
    127 plain rt_sigpending => signals::rt_sigpending(2);
    128 plain rt_sigtimedwait => signals::rt_sigtimedwait(4);
    129 plain rt_sigqueueinfo => signals::rt_sigqueueinfo(3);
    130 plain rt_sigsuspend => signals::rt_sigsuspend(2);
    131 regs sigaltstack => signals::sigaltstack(0);
    132 plain utime => attributes::utime(2);
    133 plain mknod => names::mknod(3);
    135 plain personality => prctl::personality(1);
    137 plain statfs => status::statfs(2);
    138 plain fstatfs => status::fstatfs(2);
    140 plain getpriority => scheduling::getpriority(2);
    141 plain setpriority => scheduling::setpriority(3);
    142 plain sched_setparam => scheduling::sched_setparam(2);
    143 plain sched_getparam => scheduling::sched_getparam(2);
    144 plain sched_setscheduler => scheduling::sched_setscheduler(3);
    145 plain sched_getscheduler => scheduling::sched_getscheduler(1);
    146 plain sched_get_priority_max => scheduling::sched_get_priority_max(1);
    147 plain sched_get_priority_min => scheduling::sched_get_priority_min(1);
    148 plain sched_rr_get_interval => scheduling::sched_rr_get_interval(2);
    149 plain mlock => memory::lock(2);
    150 plain munlock => memory::unlock(2);
    151 plain mlockall => memory::lock_all(1);
    152 plain munlockall => memory::unlock_all(0);
    157 plain prctl => prctl::prctl(5);
    158 plain arch_prctl => processes::arch_prctl(2);
    159 plain adjtimex => times::adjtimex(1);
    160 plain setrlimit => processes::setrlimit(2);
    161 plain chroot => names::chroot(1);
    162 plain sync => info::sync(0);
    164 plain settimeofday => times::settimeofday(2);
    165 plain mount => mounts::mount(5);
    166 plain umount2 => mounts::umount2(2);
    169 plain reboot => info::reboot(3);
    170 plain sethostname => info::sethostname(2);
    171 plain setdomainname => info::setdomainname(2);
    186 lean gettid => identity::gettid(0);
    187 plain readahead => read_write::readahead(3);
    188 plain setxattr => xattrs::setxattr(5);
    189 plain lsetxattr => xattrs::lsetxattr(5);
    190 plain fsetxattr => xattrs::fsetxattr(5);
    191 plain getxattr => xattrs::getxattr(4);
    192 plain lgetxattr => xattrs::lgetxattr(4);
    193 plain fgetxattr => xattrs::fgetxattr(4);
    194 plain listxattr => xattrs::listxattr(3);
    195 plain llistxattr => xattrs::llistxattr(3);
    196 plain flistxattr => xattrs::flistxattr(3);
    197 plain removexattr => xattrs::removexattr(2);
    198 plain lremovexattr => xattrs::lremovexattr(2);
    199 plain fremovexattr => xattrs::fremovexattr(2);
    200 plain tkill => signals::tkill(2);
    201 plain time => times::time(1);
    202 plain futex => futexes::futex(6);
    203 plain sched_setaffinity => processes::sched_setaffinity(3);
    204 plain sched_getaffinity => processes::sched_getaffinity(3);
    213 plain epoll_create => event_files::epoll_create(1);
    217 plain getdents64 => names::getdents64(3);
    218 plain set_tid_address => processes::set_tid_address(1);
    221 plain fadvise64 => read_write::fadvise64(4);
    222 plain timer_create => timers::timer_create(3);
    223 plain timer_settime => timers::timer_settime(4);
    224 plain timer_gettime => timers::timer_gettime(2);
    225 plain timer_getoverrun => timers::timer_getoverrun(1);
    226 plain timer_delete => timers::timer_delete(1);
    227 plain clock_settime => times::clock_settime(2);
    228 lean clock_gettime => times::clock_gettime(2);
    229 plain clock_getres => times::clock_getres(2);
    230 plain clock_nanosleep => times::clock_nanosleep(4);
    231 plain exit_group => processes::exit_group(1);
    232 plain epoll_wait => event_files::epoll_wait(4);
    233 plain epoll_ctl => event_files::epoll_ctl(4);
    234 plain tgkill => signals::tgkill(3);
    235 plain utimes => attributes::utimes(2);
    247 plain waitid => processes::waitid(5);
    253 plain inotify_init => watches::inotify_init(0);
    254 plain inotify_add_watch => watches::inotify_add_watch(3);
    255 plain inotify_rm_watch => watches::inotify_rm_watch(2);
    257 plain openat => open::openat(4);
    258 plain mkdirat => names::mkdirat(3);
    259 plain mknodat => names::mknodat(4);
    260 plain fchownat => attributes::fchownat(5);
    261 plain futimesat => attributes::futimesat(3);
    262 plain newfstatat => status::newfstatat(4);
    263 plain unlinkat => names::unlinkat(3);
    264 plain renameat => names::renameat(4);
    265 plain linkat => names::linkat(5);
    266 plain symlinkat => names::symlinkat(3);
    267 plain readlinkat => status::readlinkat(4);
    268 plain fchmodat => attributes::fchmodat(3);
    269 plain faccessat => status::faccessat(3);
    270 plain pselect6 => polling::pselect6(6);
    271 plain ppoll => polling::ppoll(5);
    272 plain unshare => descriptors::unshare(1);
    273 plain set_robust_list => processes::set_robust_list(2);
    274 plain get_robust_list => processes::get_robust_list(3);
    275 plain splice => splice::splice(6);
    276 plain tee => splice::tee(4);
    277 plain sync_file_range => read_write::sync_file_range(4);
    278 plain vmsplice => splice::vmsplice(4);
    280 plain utimensat => attributes::utimensat(4);
    281 plain epoll_pwait => event_files::epoll_pwait(6);
    282 plain signalfd => event_files::signalfd(3);
    283 plain timerfd_create => event_files::timerfd_create(2);
    284 plain eventfd => event_files::eventfd(1);
    285 plain fallocate => sizes::fallocate(4);
    286 plain timerfd_settime => event_files::timerfd_settime(4);
    287 plain timerfd_gettime => event_files::timerfd_gettime(2);
    288 plain accept4 => sockets::accept4(4);
    289 plain signalfd4 => event_files::signalfd4(4);
    290 plain eventfd2 => event_files::eventfd2(2);
    291 plain epoll_create1 => event_files::epoll_create1(1);
    292 plain dup3 => descriptors::dup3(3);
    293 plain pipe2 => descriptors::pipe2(2);
    294 plain inotify_init1 => watches::inotify_init1(1);
    295 plain preadv => read_write::preadv(4);
    296 plain pwritev => read_write::pwritev(4);
    297 plain rt_tgsigqueueinfo => signals::rt_tgsigqueueinfo(4);
    299 plain recvmmsg => messages::recvmmsg(5);
    302 plain prlimit64 => processes::prlimit64(4);
    305 plain clock_adjtime => times::clock_adjtime(2);
    306 plain syncfs => read_write::syncfs(1);
    307 plain sendmmsg => messages::sendmmsg(4);
    309 plain getcpu => info::getcpu(2);
    314 plain sched_setattr => scheduling::sched_setattr(3);
    315 plain sched_getattr => scheduling::sched_getattr(4);
    316 plain renameat2 => names::renameat2(5);
    318 plain getrandom => info::getrandom(3);
    319 plain memfd_create => seals::memfd_create(2);
    322 regs execveat => processes::execveat(0);
    325 plain mlock2 => memory::lock_with(3);
    326 plain copy_file_range => splice::copy_file_range(6);
    327 plain preadv2 => read_write::preadv2(6);
    328 plain pwritev2 => read_write::pwritev2(6);
    332 plain statx => status::statx(5);
    424 plain pidfd_send_signal => pidfds::pidfd_send_signal(4);
    425 plain io_uring_setup => io_uring::setup(2);
    426 plain io_uring_enter => io_uring::enter(6);
    427 plain io_uring_register => io_uring::register(4);
    434 plain pidfd_open => pidfds::pidfd_open(2);
    435 regs clone3 => processes::clone3(0);
    436 plain close_range => descriptors::close_range(3);
    437 plain openat2 => open::openat2(4);
    438 plain pidfd_getfd => pidfds::pidfd_getfd(3);
    439 plain faccessat2 => status::faccessat2(4);
    441 plain epoll_pwait2 => event_files::epoll_pwait2(6);
    449 plain futex_waitv => futexes::futex_waitv(5);
    452 plain fchmodat2 => attributes::fchmodat2(4);
    own:
    GET_TIME plain get_time => times::get_time(0);
    IPC_CREATE plain ipc_create => ipcs::create(0);
    IPC_SEND regs ipc_send => ipcs::send(0);
    IPC_RECV regs ipc_recv => ipcs::receive(0);
    IPC_CALL regs ipc_call => ipcs::call(0);
    IPC_REPLY_RECV regs ipc_reply_recv => ipcs::reply_receive(0);
    BLOCK_READ plain block_read => blocks::read(4);
    BLOCK_WRITE plain block_write => blocks::write(4);
}

#[inline(always)]
fn arg<T: Argument>(value: u64) -> T {
    T::from_register(value)
}

/// Most numbers that are logged because they do not exist; a program that tries them all must not fill the log.
const LOGGED: usize = 512;

/// Numbers that were asked for and do not exist.
static SEEN: Seen<LOGGED> = Seen::new();

/// Numbers that C libraries try and do without: no word about them.
const QUIET: [u32; 2] = [334, 324];

/// Whether there is nothing left to log about `number`, which does not exist.
#[inline(always)]
pub fn is_known_unknown(number: u64) -> bool {
    SEEN.is_settled(number as u32)
}

#[cold]
fn unknown(number: u64) -> Result {
    let number = number as u32;
    if SEEN.note(number) && !QUIET.contains(&number) {
        let name = *current().name.lock();
        log!("system call {number} does not exist (asked for by {})", name.bytes().escape_ascii());
    }
    Err(Errno::ENOSYS)
}

/// The full path: every call, with all registers saved.
pub fn full(regs: &mut Regs) {
    let result = dispatch(regs.error(), regs);
    // rt_sigreturn and execve have set all registers.
    if regs.is_system_call() {
        regs.rax = match result {
            Ok(value) => value as u64,
            Err(error) => {
                if error.is_restart() {
                    // What interrupted it may be over already; the call's end is decided all the same.
                    current().work.fetch_or(work::SIGNAL, Ordering::AcqRel);
                }
                -i64::from(error.0) as u64
            }
        };
    }
}
