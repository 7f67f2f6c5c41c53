// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is possible on open files, and waiting until something is.

use alloc::{sync::Arc, vec::Vec};

pub use super::events::Events;
use super::open_file::OpenFile;
use crate::{
    errno::{Errno, Result},
    fallible,
    sched::{
        spans,
        wait::{Ended, WaitQueue, wait_on},
    },
};

/// One file and what is asked about it.
pub struct Question {
    /// The file, if the descriptor is open.
    pub file: Option<Arc<OpenFile>>,
    /// What is asked.
    pub events: Events,
    /// Where the answer belongs.
    pub index: usize,
}

fn answer(question: &Question) -> Events {
    question.file.as_ref().map_or(Events::NVAL, |file| ready(file, question.events))
}

/// Which of `asked` are possible on a file now, and what is always reported.
pub fn ready(file: &OpenFile, asked: Events) -> Events {
    let mut now = file.file().events();
    if now.intersects(Events::IN | Events::OUT) && file.file().has_bands() {
        now.set(Events::RDNORM, now.contains(Events::IN));
        now.set(Events::WRNORM, now.contains(Events::OUT));
    }
    now & (asked | Events::ERR | Events::HUP | Events::NVAL)
}

/// Waits until at least one question has an answer, or `deadline`; the answers by index.
pub fn poll(questions: &[Question], deadline: Option<u64>) -> Result<Vec<(usize, Events)>> {
    let look = || {
        let mut answers = Vec::new();
        for question in questions {
            let found = answer(question);
            if !found.is_empty() {
                answers.push((question.index, found));
            }
            // Who is to end stops at the next look.
            let _ = spans::point();
        }
        (!answers.is_empty()).then_some(answers)
    };
    let mut queues: Vec<&WaitQueue> = fallible::list(questions.len())?;
    for question in questions {
        queues.extend(question.file.as_ref().and_then(|file| file.file().queue()));
        if spans::point() {
            return Err(Errno::EINTR);
        }
    }
    match wait_on(&queues, deadline, true, look) {
        Ok(answers) => Ok(answers),
        Err(Ended::TimedOut) => Ok(Vec::new()),
        Err(Ended::Interrupted) => Err(Errno::RESTART_UNLESS_HANDLER),
    }
}
