/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The system-call entry. The CPU has put the return address into RCX and the flags into R11, cleared the flags of
 * `syscall_mask`, and changed nothing else: GS and RSP are still the program's.
 *
 * Two paths. A number that has a function in `lean_calls` takes the short one (Linux's numbers are first in that table, then the
 * kernel's own; the last entry is for all that do not exist): only the registers that a Rust function may
 * change are saved, nothing can switch to another thread, no signal can become due without an interrupt that comes
 * after SYSRET. Everything else, and what the short path declines, saves a complete `Regs`. */

.section .text
/* SYSCALL from compatibility mode enters here (CSTAR; AMD alone, Intel's CPUs raise #UD). No selector leads a program into that
 * mode, so nothing comes this way; if a CPU did, the program would get the signal of a general protection fault. */
.align 16
.global compatibility_entry
compatibility_entry:
    swapgs
    mov gs:[{USER_RSP}], rsp
    mov rsp, gs:[{STACK_END}]
    push {USER_DATA}
    push gs:[{USER_RSP}]
    push r11
    push {USER_CODE}
    push rcx
    push 0
    push 13
    jmp trap_from_user

.align 64
.global syscall_entry
syscall_entry:
    swapgs
    mov gs:[{USER_RSP}], rsp
    mov rsp, gs:[{STACK_END}]
    sub rsp, {REGS_SIZE}
    mov [rsp + {RIP}], rcx
    mov [rsp + {RFLAGS}], r11
    mov [rsp + {RDI}], rdi
    mov [rsp + {RSI}], rsi
    mov [rsp + {RDX}], rdx
    mov [rsp + {R10}], r10
    mov [rsp + {R8}], r8
    mov [rsp + {R9}], r9
    mov eax, eax                            /* a number has 32 bits, as on Linux */
    mov [rsp + {ERROR}], rax
    test r11d, {NO_SYSRET_FLAGS}
    jnz 1f
    mov ecx, eax                            /* the number; the arguments are where a C function expects them */
    cmp eax, {LINUX_CALLS}
    jae 3f
2:  mov r11, [rax * 8 + lean_calls]
    test r11, r11
    jz 1f
    call r11
    test rdx, rdx
    jz 1f
    mov rcx, [rsp + {RIP}]
    mov r11, [rsp + {RFLAGS}]
    mov rdi, [rsp + {RDI}]
    mov rsi, [rsp + {RSI}]
    mov rdx, [rsp + {RDX}]
    mov r10, [rsp + {R10}]
    mov r8, [rsp + {R8}]
    mov r9, [rsp + {R9}]
    mov rsp, gs:[{USER_RSP}]
    swapgs
    sysretq

3:  sub eax, {OWN_FIRST}
    cmp eax, {OWN_CALLS}
    jb 4f
    mov eax, {OWN_CALLS}
4:  add eax, {LINUX_CALLS}
    jmp 2b

1:  /* The callee-saved registers still hold the program's values: the function above preserves them. */
    mov [rsp + {RBX}], rbx
    mov [rsp + {RBP}], rbp
    mov [rsp + {R12}], r12
    mov [rsp + {R13}], r13
    mov [rsp + {R14}], r14
    mov [rsp + {R15}], r15
    mov rax, [rsp + {ERROR}]
    mov [rsp + {RAX}], rax
    mov rcx, [rsp + {RIP}]
    mov [rsp + {RCX}], rcx
    mov r11, [rsp + {RFLAGS}]
    mov [rsp + {R11}], r11
    mov rax, gs:[{USER_RSP}]
    mov [rsp + {RSP}], rax
    mov qword ptr [rsp + {SS}], {USER_DATA}
    mov qword ptr [rsp + {CS}], {USER_CODE}
    mov qword ptr [rsp + {VECTOR}], {SYSCALL_VECTOR}
    mov rdi, rsp
    xor ebp, ebp                            /* the end of the frame-pointer chain */
    call exo_syscall_full

    /* SYSRET takes RIP from RCX and the flags from R11. It is used when that is what is wanted, RIP is the program's
     * (SYSRET to a non-canonical address faults in kernel mode), and no flag needs IRET (TF would trap at once, RF would be lost).
     * CS and SS are the user's: nothing changes them. */
    mov rcx, [rsp + {RCX}]
    mov r11, [rsp + {R11}]
    cmp rcx, [rsp + {RIP}]
    jne return_to_user
    cmp r11, [rsp + {RFLAGS}]
    jne return_to_user
    test r11d, {NO_SYSRET_FLAGS}
    jnz return_to_user
    mov rax, {USER_END}
    cmp rcx, rax
    jae return_to_user
    mov r15, [rsp + {R15}]
    mov r14, [rsp + {R14}]
    mov r13, [rsp + {R13}]
    mov r12, [rsp + {R12}]
    mov rbp, [rsp + {RBP}]
    mov rbx, [rsp + {RBX}]
    mov r10, [rsp + {R10}]
    mov r9, [rsp + {R9}]
    mov r8, [rsp + {R8}]
    mov rax, [rsp + {RAX}]
    mov rdx, [rsp + {RDX}]
    mov rsi, [rsp + {RSI}]
    mov rdi, [rsp + {RDI}]
    mov rsp, [rsp + {RSP}]
    swapgs
    sysretq
