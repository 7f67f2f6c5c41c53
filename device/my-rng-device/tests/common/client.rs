// SPDX-License-Identifier: MIT OR Apache-2.0
//! A raw vfio-user client. Requests of the device for guest memory are messages like any other: who waits for an answer
//! says what becomes of them.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

pub(crate) const VERSION: u16 = 1;
pub(crate) const DMA_MAP: u16 = 2;
pub(crate) const DMA_UNMAP: u16 = 3;
pub(crate) const GET_INFO: u16 = 4;
pub(crate) const SET_IRQS: u16 = 8;
pub(crate) const REGION_READ: u16 = 9;
pub(crate) const REGION_WRITE: u16 = 10;
pub(crate) const DMA_READ: u16 = 11;
pub(crate) const DMA_WRITE: u16 = 12;
pub(crate) const RESET: u16 = 13;

pub(crate) const REPLY: u32 = 1;
pub(crate) const NO_REPLY: u32 = 0x10;
pub(crate) const ERROR: u32 = 0x20;

pub(crate) const BAR0: u32 = 0;
pub(crate) const CONFIG: u32 = 7;

/// Nothing in these tests takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: u16,
    pub(crate) command: u16,
    pub(crate) flags: u32,
    pub(crate) error: u32,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    pub(crate) fn is_reply(&self) -> bool {
        self.flags & 0xf == REPLY
    }

    /// Address and count of a DMA message.
    pub(crate) fn dma_range(&self) -> (u64, usize) {
        let word = |at: usize| u64::from_ne_bytes(self.payload[at..at + 8].try_into().unwrap());
        (word(0), word(8) as usize)
    }
}

pub(crate) struct Client {
    pub(crate) socket: UnixStream,
    next_id: u16,
}

impl Client {
    /// Connects and agrees on a version.
    pub(crate) fn connect(path: &Path) -> Self {
        let start = Instant::now();
        loop {
            let mut client = Self::over(UnixStream::connect(path).unwrap());
            client.socket.set_read_timeout(Some(PATIENCE)).unwrap();
            client.socket.set_write_timeout(Some(PATIENCE)).unwrap();
            if client.send_bytes(&[&header(1, VERSION, 4, 0, 0)[..], &[0, 0, 1, 0]].concat(), &[])
                && let Some(answer) = client.receive()
            {
                assert_eq!((answer.flags, answer.error), (REPLY, 0));
                return client;
            }
            // The client before may not be quite gone.
            assert!(start.elapsed() < PATIENCE, "it is turned away");
        }
    }

    /// A client that has only connected.
    pub(crate) fn over(socket: UnixStream) -> Self {
        Self { socket, next_id: 0 }
    }

    /// Connects and agrees on a version, if the device is free.
    pub(crate) fn try_connect(path: &Path) -> Option<Self> {
        let socket = UnixStream::connect(path).ok()?;
        socket.set_read_timeout(Some(std::time::Duration::from_millis(500))).ok()?;
        let mut client = Self::over(socket);
        if !client.send_bytes(&[&header(1, VERSION, 4, 0, 0)[..], &[0, 0, 1, 0]].concat(), &[]) {
            return None;
        }
        let mut head = [0; 16];
        client.socket.read_exact(&mut head).ok()?;
        let size = u32::from_ne_bytes(head[4..8].try_into().unwrap());
        let mut rest = vec![0; size as usize - 16];
        client.socket.read_exact(&mut rest).ok()?;
        client.socket.set_read_timeout(Some(PATIENCE)).ok()?;
        Some(client)
    }

    /// Sends a request and returns its name.
    pub(crate) fn send(&mut self, command: u16, flags: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) -> u16 {
        self.next_id = self.next_id.wrapping_add(1);
        let id = self.next_id;
        assert!(self.send_bytes(&[&header(id, command, payload.len(), flags, 0), payload].concat(), fds));
        id
    }

