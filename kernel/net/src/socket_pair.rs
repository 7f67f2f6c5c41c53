// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pairs of connected Unix sockets without names: what programs use as pipes in both directions. There are no other sockets.
//!
//! A message is copied to and from programs with nothing locked. A reader that has taken one from the inbox keeps the others waiting
//! until it has put the rest back, so that bytes stay in order.

mod message;

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use alloc::{sync::Arc, vec::Vec};

use exo_core::thread;
use exo_hal::{sync::SpinLock, time};
use exo_vfs::superblock::ANONYMOUS;
use linux_raw_sys::general::SIGPIPE;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use self::message::{InFlight, Inbox, Message};
pub use self::message::{MOST_FILES, may_be_sent};
use crate::{
    errno::{Errno, Result},
    fallible,
    sched::wait::{Ended, WaitQueue, wait_on},
    user,
};
use exo_vfs::{
    context,
    events::Events,
    file::{File, Io, OpenFile},
    inode::{Inode, InodeContent, kind},
    permission,
};

/// Bytes on their way to each side, unless a program changes it, as on Linux.
const BUFFER: u32 = 212_992;
/// Messages that wait, at most: empty ones take room, too.
const MOST_MESSAGES: usize = 256;
/// Bytes of a stream that become one message.
const PIECE: usize = 32 << 10;
/// Linux counts this much of a datagram's room for itself.
const OVERHEAD: usize = 32;

/// Whether messages keep their boundaries, and whether one side notices the end of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes (SOCK_STREAM).
    Stream,
    /// Messages, each read whole or cut short (SOCK_DGRAM).
    Datagram,
    /// The same, and the end is noticed (SOCK_SEQPACKET).
    Packets,
}

/// `struct ucred`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Sender {
    /// The process.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Sender {
    /// The running process with its effective ids.
    fn effective() -> Self {
        let credentials = thread::running().credentials.get();
        let (uid, gid) = (credentials.users.effective, credentials.groups.effective);
        Self { pid: context::current().process(), uid, gid }
    }

    /// The running process with its real ids.
    pub fn real() -> Self {
        let credentials = thread::running().credentials.get();
        Self { pid: context::current().process(), uid: credentials.users.real, gid: credentials.groups.real }
    }
}

struct Pair {
    kind: Kind,
    inboxes: [SpinLock<Inbox>; 2],
    changed: WaitQueue,
    /// Who made it.
    maker: Sender,
}

/// One of the two sockets.
pub struct Socket {
    pair: Arc<Pair>,
    is_second: bool,
    /// Options; times in nanoseconds, 0 for no limit.
    pub receive_timeout: AtomicU64,
    /// See above.
    pub send_timeout: AtomicU64,
    /// Bytes on their way to the other side, at most.
    pub send_buffer: AtomicU32,
    /// Kept for programs that ask; what counts is the sender's.
    pub receive_buffer: AtomicU32,
    /// Messages come with their sender's ids.
    pub pass_credentials: AtomicBool,
    /// Flags that mean nothing to such a socket on Linux either, and are kept: a bit for each `SO_` number.
    pub kept: AtomicU64,
}

/// How to send or receive.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// EAGAIN rather than wait.
    pub no_wait: bool,
    /// SIGPIPE where nobody receives.
    pub signal: bool,
    /// Leave what was received.
    pub peek: bool,
    /// Wait for all bytes of a stream.
    pub wait_all: bool,
}

/// What came with the bytes.
#[derive(Default)]
pub struct Received {
    /// Bytes copied.
    pub bytes: usize,
    /// Bytes of the message.
    pub length: usize,
    /// Who sent it, if there was a message.
    pub sender: Option<Sender>,
    /// Files.
    pub files: Vec<Arc<OpenFile>>,
}

/// Bits of [`Socket::shutdown`].
pub mod direction {
    /// Nothing is received any more.
    pub const RECEIVE: u8 = 1;
    /// Nothing is sent any more.
    pub const SEND: u8 = 2;
}

