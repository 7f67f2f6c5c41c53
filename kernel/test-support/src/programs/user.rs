// SPDX-License-Identifier: MIT OR Apache-2.0
//! User mode: what is at an address of code is a closure, and a `syscall` instruction is a call of this module.
//!
//! The registers are the kernel's own type, and what they say is done: a call goes on where the kernel has set the instruction pointer,
//! be it behind the instruction, at it (the call is done again), in a handler of a signal, or in another program. A handler returns by
//! rt_sigreturn from the frame on the program's stack.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use exo_core::{errno::Errno, sched::spans};
use exo_hal::{
    cpu, time,
    trap::{Regs, lean_entry, vector},
};
use exo_process::{fault, signal, task::current};
use exo_syscall::{dispatch, way_back};
use linux_raw_sys::general::{__NR_exit_group, __NR_rt_sigreturn};
use parking_lot::Mutex;

use crate::stage;

/// Code that runs once: what a new thread or process does.
type Once = Box<dyn FnOnce() + Send>;
/// Code that may run often: a program's file, a handler.
type Text = Arc<dyn Fn() + Send + Sync>;

enum Code {
    Once(Once),
    Program(Text),
    Handler(Text),
}

/// Where the first code is, and how far apart.
const FIRST: u64 = 0x50_0000;
const STEP: u64 = 0x1000;
/// Bytes of a `syscall` instruction.
const INSTRUCTION: u64 = 2;
/// With what a program ends that panics.
const PANICKED: u64 = 101;

static CODE: Mutex<BTreeMap<u64, Code>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(FIRST);

thread_local! {
    /// The registers of the program that runs on this thread of the host.
    static REGS: RefCell<Option<Regs>> = const { RefCell::new(None) };
}

fn place(code: Code) -> u64 {
    let at = NEXT.fetch_add(STEP, Ordering::Relaxed);
    CODE.lock().insert(at, code);
    at
}

/// The address of code that is run once, and ends its thread when it returns.
pub fn once<R>(code: impl FnOnce() -> R + Send + 'static) -> u64 {
    place(Code::Once(Box::new(|| drop(code()))))
}

/// The address of a program, which ends its process when it returns.
pub fn program(code: impl Fn() + Send + Sync + 'static) -> u64 {
    place(Code::Program(Arc::new(code)))
}

/// The address of a signal's handler.
pub fn handler(code: impl Fn() + Send + Sync + 'static) -> u64 {
    place(Code::Handler(Arc::new(code)))
}

/// Nothing is anywhere any more.
pub(super) fn forget_code() {
    let code = std::mem::take(&mut *CODE.lock());
    drop(code);
}

/// The registers of the running program.
pub fn regs() -> Regs {
    REGS.with_borrow(|regs| regs.expect("this is no program"))
}

/// Sets them.
pub fn set_regs(regs: Regs) {
    REGS.set(Some(regs));
}

/// A new thread's way to user mode, and its life there.
pub(super) fn begin(regs: &mut Regs) -> ! {
    if !stage::watch(|| {
        way_back::to_user(regs);
        run_until(regs, None);
    }) {
        set_regs(*regs);
        stage::watch(|| {
            raw(__NR_exit_group, [PANICKED, 0, 0, 0, 0, 0]);
        });
    }
    unreachable!("a program has ended and goes on")
}

/// The program goes on as its registers say, until it is at `end`.
fn run_until(regs: &mut Regs, end: Option<u64>) {
    while Some(regs.rip()) != end {
        if let Some(end) = end.filter(|end| regs.rip() == end - INSTRUCTION) {
            regs.set_rip(end);
            enter_call(regs);
            continue;
        }
        let at = regs.rip();
        let mut code = CODE.lock();
        let text = match code.get(&at) {
            Some(Code::Handler(text)) => {
                let text = text.clone();
                drop(code);
                call_handler(regs, &text);
                continue;
            }
            Some(Code::Program(text)) => text.clone(),
            Some(Code::Once(_)) => {
                let Some(Code::Once(once)) = code.remove(&at) else { unreachable!("just seen") };
                drop(code);
                set_regs(*regs);
                once();
                exit(regs);
            }
            None => panic!("the program jumps to {at:#x}, where there is no code"),
        };
        drop(code);
        set_regs(*regs);
        // As the start of a C program makes itself at home.
        super::memory::map_data();
        text();
        exit(regs);
    }
}

