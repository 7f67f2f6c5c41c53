// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a socket holds, for the collector of circles: the files in its own messages, and in those of connections that nobody has accepted.

use arrayvec::ArrayVec;

use super::socket::{State, UnixSocket};
use crate::{
    holder::{Cursor, Holder, Key, SOME},
    sched::spans,
};

/// Messages that are looked at with the queue locked.
const MESSAGES: usize = 64;

/// Where a look into a queue has ended.
enum Ended {
    /// At the queue's end.
    AtTheEnd,
    /// No more keys are taken.
    Full,
    /// Somewhere, so that others come to their turn.
    OnTheWay,
}

impl UnixSocket {
    /// Does something with the socket whose messages are the queue of this number; none if there is no such queue.
    fn with_queue<T>(&self, number: usize, with: impl FnOnce(&mut State) -> T) -> Option<T> {
        let Some(waiting) = number.checked_sub(1) else { return Some(with(&mut self.state())) };
        let connection = self.state().backlog.get(waiting).cloned()?;
        let result = with(&mut connection.state());
        Some(result)
    }
}

/// Looks through a queue from the cursor on.
fn look(state: &State, cursor: &mut Cursor, keys: &mut ArrayVec<Key, SOME>) -> Ended {
    for _ in 0..MESSAGES {
        let Some(message) = state.messages.get(cursor.message) else { return Ended::AtTheEnd };
        let files = message.files.as_ref().map(|files| files.files()).unwrap_or_default();
        while let Some(file) = files.get(cursor.file) {
            if keys.is_full() {
                return Ended::Full;
            }
            if file.file().holds_files() {
                keys.push(file.id());
            }
            cursor.file += 1;
        }
        *cursor = Cursor { message: cursor.message + 1, file: 0, ..*cursor };
    }
    Ended::OnTheWay
}

impl Holder for UnixSocket {
    fn held(&self, cursor: &mut Cursor) -> Option<ArrayVec<Key, SOME>> {
        let mut keys = ArrayVec::new();
        loop {
            match self.with_queue(cursor.queue, |state| look(state, cursor, &mut keys)) {
                None => return (!keys.is_empty()).then_some(keys),
                Some(Ended::AtTheEnd) => *cursor = Cursor { queue: cursor.queue + 1, ..Cursor::default() },
                Some(Ended::Full) => return Some(keys),
                Some(Ended::OnTheWay) => {
                    let _ = spans::point();
                }
            }
        }
    }

    fn let_go(&self) {
        let (mut queue, mut message) = (0, 0);
        while let Some(found) = self
            .with_queue(queue, |state| state.messages.get_mut(message).map(|message| message.files.take()))
        {
            (queue, message) = if found.is_some() { (queue, message + 1) } else { (queue + 1, 0) };
            drop(found);
            let _ = spans::point();
        }
    }
}