/// A new pair. `flags` are `O_` bits of both.
///
/// # Errors
/// ENOMEM.
pub fn new_pair(kind: Kind, flags: u32) -> Result<[Arc<OpenFile>; 2]> {
    let pair = fallible::arc(Pair {
        kind,
        inboxes: [SpinLock::default(), SpinLock::default()],
        changed: WaitQueue::new(),
        maker: Sender::effective(),
    })?;
    let end = |is_second| -> Result<Arc<OpenFile>> {
        let node = Inode::new(&ANONYMOUS, kind::SOCKET | 0o777, InodeContent::Socket);
        permission::set_first_owner(&node);
        let socket = Socket {
            pair: pair.clone(),
            is_second,
            receive_timeout: AtomicU64::new(0),
            send_timeout: AtomicU64::new(0),
            send_buffer: AtomicU32::new(BUFFER),
            receive_buffer: AtomicU32::new(BUFFER),
            pass_credentials: AtomicBool::new(false),
            kept: AtomicU64::new(0),
        };
        Ok(OpenFile::new(fallible::boxed(socket)?, node, linux_raw_sys::general::O_RDWR | flags)?)
    };
    Ok([end(false)?, end(true)?])
}

impl Socket {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.pair.kind
    }

    /// Who made it.
    pub fn maker(&self) -> Sender {
        self.pair.maker
    }

    fn own(&self) -> &SpinLock<Inbox> {
        let [first, second] = &self.pair.inboxes;
        if self.is_second { second } else { first }
    }

    fn peers(&self) -> &SpinLock<Inbox> {
        let [first, second] = &self.pair.inboxes;
        if self.is_second { first } else { second }
    }

    /// Bytes that wait to be read; of datagrams those of the first one.
    pub fn readable(&self) -> usize {
        self.own().lock().readable(self.pair.kind != Kind::Datagram)
    }

    /// The error that is to be reported once.
    pub fn take_error(&self) -> Option<Errno> {
        self.own().lock().error.take()
    }

    /// Ends one direction or both.
    pub fn shutdown(&self, directions: u8) {
        self.own().lock().shutdown |= directions;
        if self.pair.kind != Kind::Datagram {
            let mut peer = self.peers().lock();
            if directions & direction::RECEIVE != 0 {
                peer.shutdown |= direction::SEND;
            }
            if directions & direction::SEND != 0 {
                peer.shutdown |= direction::RECEIVE;
            }
        }
        self.pair.changed.wake_all();
    }

    fn wait<T>(
        &self,
        timeout: &AtomicU64,
        no_wait: bool,
        mut ready: impl FnMut() -> Option<Result<T>>,
    ) -> Result<T> {
        if let Some(result) = ready() {
            return result;
        }
        if no_wait {
            return Err(Errno::EAGAIN);
        }
        let timeout = timeout.load(Ordering::Relaxed);
        let deadline = (timeout > 0).then(|| time::now_ns().saturating_add(timeout));
        match wait_on(&[&self.pair.changed], deadline, true, ready) {
            Ok(result) => result,
            Err(Ended::TimedOut) => Err(Errno::EAGAIN),
            // With a time limit the call would begin it anew.
            Err(Ended::Interrupted) if timeout > 0 => Err(Errno::EINTR),
            Err(Ended::Interrupted) => Err(Errno::RESTART),
        }
    }

    /// Takes the first message, or says what there is instead: none is the end. With `has_some` an error is left for the next call.
    fn try_take(&self, has_some: bool) -> Option<Result<Option<Message>>> {
        let mut inbox = self.own().lock();
        if inbox.is_read {
            return None;
        }
        // As on Linux: a stream's bytes come before an error, and whole messages after it.
        if let Some(error) = inbox.error.take_if(|_| self.pair.kind != Kind::Stream) {
            return Some(Err(error));
        }
        if let Some(message) = inbox.take() {
            return Some(Ok(Some(message)));
        }
        if let Some(error) = inbox.error.take_if(|_| !has_some) {
            return Some(Err(error));
        }
        (inbox.shutdown & direction::RECEIVE != 0).then_some(Ok(None))
    }

    /// Receives up to `length` bytes: `copy(place, bytes)` puts them where they belong. At the end 0.
    pub fn receive(
        &self,
        options: Options,
        length: usize,
        mut copy: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<Received> {
        let stream = self.pair.kind == Kind::Stream;
        let mut received = Received::default();
        if length == 0 && stream {
            return Ok(received);
        }
        loop {
            // What is there is enough, unless the caller wants all.
            let no_wait = options.no_wait || received.bytes > 0 && !options.wait_all;
            let taken = self.wait(&self.receive_timeout, no_wait, || self.try_take(received.bytes > 0));
            let mut message = match taken {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(_) if received.bytes > 0 => break,
                Err(error) => return Err(error),
            };
            // Files, and another sender's ids, stay with the bytes that they came with.
            let differs = !message.files.is_empty()
                || self.pass_credentials.load(Ordering::Relaxed) && Some(message.sender) != received.sender;
            if received.bytes > 0 && differs {
                self.own().lock().put_back(message);
                break;
            }
            let part = message.rest().get(..message.rest().len().min(length - received.bytes));
            let part = part.unwrap_or_default();
            let copied = copy(received.bytes, part);
            let count = part.len();
            if let Err(error) = copied {
                // As on Linux, a datagram is lost then.
                let kept = stream.then_some(message);
                self.finish(kept);
                return if received.bytes > 0 { Ok(received) } else { Err(error) };
            }
            received.bytes += count;
            received.length += message.rest().len();
            received.sender = Some(message.sender);
            let had_files = !message.files.is_empty();
            received.files = if options.peek { message.files.copy()? } else { message.files.take() };
            if options.peek {
                self.finish(Some(message));
                return Ok(received);
            }
            message.start += count;
            let rest = stream && !message.rest().is_empty();
            self.finish(rest.then_some(message));
            if !stream || had_files || received.bytes >= length {
                break;
            }
        }
        Ok(received)
    }

    /// Lets others read; `rest` is put back.
    fn finish(&self, rest: Option<Message>) {
        {
            let mut inbox = self.own().lock();
            match rest {
                Some(rest) => inbox.put_back(rest),
                None => inbox.done(),
            }
        }
        self.pair.changed.wake_all();
    }

    fn no_reader(&self, options: Options) -> Errno {
        if options.signal && self.pair.kind == Kind::Stream {
            thread::signal_self(SIGPIPE);
        }
        Errno::EPIPE
    }

    /// Takes room for up to `length` bytes in the other's inbox, a message's whole or not at all; none if the sender has to wait.
    fn try_reserve(&self, length: usize, options: Options) -> Option<Result> {
        let (ended, error) = {
            let mut own = self.own().lock();
            let error = own.error.take_if(|_| self.pair.kind != Kind::Stream);
            (own.shutdown & direction::SEND != 0, error)
        };
        if let Some(error) = error {
            return Some(Err(error));
        }
        if ended {
            return Some(Err(self.no_reader(options)));
        }
        let mut inbox = self.peers().lock();
        if inbox.is_gone && self.pair.kind == Kind::Datagram {
            let error = if inbox.refused { Errno::ENOTCONN } else { Errno::ECONNREFUSED };
            inbox.refused = true;
            return Some(Err(error));
        }
        if inbox.is_gone || inbox.shutdown & direction::RECEIVE != 0 {
            drop(inbox);
            return Some(Err(self.no_reader(options)));
        }
        let buffer = self.send_buffer.load(Ordering::Relaxed) as usize;
        let room = buffer.saturating_sub(inbox.reserved);
        let count = match self.pair.kind {
            Kind::Stream => length.min(room).min(PIECE),
            _ if length > buffer.saturating_sub(OVERHEAD) => return Some(Err(Errno::EMSGSIZE)),
            _ if length > room => return None,
            _ => length,
        };
        if inbox.count() >= MOST_MESSAGES || count == 0 && length > 0 {
            return None;
        }
        inbox.reserved += count;
        Some(Ok(count))
    }

    /// Sends `length` bytes, which `copy(place, buffer)` gets, and files with the first of them. Without a receiver EPIPE.
    pub fn send(
        &self,
        options: Options,
        length: usize,
        files: Vec<Arc<OpenFile>>,
        mut copy: impl FnMut(usize, &mut [u8]) -> Result<()>,
    ) -> Result {
        let stream = self.pair.kind == Kind::Stream;
        let mut files = InFlight::new(files)?;
        if length == 0 && stream {
            return Ok(0);
        }
        let mut done = 0;
        loop {
            let step = self
                .wait(&self.send_timeout, options.no_wait, || self.try_reserve(length - done, options))
                .and_then(|count| self.deliver(count, files.move_out(), |bytes| copy(done, bytes)));
            match step {
                Ok(count) => {
                    done += count;
                    if done >= length {
                        return Ok(done);
                    }
                }
                Err(error) if done == 0 => return Err(error),
                Err(_) => return Ok(done),
            }
        }
    }

    /// Fills a message for which there is room, and puts it into the other's inbox.
    fn deliver(&self, count: usize, files: InFlight, copy: impl FnOnce(&mut [u8]) -> Result<()>) -> Result {
        let filled = fallible::list(count).and_then(|mut bytes: Vec<u8>| {
            bytes.resize(count, 0);
            copy(&mut bytes)?;
            Ok(Message { bytes, start: 0, sender: Sender::real(), files })
        });
        {
            let mut inbox = self.peers().lock();
            match filled {
                Ok(message) if !inbox.is_gone => inbox.add(message, count)?,
                Ok(_) => inbox.reserved -= count.min(inbox.reserved),
                Err(error) => {
                    inbox.reserved -= count.min(inbox.reserved);
                    return Err(error);
                }
            }
        }
        self.pair.changed.wake_all();
        Ok(count)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let unread = {
            let mut inbox = self.own().lock();
            inbox.is_gone = true;
            inbox.take_all()
        };
        if self.pair.kind != Kind::Datagram {
            let mut peer = self.peers().lock();
            peer.shutdown |= direction::RECEIVE | direction::SEND;
            if !unread.is_empty() {
                peer.error = Some(Errno::ECONNRESET);
            }
        }
        self.pair.changed.wake_all();
    }
}