fn exit(regs: &mut Regs) -> ! {
    *regs = self::regs();
    raw(linux_raw_sys::general::__NR_exit, [0; 6]);
    unreachable!("a thread has ended and goes on")
}

fn call_handler(regs: &mut Regs, text: &Text) {
    set_regs(*regs);
    text();
    // The handler returns: its restorer's address is popped, and the restorer does this call.
    regs.set_rsp(regs.rsp() + 8);
    regs.rax = __NR_rt_sigreturn.into();
    enter_call(regs);
}

/// A `syscall` instruction: number and arguments are in the registers.
fn enter_call(regs: &mut Regs) {
    let number = regs.rax;
    if let Some(lean) = LEAN[lean_entry(number)] {
        let result = lean(regs.rdi, regs.rsi, regs.rdx, number);
        if result.handled != 0 {
            regs.rax = result.value as u64;
            return;
        }
    }
    regs.enter_call(number);
    spans::enter();
    dispatch::full(regs);
    way_back::to_user(regs);
}

static LEAN: [Option<exo_hal::hooks::LeanCall>; exo_hal::trap::LEAN_ENTRIES] = dispatch::lean_table();

/// A system call as the kernel sees it; what is in RAX afterwards.
pub fn raw(number: u32, arguments: [u64; 6]) -> i64 {
    raw_with(number, arguments, place_of_calls())
}

/// Where the instructions are behind which calls return. There is no code there.
fn place_of_calls() -> u64 {
    FIRST - STEP
}

/// The same with the address behind the instruction, where a new thread or process begins.
pub fn raw_with(number: u32, arguments: [u64; 6], behind: u64) -> i64 {
    enter(number, arguments, behind).rax as i64
}

/// A call that answers in more registers than one: what is in RAX, and all.
pub fn raw_regs(number: u32, arguments: [u64; 6]) -> (i64, Regs) {
    let regs = enter(number, arguments, place_of_calls());
    (regs.rax as i64, regs)
}

fn enter(number: u32, arguments: [u64; 6], behind: u64) -> Regs {
    let before = self::regs();
    let mut regs = before;
    [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = arguments;
    regs.rax = number.into();
    regs.set_rip(behind);
    enter_call(&mut regs);
    run_until(&mut regs, Some(behind));
    set_regs(before);
    regs
}

/// A system call as the C library does it.
pub fn call(number: u32, arguments: &[u64]) -> Result<usize, Errno> {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    match raw(number, all) {
        error @ -4095..0 => Err(Errno(-error as i32)),
        value => Ok(value as usize),
    }
}

/// What a register is set to for an argument.
pub trait Argument {
    /// The value, with its sign.
    fn register(self) -> u64;
}

macro_rules! arguments {
    ($($type:ty)*) => { $(
        impl Argument for $type {
            fn register(self) -> u64 {
                self as u64
            }
        }
    )* };
}

arguments!(i32 u32 i64 u64 usize);

/// A system call: its number and arguments, whatever integers they are. What it gives is as from the C library.
#[macro_export]
macro_rules! call {
    ($number:expr $(, $argument:expr)* $(,)?) => {
        $crate::programs::user::call($number, &[$($crate::programs::user::Argument::register($argument)),*])
    };
}

/// The program does nothing for `ns` nanoseconds but compute, and takes the interrupts that come.
pub fn compute(ns: u64) {
    let mut left = ns;
    loop {
        left = time::compute(left);
        interrupt();
        if left == 0 {
            return;
        }
    }
}

/// An interrupt comes while the program computes.
fn interrupt() {
    let before = self::regs();
    let behind = place_of_calls();
    let mut regs = before;
    regs.set_rip(behind);
    regs.enter_trap(vector::TIMER, 0);
    spans::enter();
    cpu::interrupt_window();
    way_back::to_user(&mut regs);
    run_until(&mut regs, Some(behind));
    set_regs(before);
}

/// The program touches an address; false if a signal was the answer, and its handler has run.
pub fn touch(address: usize, write: bool) -> bool {
    let before = self::regs();
    let behind = place_of_calls();
    let mut regs = before;
    regs.set_rip(behind);
    regs.enter_trap(14, 4 | (u64::from(write) << 1));
    spans::enter();
    let told = fault::of_program(address, write, false);
    let is_well = told.is_none();
    if let Some(info) = told {
        signal::force(&current(), info);
    }
    way_back::to_user(&mut regs);
    run_until(&mut regs, Some(behind));
    set_regs(before);
    is_well
}
