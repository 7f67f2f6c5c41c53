// SPDX-License-Identifier: MIT OR Apache-2.0
//! Floating-point state: bytes in the form of XSAVE, which nothing here computes with.

/// Bytes of the legacy area and the XSAVE header behind it, and of AVX's part.
const LEGACY: usize = 512;
const HEADER: usize = 64;
const AVX: usize = 256;
/// x87, SSE and AVX.
const FEATURES: u64 = 0b111;
/// MXCSR after reset, and where it lies; x87's control word.
const MXCSR: u32 = 0x1f80;
const MXCSR_AT: usize = 24;
const CONTROL_WORD: u16 = 0x037f;

/// Bytes of a thread's state.
pub fn state_size() -> usize {
    LEGACY + HEADER + AVX
}

/// The components in use.
pub fn features() -> u64 {
    FEATURES
}

/// The state of a program that starts.
pub(crate) fn initial() -> Vec<u8> {
    let mut bytes = vec![0; state_size()];
    bytes[..2].copy_from_slice(&CONTROL_WORD.to_le_bytes());
    bytes[MXCSR_AT..MXCSR_AT + 4].copy_from_slice(&MXCSR.to_le_bytes());
    bytes
}
