/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* From PVH's 32-bit protected mode to `hal_start` in the higher half. AT&T syntax, since 32-bit absolute addresses of
 * higher-half symbols are written most plainly in it.
 *
 * The boot page tables map the first 4 GiB three times: at 0 (this code runs there), at the direct map, and (the first
 * GiB) at KERNEL_BASE. They are readable, writable and executable; `mm::paging` replaces them by W^X tables before
 * anything else happens. The other CPUs pass through them as well (see smp.rs). */

.section .note.pvh, "a", @note
    .align 4
    .long 4                         /* size of the name */
    .long 8                         /* size of the value */
    .long 18                        /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .quad pvh_start - {KERNEL_BASE}

.section .boot.text, "ax", @progbits
.code32
.global pvh_start
pvh_start:
    cld
    cli
    movl $(boot_stack_top - {KERNEL_BASE}), %esp
    movl %ebx, %ebp                 /* the start info's physical address */

    /* 2048 entries of 2 MiB: present, writable, large */
    movl $(boot_p2 - {KERNEL_BASE}), %edi
    movl $0x83, %eax
    movl $2048, %ecx
1:  movl %eax, (%edi)
    movl $0, 4(%edi)
    addl $0x200000, %eax
    addl $8, %edi
    decl %ecx
    jnz 1b

    call enter_long_mode
    ljmp $0x08, $(2f - {KERNEL_BASE})
.code64
2:  movabsq $3f, %rax
    jmp *%rax
3:  movabsq $boot_stack_top, %rsp
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movl %ebp, %edi
    xorl %ebp, %ebp                 /* the end of the frame-pointer chain */
    call hal_start
    ud2

/* Shared with the other CPUs: paging on with the boot tables, long mode active, boot GDT loaded. */
.code32
.global enter_long_mode
enter_long_mode:
    movl %cr4, %eax
    orl $0xa0, %eax                 /* PAE, PGE */
    movl %eax, %cr4
    movl $(boot_p4 - {KERNEL_BASE}), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx          /* EFER */
    rdmsr
    orl $0x901, %eax                /* SCE, LME, NXE */
    wrmsr
    movl $0x80010033, %eax          /* PG, WP, NE, ET, MP, PE */
    movl %eax, %cr0
    lgdt boot_gdt_pointer - {KERNEL_BASE}
    ret

/* Where the trampoline of another CPU arrives: %ebp holds its number. */
.global ap_start_32
ap_start_32:
    movl $(boot_stack_top - {KERNEL_BASE}), %esp
    call enter_long_mode
    ljmp $0x08, $(4f - {KERNEL_BASE})
.code64
4:  movabsq $5f, %rax
    jmp *%rax
5:  xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movq ap_root, %rax              /* the kernel's own tables: the stack may lie above what the boot tables map */
    movq %rax, %cr3
    movq ap_boot_stack, %rsp
    movl %ebp, %edi
    xorl %ebp, %ebp
    call hal_ap_start
    ud2

.section .data
.align 4096
.global boot_p4
boot_p4:
    .quad boot_p3 - {KERNEL_BASE} + 3
    .fill 272, 8, 0
    .quad boot_p3 - {KERNEL_BASE} + 3           /* 273: the direct map */
    .fill 237, 8, 0
    .quad boot_p3_top - {KERNEL_BASE} + 3       /* 511: the kernel */
boot_p3:
    .quad boot_p2 - {KERNEL_BASE} + 3
    .quad boot_p2 - {KERNEL_BASE} + 0x1003
    .quad boot_p2 - {KERNEL_BASE} + 0x2003
    .quad boot_p2 - {KERNEL_BASE} + 0x3003
    .fill 508, 8, 0
boot_p3_top:
    .fill 510, 8, 0
    .quad boot_p2 - {KERNEL_BASE} + 3
    .quad 0
.align 16
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff                    /* 0x08: 64-bit code */
    .quad 0x00cf93000000ffff                    /* 0x10: data */
boot_gdt_pointer:
    .word 23
    .long boot_gdt - {KERNEL_BASE}
.align 8
.global ap_boot_stack
ap_boot_stack:
    .quad 0
.global ap_root
ap_root:
    .quad 0

.section .bss
.align 4096
boot_p2:
    .skip 16384
.global boot_stack
boot_stack:
    .skip 32768
.global boot_stack_top
boot_stack_top:
