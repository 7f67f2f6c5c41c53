// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every family of sockets can do. A call copies and checks what a program hands over, once, and calls this.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use arrayvec::ArrayVec;
use exo_core::{credentials::Which, thread::running};
use exo_vfs::{OpenFile, context, events::Events, file::AsAny};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    address::Address,
    common::Common,
    errno::{Errno, Result},
    holder::Holder,
    io_buf::{IoBuf, IoSource},
    sched::wait::WaitQueue,
};

/// `struct ucred`: a process, and for whom it acts.
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
    /// Who has not said who it is, as SO_PEERCRED shows it.
    pub const NOBODY: Self = Self { pid: 0, uid: u32::MAX, gid: u32::MAX };

    /// The running process with its effective ids.
    pub fn effective() -> Self {
        Self::with(Which::EffectiveUser, Which::EffectiveGroup)
    }

    /// The running process with its real ids.
    #[inline]
    pub fn real() -> Self {
        Self::with(Which::User, Which::Group)
    }

    #[inline]
    fn with(user: Which, group: Which) -> Self {
        let task = running();
        let (uid, gid) = (task.credentials.id(user), task.credentials.id(group));
        Self { pid: context::current().process(), uid, gid }
    }
}

/// How to send or receive.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// EAGAIN rather than wait (O_NONBLOCK, MSG_DONTWAIT).
    pub no_wait: bool,
    /// No SIGPIPE where nobody receives (MSG_NOSIGNAL).
    pub no_signal: bool,
    /// Leave what is received (MSG_PEEK).
    pub peek: bool,
    /// Wait for all bytes of a stream (MSG_WAITALL).
    pub wait_all: bool,
    /// Urgent data (MSG_OOB).
    pub out_of_band: bool,
    /// Who receives asks where it is from.
    pub wants_address: bool,
    /// Bytes of a TCP stream are thrown away rather than copied (MSG_TRUNC).
    pub discard: bool,
}

/// Most bytes of a [`ControlMessage`]'s data.
pub const LONGEST_CONTROL: usize = 48;

/// A control message that is not for all families (`struct cmsghdr`).
#[derive(Clone, Debug)]
pub struct ControlMessage {
    /// `SOL_`, or the protocol.
    pub level: u32,
    /// Its number there.
    pub kind: u32,
    /// What it says.
    pub data: ArrayVec<u8, LONGEST_CONTROL>,
}

/// Control messages that were received, and bits for the message's flags (`MSG_`).
#[derive(Debug, Default)]
pub struct Told {
    /// The messages.
    pub messages: Vec<ControlMessage>,
    /// The bits.
    pub flags: u32,
}

/// What goes with the bytes that are sent.
#[derive(Default)]
pub struct Outgoing<'a> {
    /// How.
    pub how: How,
    /// To whom, unless the socket is connected.
    pub to: Option<&'a Address>,
    /// Files (SCM_RIGHTS).
    pub files: Vec<Arc<OpenFile>>,
    /// Who the sender says that it is, which was checked (SCM_CREDENTIALS).
    pub sender: Option<Sender>,
}

/// What was received.
#[derive(Default)]
pub struct Received {
    /// Bytes copied.
    pub bytes: usize,
    /// Bytes of the message; of a stream as many as were copied.
    pub length: usize,
    /// Where it is from, if that was asked and the sender has an address.
    pub from: Option<Address>,
    /// Who sent it, if the socket wants to know (SO_PASSCRED).
    pub sender: Option<Sender>,
    /// Files that came with it.
    pub files: Vec<Arc<OpenFile>>,
}

/// Most bytes of an option's value.
pub const LONGEST_VALUE: usize = 256;
/// The value of an option, as programs see it.
pub type Value = ArrayVec<u8, LONGEST_VALUE>;

/// A value of these bytes; what is too long is cut.
pub fn value(bytes: &[u8]) -> Value {
    bytes.iter().copied().take(LONGEST_VALUE).collect()
}

/// Directions of a socket, for shutdown.
pub mod direction {
    /// Nothing is received any more.
    pub const RECEIVE: u8 = 1;
    /// Nothing is sent any more.
    pub const SEND: u8 = 2;
    /// Neither.
    pub const BOTH: u8 = RECEIVE | SEND;
}

