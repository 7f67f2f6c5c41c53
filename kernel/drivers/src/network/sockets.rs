// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets of an interface: TCP connections with other machines, and ports for datagrams. The protocols are smoltcp's. What is done here waits
//! until the interface is polled; who waits for something looks again after each poll.

use core::net::Ipv4Addr;

use alloc::{vec, vec::Vec};

use smoltcp::{
    iface::SocketHandle,
    socket::{AnySocket, tcp, udp},
    wire::{IpAddress, IpEndpoint, IpListenEndpoint},
};

use super::{
    NetworkError,
    interface::{Inner, Interface},
};

/// Most sockets of an interface: each frame that comes looks through them.
const MOST: usize = 256;
/// Datagrams that wait at a port.
const DATAGRAMS: usize = 64;

/// A TCP socket of an interface.
#[derive(Debug, PartialEq, Eq)]
pub struct Stream(SocketHandle);

/// A port for datagrams.
#[derive(Debug, PartialEq, Eq)]
pub struct Port(SocketHandle);

/// Where another machine's socket is.
pub type Remote = (Ipv4Addr, u16);

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for others.
    Listens,
    /// It is being made.
    Begins,
    /// It is there.
    Open,
    /// It is no more, or has never been.
    Over,
}

/// What a TCP socket can do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// How far it is.
    pub phase: Phase,
    /// Bytes that have come and were not read.
    pub readable: usize,
    /// Bytes that there is room for.
    pub room: usize,
    /// Bytes that were not acknowledged.
    pub unacknowledged: usize,
    /// The other side sends no more.
    pub is_finished: bool,
    /// The other side, once there is one.
    pub remote: Option<Remote>,
}

/// Buffers of a socket: for what is received, and for what is sent.
pub type Buffers = [Vec<u8>; 2];

fn remote(endpoint: IpEndpoint) -> Remote {
    // There is no other protocol.
    let IpAddress::Ipv4(address) = endpoint.addr;
    (address, endpoint.port)
}

impl Inner {
    pub(super) fn add<T: AnySocket<'static>>(&mut self, socket: T) -> Result<SocketHandle, NetworkError> {
        if self.sockets.iter().count() >= MOST {
            return Err(NetworkError::QueueFull);
        }
        Ok(self.sockets.add(socket))
    }
}

