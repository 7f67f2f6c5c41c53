// SPDX-License-Identifier: MIT OR Apache-2.0
//! Handlers of signals: what they find on their stack, what their flags do, and how the program goes on.

use exo_test_support::{call, programs::*};

use crate::support::*;

/// Offsets in `ucontext_t` on x86-64: the alternate stack, registers, and the mask.
const UC_STACK: usize = 16;
const UC_REGISTERS: usize = 40;
const UC_FPU: usize = UC_REGISTERS + 23 * 8;
const UC_MASK: usize = 296;
/// Places of registers among those: r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, flags.
const RDI: usize = 8;
const RAX: usize = 13;
const RSP: usize = 15;
const RIP: usize = 16;

#[test]
fn a_handler_gets_the_number_and_two_structures() {
    machine(|| {
        let log = Log::default();
        let noted = log.clone();
        let code = user::handler(move || {
            let regs = user::regs();
            let info = Info::at(regs.rsi as usize);
            noted.note(format!("{} {} {} {}", regs.rdi, info.code(), info.pid(), info.value()));
            assert_eq!(regs.rax, 0);
            assert_eq!(regs.rsp() % 16, 8, "as if it had been called");
            assert_eq!(get::<u64>(regs.rsp() as usize), RESTORER, "what it returns to");
            let context = regs.rdx as usize;
            assert_eq!(get::<u64>(context + UC_MASK), signals(&[abi::SIGHUP]), "the mask before");
        });
        action(abi::SIGUSR1, code, abi::SA_SIGINFO, 0).unwrap();
        mask(abi::SIG_SETMASK, signals(&[abi::SIGHUP]));
        queue(pid(), abi::SIGUSR1, 77).unwrap();
        assert_eq!(log.take(), [format!("{} {SI_QUEUE} {} 77", abi::SIGUSR1, pid())]);
        assert_eq!(mask(abi::SIG_BLOCK, 0), signals(&[abi::SIGHUP]));
    });
}

#[test]
fn the_registers_are_in_the_frame_and_what_a_handler_makes_of_them_counts() {
    machine(|| {
        let code = user::handler(|| {
            let registers = user::regs().rdx as usize + UC_REGISTERS;
            let at = |register: usize| registers + 8 * register;
            assert_eq!(get::<u64>(at(RDI)), pid() as u64, "the call's first argument");
            assert_eq!(get::<u64>(at(RAX)), 0, "the call's result");
            memory::write(at(RAX), &123_u64.to_ne_bytes());
            let rsp = user::regs().rsp();
            assert!(get::<u64>(at(RSP)) - 128 > rsp, "below the red zone");
            assert_ne!(get::<u64>(at(RIP)), 0);
            let mask = signals(&[abi::SIGQUIT]);
            memory::write(user::regs().rdx as usize + UC_MASK, &mask.to_ne_bytes());
        });
        action(abi::SIGUSR1, code, abi::SA_SIGINFO, 0).unwrap();
        assert_eq!(kill(pid() as i64, abi::SIGUSR1), Ok(123));
        assert_eq!(mask(abi::SIG_SETMASK, 0), signals(&[abi::SIGQUIT]));
    });
}

#[test]
fn floating_point_state_is_in_the_frame() {
    machine(|| {
        on_signal(abi::SIGUSR1, 0, || {
            let state = get::<u64>(user::regs().rdx as usize + UC_FPU) as usize;
            assert_eq!(state % 64, 0);
            assert_eq!(get::<u16>(state), 0x037f, "x87's control word");
            let software = get::<[u32; 5]>(state + 464);
            assert_eq!(software[0], 0x4650_5853, "FP_XSTATE_MAGIC1");
            let size = software[4] as usize;
            assert_eq!(software[1] as usize, size + 4);
            assert_eq!(get::<u32>(state + size), 0x4650_5845, "FP_XSTATE_MAGIC2");
            memory::write(state, &0x0123_u16.to_ne_bytes());
        });
        kill(pid() as i64, abi::SIGUSR1).unwrap();
        on_signal(abi::SIGUSR1, 0, || {
            let state = get::<u64>(user::regs().rdx as usize + UC_FPU) as usize;
            assert_eq!(get::<u16>(state), 0x0123, "what the first handler left");
        });
        kill(pid() as i64, abi::SIGUSR1).unwrap();
    });
}

#[test]
fn a_signal_is_blocked_while_its_handler_runs_unless_it_said_no() {
    machine(|| {
        for (flags, expected) in [
            (0, ["begins", "ends", "begins", "ends"]),
            (abi::SA_NODEFER, ["begins", "begins", "ends", "ends"]),
        ] {
            let all = Log::default();
            let noted = all.clone();
            let depth = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
            on_signal(abi::SIGUSR1, flags, move || {
                noted.note("begins");
                if depth.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
                    kill(pid() as i64, abi::SIGUSR1).unwrap();
                }
                noted.note("ends");
            });
            kill(pid() as i64, abi::SIGUSR1).unwrap();
            assert_eq!(all.take(), expected);
        }
    });
}

