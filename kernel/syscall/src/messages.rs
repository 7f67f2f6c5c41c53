// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls that send and receive: buffers, addresses and the structures of messages.

use arrayvec::ArrayVec;
use exo_hal::time;
use exo_logic::credentials::{Ids, capability};
use linux_raw_sys::net;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use alloc::{sync::Arc, vec::Vec};

use super::sockets::{is_non_blocking, read_address, socket_of, write_address};
use crate::{
    errno::{Errno, Result},
    fs::OpenFile,
    io_buf::{IoBuf, IoSource},
    net::{
        address::{Address, LONGEST},
        socket::{ControlMessage, How, LONGEST_CONTROL, Outgoing, Received, Sender, Socket, Told},
        unix::{MOST_FILES, may_be_sent},
    },
    sched::spans,
    task::{credentials::capable, current, table},
    user::{self, IoVec, TimeSpec},
};

/// Most messages of sendmmsg, and most buffers of one message (UIO_MAXIOV).
const MOST_PARTS: usize = 1024;
const SCM_CREDENTIALS: u32 = 2;
/// Only the first message is waited for.
const MSG_WAITFORONE: u32 = 0x10000;

fn how(no_wait: bool, flags: u32) -> How {
    How {
        no_wait: no_wait || flags & net::MSG_DONTWAIT != 0,
        no_signal: flags & net::MSG_NOSIGNAL != 0,
        peek: flags & net::MSG_PEEK != 0,
        wait_all: flags & net::MSG_WAITALL != 0,
        out_of_band: flags & net::MSG_OOB != 0,
        wants_address: false,
        discard: flags & net::MSG_TRUNC != 0,
    }
}

/// What goes with a message's bytes.
#[derive(Default)]
struct Control {
    files: Vec<Arc<OpenFile>>,
    sender: Option<Sender>,
    others: Vec<ControlMessage>,
}

/// Most control messages of other levels with one message.
const MOST_OTHERS: usize = 16;

/// What the call answers: with MSG_TRUNC the length of the message rather than of what was copied.
fn answered(flags: u32, received: &Received) -> usize {
    if flags & net::MSG_TRUNC != 0 { received.length } else { received.bytes }
}

pub(super) fn sendto(fd: i32, from: usize, length: usize, flags: u32, to: usize, size: u32) -> Result {
    let file = current().files.get(fd)?;
    let socket = socket_of(&file)?;
    let to = if to != 0 && size != 0 { Some(read_address(to, size)?) } else { None };
    let how = how(is_non_blocking(&file), flags);
    let outgoing = Outgoing { how, to: to.as_ref(), ..Outgoing::default() };
    socket.send(outgoing, &mut IoSource::user(from, length.min(user::MAX_IO)))
}

pub(super) fn recvfrom(fd: i32, to: usize, length: usize, flags: u32, name: usize, size: usize) -> Result {
    let file = current().files.get(fd)?;
    let socket = socket_of(&file)?;
    let how = How { wants_address: name != 0, ..how(is_non_blocking(&file), flags) };
    let mut to = IoBuf::user(to, length.min(user::MAX_IO));
    let received = if flags & net::MSG_ERRQUEUE == 0 {
        socket.receive(how, &mut to)?
    } else {
        receive_failed(socket, how, &mut to, &mut Told::default())?
    };
    if name != 0 {
        write_address(&received.from.clone().unwrap_or_default(), name, size)?;
    }
    Ok(answered(flags, &received))
}

/// Receives what has failed, where that is something else than what has come.
#[cold]
fn receive_failed(socket: &dyn Socket, how: How, to: &mut IoBuf<'_>, told: &mut Told) -> Result<Received> {
    socket.receive_failed(how, to, told).unwrap_or_else(|| socket.receive(how, to))
}

/// `struct msghdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct MessageHeader {
    name: usize,
    name_length: u32,
    padding: u32,
    vector: usize,
    vector_count: usize,
    control: usize,
    control_length: usize,
    flags: u32,
    padding_at_the_end: u32,
}

