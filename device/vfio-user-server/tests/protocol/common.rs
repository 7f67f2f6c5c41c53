// SPDX-License-Identifier: MIT OR Apache-2.0
//! A server with a device that remembers, and a client that sends raw bytes, right and wrong ones.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::MemfdFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use vfio_user_server::{
    Client as Peer, Counters, Device, Errno, IrqIndex, Irqs, Limits, Listener, Region, RegionInfo, Regions,
    Server, Shutdown,
};

pub(crate) const VERSION: u16 = 1;
pub(crate) const DMA_MAP: u16 = 2;
pub(crate) const DMA_UNMAP: u16 = 3;
pub(crate) const GET_INFO: u16 = 4;
pub(crate) const GET_REGION_INFO: u16 = 5;
pub(crate) const GET_REGION_IO_FDS: u16 = 6;
pub(crate) const GET_IRQ_INFO: u16 = 7;
pub(crate) const SET_IRQS: u16 = 8;
pub(crate) const REGION_READ: u16 = 9;
pub(crate) const REGION_WRITE: u16 = 10;
pub(crate) const DMA_READ: u16 = 11;
pub(crate) const DMA_WRITE: u16 = 12;
pub(crate) const RESET: u16 = 13;

pub(crate) const REPLY: u32 = 1;
pub(crate) const NO_REPLY: u32 = 0x10;
pub(crate) const ERROR: u32 = 0x20;

pub(crate) const EPERM: u32 = 1;
pub(crate) const ENOENT: u32 = 2;
pub(crate) const EIO: u32 = 5;
pub(crate) const EEXIST: u32 = 17;
pub(crate) const EINVAL: u32 = 22;
pub(crate) const ENOSPC: u32 = 28;
pub(crate) const ENOSYS: u32 = 38;
pub(crate) const EMSGSIZE: u32 = 90;
pub(crate) const EOPNOTSUPP: u32 = 95;

/// Nothing in these tests takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Size of [`TestDevice`]'s BAR 0, which is plain memory, and the offset whose access fails with EIO.
pub(crate) const BAR0_SIZE: u64 = 4096;
pub(crate) const FAILING_OFFSET: u64 = 0x800;
/// BAR 1 can only be read, BAR 2 only be written.
pub(crate) const READ_ONLY_BAR: u32 = 1;
pub(crate) const WRITE_ONLY_BAR: u32 = 2;
pub(crate) const CONFIG: u32 = 7;
pub(crate) const MSIX_VECTORS: u16 = 8;

/// What the server asked of the device, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Read(u64, usize),
    Write(u64, Vec<u8>),
    Reset,
    Joined,
    Left,
}

/// BAR 0 is memory of 4 KiB, BAR 1 read-only, BAR 2 write-only, BAR 3 two MiB.
#[derive(Debug)]
pub(crate) struct TestDevice {
    memory: Vec<u8>,
    shared: Arc<Shared>,
}

/// What the tests see of the device.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    calls: Mutex<Vec<Call>>,
    peer: Mutex<Option<Peer>>,
}

impl Device for TestDevice {
    fn regions(&self) -> Regions {
        Regions::default()
            .with(Region::Bar0, RegionInfo::read_write(BAR0_SIZE))
            .with(Region::Bar1, RegionInfo::read_only(16))
            .with(Region::Bar2, RegionInfo::write_only(16))
            .with(Region::Bar3, RegionInfo::read_write(2 << 20))
            .with(Region::Config, RegionInfo::read_write(4096))
    }

    fn irqs(&self) -> Irqs {
        Irqs::default().with(IrqIndex::Intx, 1).with(IrqIndex::Msix, MSIX_VECTORS)
    }

    fn region_read(&mut self, region: Region, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        self.shared.calls.lock().unwrap().push(Call::Read(offset, data.len()));
        if region == Region::Bar0 {
            if offset == FAILING_OFFSET {
                return Err(Errno::IO);
            }
            let start = offset as usize;
            data.copy_from_slice(&self.memory[start..start + data.len()]);
        }
        Ok(())
    }

