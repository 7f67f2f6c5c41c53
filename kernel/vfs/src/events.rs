// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be possible on an open file, in the bits of poll(2).

bitflags::bitflags! {
    /// The `POLL` bits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Events: u16 {
        /// A read would not wait.
        const IN = 1;
        /// Urgent data.
        const PRI = 2;
        /// A write would not wait.
        const OUT = 4;
        /// An error; always reported.
        const ERR = 8;
        /// The other end is gone; always reported.
        const HUP = 16;
        /// Not an open file; always reported.
        const NVAL = 32;
        /// As IN.
        const RDNORM = 64;
        /// As OUT.
        const WRNORM = 256;
        /// The other side sends no more.
        const RDHUP = 0x2000;
    }
}
