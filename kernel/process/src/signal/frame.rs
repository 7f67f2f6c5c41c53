// SPDX-License-Identifier: MIT OR Apache-2.0
//! The frame that a signal handler finds on its stack, laid out as Linux lays it out (arch/x86: `struct rt_sigframe`), and
//! the way back from it; and what becomes of a system call that a signal interrupted.

use core::sync::atomic::Ordering;

use alloc::vec;

use exo_hal::trap::Regs;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Action, Info, SignalSet, action_flag, set_mask};
use crate::{
    errno::{Errno, Result},
    task::{AltStack, Current, work},
    user,
};

/// Bytes below the stack pointer that a function may use without moving it (System V ABI).
const RED_ZONE: u64 = 128;
/// SS_ONSTACK, SS_DISABLE, SS_AUTODISARM.
const ON_STACK: u32 = 1;
const DISABLED: u32 = 2;
const AUTODISARM: u32 = 1 << 31;
/// The floating-point state has the XSAVE form; SS is saved and to be restored.
const CONTEXT_FLAGS: u64 = 1 | 2 | 4;
/// Marks an XSAVE area in a frame: in the software-reserved bytes, and behind it.
const XSTATE_MAGIC: u32 = 0x4650_5853;
const XSTATE_END_MAGIC: u32 = 0x4650_5845;
const SOFTWARE_BYTES: usize = 464;

/// `stack_t`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct StackT {
    /// Lowest address.
    pub base: u64,
    /// SS_ flags.
    pub flags: u32,
    pad: u32,
    /// Bytes.
    pub size: u64,
}

/// `struct sigcontext`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Context {
    /// r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, flags.
    registers: [u64; 18],
    cs: u16,
    gs: u16,
    fs: u16,
    ss: u16,
    error: u64,
    trap: u64,
    old_mask: u64,
    cr2: u64,
    fpu: u64,
    reserved: [u64; 8],
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Frame {
    restorer: u64,
    flags: u64,
    link: u64,
    stack: StackT,
    context: Context,
    mask: u64,
    info: Info,
}

fn on_alt_stack(stack: &AltStack, rsp: u64) -> bool {
    stack.size > 0 && rsp.wrapping_sub(stack.base).wrapping_sub(1) < stack.size
}

/// The alternate stack as sigaltstack shows it.
pub fn describe_alt_stack(stack: &AltStack, rsp: u64) -> StackT {
    let flags = match stack.size {
        0 => DISABLED,
        _ if on_alt_stack(stack, rsp) => stack.flags | ON_STACK,
        _ => stack.flags,
    };
    StackT { base: stack.base, flags, pad: 0, size: stack.size }
}