    fn region_write(&mut self, region: Region, offset: u64, data: &[u8]) -> Result<(), Errno> {
        self.shared.calls.lock().unwrap().push(Call::Write(offset, data.to_vec()));
        if region == Region::Bar0 {
            if offset == FAILING_OFFSET {
                return Err(Errno::IO);
            }
            let start = offset as usize;
            self.memory[start..start + data.len()].copy_from_slice(data);
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.shared.calls.lock().unwrap().push(Call::Reset);
        self.memory.fill(0);
    }

    fn client_joined(&mut self, client: &Peer) {
        self.shared.calls.lock().unwrap().push(Call::Joined);
        *self.shared.peer.lock().unwrap() = Some(client.clone());
    }

    fn client_left(&mut self) {
        self.shared.calls.lock().unwrap().push(Call::Left);
        *self.shared.peer.lock().unwrap() = None;
    }
}

/// A running server. Dropping it ends it, and fails the test if it does not end.
pub(crate) struct TestServer {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) counters: Arc<Counters>,
    shared: Arc<Shared>,
    shutdown: Shutdown,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    pub(crate) fn start() -> Self {
        Self::with_limits(Limits::default())
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = Listener::bind(&directory.path().join("socket")).unwrap();
        let shared = Arc::new(Shared::default());
        let device = TestDevice { memory: vec![0; BAR0_SIZE as usize], shared: shared.clone() };
        let mut server = Server::new(listener, device).with_limits(limits);
        let counters = server.counters();
        let shutdown = Shutdown::new().unwrap();
        let (end, ended) = channel();
        let their_shutdown = shutdown.clone();
        let thread = std::thread::spawn(move || {
            server.run(&their_shutdown).unwrap();
            drop(server);
            end.send(()).unwrap();
        });
        Self { directory, counters, shared, shutdown, ended, thread: Some(thread) }
    }

    /// A client that has only connected.
    pub(crate) fn connect(&self) -> Client {
        Client::over(UnixStream::connect(self.directory.path().join("socket")).unwrap())
    }

    /// A client that has exchanged versions.
    pub(crate) fn client(&self) -> Client {
        let mut client = self.connect();
        client.negotiate("{}");
        client
    }

