// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers and bits of the 16550A (PC16550D data sheet, table II).

/// Receiver buffer when read, transmitter holding register when written; with [`DIVISOR_LATCH`] the divisor's low byte.
pub(super) const DATA: usize = 0;
/// Interrupt enable; with [`DIVISOR_LATCH`] the divisor's high byte.
pub(super) const INTERRUPT_ENABLE: usize = 1;
/// Interrupt identification, when read.
pub(super) const INTERRUPT_IDENTIFICATION: usize = 2;
/// FIFO control, when written.
pub(super) const FIFO_CONTROL: usize = 2;
pub(super) const LINE_CONTROL: usize = 3;
pub(super) const MODEM_CONTROL: usize = 4;
pub(super) const LINE_STATUS: usize = 5;
pub(super) const MODEM_STATUS: usize = 6;
pub(super) const SCRATCH: usize = 7;

/// What is read where no port is: not a line status, whose top bit says that data in the FIFO is damaged, with all else set too.
pub(super) const ALL_ONES: u8 = 0xff;
/// Bytes of each FIFO.
pub(super) const FIFO: usize = 16;

/// [`INTERRUPT_ENABLE`]: received data.
pub(super) const ENABLE_INPUT: u8 = 1 << 0;
/// [`INTERRUPT_ENABLE`]: the transmitter is empty.
pub(super) const ENABLE_OUTPUT: u8 = 1 << 1;

/// [`INTERRUPT_IDENTIFICATION`]: nothing is pending.
pub(super) const NO_CAUSE: u8 = 1 << 0;
/// [`INTERRUPT_IDENTIFICATION`]: the bits that tell the cause.
pub(super) const CAUSE: u8 = 0b1110;
/// The transmitter is empty.
pub(super) const CAUSE_OUTPUT: u8 = 0b0010;
/// The receiver's FIFO is at its trigger level.
pub(super) const CAUSE_INPUT: u8 = 0b0100;
/// Something went wrong on the line.
pub(super) const CAUSE_STATUS: u8 = 0b0110;
/// There are bytes in the receiver's FIFO, and no more came for a while.
pub(super) const CAUSE_PAUSE: u8 = 0b1100;

/// [`FIFO_CONTROL`]: the FIFOs are used.
pub(super) const FIFO_ENABLE: u8 = 1 << 0;
/// [`FIFO_CONTROL`]: interrupt at 14 bytes.
pub(super) const FIFO_TRIGGER_14: u8 = 0b11 << 6;

/// [`LINE_CONTROL`]: 8 data bits, no parity, one stop bit.
pub(super) const EIGHT_BITS: u8 = 0b11;
/// [`LINE_CONTROL`]: the divisor is at the first two offsets.
pub(super) const DIVISOR_LATCH: u8 = 1 << 7;

/// [`MODEM_CONTROL`]: ready for the other side.
pub(super) const DTR: u8 = 1 << 0;
/// [`MODEM_CONTROL`]: asks to be sent something.
pub(super) const RTS: u8 = 1 << 1;
/// [`MODEM_CONTROL`]: on a PC, connects the interrupt.
pub(super) const OUT2: u8 = 1 << 3;

/// [`LINE_STATUS`]: there is a byte.
pub(super) const DATA_READY: u8 = 1 << 0;
/// [`LINE_STATUS`]: a byte was lost.
pub(super) const OVERRUN: u8 = 1 << 1;
/// [`LINE_STATUS`]: the transmitter's FIFO is empty.
pub(super) const TRANSMITTER_EMPTY: u8 = 1 << 5;
