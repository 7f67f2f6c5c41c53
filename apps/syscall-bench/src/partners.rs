// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two that wake each other, both on the same CPU: a round trip is two switches.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use exo_user::Endpoint;

use crate::rate;
use crate::system::{self, Child};
use bench_report::{Failure, nanoseconds};

/// A word to another process and one back, through two pipes.
pub(crate) fn pipe_roundtrip(window: Duration) -> Result<f64, Failure> {
    rate::on_one_cpu(|| {
        let ((mut requests, mut ask), (mut answers, mut answer)) = (system::pipe()?, system::pipe()?);
        let _partner = Child::fork(|| {
            let mut word = [0; 8];
            while requests.read_exact(&mut word).is_ok() && answer.write_all(&word).is_ok() {}
            0
        })?;
        let mut word = [7; 8];
        nanoseconds(window, |count| {
            for _ in 0..count {
                ask.write_all(&word)?;
                answers.read_exact(&mut word)?;
            }
            Ok(())
        })
    })
}

/// The same through a pair of Unix sockets.
pub(crate) fn unix_roundtrip(window: Duration) -> Result<f64, Failure> {
    rate::on_one_cpu(|| {
        let (mut own, mut other) = UnixStream::pair()?;
        let _partner = Child::fork(|| {
            let mut word = [0; 8];
            while other.read_exact(&mut word).is_ok() && other.write_all(&word).is_ok() {}
            0
        })?;
        let mut word = [7; 8];
        nanoseconds(window, |count| {
            for _ in 0..count {
                own.write_all(&word)?;
                own.read_exact(&mut word)?;
            }
            Ok(())
        })
    })
}

/// The same through an endpoint of Exo-Kernel.
pub(crate) fn ipc_roundtrip(window: Duration) -> Result<f64, Failure> {
    rate::on_one_cpu(|| {
        let endpoint = Endpoint::new()?;
        let _partner = Child::fork(|| {
            let mut request = endpoint.receive();
            while let Ok(message) = request {
                let [word, ..] = message.words;
                request = endpoint.answer_and_receive(message.caller, [word.wrapping_add(1), 0, 0]);
            }
            0
        })?;
        let mut word = 0;
        nanoseconds(window, |count| {
            for _ in 0..count {
                let [answer, ..] = endpoint.call([word, 0, 0])?;
                if answer != word.wrapping_add(1) {
                    return Err(format!("the partner answered {answer} to {word}").into());
                }
                word = answer;
            }
            Ok(())
        })
    })
}

/// From one thread to another of the same program: half of a round trip by futex.
pub(crate) fn context_switch(window: Duration) -> Result<f64, Failure> {
    rate::on_one_cpu(|| {
        // Whose turn it is: 0 the partner's, 1 ours, 2 nobody's any more.
        let turn = AtomicU32::new(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while wait_for_turn(&turn, 0) {
                    hand_over(&turn, 1);
                }
            });
            let time = nanoseconds(window, |count| {
                for _ in 0..count {
                    hand_over(&turn, 0);
                    wait_for_turn(&turn, 1);
                }
                Ok(())
            });
            hand_over(&turn, 2);
            Ok(time? / 2.0)
        })
    })
}

/// Waits for the turn; false when there are no more.
fn wait_for_turn(turn: &AtomicU32, own: u32) -> bool {
    loop {
        let now = turn.load(Ordering::Acquire);
        if now == own || now == 2 {
            return now == own;
        }
        // Returns at once if the turn has changed meanwhile.
        system::futex_wait(turn, now);
    }
}

fn hand_over(turn: &AtomicU32, to: u32) {
    turn.store(to, Ordering::Release);
    system::futex_wake(turn);
}
