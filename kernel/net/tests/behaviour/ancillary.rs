// SPDX-License-Identifier: MIT OR Apache-2.0
//! What comes with bytes: files, and who has sent them.

use exo_test_support::{call, programs::*};
use linux_raw_sys::net;

use crate::support::*;

const SCM_CREDENTIALS: u32 = 2;
/// Bytes of a `struct cmsghdr`.
const HEADER: usize = 16;

/// Ancillary data of one kind.
fn control(kind: u32, words: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend((HEADER + 4 * words.len()).to_le_bytes());
    out.extend(net::SOL_SOCKET.to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

/// `struct msghdr` with one buffer.
fn header(at: usize, length: usize, control: usize, control_length: usize) -> usize {
    put(&[0, 0, put(&[at, length]), 1, control, control_length, 0])
}

fn send_with(fd: usize, bytes: &[u8], control: &[u8]) -> Result {
    let message = header(put_bytes(bytes), bytes.len(), put_bytes(control), control.len());
    call!(abi::__NR_sendmsg, fd, message, 0)
}

fn send_files(fd: usize, bytes: &[u8], files: &[usize]) -> Result {
    let files: Vec<u32> = files.iter().map(|fd| *fd as u32).collect();
    send_with(fd, bytes, &control(net::SCM_RIGHTS, &files))
}

/// A message: bytes, what came with them by kind, and the flags.
struct Message {
    bytes: Vec<u8>,
    parts: Vec<(u32, Vec<u32>)>,
    flags: u32,
}

fn receive_message(fd: usize, count: usize, room: usize, flags: u32) -> Result<Message> {
    let (at, control) = (zeros(count), zeros(room));
    let message = header(at, count, control, room);
    let bytes = call!(abi::__NR_recvmsg, fd, message, flags)?;
    let [.., length, said] = get::<[usize; 7]>(message);
    let data = get_bytes(control, length);
    let (mut parts, mut rest) = (Vec::new(), &data[..]);
    while rest.len() >= HEADER {
        let length = usize::from_le_bytes(rest[..8].try_into().unwrap());
        let kind = u32::from_le_bytes(rest[12..16].try_into().unwrap());
        let words =
            rest[HEADER..length].chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
        parts.push((kind, words.collect()));
        rest = &rest[length.next_multiple_of(8).min(rest.len())..];
    }
    Ok(Message { bytes: get_bytes(at, bytes.min(count)), parts, flags: said as u32 })
}

/// The one descriptor that came.
#[track_caller]
fn only_file(message: &Message) -> usize {
    match &message.parts[..] {
        [(net::SCM_RIGHTS, files)] if files.len() == 1 => files[0] as usize,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_was_sent_is_the_receivers_too() {
    for kind in ALL {
        machine(move || {
            let [a, b] = pair(kind);
            let child = fork(move || {
                let [from, to] = pipe().unwrap();
                assert_eq!(send_files(a, b"take it", &[from]), Ok(7));
                close(from).unwrap();
                write(to, b"through the pipe").unwrap();
            });
            let message = receive_message(b, 20, 64, 0).unwrap();
            assert_eq!((&message.bytes[..], message.flags), (&b"take it"[..], 0));
            let from = only_file(&message);
            assert_eq!(end_of(child), 0);
            assert_eq!(read(from, 100), Ok(b"through the pipe".to_vec()));
            assert_eq!(read(from, 100), Ok(vec![]), "nobody else has the other end");
        });
    }
}

#[test]
fn files_stay_with_the_bytes_that_they_came_with() {
    machine(|| {
        let [a, b] = pair(SOCK_STREAM);
        let [from, _to] = pipe().unwrap();
        write(a, b"before").unwrap();
        send_files(a, b"with", &[from]).unwrap();
        write(a, b"after").unwrap();
        let first = receive_message(b, 100, 64, 0).unwrap();
        assert_eq!((&first.bytes[..], first.parts.len()), (&b"before"[..], 0));
        let second = receive_message(b, 100, 64, 0).unwrap();
        assert_eq!(second.bytes, b"with");
        only_file(&second);
        assert_eq!(receive_message(b, 100, 64, 0).unwrap().bytes, b"after");
    });
}

#[test]
fn who_looks_gets_files_and_so_does_who_takes() {
    machine(|| {
        let [a, b] = pair(SOCK_DGRAM);
        let [from, to] = pipe().unwrap();
        send_files(a, b"x", &[to]).unwrap();
        close(to).unwrap();
        let looked = only_file(&receive_message(b, 1, 64, net::MSG_PEEK).unwrap());
        close(looked).unwrap();
        let taken = only_file(&receive_message(b, 1, 64, 0).unwrap());
        write(taken, b"y").unwrap();
        assert_eq!(read(from, 1), Ok(b"y".to_vec()));
    });
}

#[test]
fn files_that_nobody_asks_for_are_closed() {
    machine(|| {
        let [a, b] = pair(SOCK_STREAM);
        for step in 0..3 {
            let [from, to] = pipe().unwrap();
            send_files(a, b"x", &[to]).unwrap();
            close(to).unwrap();
            assert_eq!(poll(from, abi::POLLIN), 0, "it is on its way");
            match step {
                0 => assert_eq!(read(b, 1), Ok(b"x".to_vec())),
                1 => {
                    let message = receive_message(b, 1, 0, 0).unwrap();
                    assert_eq!(message.flags, net::MSG_CTRUNC, "there was no room to say it");
                }
                // With the socket goes what was not read.
                _ => assert_eq!((close(b), close(a)), (Ok(0), Ok(0))),
            }
            assert_eq!(poll(from, abi::POLLIN), abi::POLLHUP, "step {step}");
        }
    });
}

#[test]
fn as_many_files_come_as_there_is_room_for() {
    machine(|| {
        let [a, b] = pair(SOCK_STREAM);
        let [from, to] = pipe().unwrap();
        send_files(a, b"x", &[from, to, from]).unwrap();
        let message = receive_message(b, 1, HEADER + 8, net::MSG_CMSG_CLOEXEC).unwrap();
        assert_eq!(message.flags, net::MSG_CTRUNC | net::MSG_CMSG_CLOEXEC);
        let [(net::SCM_RIGHTS, files)] = &message.parts[..] else { panic!("{:?}", message.parts) };
        assert_eq!(files.len(), 2);
        for fd in files {
            assert_eq!(call!(abi::__NR_fcntl, *fd, abi::F_GETFD, 0), Ok(abi::FD_CLOEXEC as usize));
        }
    });
}

#[test]
fn what_cannot_be_sent_is_refused_and_nothing_is_sent() {
    machine(|| {
        let [a, b] = pair(SOCK_DGRAM);
        let [from, _to] = pipe().unwrap();
        assert_eq!(send_files(a, b"x", &[from, 99]), Err(Errno::EBADF));
        assert_eq!(send_files(a, b"x", &vec![from; 254]), Err(Errno::EINVAL), "253 at most");
        assert_eq!(send_files(a, b"x", &vec![from; 253]), Ok(1));
        now(b, 1).unwrap();
        assert_eq!(send_with(a, b"x", &control(77, &[1])), Err(Errno::EINVAL));
        let mut short = control(net::SCM_RIGHTS, &[from as u32]);
        short[0] = 8;
        assert_eq!(send_with(a, b"x", &short), Err(Errno::EINVAL), "shorter than its header");
        short[0] = 200;
        assert_eq!(send_with(a, b"x", &short), Err(Errno::EINVAL), "longer than there is");
        assert_eq!(now(b, 1), Err(Errno::EAGAIN));
    });
}

#[test]
fn a_receiver_that_wants_to_know_is_told_who_sent() {
    for kind in ALL {
        machine(move || {
            let [a, b] = pair(kind);
            set_option(b, net::SO_PASSCRED, 1).unwrap();
            let child = fork(move || {
                assert_eq!(call!(abi::__NR_setresuid, 7, 8, 9), Ok(0));
                write(a, b"who?").unwrap();
            });
            assert_eq!(end_of(child), 0);
            let message = receive_message(b, 9, 64, 0).unwrap();
            assert_eq!(message.parts, [(SCM_CREDENTIALS, vec![child as u32, 7, 0])]);
        });
    }
}

#[test]
fn nobody_says_that_somebody_else_sent() {
    machine(|| {
        let [a, b] = pair(SOCK_DGRAM);
        let own = pid() as u32;
        assert_eq!(send_with(a, b"x", &control(SCM_CREDENTIALS, &[own, 0, 0])), Ok(1));
        assert_eq!(now(b, 1), Ok(b"x".to_vec()));
        let child = fork(move || {
            call!(abi::__NR_setuid, 1000).unwrap();
            let own = pid() as u32;
            assert_eq!(send_with(a, b"x", &control(SCM_CREDENTIALS, &[own, 5, 0])), Err(Errno::EPERM));
        });
        end_of(child);
        assert_eq!(now(b, 1), Err(Errno::EAGAIN));
    });
}

#[test]
fn bytes_of_two_senders_are_not_mixed() {
    machine(|| {
        let [a, b] = pair(SOCK_STREAM);
        set_option(b, net::SO_PASSCRED, 1).unwrap();
        write(a, b"parent").unwrap();
        let child = fork(move || assert_eq!(write(a, b"child"), Ok(5)));
        end_of(child);
        assert_eq!(receive_message(b, 100, 64, 0).unwrap().bytes, b"parent");
        assert_eq!(receive_message(b, 100, 64, 0).unwrap().bytes, b"child");
    });
}

#[test]
fn a_message_that_was_cut_short_says_so() {
    machine(|| {
        let [a, b] = pair(SOCK_SEQPACKET);
        write(a, b"too long").unwrap();
        let message = receive_message(b, 3, 0, 0).unwrap();
        assert_eq!((&message.bytes[..], message.flags), (&b"too"[..], net::MSG_TRUNC));
        let [a, b] = pair(SOCK_STREAM);
        write(a, b"too long").unwrap();
        assert_eq!(receive_message(b, 3, 0, 0).unwrap().flags, 0, "of a stream the rest stays");
    });
}
