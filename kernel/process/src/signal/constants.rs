// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals' numbers, the flags of their actions, and the codes that say where one comes from; all with Linux's values.

/// Signal numbers.
pub mod number {
    /// The terminal hung up, or the session's leader ended.
    pub const SIGHUP: u32 = 1;
    /// Ctrl-C.
    pub const SIGINT: u32 = 2;
    /// Ctrl-\, with a core file.
    pub const SIGQUIT: u32 = 3;
    /// An instruction that there is not.
    pub const SIGILL: u32 = 4;
    /// A breakpoint or a single step.
    pub const SIGTRAP: u32 = 5;
    /// abort().
    pub const SIGABRT: u32 = 6;
    /// Memory that is mapped and not there.
    pub const SIGBUS: u32 = 7;
    /// An arithmetic error, such as a division by zero.
    pub const SIGFPE: u32 = 8;
    /// The end; cannot be blocked, caught or ignored.
    pub const SIGKILL: u32 = 9;
    /// Memory that is not mapped, or not for this.
    pub const SIGSEGV: u32 = 11;
    /// A write to a pipe or socket that nobody reads.
    pub const SIGPIPE: u32 = 13;
    /// A timer by the time of day ran out.
    pub const SIGALRM: u32 = 14;
    /// A child has ended, stopped or goes on.
    pub const SIGCHLD: u32 = 17;
    /// Goes on after a stop.
    pub const SIGCONT: u32 = 18;
    /// A stop; cannot be blocked, caught or ignored.
    pub const SIGSTOP: u32 = 19;
    /// Ctrl-Z.
    pub const SIGTSTP: u32 = 20;
    /// A read from the terminal in the background.
    pub const SIGTTIN: u32 = 21;
    /// A write to the terminal in the background.
    pub const SIGTTOU: u32 = 22;
    /// Urgent data at a socket.
    pub const SIGURG: u32 = 23;
    /// More CPU time than RLIMIT_CPU.
    pub const SIGXCPU: u32 = 24;
    /// A timer by the time in user mode ran out.
    pub const SIGVTALRM: u32 = 26;
    /// A timer by CPU time ran out.
    pub const SIGPROF: u32 = 27;
    /// A file larger than RLIMIT_FSIZE.
    pub const SIGXFSZ: u32 = 25;
    /// The terminal's window has another size.
    pub const SIGWINCH: u32 = 28;
    /// A file of which one wants to know is ready (O_ASYNC).
    pub const SIGIO: u32 = 29;
    /// A system call that is forbidden.
    pub const SIGSYS: u32 = 31;
    /// The first real-time signal.
    pub const FIRST_REALTIME: u32 = 32;
    /// The highest number.
    pub const LAST: u32 = 64;
}

/// `SA_` flags.
pub mod action_flag {
    /// SIGCHLD does not come for stops.
    pub const NOCLDSTOP: u64 = 1;
    /// Children that end are not waited for.
    pub const NOCLDWAIT: u64 = 2;
    /// The handler gets a `siginfo_t`.
    pub const SIGINFO: u64 = 4;
    /// For addresses with tags, which this machine has not.
    pub const EXPOSE_TAGBITS: u64 = 0x0800;
    /// [`Action::restorer`](super::Action::restorer) is set.
    pub const RESTORER: u64 = 0x0400_0000;
    /// The handler runs on the alternate stack.
    pub const ONSTACK: u64 = 0x0800_0000;
    /// Calls that it interrupts are done again.
    pub const RESTART: u64 = 0x1000_0000;
    /// The signal is not blocked while its handler runs.
    pub const NODEFER: u64 = 0x4000_0000;
    /// The handler is for one time.
    pub const RESETHAND: u64 = 0x8000_0000;
    /// All of them.
    pub const ALL: u64 =
        NOCLDSTOP | NOCLDWAIT | SIGINFO | EXPOSE_TAGBITS | RESTORER | ONSTACK | RESTART | NODEFER | RESETHAND;
}

/// Values of `si_code`.
pub mod code {
    /// kill(2).
    pub const USER: i32 = 0;
    /// The kernel.
    pub const KERNEL: i32 = 0x80;
    /// A timer of timer_create(2).
    pub const TIMER: i32 = -2;
    /// tkill(2) or tgkill(2).
    pub const TKILL: i32 = -6;
    /// An integer was divided by zero.
    pub const FPE_INTDIV: i32 = 1;
    /// An illegal operand.
    pub const ILL_ILLOPN: i32 = 2;
    /// Nothing is mapped there.
    pub const SEGV_MAPERR: i32 = 1;
    /// What is mapped there is not for this.
    pub const SEGV_ACCERR: i32 = 2;
    /// An address that is not aligned.
    pub const BUS_ADRALN: i32 = 1;
    /// Nothing is behind the address, such as beyond a file's end.
    pub const BUS_ADRERR: i32 = 2;
    /// A single step.
    pub const TRAP_TRACE: i32 = 2;
    /// It ended by itself.
    pub const CLD_EXITED: i32 = 1;
    /// A signal ended it.
    pub const CLD_KILLED: i32 = 2;
    /// A signal ended it, with a core file.
    pub const CLD_DUMPED: i32 = 3;
    /// It has stopped.
    pub const CLD_STOPPED: i32 = 5;
    /// It goes on.
    pub const CLD_CONTINUED: i32 = 6;
}