    /// What the device was asked, once `wanted` is the last of it.
    pub(crate) fn calls_until(&self, wanted: &Call) -> Vec<Call> {
        wait_for(&format!("the call {wanted:?}"), || {
            self.shared.calls.lock().unwrap().last() == Some(wanted)
        });
        self.calls()
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// What the device knows of its client.
    pub(crate) fn peer(&self) -> Peer {
        self.shared.peer.lock().unwrap().clone().expect("a client has joined")
    }

    /// Has the server end.
    pub(crate) fn begin_stop(&self) {
        self.shutdown.trigger();
    }

    /// Ends the server and waits for it.
    pub(crate) fn stop(&mut self) {
        self.shutdown.trigger();
        if let Some(thread) = self.thread.take() {
            if self.ended.recv_timeout(PATIENCE).is_err() && !thread.is_finished() {
                panic!("the server hangs");
            }
            thread.join().expect("the server's thread panicked");
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

/// A message as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: u16,
    pub(crate) command: u16,
    pub(crate) flags: u32,
    pub(crate) error: u32,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    /// The payload of a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Vec<u8> {
        assert_eq!((self.flags, self.error), (REPLY, 0), "command {} failed", self.command);
        self.payload
    }

    /// The errno of a failure.
    #[track_caller]
    pub(crate) fn errno(self) -> u32 {
        assert_eq!(self.flags, REPLY | ERROR, "command {} succeeded", self.command);
        assert!(self.payload.is_empty(), "a failure has no payload");
        assert_ne!(self.error, 0, "QEMU would take this for success");
        self.error
    }
}

/// A raw client.
pub(crate) struct Client {
    pub(crate) socket: UnixStream,
    next_id: u16,
}

impl Client {
    /// A client that has only connected.
    pub(crate) fn over(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { socket, next_id: 0x100 }
    }

    /// Sends the version with JSON, or nothing after the numbers if `json` is empty.
    pub(crate) fn negotiate(&mut self, json: &str) -> Vec<u8> {
        self.request(VERSION, &version(0, 1, json), &[]).ok()
    }

    /// Sends a request and takes its answer.
    #[track_caller]
    pub(crate) fn request(&mut self, command: u16, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Message {
        let id = self.send(command, 0, payload, fds);
        let answer = self.receive();
        assert_eq!((answer.id, answer.command), (id, command), "the answer is to something else");
        answer
    }

    /// Sends a message with any flags and returns its id.
    pub(crate) fn send(&mut self, command: u16, flags: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) -> u16 {
        self.next_id += 1;
        let size = 16 + payload.len() as u32;
        self.send_bytes(&[&header(self.next_id, command, size, flags), payload].concat(), fds);
        self.next_id
    }

    /// Sends bytes in one message, whatever they are.
    pub(crate) fn send_bytes(&mut self, mut bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut fds = fds;
        while !bytes.is_empty() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(128))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() {
                assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
            }
            let sent =
                sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
            bytes = &bytes[sent..];
            fds = &[];
        }
    }

    /// Takes one message. The server never sends descriptors.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Message {
        let mut head = [0; 16];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut head)];
        let received =
            recvmsg(&self.socket, &mut slices, &mut control, RecvFlags::WAITALL).expect("an answer");
        assert_eq!(received.bytes, 16, "the server closed the connection");
        assert_eq!(control.drain().count(), 0, "the server sends no descriptors");
        let u16_at = |at: usize| u16::from_ne_bytes(head[at..at + 2].try_into().unwrap());
        let u32_at = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
        let mut payload = vec![0; u32_at(4) as usize - 16];
        self.socket.read_exact(&mut payload).unwrap();
        Message { id: u16_at(0), command: u16_at(2), flags: u32_at(8), error: u32_at(12), payload }
    }

    /// Asserts that the server closed the connection, without another message.
    #[track_caller]
    pub(crate) fn assert_closed(&mut self) {
        match self.socket.read(&mut [0; 64]) {
            Ok(0) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            other => panic!("the connection is not closed: {other:?}"),
        }
    }

    /// Asserts that the stream is in step and the server well: an ordinary request is answered.
    #[track_caller]
    pub(crate) fn assert_in_step(&mut self) {
        let info = self.request(GET_INFO, &get_info(16), &[]).ok();
        assert_eq!(info.len(), 16);
    }

    /// Writes as fast as the server takes it, in pieces of one byte.
    pub(crate) fn dribble(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.socket.write_all(&[*byte]).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

pub(crate) fn header(id: u16, command: u16, size: u32, flags: u32) -> Vec<u8> {
    [
        &id.to_ne_bytes()[..],
        &command.to_ne_bytes(),
        &size.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &0_u32.to_ne_bytes(),
    ]
    .concat()
}

pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

pub(crate) fn version(major: u16, minor: u16, json: &str) -> Vec<u8> {
    let mut payload = [major.to_ne_bytes(), minor.to_ne_bytes()].concat();
    if !json.is_empty() {
        payload.extend(json.as_bytes());
        payload.push(0);
    }
    payload
}

pub(crate) fn get_info(argsz: u32) -> Vec<u8> {
    words(&[argsz, 0, 0, 0])
}

pub(crate) fn get_region_info(index: u32) -> Vec<u8> {
    words(&[32, 0, index, 0, 0, 0, 0, 0])
}

pub(crate) fn get_irq_info(index: u32) -> Vec<u8> {
    words(&[16, 0, index, 0])
}

pub(crate) fn set_irqs(flags: u32, index: u32, start: u32, count: u32) -> Vec<u8> {
    words(&[20, flags, index, start, count])
}

pub(crate) fn access(region: u32, offset: u64, count: u32) -> Vec<u8> {
    [&offset.to_ne_bytes()[..], &region.to_ne_bytes(), &count.to_ne_bytes()].concat()
}

pub(crate) fn write(region: u32, offset: u64, data: &[u8]) -> Vec<u8> {
    [&access(region, offset, data.len() as u32)[..], data].concat()
}

/// A map of guest memory that can be read and written.
pub(crate) fn dma_map(offset: u64, address: u64, size: u64) -> Vec<u8> {
    dma_map_with(3, offset, address, size)
}

pub(crate) fn dma_map_with(flags: u32, offset: u64, address: u64, size: u64) -> Vec<u8> {
    let mut payload = words(&[32, flags]);
    payload.extend([offset, address, size].iter().flat_map(|number| number.to_ne_bytes()));
    payload
}

pub(crate) fn dma_unmap(flags: u32, address: u64, size: u64) -> Vec<u8> {
    let mut payload = words(&[24, flags]);
    payload.extend([address, size].iter().flat_map(|number| number.to_ne_bytes()));
    payload
}

/// Guest memory as QEMU shares it.
pub(crate) fn memory_file(size: u64) -> File {
    let file = File::from(rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(size).unwrap();
    file
}

pub(crate) fn new_eventfd() -> OwnedFd {
    eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap()
}

/// How often an eventfd was signalled since the last look.
pub(crate) fn signals(eventfd: &OwnedFd) -> u64 {
    let mut count = [0; 8];
    match rustix::io::read(eventfd.as_fd(), &mut count) {
        Ok(_) => u64::from_ne_bytes(count),
        Err(rustix::io::Errno::AGAIN) => 0,
        Err(errno) => panic!("{errno}"),
    }
}

/// Waits until something that another thread does has happened.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