/// `struct cmsghdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct ControlHeader {
    length: usize,
    level: u32,
    kind: u32,
}

const HEADER: usize = size_of::<ControlHeader>();
/// Linux's limit of a message's ancillary data (net.core.optmem_max).
const MOST_CONTROL: usize = 131_072;

fn aligned(length: usize) -> usize {
    length.next_multiple_of(8)
}

impl MessageHeader {
    fn read(at: usize) -> Result<Self> {
        let header: Self = user::read(at)?;
        if header.vector_count > MOST_PARTS {
            return Err(Errno::EMSGSIZE);
        }
        Ok(header)
    }

    fn parts(&self) -> Result<Vec<IoVec>> {
        user::read_vector(self.vector, self.vector_count)
    }

    /// The address that is in it; one of no bytes is none.
    fn address(&self) -> Result<Option<Address>> {
        if self.name == 0 || self.name_length == 0 {
            return Ok(None);
        }
        if i32::try_from(self.name_length).is_err() {
            return Err(Errno::EINVAL);
        }
        // As on Linux, what is longer than an address can be is cut.
        read_address(self.name, self.name_length.min(LONGEST as u32)).map(Some)
    }
}

/// Reads what goes with a message.
fn control(header: &MessageHeader, takes_others: bool) -> Result<Control> {
    let mut control = Control::default();
    if header.control_length > MOST_CONTROL {
        return Err(Errno::ENOBUFS);
    }
    if header.control == 0 {
        return Ok(control);
    }
    let mut at = 0;
    while header.control_length.saturating_sub(at) >= HEADER {
        let address = header.control.wrapping_add(at);
        let part: ControlHeader = user::read(address)?;
        if part.length < HEADER || part.length > header.control_length - at {
            return Err(Errno::EINVAL);
        }
        let data = address.wrapping_add(HEADER);
        match (part.level, part.kind) {
            (level, _) if level != net::SOL_SOCKET && takes_others => {
                control.others.push(other(part, data, control.others.len())?);
            }
            // What is for another level is not looked at, as on Linux.
            (level, _) if level != net::SOL_SOCKET => {}
            (_, net::SCM_RIGHTS) => add_files(&mut control.files, data, (part.length - HEADER) / 4)?,
            (_, SCM_CREDENTIALS) if part.length == HEADER + size_of::<Sender>() => {
                control.sender = Some(check_sender(user::read(data)?)?);
            }
            _ => return Err(Errno::EINVAL),
        }
        at += aligned(part.length);
        // There may be thousands of them.
        if spans::point() {
            return Err(Errno::EINTR);
        }
    }
    Ok(control)
}

/// A control message that only some families know; there are `before` already.
fn other(part: ControlHeader, at: usize, before: usize) -> Result<ControlMessage> {
    let mut data = [0; LONGEST_CONTROL];
    let data = data.get_mut(..part.length - HEADER).ok_or(Errno::EINVAL)?;
    if before == MOST_OTHERS {
        return Err(Errno::ENOBUFS);
    }
    user::copy_in(data, at)?;
    Ok(ControlMessage { level: part.level, kind: part.kind, data: data.iter().copied().collect() })
}

/// Adds the files of `count` descriptors.
fn add_files(files: &mut Vec<Arc<OpenFile>>, at: usize, count: usize) -> Result<()> {
    if count + files.len() > MOST_FILES {
        return Err(Errno::EINVAL);
    }
    files.try_reserve(count).map_err(|_| Errno::ENOMEM)?;
    for index in 0..count {
        let file = current().files.get(user::read(at.wrapping_add(index * 4))?)?;
        files.push(if may_be_sent(&file) { Ok(file) } else { Err(Errno::EINVAL) }?);
    }
    Ok(())
}