    /// Sends bytes, whatever they are. `false`: the device has closed the connection.
    pub(crate) fn send_bytes(&mut self, mut bytes: &[u8], mut fds: &[BorrowedFd<'_>]) -> bool {
        while !bytes.is_empty() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(128))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() {
                assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
            }
            match sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => return false,
                Err(errno) => panic!("sending: {errno}"),
            }
            fds = &[];
        }
        true
    }

    /// Takes one message. `None`: the device has closed the connection.
    pub(crate) fn receive(&mut self) -> Option<Message> {
        let mut head = [0; 16];
        self.read(&mut head)?;
        let u16_at = |at: usize| u16::from_ne_bytes(head[at..at + 2].try_into().unwrap());
        let u32_at = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
        let mut payload = vec![0; u32_at(4) as usize - 16];
        self.read(&mut payload)?;
        Some(Message { id: u16_at(0), command: u16_at(2), flags: u32_at(8), error: u32_at(12), payload })
    }

    fn read(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.socket.read_exact(bytes) {
            Ok(()) => Some(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer"),
            Err(_) => None,
        }
    }

    /// Answers a request of the device.
    pub(crate) fn answer(&mut self, request: &Message, data: &[u8]) {
        let payload = [&request.payload[..16], data].concat();
        let head = header(request.id, request.command, payload.len(), REPLY, 0);
        self.send_bytes(&[&head[..], &payload].concat(), &[]);
    }

    /// Refuses a request of the device.
    pub(crate) fn refuse(&mut self, request: &Message, errno: u32) {
        let head = header(request.id, request.command, 0, REPLY | ERROR, errno);
        self.send_bytes(&head, &[]);
    }

    /// Sends a request and takes its answer. The device must not ask for memory meanwhile.
    #[track_caller]
    pub(crate) fn request(&mut self, command: u16, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Message {
        let id = self.send(command, 0, payload, fds);
        let answer = self.receive().expect("an answer");
        assert_eq!((answer.id, answer.command, answer.flags & 0xf), (id, command, REPLY));
        answer
    }

    #[track_caller]
    pub(crate) fn write(&mut self, region: u32, offset: usize, value: u32) {
        let answer = self.request(REGION_WRITE, &write(region, offset as u64, &value.to_le_bytes()), &[]);
        assert_eq!(answer.error, 0);
    }

    #[track_caller]
    pub(crate) fn read_register(&mut self, offset: usize) -> u32 {
        let answer = self.request(REGION_READ, &access(BAR0, offset as u64, 4), &[]);
        u32::from_le_bytes(answer.payload[16..20].try_into().unwrap())
    }
}

pub(crate) fn header(id: u16, command: u16, payload: usize, flags: u32, error: u32) -> Vec<u8> {
    let size = 16 + payload as u32;
    let mut bytes = [id.to_ne_bytes(), command.to_ne_bytes()].concat();
    bytes.extend([size, flags, error].iter().flat_map(|word| word.to_ne_bytes()));
    bytes
}

pub(crate) fn access(region: u32, offset: u64, count: u32) -> Vec<u8> {
    [&offset.to_ne_bytes()[..], &region.to_ne_bytes(), &count.to_ne_bytes()].concat()
}

pub(crate) fn write(region: u32, offset: u64, data: &[u8]) -> Vec<u8> {
    [&access(region, offset, data.len() as u32)[..], data].concat()
}

/// A map of guest memory that can be read and written.
pub(crate) fn dma_map(offset: u64, address: u64, size: u64) -> Vec<u8> {
    let mut payload = [32_u32.to_ne_bytes(), 3_u32.to_ne_bytes()].concat();
    payload.extend([offset, address, size].iter().flat_map(|number| number.to_ne_bytes()));
    payload
}

pub(crate) fn dma_unmap(flags: u32, address: u64, size: u64) -> Vec<u8> {
    let mut payload = [24_u32.to_ne_bytes(), flags.to_ne_bytes()].concat();
    payload.extend([address, size].iter().flat_map(|number| number.to_ne_bytes()));
    payload
}
