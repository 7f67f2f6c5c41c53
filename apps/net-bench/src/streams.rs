// SPDX-License-Identifier: MIT OR Apache-2.0
//! Streams: bytes a second, round trips, connections.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bench_report::{Failure, nanoseconds};

/// Bytes of a large read or write.
const LARGE: usize = 64 << 10;
/// Bytes of a small one.
const SMALL: usize = 1 << 10;

/// A connection of either kind.
trait Stream: Read + Write + Send {
    /// Tells the other side that nothing more comes.
    fn end(&self) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Stream for UnixStream {
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

fn listen() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

/// Both ends of a connection by TCP, which send at once what they are given.
fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = listen()?;
    let own = TcpStream::connect(listener.local_addr()?)?;
    let (other, _) = listener.accept()?;
    own.set_nodelay(true)?;
    other.set_nodelay(true)?;
    Ok((own, other))
}

pub(crate) fn tcp_64k(window: Duration) -> Result<f64, Failure> {
    throughput(window, tcp_pair()?, LARGE)
}

pub(crate) fn tcp_1k(window: Duration) -> Result<f64, Failure> {
    throughput(window, tcp_pair()?, SMALL)
}

pub(crate) fn unix_64k(window: Duration) -> Result<f64, Failure> {
    throughput(window, UnixStream::pair()?, LARGE)
}

pub(crate) fn tcp_roundtrip(window: Duration) -> Result<f64, Failure> {
    roundtrip(window, tcp_pair()?)
}

pub(crate) fn unix_roundtrip(window: Duration) -> Result<f64, Failure> {
    roundtrip(window, UnixStream::pair()?)
}

/// Bytes a second, in writes of `size` bytes that another thread reads.
fn throughput<S: Stream>(window: Duration, (own, other): (S, S), size: usize) -> Result<f64, Failure> {
    let time = with_partner(
        (own, other),
        |stream| {
            let mut buffer = vec![0; LARGE];
            while stream.read(&mut buffer)? > 0 {}
            Ok(())
        },
        |stream| {
            let buffer = vec![7; size];
            nanoseconds(window, |count| Ok((0..count).try_for_each(|_| stream.write_all(&buffer))?))
        },
    )?;
    Ok(size as f64 * 1e9 / time)
}

/// Nanoseconds for eight bytes to another thread, and eight back.
fn roundtrip<S: Stream>(window: Duration, ends: (S, S)) -> Result<f64, Failure> {
    with_partner(
        ends,
        |stream| {
            let mut word = [0; 8];
            loop {
                match stream.read_exact(&mut word) {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                    read => read?,
                }
                stream.write_all(&word)?;
            }
        },
        |stream| {
            let mut word = [7; 8];
            nanoseconds(window, |count| {
                for _ in 0..count {
                    stream.write_all(&word)?;
                    stream.read_exact(&mut word)?;
                }
                Ok(())
            })
        },
    )
}

/// What `own` gives, while a thread does `others` work at the other end until the stream ends.
fn with_partner<S: Stream, T>(
    (mut own, mut other): (S, S),
    others: impl FnOnce(&mut S) -> io::Result<()> + Send,
    work: impl FnOnce(&mut S) -> Result<T, Failure>,
) -> Result<T, Failure> {
    std::thread::scope(|scope| {
        let partner = scope.spawn(move || others(&mut other));
        let result = work(&mut own);
        // Before the partner is waited for, which goes on until then.
        let ended = own.end();
        partner.join().map_err(|_| "the thread at the other end panicked")??;
        ended?;
        result
    })
}

/// Nanoseconds for a connection that is made, accepted, and closed by both sides.
pub(crate) fn tcp_connection(window: Duration) -> Result<f64, Failure> {
    let listener = listen()?;
    let address = listener.local_addr()?;
    nanoseconds(window, |count| {
        for _ in 0..count {
            let own = TcpStream::connect(address)?;
            let (other, _) = listener.accept()?;
            // Who accepts closes first, so that the port that was connected from is not kept for a minute.
            drop(other);
            drop(own);
        }
        Ok(())
    })
}