#[test]
fn the_actions_mask_is_blocked_too() {
    machine(|| {
        let log = Log::default();
        let noted = log.clone();
        on_signal(abi::SIGUSR2, 0, move || noted.note("second"));
        let noted = log.clone();
        let code = user::handler(move || {
            kill(pid() as i64, abi::SIGUSR2).unwrap();
            noted.note("first");
        });
        action(abi::SIGUSR1, code, 0, signals(&[abi::SIGUSR2])).unwrap();
        kill(pid() as i64, abi::SIGUSR1).unwrap();
        assert_eq!(log.take(), ["first", "second"]);
    });
}

#[test]
fn a_handler_may_be_for_once() {
    machine(|| {
        let child = fork(|| {
            on_signal(abi::SIGUSR1, abi::SA_RESETHAND, || {});
            kill(pid() as i64, abi::SIGUSR1).unwrap();
            kill(pid() as i64, abi::SIGUSR1).unwrap();
            exit(0);
        });
        assert_eq!(end_of(child), abi::SIGUSR1);
    });
}

#[test]
fn calls_are_done_again_if_the_handler_says_so() {
    machine(|| {
        let [from, to] = pipe().unwrap();
        let child = fork(move || {
            on_signal(abi::SIGUSR1, abi::SA_RESTART, || {});
            on_signal(abi::SIGUSR2, 0, || {});
            assert_eq!(read(from, 1), Ok(b"x".to_vec()));
            assert_eq!(read(from, 1), Err(Errno::EINTR));
            assert_eq!(call!(abi::__NR_pause), Err(Errno::EINTR), "never done again");
        });
        let_others_run();
        kill(child as i64, abi::SIGUSR1).unwrap();
        let_others_run();
        write(to, b"x").unwrap();
        let_others_run();
        kill(child as i64, abi::SIGUSR2).unwrap();
        let_others_run();
        kill(child as i64, abi::SIGUSR1).unwrap();
        assert_eq!(end_of(child), 0);
    });
}

#[test]
fn a_sleep_that_goes_on_does_not_begin_anew() {
    machine(|| {
        let child = fork(|| {
            let before = clock(abi::CLOCK_MONOTONIC);
            let time = put(&[0, 100 * MS]);
            assert_eq!(call!(abi::__NR_nanosleep, time, 0), Ok(0));
            let slept = (clock(abi::CLOCK_MONOTONIC) - before) / MS;
            assert!((100..105).contains(&slept), "{slept} ms");
            on_signal(abi::SIGUSR1, abi::SA_RESTART, || {});
            let left = zeros(16);
            assert_eq!(
                call!(abi::__NR_nanosleep, put(&[0, 100 * MS]), left),
                Err(Errno::EINTR),
                "a handler has run"
            );
            let [seconds, ns] = get::<[u64; 2]>(left);
            assert!(seconds == 0 && (35 * MS..70 * MS).contains(&ns), "{ns} ns left");
        });
        call!(abi::__NR_setpgid, child, 0).unwrap();
        sleep(30 * MS);
        kill(child as i64, abi::SIGSTOP).unwrap();
        sleep(30 * MS);
        kill(child as i64, abi::SIGCONT).unwrap();
        sleep(90 * MS);
        kill(child as i64, abi::SIGUSR1).unwrap();
        assert_eq!(end_of(child), 0);
    });
}

/// `stack_t`.
fn alternate(base: usize, flags: u32, size: usize) -> Result {
    call!(abi::__NR_sigaltstack, put(&[base, flags as usize, size]), 0)
}

fn current_alternate() -> [usize; 3] {
    let at = zeros(24);
    call!(abi::__NR_sigaltstack, 0, at).unwrap();
    get(at)
}

const SS_ONSTACK: usize = 1;
const SS_DISABLE: usize = 2;
const SS_AUTODISARM: usize = 1 << 31;