impl File for Socket {
    /// What it has yet to read.
    fn kernel_memory(&self) -> usize {
        self.own().lock().memory()
    }

    fn read(&self, io: Io, to: usize, length: usize) -> Result {
        let options = Options { no_wait: io.no_wait, ..Options::default() };
        let copy = |place: usize, bytes: &[u8]| Ok(user::copy_out(to.wrapping_add(place), bytes)?);
        self.receive(options, length, copy).map(|received| received.bytes)
    }

    fn write(&self, io: Io, from: usize, length: usize) -> Result {
        let options = Options { no_wait: io.no_wait, signal: true, ..Options::default() };
        self.send(options, length, Vec::new(), |place, bytes| {
            Ok(user::copy_in(bytes, from.wrapping_add(place))?)
        })
    }

    fn read_bytes(&self, io: Io, to: &mut [u8]) -> Result {
        let options = Options { no_wait: io.no_wait, ..Options::default() };
        let length = to.len();
        let copy = |place: usize, bytes: &[u8]| {
            to.iter_mut().skip(place).zip(bytes).for_each(|(to, from)| *to = *from);
            Ok(())
        };
        self.receive(options, length, copy).map(|received| received.bytes)
    }

    fn write_bytes(&self, io: Io, from: &[u8]) -> Result {
        let options = Options { no_wait: io.no_wait, signal: true, ..Options::default() };
        self.send(options, from.len(), Vec::new(), |place, bytes| {
            bytes.iter_mut().zip(from.iter().skip(place)).for_each(|(to, from)| *to = *from);
            Ok(())
        })
    }

    fn events(&self) -> Events {
        let buffer = self.send_buffer.load(Ordering::Relaxed) as usize;
        let has_room = {
            let inbox = self.peers().lock();
            // As on Linux: a quarter of the room may be used.
            inbox.reserved <= buffer / 4 && inbox.count() < MOST_MESSAGES
        };
        let inbox = self.own().lock();
        let ended = inbox.shutdown & direction::RECEIVE != 0;
        let mut events = Events::empty();
        events.set(Events::IN, ended || inbox.count() > 0);
        events.set(Events::OUT, has_room);
        events.set(Events::ERR, inbox.error.is_some());
        events.set(Events::RDHUP, ended);
        events.set(Events::HUP, inbox.shutdown == direction::RECEIVE | direction::SEND);
        events
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.pair.changed)
    }

    fn holds_files(&self) -> bool {
        true
    }

    fn ioctl(&self, request: u32, argument: usize) -> Result {
        match request {
            linux_raw_sys::ioctl::FIONREAD => user::write(argument, &(self.readable() as i32)).map(|()| 0),
            linux_raw_sys::ioctl::TIOCOUTQ => {
                let waiting = self.peers().lock().reserved as i32;
                user::write(argument, &waiting).map(|()| 0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }
}