/// What a socket is, as SO_DOMAIN, SO_TYPE and SO_PROTOCOL say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nature {
    /// `AF_`.
    pub domain: u32,
    /// `SOCK_`.
    pub kind: u32,
    /// Its number in that family.
    pub protocol: u32,
}

/// A socket. Dropping it closes it.
pub trait Socket: AsAny + Send + Sync {
    /// What it is.
    fn nature(&self) -> Nature;

    /// What it has in common with others.
    fn common(&self) -> &Common;

    /// Gives it an address; what has a name in a file system gets the permission bits `mode`.
    fn bind(&self, address: &Address, mode: u32) -> Result<()>;

    /// Lets others connect, so many of them before they are accepted.
    fn listen(&self, backlog: usize) -> Result<()> {
        let _ = backlog;
        Err(Errno::EOPNOTSUPP)
    }

    /// The next connection, which somebody else has begun.
    fn accept(&self, no_wait: bool) -> Result<Box<dyn Socket>> {
        let _ = no_wait;
        Err(Errno::EOPNOTSUPP)
    }

    /// Connects it.
    fn connect(&self, address: &Address, no_wait: bool) -> Result<()>;

    /// Its address.
    fn name(&self) -> Result<Address>;

    /// The address of whom it is connected with; ENOTCONN.
    fn peer_name(&self) -> Result<Address>;

    /// The address of whom an accepted connection is from, also if that has ended it already.
    fn caller_name(&self) -> Result<Address> {
        self.peer_name()
    }

    /// Sends `from` as a message, or as bytes of a stream; how many.
    fn send(&self, outgoing: Outgoing<'_>, from: &mut IoSource<'_>) -> Result;

    /// Receives as many bytes as `to` has room for.
    fn receive(&self, how: How, to: &mut IoBuf<'_>) -> Result<Received>;

    /// Ends directions ([`direction`]).
    fn shutdown(&self, directions: u8) -> Result<()>;

    /// The error that is to be reported once.
    fn take_error(&self) -> Option<Errno>;

    /// Keeps an error that a call has met after it had done something: the next call reports it.
    fn keep_error(&self, error: Errno) {
        let _ = error;
    }

    /// Whether others may connect.
    fn is_listening(&self) -> bool {
        false
    }

    /// An option that the family knows itself; none for what every socket has.
    fn option(&self, level: u32, number: u32) -> Option<Result<Value>> {
        let _ = (level, number);
        None
    }

    /// Sets such an option.
    fn set_option(&self, level: u32, number: u32, value: &[u8]) -> Option<Result<()>> {
        let _ = (level, number, value);
        None
    }

    /// Whether control messages of other levels than SOL_SOCKET are for it.
    fn takes_control(&self) -> bool {
        false
    }

    /// Sends, with such messages.
    fn send_with(
        &self,
        outgoing: Outgoing<'_>,
        control: &[ControlMessage],
        from: &mut IoSource<'_>,
    ) -> Result {
        let _ = control;
        self.send(outgoing, from)
    }

    /// Receives, and says what else the program wants to be told of it.
    fn receive_told(&self, how: How, to: &mut IoBuf<'_>, told: &mut Told) -> Result<Received> {
        let _ = told;
        self.receive(how, to)
    }

    /// Receives what has failed rather than what has come (MSG_ERRQUEUE); none where there is no difference.
    fn receive_failed(&self, how: How, to: &mut IoBuf<'_>, told: &mut Told) -> Option<Result<Received>> {
        let _ = (how, to, told);
        None
    }

    /// The buffer for what is sent has got another size.
    fn send_buffer_changed(&self) {}

    /// The buffer for what is received has.
    fn receive_buffer_changed(&self) {}

    /// Bytes that wait to be read (FIONREAD).
    fn readable(&self) -> Result;

    /// Bytes that were sent and have not been read (TIOCOUTQ).
    fn unread(&self) -> Result;

    /// What is possible now.
    fn events(&self) -> Events;

    /// Who is told when that changes.
    fn queue(&self) -> &WaitQueue;

    /// Bytes of the kernel's memory that closing it would free; takes no lock.
    fn kernel_memory(&self) -> usize;

    /// For what may hold files that hold files.
    fn holder(&self) -> Option<Arc<dyn Holder>> {
        None
    }
}
