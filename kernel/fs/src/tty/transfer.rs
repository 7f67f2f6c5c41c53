// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes on their way through a terminal: what it receives, and what programs read and write.

use alloc::{sync::Arc, vec::Vec};

use exo_hal::time;
use exo_logic::line_discipline::{Signal, cc, mode};

use super::{Terminal, back_end::BackEnd};
use crate::{
    device::major,
    errno::{Errno, Result},
    file::Io,
    io_buf::{IoBuf, IoSource},
    line::packet,
    sched::{
        spans,
        wait::{Ended, wait_on},
    },
    signal::number,
};

/// Bytes that one round moves.
const CHUNK: usize = 256;

impl Terminal {
    /// Sends all of `bytes`, waiting for room; how many, if a signal comes or the port goes.
    fn send(&self, bytes: &[u8], no_wait: bool) -> Result {
        let mut done = 0;
        loop {
            let line = self.back_end().ok_or(Errno::EIO)?;
            if !self.discipline.lock().is_stopped() {
                done += line.send(bytes.get(done..).unwrap_or_default());
            }
            if done == bytes.len() || no_wait {
                return Ok(done);
            }
            let has_room = || self.back_end().is_none_or(|line| self.may_send(&line)).then_some(());
            if wait_on(&[&self.room], None, true, has_room).is_err() {
                return Ok(done);
            }
        }
    }

    /// Whether a byte could be sent.
    pub(super) fn may_send(&self, line: &BackEnd) -> bool {
        !self.discipline.lock().is_stopped() && line.has_room()
    }

    /// Output was stopped or goes on: its master is told, and who waits.
    pub(super) fn flow_changed(&self) {
        if let Some(line) = self.back_end() {
            self.tell_flow(&line);
        }
        self.wake();
    }

    fn tell_flow(&self, line: &BackEnd) {
        let (is_stopped, held) = {
            let mut discipline = self.discipline.lock();
            (discipline.is_stopped(), discipline.take_held())
        };
        if !held.is_empty() {
            line.send(&held);
        }
        if let Some(line) = line.line() {
            let (bits, not) =
                if is_stopped { (packet::STOP, packet::START) } else { (packet::START, packet::STOP) };
            line.tell(bits, not);
        }
    }

    /// Asks who sends to a port to wait, or to go on, if that is due. The master of a pseudo-terminal waits by itself.
    fn throttle(&self, line: &BackEnd) {
        if line.port().is_some() {
            let asked = self.discipline.lock().throttle();
            if let Some(byte) = asked {
                line.send(&[byte]);
            }
        }
    }

    /// Waits until everything is sent.
    pub(super) fn drain(&self) -> Result {
        let is_sent = || self.back_end().is_none_or(|line| line.pending() == 0).then_some(());
        wait_on(&[&self.room], None, true, is_sent).map(|()| 0).map_err(|_| Errno::RESTART)
    }

    /// Takes what the port has received, as far as there is room. What is left stays in the port, which holds the sender
    /// back; the next reader fetches it. True if anything was taken.
    pub(super) fn take_received(&self) -> bool {
        let Some(line) = self.back_end() else { return false };
        let mut any = false;
        loop {
            let was_stopped = self.discipline.lock().is_stopped();
            let (count, signal) = self.take_some(&line);
            any |= count > 0;
            self.throttle(&line);
            if was_stopped && !self.discipline.lock().is_stopped() {
                self.wake();
            }
            if let Some(signal) = signal {
                self.send_signal(signal);
            } else if count < CHUNK {
                return any;
            }
            if self.let_others_in() {
                return any;
            }
        }
    }

    /// Takes up to a chunk, and nothing behind a signal: how many bytes, and that.
    fn take_some(&self, line: &BackEnd) -> (usize, Option<Signal>) {
        let _one_taker = self.taking.lock();
        let mut echo = Vec::new();
        for count in 0..CHUNK {
            if !self.discipline.lock().has_room() {
                return (count, None);
            }
            let Some(byte) = line.receive() else { return (count, None) };
            echo.clear();
            let (signal, changes_flow) = {
                let mut discipline = self.discipline.lock();
                let was_stopped = discipline.is_stopped();
                (discipline.receive(byte, &mut echo), discipline.is_stopped() != was_stopped)
            };
            if changes_flow {
                self.tell_flow(line);
            }
            if !echo.is_empty() {
                // What there is no room for is lost, as on Linux.
                line.send(&echo);
            }
            if signal.is_some() {
                return (count + 1, signal);
            }
        }
        (CHUNK, None)
    }

