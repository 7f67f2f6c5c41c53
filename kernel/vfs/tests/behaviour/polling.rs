// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting until something is possible on open files.

use std::sync::Arc;

use exo_core::errno::Errno;
use exo_hal::time;
use exo_vfs::{
    OpenFile,
    pipe::end,
    poll::{Events, Question, poll},
};

use crate::support::{create, kill_self, let_others_run, machine, start, write};

fn ask(file: &Arc<OpenFile>, events: Events, index: usize) -> Question {
    Question { file: Some(file.clone()), events, index }
}

#[test]
fn what_is_possible_is_answered_at_once() {
    machine(|| {
        let (reader, writer) = end::new_pair(0).unwrap();
        let file = create("/f");
        write(&writer, b"x").unwrap();
        let questions = [
            ask(&reader, Events::IN, 3),
            ask(&reader, Events::OUT, 4),
            ask(&file, Events::IN | Events::OUT, 5),
            Question { file: None, events: Events::empty(), index: 6 },
        ];
        let answers = poll(&questions, None).unwrap();
        assert_eq!(answers, [(3, Events::IN), (5, Events::IN | Events::OUT), (6, Events::NVAL)]);
    });
}

#[test]
fn a_poll_waits_for_the_first_of_several() {
    machine(|| {
        let (one, one_writer) = end::new_pair(0).unwrap();
        let (two, two_writer) = end::new_pair(0).unwrap();
        let waits = start(move || {
            let questions = [ask(&one, Events::IN, 0), ask(&two, Events::IN, 1)];
            assert_eq!(poll(&questions, None), Ok(vec![(1, Events::IN)]));
            assert_eq!(poll(&questions[..1], None), Ok(vec![(0, Events::HUP)]), "though nobody has asked");
        });
        let_others_run();
        assert!(!waits.has_ended());
        write(&two_writer, b"x").unwrap();
        let_others_run();
        drop(one_writer);
        waits.join();
    });
}

#[test]
fn a_poll_ends_when_its_time_is_up() {
    machine(|| {
        let (reader, _writer) = end::new_pair(0).unwrap();
        let end = time::now_ns() + 5_000_000;
        assert_eq!(poll(&[ask(&reader, Events::IN, 0)], Some(end)), Ok(vec![]));
        assert_eq!(time::now_ns(), end);
        assert_eq!(poll(&[], Some(end + 5)), Ok(vec![]));
    });
}

#[test]
fn a_poll_ends_with_a_signal() {
    machine(|| {
        let (reader, writer) = end::new_pair(0).unwrap();
        let waits = start(move || {
            let result = poll(&[ask(&reader, Events::IN, 0)], None);
            assert_eq!(result, Err(Errno::RESTART_UNLESS_HANDLER));
        });
        let_others_run();
        waits.interrupt();
        waits.join();
        drop(writer);
    });
}

#[test]
fn who_is_killed_asks_nothing() {
    machine(|| {
        let (reader, _writer) = end::new_pair(0).unwrap();
        kill_self();
        assert_eq!(poll(&[ask(&reader, Events::IN, 0)], None), Err(Errno::EINTR));
    });
}
