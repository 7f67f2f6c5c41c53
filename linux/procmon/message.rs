// SPDX-License-Identifier: GPL-2.0

//! The message: what was written last.
//!
//! Readers take no lock and see one message, whole. They must not sleep while they look at it, and
//! copying to a program can sleep; so they copy twice: here to a buffer of their own, in the RCU
//! read section, and then to the program, outside of it. (Counting references to the message would
//! save the first copy, but all readers would write to that one count.)

use crate::mechanisms::RcuCell;
use kernel::{
    prelude::*,
    sync::rcu, //
};

/// Excerpts up to this length go through the stack, longer ones through memory that is allocated.
const SHORT: usize = 256;

/// The message that programs read and write.
#[pin_data]
pub(crate) struct Message {
    #[pin]
    text: RcuCell<KVVec<u8>>,
}

impl Message {
    /// An empty message.
    ///
    /// # Safety
    ///
    /// As of [`RcuCell::new`].
    pub(crate) unsafe fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // SAFETY: By the requirements of this function.
            text <- unsafe { RcuCell::new(KVVec::new()) },
        })
    }

    /// Replaces the message.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; the old message stays then.
    pub(crate) fn replace(&self, text: KVVec<u8>) -> Result {
        self.text.replace(text, GFP_KERNEL)
    }

    /// Returns the length in bytes.
    pub(crate) fn length(&self) -> usize {
        self.text.get(&rcu::read_lock()).len()
    }

    /// Calls `f` with what the message has from byte `start` on, at most `most` bytes; nothing if
    /// it is not that long. All of it is from one message. `f` may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], or what `f` fails with.
    pub(crate) fn with_excerpt<R>(
        &self,
        start: usize,
        most: usize,
        f: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        let mut short = [0; SHORT];
        let mut length = {
            let guard = rcu::read_lock();
            let excerpt = excerpt(self.text.get(&guard), start, most);
            if let Some(room) = short.get_mut(..excerpt.len()) {
                room.copy_from_slice(excerpt);
            }
            excerpt.len()
        };
        if let Some(excerpt) = short.get(..length) {
            return f(excerpt);
        }

        // Until the message has not grown between the two looks. Taking what fits would hand out a
        // part of a message as if it were all of it.
        loop {
            let mut long = KVVec::with_capacity(length, GFP_KERNEL)?;
            {
                let guard = rcu::read_lock();
                let excerpt = excerpt(self.text.get(&guard), start, most);
                length = excerpt.len();
                if length <= long.capacity() {
                    // There is room, so this allocates nothing.
                    long.extend_from_slice(excerpt, GFP_NOWAIT)?;
                }
            }
            if long.len() == length {
                return f(&long);
            }
        }
    }
}

/// Returns at most `most` bytes of `text`, from byte `start` on.
fn excerpt(text: &[u8], start: usize, most: usize) -> &[u8] {
    // Neither number is added to the other: both are a program's, and could be anything.
    let rest = text.get(start..).unwrap_or_default();
    rest.get(..most).unwrap_or(rest)
}