impl Interface {
    fn with<R>(&self, stream: &Stream, with: impl FnOnce(&mut tcp::Socket<'static>) -> R) -> R {
        with(self.inner().sockets.get_mut(stream.0))
    }

    /// Begins to connect from a port to another machine.
    ///
    /// # Errors
    /// [`NetworkError::Unreachable`], [`NetworkError::QueueFull`] if there are too many sockets.
    pub fn connect(&self, from: u16, to: Remote, buffers: Buffers) -> Result<Stream, NetworkError> {
        self.reaches(to.0).ok_or(NetworkError::Unreachable)?;
        let [received, sent] = buffers.map(tcp::SocketBuffer::new);
        let mut inner = self.inner();
        let own = inner.address.ok_or(NetworkError::Unreachable)?.address();
        let handle = inner.add(tcp::Socket::new(received, sent))?;
        let Inner { stack, sockets, .. } = &mut *inner;
        let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
        let local = IpEndpoint { addr: IpAddress::Ipv4(own), port: from };
        if socket.connect(stack.context(), (IpAddress::Ipv4(to.0), to.1), local).is_err() {
            sockets.remove(handle);
            return Err(NetworkError::Unreachable);
        }
        Ok(Stream(handle))
    }

    /// Waits for one connection to a port.
    ///
    /// # Errors
    /// [`NetworkError::QueueFull`], [`NetworkError::Unreachable`] for port 0.
    pub fn wait_at(&self, port: u16, buffers: Buffers) -> Result<Stream, NetworkError> {
        let [received, sent] = buffers.map(tcp::SocketBuffer::new);
        let mut socket = tcp::Socket::new(received, sent);
        socket.listen(IpListenEndpoint { addr: None, port }).map_err(|_| NetworkError::Unreachable)?;
        self.inner().add(socket).map(Stream)
    }

    /// Says that sockets wait at a port: a request to connect that comes while all have got a connection is dropped rather than refused, so that it is
    /// sent again.
    ///
    /// # Errors
    /// [`NetworkError::QueueFull`] if there is no memory for it.
    pub fn begin_to_wait_at(&self, port: u16) -> Result<(), NetworkError> {
        if self.inner().waiting.add(port) { Ok(()) } else { Err(NetworkError::QueueFull) }
    }

    /// They wait no more.
    pub fn end_waiting_at(&self, port: u16) {
        self.inner().waiting.remove(port);
    }

    /// What a connection can do now.
    pub fn status(&self, stream: &Stream) -> Status {
        self.with(stream, |socket| Status {
            phase: match socket.state() {
                tcp::State::Listen => Phase::Listens,
                tcp::State::SynSent | tcp::State::SynReceived => Phase::Begins,
                tcp::State::Closed | tcp::State::TimeWait => Phase::Over,
                _ => Phase::Open,
            },
            readable: socket.recv_queue(),
            room: if socket.may_send() { socket.send_capacity() - socket.send_queue() } else { 0 },
            unacknowledged: socket.send_queue(),
            is_finished: matches!(
                socket.state(),
                tcp::State::CloseWait
                    | tcp::State::LastAck
                    | tcp::State::Closing
                    | tcp::State::TimeWait
                    | tcp::State::Closed
            ),
            remote: socket.remote_endpoint().map(remote),
        })
    }

    /// Sends as many of these bytes as there is room for.
    ///
    /// # Errors
    /// [`NetworkError::Gone`] if the connection sends no more.
    pub fn send(&self, stream: &Stream, bytes: &[u8]) -> Result<usize, NetworkError> {
        self.with(stream, |socket| socket.send_slice(bytes)).map_err(|_| NetworkError::Gone)
    }

    /// Takes bytes that have come, or looks at them; 0 if there are none, [`Status`] says why.
    pub fn receive(&self, stream: &Stream, bytes: &mut [u8], looks: bool) -> usize {
        let received = self
            .with(stream, |socket| if looks { socket.peek_slice(bytes) } else { socket.recv_slice(bytes) });
        received.unwrap_or(0)
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
        let socket = inner.sockets.get_mut::<tcp::Socket<'_>>(stream.0);
        // So that a machine that has gone does not keep it for ever.
        socket.set_timeout(Some(smoltcp::time::Duration::from_secs(60)));
        socket.close();
        inner.leaving.push(stream.0);
    }

    /// Whether no connection that was given up is still sending.
    pub fn is_quiet(&self) -> bool {
        self.inner().leaving.is_empty()
    }

    /// Opens a port for datagrams.
    ///
    /// # Errors
    /// [`NetworkError::QueueFull`], [`NetworkError::Unreachable`] for port 0.
    pub fn open_port(&self, port: u16, buffers: Buffers) -> Result<Port, NetworkError> {
        let [received, sent] =
            buffers.map(|bytes| udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; DATAGRAMS], bytes));
        let mut socket = udp::Socket::new(received, sent);
        socket.bind(port).map_err(|_| NetworkError::Unreachable)?;
        self.inner().add(socket).map(Port)
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// [`NetworkError::Unreachable`], [`NetworkError::QueueFull`], [`NetworkError::TooLong`].
    pub fn send_datagram(&self, port: &Port, to: Remote, bytes: &[u8]) -> Result<(), NetworkError> {
        self.reaches(to.0).ok_or(NetworkError::Unreachable)?;
        let mut inner = self.inner();
        let socket = inner.sockets.get_mut::<udp::Socket<'_>>(port.0);
        if bytes.len() > socket.payload_send_capacity() {
            return Err(NetworkError::TooLong);
        }
        socket.send_slice(bytes, (IpAddress::Ipv4(to.0), to.1)).map_err(|error| match error {
            udp::SendError::BufferFull => NetworkError::QueueFull,
            udp::SendError::Unaddressable => NetworkError::Unreachable,
        })
    }

    /// Takes a datagram that has come: how many bytes it had, and where it is from. What there is no room for in `bytes` is lost.
    pub fn receive_datagram(&self, port: &Port, bytes: &mut [u8]) -> Option<(usize, Remote)> {
        let mut inner = self.inner();
        let (datagram, from) = inner.sockets.get_mut::<udp::Socket<'_>>(port.0).recv().ok()?;
        for (to, from) in bytes.iter_mut().zip(datagram) {
            *to = *from;
        }
        Some((datagram.len(), remote(from.endpoint)))
    }

    /// Closes a port.
    pub fn close_port(&self, port: Port) {
        self.inner().sockets.remove(port.0);
    }
}

impl Inner {
    /// Frees the connections that were given up and are over.
    pub(super) fn free_what_has_left(&mut self) {
        let Self { sockets, leaving, .. } = self;
        leaving.retain(|handle| {
            let state = sockets.get::<tcp::Socket<'_>>(*handle).state();
            let is_over = matches!(state, tcp::State::Closed | tcp::State::TimeWait);
            if is_over {
                sockets.remove(*handle);
            }
            !is_over
        });
    }
}