#[test]
fn a_handler_may_have_a_stack_of_its_own() {
    machine(|| {
        let stack = map(32 << 10).unwrap();
        assert_eq!(current_alternate(), [0, SS_DISABLE, 0]);
        assert_eq!(alternate(stack, 0, 1024), Err(Errno::ENOMEM), "too small");
        assert_eq!(alternate(stack, 0x10, 32 << 10), Err(Errno::EINVAL));
        assert_eq!(alternate(stack, 0, 32 << 10), Ok(0));
        let log = Log::default();
        let noted = log.clone();
        let inside = move || (stack..stack + (32 << 10)).contains(&(user::regs().rsp() as usize));
        on_signal(abi::SIGUSR1, abi::SA_ONSTACK, move || {
            assert!(inside());
            assert_eq!(current_alternate(), [stack, SS_ONSTACK, 32 << 10]);
            assert_eq!(alternate(stack, 0, 16 << 10), Err(Errno::EPERM), "it is in use");
            let frames = get::<[usize; 3]>(user::regs().rdx as usize + UC_STACK);
            assert_eq!(frames, [stack, 0, 32 << 10], "as it was before");
            noted.note("there");
        });
        on_signal(abi::SIGUSR2, 0, move || assert!(!inside(), "without the flag"));
        kill(pid() as i64, abi::SIGUSR1).unwrap();
        kill(pid() as i64, abi::SIGUSR2).unwrap();
        assert_eq!(log.take(), ["there"]);
        assert_eq!(alternate(0, SS_DISABLE as u32, 0), Ok(0));
        assert_eq!(current_alternate(), [0, SS_DISABLE, 0]);
    });
}

#[test]
fn a_stack_that_disarms_itself_is_back_after_the_handler() {
    machine(|| {
        let stack = map(32 << 10).unwrap();
        alternate(stack, SS_AUTODISARM as u32, 32 << 10).unwrap();
        on_signal(abi::SIGUSR1, abi::SA_ONSTACK, || assert_eq!(current_alternate(), [0, SS_DISABLE, 0]));
        kill(pid() as i64, abi::SIGUSR1).unwrap();
        assert_eq!(current_alternate(), [stack, SS_AUTODISARM, 32 << 10]);
    });
}

#[test]
fn without_room_for_the_frame_the_program_ends() {
    machine(|| {
        let child = fork(|| {
            on_signal(abi::SIGUSR1, 0, || exit(1));
            let mut regs = user::regs();
            regs.set_rsp(0x1000);
            user::set_regs(regs);
            let _ = kill(pid() as i64, abi::SIGUSR1);
            exit(2);
        });
        assert_eq!(end_of(child), abi::SIGSEGV);
        let child = fork(|| {
            alternate(map(32 << 10).unwrap(), 0, 32 << 10).unwrap();
            on_signal(abi::SIGSEGV, abi::SA_ONSTACK, || exit(3));
            on_signal(abi::SIGUSR1, 0, || exit(1));
            let mut regs = user::regs();
            regs.set_rsp(0x1000);
            user::set_regs(regs);
            let _ = kill(pid() as i64, abi::SIGUSR1);
        });
        assert_eq!(end_of(child), exited(3), "unless a handler has a stack of its own");
    });
}

#[test]
fn a_fault_is_a_signal_with_its_address() {
    machine(|| {
        let log = Log::default();
        let noted = log.clone();
        let code = user::handler(move || {
            let info = Info::at(user::regs().rsi as usize);
            let address = u64::from(info.0[4]) | (u64::from(info.0[5]) << 32);
            noted.note(format!("{} code {} at {address:#x}", info.signal(), info.code()));
        });
        action(abi::SIGSEGV, code, abi::SA_SIGINFO, 0).unwrap();
        assert!(!user::touch(0x1_0000_2345, false));
        let read_only = call!(abi::__NR_mmap, 0, 4096, abi::PROT_READ, 0x22, -1, 0).unwrap();
        assert!(user::touch(read_only, false));
        assert!(!user::touch(read_only, true));
        let notes = [
            format!("{} code 1 at 0x100002345", abi::SIGSEGV),
            format!("{} code 2 at {read_only:#x}", abi::SIGSEGV),
        ];
        assert_eq!(log.take(), notes);
    });
}

#[test]
fn a_fault_cannot_be_put_off() {
    machine(|| {
        for prepare in [
            || assert_eq!(mask(abi::SIG_BLOCK, signals(&[abi::SIGSEGV])), 0),
            || assert_eq!(action(abi::SIGSEGV, 1, 0, 0), Ok(0)),
        ] {
            let child = fork(move || {
                prepare();
                user::touch(8, false);
                exit(1);
            });
            assert_eq!(end_of(child), abi::SIGSEGV);
        }
    });
}

#[test]
fn a_handlers_stack_does_not_grow_into_what_is_below() {
    machine(|| {
        const HALF: usize = 32 << 10;
        let both = map_shared(2 * HALF).unwrap();
        let child = fork(move || {
            alternate(both + HALF, 0, HALF).unwrap();
            let again = || assert!(kill(pid() as i64, abi::SIGUSR1).is_ok());
            on_signal(abi::SIGUSR1, abi::SA_ONSTACK | abi::SA_NODEFER, again);
            again();
        });
        assert_eq!(end_of(child), abi::SIGSEGV);
        assert!(get_bytes(both, HALF).iter().all(|byte| *byte == 0));
        assert!(get_bytes(both + HALF, HALF).iter().any(|byte| *byte != 0));
    });
}
