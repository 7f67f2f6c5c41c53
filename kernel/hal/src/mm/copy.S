/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The only instructions of the kernel that touch user memory. A fault between the two labels of a set of routines is resolved by
 * the page-fault handler, or the routine is left at its `_fault` label (trap/mod.rs). Each returns the bytes not done. There are two
 * sets: where a fault in one may sleep until the page is there, and where it may not. */

.macro user_routines set
.global \set\()_start
\set\()_start:

/* copy(rdi destination, rsi source, rdx bytes): words first, then the rest by bytes. */
.global \set\()_copy
\set\()_copy:
    mov rcx, rdx
    shr rcx, 3
    and edx, 7
    rep movsq
    mov ecx, edx
    rep movsb
    xor eax, eax
    ret

/* zero(rdi destination, rsi bytes) */
.global \set\()_zero
\set\()_zero:
    mov rcx, rsi
    mov edx, esi
    shr rcx, 3
    and edx, 7
    xor eax, eax
    rep stosq
    mov ecx, edx
    rep stosb
    ret

/* load32(rdi address, rsi where to put it) */
.global \set\()_load32
\set\()_load32:
    mov eax, [rdi]
    mov [rsi], eax
    xor eax, eax
    ret

/* exchange32(rdi address, esi expected, edx new, rcx where to put the old value) */
.global \set\()_exchange32
\set\()_exchange32:
    mov eax, esi
    lock cmpxchg [rdi], edx
    mov [rcx], eax
    xor eax, eax
    ret

.global \set\()_end
\set\()_end:
.endm

.section .text
user_routines user_waiting
user_routines user_now

.global user_fault
user_fault:
    mov eax, 1
    ret