/// Takes over an alternate stack from sigaltstack.
pub fn set_alt_stack(task: &Current, new: &StackT, rsp: u64) -> Result<()> {
    const MINIMUM: u64 = 2048;
    let mut stack = task.alt_stack.lock();
    if on_alt_stack(&stack, rsp) && stack.flags & AUTODISARM == 0 {
        return Err(Errno::EPERM);
    }
    match new.flags & !AUTODISARM {
        0 | ON_STACK if new.size < MINIMUM => return Err(Errno::ENOMEM),
        0 | ON_STACK => {
            *stack = AltStack { base: new.base, size: new.size, flags: new.flags & AUTODISARM };
        }
        DISABLED => *stack = AltStack::default(),
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

fn context_of(regs: &Regs) -> Context {
    Context {
        registers: [
            regs.r8,
            regs.r9,
            regs.r10,
            regs.r11,
            regs.r12,
            regs.r13,
            regs.r14,
            regs.r15,
            regs.rdi,
            regs.rsi,
            regs.rbp,
            regs.rbx,
            regs.rdx,
            regs.rax,
            regs.rcx,
            regs.rsp(),
            regs.rip(),
            regs.flags(),
        ],
        cs: regs.selectors().0 as u16,
        ss: regs.selectors().1 as u16,
        error: regs.error(),
        trap: regs.vector(),
        ..Context::default()
    }
}

/// Where the frame is whose floating-point state is at `fpu`. The handler begins as if called: the stack pointer is a multiple of 16 plus 8.
fn frame_below(fpu: u64) -> u64 {
    (fpu.wrapping_sub(size_of::<Frame>() as u64) & !15).wrapping_sub(8)
}

/// Puts a frame on the program's stack and lets it go on in the handler. An error changes nothing.
pub fn push(task: &Current, regs: &mut Regs, action: &Action, info: &Info) -> Result<()> {
    let stack = *task.alt_stack.lock();
    let mut rsp = regs.rsp().wrapping_sub(RED_ZONE);
    let described = describe_alt_stack(&stack, regs.rsp());
    let mut is_alternate = on_alt_stack(&stack, regs.rsp());
    if action.flags & action_flag::ONSTACK != 0 && stack.size > 0 && !is_alternate {
        rsp = stack.base.wrapping_add(stack.size);
        is_alternate = true;
    }
    if action.flags & action_flag::RESTORER == 0 {
        return Err(Errno::EFAULT);
    }
    let (fpu, bytes) = task.machine.with_fpu_bytes(|bytes| {
        let at = rsp.wrapping_sub(bytes.len() as u64 + 4) & !63;
        if is_alternate && !on_alt_stack(&stack, frame_below(at)) {
            // Below the alternate stack there may be anything, and nothing is written there.
            return Err(Errno::EFAULT);
        }
        let mut copy = vec![0; bytes.len() + 4];
        for (to, from) in copy.iter_mut().zip(bytes) {
            *to = *from;
        }
        let mut software = [0u8; 48];
        let features = exo_hal::cpu::fpu::features();
        for (to, from) in software.iter_mut().zip(
            XSTATE_MAGIC
                .to_le_bytes()
                .into_iter()
                .chain((bytes.len() as u32 + 4).to_le_bytes())
                .chain(features.to_le_bytes())
                .chain((bytes.len() as u32).to_le_bytes()),
        ) {
            *to = from;
        }
        if let Some(room) = copy.get_mut(SOFTWARE_BYTES..SOFTWARE_BYTES + 48) {
            room.copy_from_slice(&software);
        }
        if let Some(room) = copy.get_mut(bytes.len()..) {
            room.copy_from_slice(&XSTATE_END_MAGIC.to_le_bytes());
        }
        Ok((at, copy))
    })?;
    user::copy_out(fpu as usize, &bytes)?;
    let mask = match task.work.load(Ordering::Acquire) & work::RESTORE_MASK {
        0 => task.blocked.load(Ordering::Acquire),
        _ => task.saved_mask.load(Ordering::Acquire),
    };
    let mut context = context_of(regs);
    context.fpu = fpu;
    context.old_mask = mask;
    let frame = Frame {
        restorer: action.restorer,
        flags: CONTEXT_FLAGS,
        link: 0,
        stack: described,
        context,
        mask,
        info: *info,
    };
    let at = frame_below(fpu);
    user::write(at as usize, &frame)?;
    task.work.fetch_and(!work::RESTORE_MASK, Ordering::AcqRel);
    if stack.flags & AUTODISARM != 0 {
        *task.alt_stack.lock() = AltStack::default();
    }
    let base = at as usize;
    regs.set_rsp(at);
    regs.set_rip(action.handler);
    regs.rdi = info.signal as u64;
    regs.rsi = (base + core::mem::offset_of!(Frame, info)) as u64;
    regs.rdx = (base + core::mem::offset_of!(Frame, flags)) as u64;
    regs.rax = 0;
    // Handlers begin with the direction flag and the trap flag clear.
    regs.set_flags(regs.flags() & !((1 << 10) | (1 << 8)));
    regs.settle();
    Ok(())
}

/// rt_sigreturn: puts back what the frame at the stack pointer says.
pub fn pop(task: &Current, regs: &mut Regs) -> Result<()> {
    // The handler's return has popped the restorer's address.
    let frame: Frame = user::read(regs.rsp().wrapping_sub(8) as usize)?;
    let context = &frame.context;
    if context.fpu != 0 {
        let mut bytes = vec![0; exo_hal::cpu::fpu::state_size()];
        user::copy_in(&mut bytes, context.fpu as usize)?;
        task.machine.set_fpu(Some(&bytes));
    }
    let (rsp, rip, flags);
    [
        regs.r8, regs.r9, regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15, regs.rdi, regs.rsi,
        regs.rbp, regs.rbx, regs.rdx, regs.rax, regs.rcx, rsp, rip, flags,
    ] = context.registers;
    regs.set_rsp(rsp);
    regs.set_rip(rip);
    regs.set_flags(flags);
    // Not a system call any more: nothing is to be restarted.
    regs.settle();
    set_mask(task, SignalSet(frame.mask));
    // A stack that the program spoilt in the frame is ignored, as on Linux.
    let _ = set_alt_stack(task, &frame.stack, rsp);
    Ok(())
}

/// Decides about a system call that was interrupted: `handler` has the flags of the handler that runs next, if any.
pub fn finish_restart(regs: &mut Regs, handler: Option<u64>) {
    if !regs.is_system_call() {
        return;
    }
    let again = match Errno(-(regs.rax as i64 as i32)) {
        _ if (regs.rax as i64) >= 0 || (regs.rax as i64) < -4095 => return,
        Errno::RESTART => handler.is_none_or(|flags| flags & action_flag::RESTART != 0),
        Errno::RESTART_ALWAYS => true,
        Errno::RESTART_UNLESS_HANDLER => handler.is_none(),
        _ => return,
    };
    if again {
        // Back to the `syscall` instruction, which is two bytes long, with the number in RAX again.
        regs.set_rip(regs.rip().wrapping_sub(2));
        regs.rax = regs.error();
    } else {
        regs.rax = -i64::from(Errno::EINTR.0) as u64;
        // It does not go on.
        let _ = crate::task::current().interrupted_wait();
    }
    regs.settle();
}
