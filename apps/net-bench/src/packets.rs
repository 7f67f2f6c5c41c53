// SPDX-License-Identifier: MIT OR Apache-2.0
//! Datagrams.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use bench_report::{Failure, nanoseconds};

/// How long an answer may take. Nothing gets lost on the way, so this is for a partner that has failed.
const PATIENCE: Duration = Duration::from_secs(10);

fn pair() -> io::Result<(UdpSocket, UdpSocket)> {
    let (own, other) =
        (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    own.connect(other.local_addr()?)?;
    other.connect(own.local_addr()?)?;
    for socket in [&own, &other] {
        socket.set_read_timeout(Some(PATIENCE))?;
    }
    Ok((own, other))
}

/// Nanoseconds for eight bytes to another thread, and eight back. An empty datagram ends it.
pub(crate) fn udp_roundtrip(window: Duration) -> Result<f64, Failure> {
    let (own, other) = pair()?;
    std::thread::scope(|scope| {
        let partner = scope.spawn(move || -> io::Result<()> {
            let mut word = [0; 8];
            while other.recv(&mut word)? > 0 {
                other.send(&word)?;
            }
            Ok(())
        });
        let mut word = [7; 8];
        let time = nanoseconds(window, |count| {
            for _ in 0..count {
                own.send(&word)?;
                own.recv(&mut word)?;
            }
            Ok(())
        });
        own.send(&[])?;
        partner.join().map_err(|_| "the thread at the other end panicked")??;
        time
    })
}