    /// A preemption point, with no lock held: true if the task is to end. Not for a port, whose bytes come in an interrupt, too.
    pub(super) fn let_others_in(&self) -> bool {
        self.major == major::PTS && spans::point()
    }

    /// Sends those in the foreground a signal, as if it was typed.
    pub(crate) fn send_signal(&self, signal: Signal) {
        self.signal_foreground(match signal {
            Signal::Interrupt => number::SIGINT,
            Signal::Quit => number::SIGQUIT,
            Signal::Suspend => number::SIGTSTP,
        });
    }

    pub(super) fn read(self: &Arc<Self>, io: Io, to: &mut IoBuf<'_>) -> Result {
        if self.is_hung_up() {
            return Ok(0);
        }
        self.check_foreground(number::SIGTTIN)?;
        let length = to.left();
        if length == 0 {
            return Ok(0);
        }
        let settings = self.discipline.lock().settings;
        let timed = settings.local & mode::ICANON == 0
            && settings.characters[cc::MIN] == 0
            && settings.characters[cc::TIME] > 0;
        let deadline = timed.then(|| time::now_ns() + u64::from(settings.characters[cc::TIME]) * 100_000_000);
        let mut bytes = Vec::new();
        let ready = || {
            let mut discipline = self.discipline.lock();
            let ready = discipline.can_read(length) && (!timed || discipline.readable() > 0);
            if ready {
                bytes.resize(discipline.readable().min(length), 0);
                discipline.read(&mut bytes);
                return Some(Ok(()));
            }
            // Who waits already is told so; who comes later finds the end.
            self.is_hung_up().then_some(Err(Errno::EIO))
        };
        let mut ready = ready;
        let waited = if io.no_wait {
            ready().unwrap_or(Err(Errno::EAGAIN))
        } else {
            match wait_on(&[&self.input], deadline, true, &mut ready) {
                Ok(read) => read,
                Err(Ended::TimedOut) => Ok(()),
                Err(Ended::Interrupted) => Err(Errno::RESTART),
            }
        };
        waited?;
        if self.take_received() {
            self.input.wake_all();
        }
        to.put_all(&bytes)?;
        Ok(bytes.len())
    }

    pub(super) fn write(self: &Arc<Self>, io: Io, from: &mut IoSource<'_>) -> Result {
        if self.is_hung_up() {
            return Err(Errno::EIO);
        }
        if self.discipline.lock().settings.local & mode::TOSTOP != 0 {
            self.check_foreground(number::SIGTTOU)?;
        }
        let mut out = Vec::with_capacity(2 * CHUNK);
        let mut done = 0;
        while !from.is_empty() {
            match self.write_chunk(io, from, &mut out) {
                Ok((sent, is_whole)) => {
                    done += sent;
                    if !is_whole || spans::point() {
                        break;
                    }
                }
                Err(error) => return if done > 0 { Ok(done) } else { Err(error) },
            }
        }
        Ok(done)
    }

    /// Sends the program's next bytes, processed in `out`: how many, and whether those are all that were taken.
    fn write_chunk(&self, io: Io, from: &mut IoSource<'_>, out: &mut Vec<u8>) -> Result<(usize, bool)> {
        let _one_chunk = if io.no_wait {
            self.writing.try_lock().ok_or(Errno::EAGAIN)?
        } else {
            self.writing.lock_or_restart()?
        };
        // What is taken from the program is sent whole, so there is to be room before.
        let room = if io.no_wait { self.back_end().map_or(CHUNK, |line| line.room()) } else { CHUNK };
        if room == 0 || io.no_wait && self.discipline.lock().is_stopped() {
            return Err(Errno::EAGAIN);
        }
        let mut bytes = [0; CHUNK];
        let part = bytes.get_mut(..CHUNK.min(from.left()).min(room)).unwrap_or_default();
        from.take_all(part)?;
        out.clear();
        self.discipline.lock().process_output(part, out);
        match self.send(out, io.no_wait && self.line().is_some())? {
            sent if sent == out.len() => Ok((part.len(), true)),
            0 if io.no_wait => Err(Errno::EAGAIN),
            0 => Err(Errno::RESTART),
            // Which bytes of the program's the last ones were is known only without processing: as many at most.
            sent => Ok((sent.min(part.len()), false)),
        }
    }
}
