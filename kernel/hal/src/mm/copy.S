/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The only instructions of the kernel that touch user memory. A fault between the two labels of a routine is resolved by
 * the page-fault handler, or the routine is left at its `_fault` label (trap/mod.rs). Each returns the bytes not done. */

.section .text
.global user_copy_start
user_copy_start:

/* user_copy(rdi destination, rsi source, rdx bytes): words first, then the rest by bytes. */
.global user_copy
user_copy:
    mov rcx, rdx
    shr rcx, 3
    and edx, 7
    rep movsq
    mov ecx, edx
    rep movsb
    xor eax, eax
    ret

/* user_zero(rdi destination, rsi bytes) */
.global user_zero
user_zero:
    mov rcx, rsi
    mov edx, esi
    shr rcx, 3
    and edx, 7
    xor eax, eax
    rep stosq
    mov ecx, edx
    rep stosb
    ret

/* user_load32(rdi address, rsi where to put it) */
.global user_load32
user_load32:
    mov eax, [rdi]
    mov [rsi], eax
    xor eax, eax
    ret

/* user_exchange32(rdi address, esi expected, edx new, rcx where to put the old value) */
.global user_exchange32
user_exchange32:
    mov eax, esi
    lock cmpxchg [rdi], edx
    mov [rcx], eax
    xor eax, eax
    ret

.global user_copy_end
user_copy_end:

.global user_fault
user_fault:
    mov eax, 1
    ret
