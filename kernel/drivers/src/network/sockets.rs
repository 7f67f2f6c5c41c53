// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections of an interface with other machines. The protocol is smoltcp's. What is done here waits until the interface is polled, and
//! what a poll has changed is told after it.

use alloc::vec::Vec;

use smoltcp::{
    socket::tcp,
    time::Duration,
    wire::{IpAddress, IpEndpoint},
};

use super::{
    NetworkError,
    classify::Key,
    datagrams,
    interface::Interface,
    streams::{phase, set_of_one},
};

pub use super::places::{Phase, Remote, Status, Stream};

/// How long the other machine of a connection that was let go may be silent.
const LEAVING_S: u64 = 60;

impl Interface {
    /// Does something with a connection, after which it may have something to send.
    fn with<R>(&self, stream: &Stream, with: impl FnOnce(&mut tcp::Socket<'static>) -> R) -> Option<R> {
        let mut inner = self.inner();
        let result = with(inner.streams.get(stream.0)?.socket());
        inner.streams.dirty(stream.0);
        Some(result)
    }

    /// What all connections together may cost, in bytes.
    pub fn limit_memory(&self, bytes: usize) {
        self.inner().streams.limit = bytes;
    }

    /// What they cost, and how many there are.
    pub fn cost(&self) -> (usize, usize) {
        let inner = self.inner();
        (inner.streams.cost(), inner.streams.len())
    }

    /// How many sockets were looked at so far, for all frames together.
    pub fn looked_at(&self) -> u64 {
        self.inner().link.looked_at
    }

    /// Begins to connect from a port to another machine, with buffers of these sizes for what is received, and for what is sent. An attempt is given up
    /// when the other machine has been silent for so long. `owner` is what [`changed`](Self::changed) calls it.
    ///
    /// # Errors
    /// [`NetworkError::Unreachable`], [`NetworkError::QueueFull`] if there are too many connections, [`NetworkError::InUse`].
    pub fn connect(
        &self,
        from: u16,
        to: Remote,
        sizes: [usize; 2],
        patience_s: u64,
        owner: u64,
    ) -> Result<Stream, NetworkError> {
        self.reaches(to.0).ok_or(NetworkError::Unreachable)?;
        let mut inner = self.inner();
        let own = inner.address.ok_or(NetworkError::Unreachable)?.address();
        let [received, sent] = inner.streams.buffers(sizes)?.map(tcp::SocketBuffer::new);
        let mut socket = tcp::Socket::new(received, sent);
        socket.set_timeout(Some(Duration::from_secs(patience_s)));
        let local = IpEndpoint { addr: IpAddress::Ipv4(own), port: from };
        socket
            .connect(inner.link.stack.context(), (IpAddress::Ipv4(to.0), to.1), local)
            .map_err(|_| NetworkError::Unreachable)?;
        let key = Key { own: (own, from), remote: to };
        inner.streams.add(key, owner, set_of_one(socket)?).map(Stream)
    }

    /// The owner's number for the next connection that something has happened to.
    pub fn changed(&self) -> Option<u64> {
        self.inner().streams.changed()
    }

    /// How long the other machine may leave unanswered what was sent; for ever if nothing is said.
    pub fn set_patience(&self, stream: &Stream, seconds: Option<u64>) {
        self.with(stream, |socket| socket.set_timeout(seconds.map(Duration::from_secs)));
    }

    /// Whether small segments wait for others to be acknowledged.
    pub fn set_delay(&self, stream: &Stream, waits: bool) {
        self.with(stream, |socket| socket.set_nagle_enabled(waits));
    }

    /// What a connection can do now.
    pub fn status(&self, stream: &Stream) -> Status {
        let mut inner = self.inner();
        let Some(connection) = inner.streams.get(stream.0) else { return Status::GONE };
        let socket = connection.socket();
        Status {
            phase: phase(socket),
            readable: socket.recv_queue(),
            is_finished: matches!(
                socket.state(),
                tcp::State::CloseWait
                    | tcp::State::LastAck
                    | tcp::State::Closing
                    | tcp::State::TimeWait
                    | tcp::State::Closed
            ),
        }
    }

    /// Sends as many of these bytes as there is room for.
    ///
    /// # Errors
    /// [`NetworkError::Gone`] if the connection sends no more.
    pub fn send(&self, stream: &Stream, bytes: &[u8]) -> Result<usize, NetworkError> {
        let sent = self.with(stream, |socket| socket.send_slice(bytes));
        sent.and_then(Result::ok).ok_or(NetworkError::Gone)
    }

    /// Takes bytes that have come, or looks at them; 0 if there are none, [`Status`] says why.
    pub fn receive(&self, stream: &Stream, bytes: &mut [u8], looks: bool) -> usize {
        let received = self
            .with(stream, |socket| if looks { socket.peek_slice(bytes) } else { socket.recv_slice(bytes) });
        received.and_then(Result::ok).unwrap_or(0)
    }

    /// Says that nothing more is sent.
    pub fn finish(&self, stream: &Stream) {
        self.with(stream, tcp::Socket::close);
    }

    /// Breaks off a connection.
    pub fn abort(&self, stream: &Stream) {
        self.with(stream, tcp::Socket::abort);
    }

    /// Gives up a connection. What was sent goes on being sent until the other side has it; the buffers are freed after that.
    pub fn let_go(&self, stream: Stream) {
        let mut inner = self.inner();
        let Some(connection) = inner.streams.get(stream.0) else { return };
        connection.owner = None;
        let socket = connection.socket();
        // So that a machine that has gone does not keep it for ever.
        socket.set_timeout(Some(Duration::from_secs(LEAVING_S)));
        socket.close();
        inner.streams.leaving += 1;
        inner.streams.dirty(stream.0);
    }

    /// Whether no connection that was given up is still sending.
    pub fn is_quiet(&self) -> bool {
        self.inner().streams.leaving == 0
    }
}

impl Interface {
    /// Sends a datagram from a port.
    ///
    /// # Errors
    /// [`NetworkError::Unreachable`], [`NetworkError::TooLong`].
    pub fn send_datagram(
        &self,
        from: u16,
        to: Remote,
        mut bytes: Vec<u8>,
        now_ns: u64,
    ) -> Result<(), NetworkError> {
        self.reaches(to.0).ok_or(NetworkError::Unreachable)?;
        let mut inner = self.inner();
        if bytes.len() + datagrams::HEADERS > inner.link.mtu() {
            return Err(NetworkError::TooLong);
        }
        if !inner.link.has_room() {
            // As any may be lost.
            return Ok(());
        }
        let is_sent = datagrams::send(&mut inner.link, from, to, &mut bytes, now_ns)?;
        self.device().flush();
        if is_sent {
            return Ok(());
        }
        inner.outbox.keep(from, to, bytes, now_ns);
        Ok(())
    }
}