/// Whether the program may say that it is this one: each id is one of its own, unless it may have any.
///
/// # Errors
/// EPERM if not, ESRCH for a process that there is not.
fn check_sender(said: Sender) -> Result<Sender> {
    let own = current().credentials.get();
    let is_one = |id: u32, ids: &Ids| [ids.real, ids.effective, ids.saved].contains(&id);
    let is_own = said.pid == current().pid;
    let may = (is_own || capable(capability::SYS_ADMIN))
        && (is_one(said.uid, &own.users) || capable(capability::SETUID))
        && (is_one(said.gid, &own.groups) || capable(capability::SETGID));
    if !may {
        return Err(Errno::EPERM);
    }
    if !is_own && table::process(said.pid).is_none() {
        return Err(Errno::ESRCH);
    }
    Ok(said)
}

/// Sends the message that is described at `message`.
fn send_message(file: &OpenFile, message: usize, flags: u32) -> Result {
    let socket = socket_of(file)?;
    let header = MessageHeader::read(message)?;
    let to = header.address()?;
    let parts = header.parts()?;
    let Control { files, sender, others } = control(&header, socket.takes_control())?;
    let how = how(is_non_blocking(file), flags);
    let outgoing = Outgoing { how, to: to.as_ref(), files, sender };
    let mut from = IoSource::vector(&parts);
    if others.is_empty() {
        socket.send(outgoing, &mut from)
    } else {
        socket.send_with(outgoing, &others, &mut from)
    }
}

pub(super) fn sendmsg(fd: i32, message: usize, flags: u32) -> Result {
    let file = current().files.get(fd)?;
    send_message(&file, message, flags)
}

/// Writes a part of the ancillary data, as far as there is room for it; whether it was whole.
fn put_control(
    header: &MessageHeader,
    used: &mut usize,
    [level, kind]: [u32; 2],
    data: &[u8],
) -> Result<bool> {
    let room = header.control_length.saturating_sub(*used);
    if header.control == 0 || room < HEADER {
        return Ok(false);
    }
    let count = data.len().min(room - HEADER);
    let at = header.control.wrapping_add(*used);
    user::write(at, &ControlHeader { length: HEADER + count, level, kind })?;
    user::copy_out(at.wrapping_add(HEADER), data.get(..count).unwrap_or_default())?;
    *used += aligned(HEADER + count).min(room);
    Ok(count == data.len())
}

/// Enters files that were received, as many as the program has room to be told of; whether that was all.
fn put_files(
    header: &MessageHeader,
    used: &mut usize,
    files: Vec<Arc<OpenFile>>,
    flags: u32,
) -> Result<bool> {
    let room = if header.control == 0 { 0 } else { header.control_length.saturating_sub(*used) };
    let room = (room.saturating_sub(HEADER) / 4).min(MOST_FILES);
    let mut whole = files.len() <= room;
    // No allocation: the message is taken already, and a call that fails for memory would be done again.
    let mut numbers = ArrayVec::<i32, MOST_FILES>::new();
    let table = current().files.arc();
    for file in files.into_iter().take(room) {
        match table.add(file, flags & net::MSG_CMSG_CLOEXEC != 0, 0) {
            Ok(fd) => numbers.push(fd as i32),
            Err(_) => {
                whole = false;
                break;
            }
        }
    }
    if !numbers.is_empty() {
        put_control(header, used, [net::SOL_SOCKET, net::SCM_RIGHTS], numbers.as_bytes())?;
    }
    Ok(whole)
}

