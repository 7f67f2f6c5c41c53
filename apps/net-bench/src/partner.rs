// SPDX-License-Identifier: MIT OR Apache-2.0
//! A partner at another machine, for what a network card costs: a program that has been started there with `--serve`. Without one it
//! is a thread of this program.
//!
//! A request is a byte, which says what is wanted, and a number of 64 bits (little-endian), which says how much:
//!
//! | byte | what follows |
//! | --- | --- |
//! | 0 | so many bytes from who asks; then the partner sends one |
//! | 1 | so many bytes from the partner |
//! | 2 | so many times eight bytes from who asks, and each time eight from the partner |

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use bench_report::{Failure, nanoseconds};

/// Bytes of a write or read.
const LARGE: usize = 64 << 10;
const SMALL: usize = 1 << 10;

const TAKE: u8 = 0;
const GIVE: u8 = 1;
const ECHO: u8 = 2;

static PARTNER: OnceLock<SocketAddr> = OnceLock::new();

/// Chooses the partner, once.
pub(crate) fn choose(partner: SocketAddr) {
    PARTNER.get_or_init(|| partner);
}

/// Is a partner for all who connect to a port of this machine; says which, and goes on until it is ended.
pub(crate) fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!("{}", listener.local_addr()?);
    serve_all(&listener);
    Ok(())
}

fn serve_all(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        // Who has broken a connection off has seen it.
        std::thread::spawn(move || answer(stream));
    }
}

/// Answers requests until there are no more.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; LARGE];
    loop {
        let mut request = [0; 9];
        stream.read_exact(&mut request)?;
        let [what, count @ ..] = request;
        let mut left = u64::from_le_bytes(count);
        match what {
            TAKE => {
                io::copy(&mut (&stream).take(left), &mut io::sink())?;
                stream.write_all(&[0])?;
            }
            GIVE => {
                while left > 0 {
                    let step = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    stream.write_all(&buffer[..step])?;
                    left -= step as u64;
                }
            }
            ECHO => {
                for _ in 0..left {
                    stream.read_exact(&mut buffer[..8])?;
                    stream.write_all(&buffer[..8])?;
                }
            }
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("request {what}; expected 0 to 2"),
                ));
            }
        }
    }
}

/// Where the partner is.
fn partner() -> io::Result<SocketAddr> {
    if let Some(partner) = PARTNER.get() {
        return Ok(*partner);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    choose(listener.local_addr()?);
    std::thread::spawn(move || serve_all(&listener));
    partner()
}

fn connect() -> io::Result<TcpStream> {
    let stream = TcpStream::connect(partner()?)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream, what: u8, count: u64) -> io::Result<()> {
    let mut request = [0; 9];
    request[0] = what;
    request[1..].copy_from_slice(&count.to_le_bytes());
    stream.write_all(&request)
}

/// Bytes a second to the partner, in writes of `size` bytes.
fn send(window: Duration, size: usize) -> Result<f64, Failure> {
    let (mut stream, buffer) = (connect()?, vec![7; size]);
    let time = nanoseconds(window, |count| {
        ask(&mut stream, TAKE, count * size as u64)?;
        (0..count).try_for_each(|_| stream.write_all(&buffer))?;
        // Not before the partner has all of it.
        Ok(stream.read_exact(&mut [0])?)
    })?;
    Ok(size as f64 * 1e9 / time)
}

pub(crate) fn send_64k(window: Duration) -> Result<f64, Failure> {
    send(window, LARGE)
}

pub(crate) fn send_1k(window: Duration) -> Result<f64, Failure> {
    send(window, SMALL)
}

/// Bytes a second from the partner, in reads of at most 64 KiB.
pub(crate) fn receive_64k(window: Duration) -> Result<f64, Failure> {
    let (mut stream, mut buffer) = (connect()?, vec![0; LARGE]);
    let time = nanoseconds(window, |count| {
        ask(&mut stream, GIVE, count * LARGE as u64)?;
        Ok((0..count).try_for_each(|_| stream.read_exact(&mut buffer))?)
    })?;
    Ok(LARGE as f64 * 1e9 / time)
}

/// Nanoseconds for eight bytes to the partner, and eight back.
pub(crate) fn roundtrip(window: Duration) -> Result<f64, Failure> {
    let mut stream = connect()?;
    nanoseconds(window, |count| {
        ask(&mut stream, ECHO, count)?;
        let mut word = [7; 8];
        for _ in 0..count {
            stream.write_all(&word)?;
            stream.read_exact(&mut word)?;
        }
        Ok(())
    })
}

/// Nanoseconds for a connection to the partner that is made and closed, with one round trip.
pub(crate) fn connection(window: Duration) -> Result<f64, Failure> {
    nanoseconds(window, |count| {
        for _ in 0..count {
            let mut stream = connect()?;
            ask(&mut stream, GIVE, 8)?;
            stream.read_exact(&mut [0; 8])?;
        }
        Ok(())
    })
}
