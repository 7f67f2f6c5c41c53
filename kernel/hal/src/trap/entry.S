/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Entries from interrupts and exceptions, and the one way back to user mode that restores every register.
 *
 * The order in which registers are pushed is that of `Regs` in mod.rs, lowest address last. From user mode the CPU
 * starts at the end of the running thread's stack (TSS.rsp0), so that `Regs` always lies at the same place there. */

.macro SAVE_REGISTERS
    push rdi
    push rsi
    push rdx
    push rcx
    push rax
    push r8
    push r9
    push r10
    push r11
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
.endm

.macro RESTORE_REGISTERS
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    pop r11
    pop r10
    pop r9
    pop r8
    pop rax
    pop rcx
    pop rdx
    pop rsi
    pop rdi
.endm

.section .text
/* One stub of 16 bytes for each vector: pushes an error code where the CPU does not, and the vector. */
.align 16
.global trap_stubs
trap_stubs:
.set i, 0
.rept 256
    .align 16
    .if (i == 8) || (i == 10) || (i == 11) || (i == 12) || (i == 13) || (i == 14) || (i == 17) || (i == 21) || (i == 29) || (i == 30)
    .else
        push 0
    .endif
    push i
    .if (i == 1) || (i == 2) || (i == 8) || (i == 18)
        jmp trap_paranoid
    .else
        jmp trap_common
    .endif
    .set i, i + 1
.endr

trap_common:
    cld
    test byte ptr [rsp + 24], 3             /* the interrupted code's privilege, in CS */
    jz 1f
    swapgs
.global trap_from_user
trap_from_user:
    SAVE_REGISTERS
    mov rdi, rsp
    xor ebp, ebp                            /* the end of the frame-pointer chain */
    call hal_trap_user
    jmp return_to_user
1:  SAVE_REGISTERS
    mov rdi, rsp
    call hal_trap_kernel
    RESTORE_REGISTERS
    add rsp, 16
    iretq

/* Exceptions that can come at any instruction, also between `syscall` and SWAPGS: they run on stacks of their own, and
 * only the GS base itself tells whether it is the kernel's already (its addresses are negative). */
trap_paranoid:
    cld
    test byte ptr [rsp + 24], 3
    jnz 3f
    SAVE_REGISTERS
    mov ecx, 0xc0000101                     /* GS base */
    rdmsr
    xor ebx, ebx
    test edx, edx
    js 2f
    swapgs
    inc ebx
2:  mov rdi, rsp
    call hal_trap_kernel
    test ebx, ebx
    jz 4f
    swapgs
4:  RESTORE_REGISTERS
    add rsp, 16
    iretq
3:  /* From user mode: move what the CPU pushed to the thread's own stack and go on as from there. */
    swapgs
    push rax
    push rcx
    mov rcx, rsp                            /* rcx, rax, vector, error, rip, cs, rflags, rsp, ss */
    mov rsp, gs:[{STACK_END}]
    push [rcx + 64]
    push [rcx + 56]
    push [rcx + 48]
    push [rcx + 40]
    push [rcx + 32]
    push [rcx + 24]
    push [rcx + 16]
    mov rax, [rcx + 8]
    mov rcx, [rcx]
    SAVE_REGISTERS
    mov rdi, rsp
    xor ebp, ebp
    call hal_trap_user
    /* falls through */

/* rsp is at a complete `Regs` at the end of the running thread's stack. */
.global return_to_user
return_to_user:
    RESTORE_REGISTERS
    add rsp, 16
    swapgs
    iretq

/* Where a new thread starts: its stack holds nothing but its `Regs`. */
.global thread_start
thread_start:
    mov rdi, rsp
    xor ebp, ebp
    call hal_thread_start
    jmp return_to_user

/* switch_stacks(rdi where to put our rsp, rsi the other's rsp, rdx flag to clear once we are off our stack) */
.global switch_stacks
switch_stacks:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [rdi], rsp
    mov rsp, rsi
    mov byte ptr [rdx], 0
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
