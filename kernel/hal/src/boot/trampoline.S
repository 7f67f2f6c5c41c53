/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The first instructions of every other CPU: real mode at TRAMPOLINE, where this is copied. Position dependent only in
 * the two absolute addresses that are written as TRAMPOLINE plus an offset. */
.section .rodata
.code16
.global trampoline_start
trampoline_start:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl {TRAMPOLINE} + (trampoline_gdt_pointer - trampoline_start)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x08, $({TRAMPOLINE} + (6f - trampoline_start))
.code32
6:  movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl {TRAMPOLINE} + (trampoline_cpu - trampoline_start), %ebp
    movl $(ap_start_32 - {KERNEL_BASE}), %eax
    jmp *%eax
.align 8
trampoline_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
trampoline_gdt_pointer:
    .word 23
    .long {TRAMPOLINE} + (trampoline_gdt - trampoline_start)
.align 4
.global trampoline_cpu
trampoline_cpu:
    .long 0
.global trampoline_end
trampoline_end:
.code64
