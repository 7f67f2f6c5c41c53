// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an interface's owner does about what has come: requests are answered, established or refused.

use alloc::vec::Vec;

use smoltcp::{
    iface::{SocketSet, SocketStorage},
    phy::ChecksumCapabilities,
    socket::tcp,
    wire::EthernetFrame,
};

use super::{
    NetworkError,
    arrivals::{Answer, Arrived, Datagram, Request},
    classify::{self, Key},
    half_open::{self, Made, Where},
    interface::{Inner, Interface},
    link::instant,
    places::Stream,
    streams::set_of_one,
};

impl Interface {
    /// The next that has come.
    pub fn arrived(&self) -> Option<Arrived> {
        self.inner().arrivals.pop_front()
    }

    /// Answers a request for a connection. It takes little memory until the other machine has shown that it has got the answer.
    pub fn answer(&self, request: &Request, answer: Answer, now_ns: u64) {
        self.inner().answer(request, answer, now_ns);
    }

    /// The connection is there that such a request has made, with a buffer for what is sent of `send` bytes. `owner` is what
    /// [`changed`](Self::changed) calls it.
    ///
    /// # Errors
    /// [`NetworkError::Unreachable`] if the request is not as it should be, [`NetworkError::QueueFull`] if there are too many connections.
    pub fn establish(
        &self,
        request: Request,
        send: usize,
        owner: u64,
        now_ns: u64,
    ) -> Result<Stream, NetworkError> {
        self.inner().establish(request, send, owner, now_ns)
    }

    /// Says that nobody listens there.
    pub fn refuse(&self, request: Request, now_ns: u64) {
        self.inner().refuse(request.frame, now_ns);
    }

    /// Says that nobody has that port.
    pub fn refuse_datagram(&self, datagram: Datagram, now_ns: u64) {
        self.inner().refuse(datagram.frame, now_ns);
    }

    /// How many connections are being made for other machines.
    pub fn half_open(&self) -> usize {
        self.inner().half_open.len()
    }
}

impl Inner {
    fn place(&self) -> Option<Where> {
        Some(Where { address: self.address?, mtu: self.link.mtu() })
    }

    fn answer(&mut self, request: &Request, answer: Answer, now_ns: u64) {
        let key = request.key;
        let is_ethernet = self.link.hardware_address().is_some();
        let sums = ChecksumCapabilities::default();
        let Some(asked) = classify::segment(&request.frame, is_ethernet, &sums) else { return };
        if let Some(known) = self.half_open.get(&key) {
            if known.request == asked {
                self.answer_again(&key, now_ns);
                return;
            }
        }
        let from = match EthernetFrame::new_checked(&request.frame) {
            Ok(frame) if is_ethernet => frame.src_addr().0,
            _ => [0; 6],
        };
        let Answer { seed, receive, most } = answer;
        let Some((packet, awaited)) = self.packet(&key, &asked, seed, receive, now_ns) else { return };
        let made = Made { request: asked, from, seed, receive, awaited };
        self.half_open.add(key, made, most, &mut self.timers, now_ns);
        self.link.send_to(from, &packet);
    }

    /// The answer to a request.
    fn packet(
        &mut self,
        key: &Key,
        asked: &smoltcp::wire::TcpRepr<'static>,
        seed: u64,
        receive: usize,
        now_ns: u64,
    ) -> Option<(Vec<u8>, u32)> {
        let at = self.place()?;
        let more = receive.saturating_sub(self.scratch.len());
        self.scratch.try_reserve(more).ok()?;
        self.scratch.resize(self.scratch.len() + more, 0);
        let received = self.scratch.get_mut(..receive)?;
        let mut sent = [0];
        let mut storage = [SocketStorage::EMPTY];
        let mut sockets = SocketSet::new(&mut storage[..]);
        let socket =
            tcp::Socket::new(tcp::SocketBuffer::new(received), tcp::SocketBuffer::new(&mut sent[..]));
        let handle = sockets.add(socket);
        half_open::answer(&mut sockets, handle, key, (asked, seed), at, instant(now_ns))
    }

    /// Sends an answer again.
    pub(super) fn answer_again(&mut self, key: &Key, now_ns: u64) {
        let Some(known) = self.half_open.get(key).cloned() else { return };
        if let Some((packet, _)) = self.packet(key, &known.request, known.seed, known.receive, now_ns) {
            self.link.send_to(known.from, &packet);
        }
    }

    fn establish(
        &mut self,
        request: Request,
        send: usize,
        owner: u64,
        now_ns: u64,
    ) -> Result<Stream, NetworkError> {
        let Request { frame, key } = request;
        let known = self.half_open.get(&key).cloned().ok_or(NetworkError::Unreachable)?;
        let at = self.place().filter(|_| !self.is_gone).ok_or(NetworkError::Unreachable)?;
        let [received, sent] = self.streams.buffers([known.receive, send])?.map(tcp::SocketBuffer::new);
        let (mut sockets, handle) = set_of_one(tcp::Socket::new(received, sent))?;
        let now = instant(now_ns);
        half_open::answer(&mut sockets, handle, &key, (&known.request, known.seed), at, now)
            .ok_or(NetworkError::Unreachable)?;
        self.link.incoming = frame;
        self.link.feed(now, &mut sockets);
        let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
        if !matches!(socket.state(), tcp::State::Established | tcp::State::CloseWait) {
            return Err(NetworkError::Unreachable);
        }
        let number = self.streams.add(key, owner, (sockets, handle))?;
        self.half_open.remove(&key, &mut self.timers);
        Ok(Stream(number))
    }

    fn refuse(&mut self, frame: Vec<u8>, now_ns: u64) {
        self.link.incoming = frame;
        self.link.feed(instant(now_ns), &mut self.none);
    }
}
