// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs and another machine, which is an interface at the other end of a cable. What the kernel's thread does is done here where the test says.

use std::{
    collections::VecDeque,
    net::Ipv4Addr,
    sync::{Arc, Weak},
};

use exo_drivers::network::{
    Arrived, Counters, FrameListener, NetworkDevice, NetworkError,
    interface::{Interface, Setup},
    sockets::{Phase, Stream},
};
use exo_hal::{boot, time};
use exo_net::{inet, interfaces};
use exo_test_support::{call, programs::*};
use linux_raw_sys::net;
use parking_lot::Mutex;

use crate::support::*;

const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 16);

/// One end of a cable.
struct End {
    number: u8,
    inbox: Mutex<VecDeque<Vec<u8>>>,
    other: Mutex<Weak<End>>,
    counters: Counters,
}

impl End {
    fn new(number: u8) -> Arc<Self> {
        Arc::new(Self {
            number,
            inbox: Mutex::default(),
            other: Mutex::default(),
            counters: Counters::default(),
        })
    }

    fn pair() -> [Arc<Self>; 2] {
        let [one, two] = [Self::new(1), Self::new(2)];
        *one.other.lock() = Arc::downgrade(&two);
        *two.other.lock() = Arc::downgrade(&one);
        [one, two]
    }
}

impl NetworkDevice for End {
    fn name(&self) -> &str {
        "cable"
    }

    fn hardware_address(&self) -> Option<[u8; 6]> {
        Some([2, 0, 0, 0, 0, self.number])
    }

    fn mtu(&self) -> usize {
        1500
    }

    fn is_connected(&self) -> bool {
        true
    }

    fn receive(&self, frame: &mut Vec<u8>) -> bool {
        let came = self.inbox.lock().pop_front();
        came.map(|came| *frame = came).is_some()
    }

    fn transmit(&self, frame: &[u8]) -> Result<(), NetworkError> {
        if let Some(other) = self.other.lock().upgrade() {
            other.inbox.lock().push_back(frame.to_vec());
        }
        Ok(())
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn listen(&self, _listener: Arc<dyn FrameListener>) {}
}

/// Our end, and the other machine.
struct Cable {
    ours: Arc<dyn NetworkDevice>,
    peer: Arc<Interface>,
    came: Mutex<Vec<(Vec<u8>, u16)>>,
}

impl Cable {
    fn new() -> Self {
        let [ours, theirs] = End::pair();
        let setup = Setup::parse("10.0.2.16/24").unwrap();
        let peer = Interface::new("peer", theirs, setup, 5, time::now_ns());
        Self { ours, peer, came: Mutex::default() }
    }

    fn plug(&self) {
        interfaces::add(self.ours.clone()).unwrap();
    }

    fn unplug(&self) {
        interfaces::remove(&self.ours);
        inet::work_once();
    }

    /// Lets both machines work until `happens`.
    #[track_caller]
    fn until(&self, mut happens: impl FnMut() -> bool) {
        for _ in 0..3000 {
            inet::work_once();
            self.peer.poll(time::now_ns());
            while let Some(arrived) = self.peer.arrived() {
                match arrived {
                    Arrived::Opens(request) | Arrived::Completes(request) => {
                        self.peer.refuse(request, time::now_ns());
                    }
                    Arrived::Datagram(datagram) => {
                        let port = datagram.from().1;
                        self.came.lock().push((datagram.into_bytes(), port));
                    }
                }
            }
            if happens() {
                return;
            }
            sleep(MS);
        }
        panic!("it does not happen");
    }

    fn connect(&self, from: u16, to: u16) -> Stream {
        self.peer.connect(from, (OURS, to), [8192; 2], 30, 1).unwrap()
    }