/// Receives into what is described at `message`.
fn receive_message(file: &OpenFile, message: usize, flags: u32) -> Result {
    let socket = socket_of(file)?;
    let mut header = MessageHeader::read(message)?;
    if header.name != 0 && i32::try_from(header.name_length).is_err() {
        return Err(Errno::EINVAL);
    }
    let parts = header.parts()?;
    let how = How { wants_address: header.name != 0, ..how(is_non_blocking(file), flags) };
    let mut told = Told::default();
    let mut to = IoBuf::vector(&parts);
    let mut received = if flags & net::MSG_ERRQUEUE == 0 {
        socket.receive_told(how, &mut to, &mut told)?
    } else {
        receive_failed(socket, how, &mut to, &mut told)?
    };
    if header.name != 0 {
        let from = received.from.clone().unwrap_or_default();
        let room = (header.name_length as usize).min(from.bytes().len());
        user::copy_out(header.name, from.bytes().get(..room).unwrap_or_default())?;
        header.name_length = from.bytes().len() as u32;
    }
    let (mut used, mut whole) = (0, true);
    if let Some(sender) = received.sender {
        whole &= put_control(&header, &mut used, [net::SOL_SOCKET, SCM_CREDENTIALS], sender.as_bytes())?;
    }
    let files = core::mem::take(&mut received.files);
    if !files.is_empty() {
        whole &= put_files(&header, &mut used, files, flags)?;
    }
    header.flags = flags & net::MSG_CMSG_CLOEXEC;
    for ControlMessage { level, kind, data } in &told.messages {
        whole &= put_control(&header, &mut used, [*level, *kind], data)?;
    }
    header.flags |= told.flags;
    if received.length > received.bytes {
        header.flags |= net::MSG_TRUNC;
    }
    if !whole {
        header.flags |= net::MSG_CTRUNC;
    }
    header.control_length = used;
    user::write(message, &header)?;
    Ok(answered(flags, &received))
}

pub(super) fn recvmsg(fd: i32, message: usize, flags: u32) -> Result {
    let file = current().files.get(fd)?;
    receive_message(&file, message, flags)
}

/// Bytes of `struct mmsghdr`: a message, and behind it the length that it turned out to have.
const EACH: usize = size_of::<MessageHeader>() + 8;

/// Does `step` for up to `count` messages of an array, and writes down what it said of each. The error of the first, else how many were done
/// and the error that ended that.
fn each_message(
    at: usize,
    count: usize,
    mut step: impl FnMut(usize, usize) -> Result<(usize, bool)>,
) -> Result<(usize, Option<Errno>)> {
    for index in 0..count {
        let message = at.wrapping_add(index.wrapping_mul(EACH));
        let done = step(index, message).and_then(|(length, goes_on)| {
            user::write(message.wrapping_add(size_of::<MessageHeader>()), &(length as u32))?;
            Ok(goes_on)
        });
        match done {
            Ok(true) if spans::point() => return Ok((index + 1, None)),
            Ok(true) => {}
            Ok(false) => return Ok((index + 1, None)),
            Err(error) if index == 0 => return Err(error),
            Err(error) => return Ok((index, Some(error))),
        }
    }
    Ok((count, None))
}

pub(super) fn sendmmsg(fd: i32, messages: usize, count: u32, flags: u32) -> Result {
    let file = current().files.get(fd)?;
    socket_of(&file)?;
    let sent = each_message(messages, (count as usize).min(MOST_PARTS), |_, message| {
        send_message(&file, message, flags).map(|length| (length, true))
    });
    sent.map(|(count, _)| count)
}

/// The time limit is looked at after each message: as on Linux it ends no wait.
pub(super) fn recvmmsg(fd: i32, messages: usize, count: u32, flags: u32, timeout: usize) -> Result {
    let end = match timeout {
        0 => None,
        at => Some(time::now_ns().saturating_add(user::read::<TimeSpec>(at)?.to_ns()?)),
    };
    let file = current().files.get(fd)?;
    let socket = socket_of(&file)?;
    if let Some(error) = socket.take_error() {
        return Err(error);
    }
    let (result, late) = each_message(messages, count as usize, |index, message| {
        let no_wait = flags & MSG_WAITFORONE != 0 && index > 0;
        let flags = flags & !MSG_WAITFORONE | if no_wait { net::MSG_DONTWAIT } else { 0 };
        let length = receive_message(&file, message, flags)?;
        Ok((length, end.is_none_or(|end| time::now_ns() < end)))
    })?;
    // As on Linux, the next call reports it, whatever it was. That this one was to wait or be restarted is over.
    if let Some(error) =
        late.filter(|error| *error != Errno::EAGAIN && *error != Errno::EINTR && !error.is_restart())
    {
        socket.keep_error(error);
    }
    if let Some(end) = end {
        user::write(timeout, &TimeSpec::from_ns(end.saturating_sub(time::now_ns())))?;
    }
    Ok(result)
}