    fn is_open(&self, stream: &Stream) -> bool {
        self.peer.status(stream).phase == Phase::Open
    }
}

fn address(ip: Ipv4Addr, port: u16) -> usize {
    let ([high, low], [a, b, c, d]) = (port.to_be_bytes(), ip.octets());
    put(&[2, 0, high, low, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0])
}

fn socket(kind: u32) -> usize {
    call!(abi::__NR_socket, net::AF_INET, kind, 0).unwrap()
}

fn bound(kind: u32, port: u16) -> usize {
    let fd = socket(kind);
    call!(abi::__NR_bind, fd, address(Ipv4Addr::UNSPECIFIED, port), 16).unwrap();
    fd
}

fn listener(port: u16, backlog: usize) -> usize {
    let fd = bound(SOCK_STREAM | abi::O_NONBLOCK, port);
    call!(abi::__NR_listen, fd, backlog).unwrap();
    fd
}

fn accept(fd: usize) -> Result {
    call!(abi::__NR_accept4, fd, 0, 0, 0)
}

fn on_a_cable(test: impl FnOnce(&Cable) + Send + 'static) {
    machine(move || {
        boot::set_command_line("exo.net=10.0.2.15/24");
        let cable = Cable::new();
        test(&cable);
        boot::set_command_line("");
    });
}

#[test]
fn an_interface_that_comes_later_serves_who_listens_already() {
    on_a_cable(|cable| {
        let server = listener(80, 4);
        let datagrams = bound(SOCK_DGRAM, 53);
        cable.plug();
        let client = cable.connect(4000, 80);
        cable.until(|| cable.is_open(&client));
        let mut accepted = None;
        cable.until(|| {
            accepted = accept(server).ok();
            accepted.is_some()
        });
        let accepted = accepted.unwrap();
        cable.peer.send(&client, b"question").unwrap();
        cable.until(|| now(accepted, 20).is_ok_and(|bytes| bytes == b"question"));
        write(accepted, b"answer").unwrap();
        cable.until(|| cable.peer.status(&client).readable == 6);
        // One that nobody here has sent anything to.
        cable.peer.send_datagram(99, (OURS, 53), b"hello".to_vec(), time::now_ns()).unwrap();
        cable.until(|| now(datagrams, 20).is_ok_and(|bytes| bytes == b"hello"));
        call!(abi::__NR_sendto, datagrams, put_bytes(b"you"), 3, 0, address(THEIRS, 99), 16).unwrap();
        cable.until(|| !cable.came.lock().is_empty());
        assert_eq!(cable.came.lock().pop().unwrap(), (b"you".to_vec(), 53));
        cable.unplug();
    });
}

#[test]
fn an_interface_that_goes_breaks_off_what_went_by_it() {
    on_a_cable(|cable| {
        cable.plug();
        let server = listener(80, 4);
        let client = cable.connect(4000, 80);
        cable.until(|| cable.is_open(&client));
        let mut accepted = None;
        cable.until(|| {
            accepted = accept(server).ok();
            accepted.is_some()
        });
        let accepted = accepted.unwrap();
        // Under load: the peer sends more than is read, and the program more than the peer reads.
        let load = vec![7; 8000];
        for _ in 0..20 {
            let _ = cable.peer.send(&client, &load);
            let _ = call!(abi::__NR_sendto, accepted, put_bytes(&load), load.len(), net::MSG_DONTWAIT, 0, 0);
            cable.until(|| true);
        }
        let begun = socket(SOCK_STREAM | abi::O_NONBLOCK);
        assert_eq!(call!(abi::__NR_connect, begun, address(THEIRS, 81), 16), Err(Errno::EINPROGRESS));
        cable.unplug();
        // What has come is still read, then the error.
        let mut last = Ok(Vec::new());
        for _ in 0..100 {
            last = now(accepted, 100_000);
            if last.is_err() {
                break;
            }
        }
        assert_eq!(last, Err(Errno::ENETDOWN));
        assert_eq!(now(accepted, 10), Ok(Vec::new()), "once");
        assert_eq!(option(begun, net::SO_ERROR), Ok(Errno::ENETDOWN.0 as u32));
        assert_eq!(
            call!(abi::__NR_connect, socket(SOCK_STREAM), address(THEIRS, 81), 16),
            Err(Errno::ENETUNREACH)
        );
        // The listener serves the next one.
        let next = Cable::new();
        next.plug();
        let client = next.connect(4000, 80);
        next.until(|| next.is_open(&client));
        next.unplug();
    });
}

#[test]
fn a_full_backlog_lets_others_wait_outside() {
    on_a_cable(|cable| {
        cable.plug();
        let server = listener(80, 1);
        let clients: Vec<_> = (0..10).map(|n| cable.connect(4000 + n, 80)).collect();
        let mut accepted = Vec::new();
        // Nobody is refused: all come in by and by.
        for _ in 0..clients.len() {
            cable.until(|| accept(server).map(|fd| accepted.push(fd)).is_ok());
        }
        cable.until(|| clients.iter().all(|client| cable.is_open(client)));
        assert_eq!(accept(server), Err(Errno::EAGAIN));
        cable.unplug();
    });
}
