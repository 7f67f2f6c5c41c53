// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drawing without end, in every way there is at once: the load under which the host unplugs a device or ends its process.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use my_rng_client::{Device, MappedRing};
use rustix::io::Errno;

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 16;

/// A way of drawing: does it once.
type Draw = Box<dyn FnMut() -> Result<(), Errno> + Send>;

/// Prints `drawing` once the device works in every way that it has, draws until each way has failed, and prints the names of
/// the errors. The status is 0 if they are what a program must expect of a device that goes: ENODEV or EIO.
pub(crate) fn until_error(path: &Path) -> ExitCode {
    let ways = match ways(path) {
        Ok(ways) => ways,
        Err(error) => {
            eprintln!("guest-tests: {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    };
    // All of them, and who says so.
    let started = Barrier::new(ways.len().saturating_add(1));
    let ends: Vec<_> = thread::scope(|scope| {
        let drawers: Vec<_> = ways
            .into_iter()
            .map(|(name, draw)| (name, scope.spawn(|| draw_until_error(draw, &started))))
            .collect();
        started.wait();
        println!("drawing");
        drawers.into_iter().map(|(name, drawer)| (name, drawer.join().ok())).collect()
    });
    let mut as_expected = true;
    for (name, end) in ends {
        let error = match end {
            Some((Errno::NODEV, _)) => "ENODEV",
            Some((Errno::IO, _)) => "EIO",
            _ => "an unexpected error",
        };
        as_expected &= matches!(end, Some((Errno::NODEV | Errno::IO, _)));
        println!("{name}: {error}: {end:?}");
    }
    if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The ways that this device has: queues may be missing.
fn ways(path: &Path) -> Result<Vec<(&'static str, Draw)>, Errno> {
    let errno = |error: my_rng_client::Error| Errno::from_raw_os_error(error.errno());
    let device = Device::open(path).map_err(errno)?;
    let by_ioctl = move || device.rand64().and_then(|_| device.rand32()).map(drop).map_err(errno);
    let mut ways: Vec<(&'static str, Draw)> = vec![("ioctl", Box::new(by_ioctl))];

    let device = Device::open(path).map_err(errno)?;
    let mut buffer = vec![0; CHUNK];
    let mut by_read = move || {
        let read = (&device).read(&mut buffer);
        read.map(drop).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    };
    match by_read() {
        Err(Errno::OPNOTSUPP) => return Ok(ways),
        other => other?,
    }
    ways.push(("read", Box::new(by_read)));

    let mut ring = MappedRing::open(path).map_err(errno)?;
    ways.push(("mmap", Box::new(move || ring.next(CHUNK).map(drop).map_err(errno))));
    Ok(ways)
}

/// The error that ends it, and how long the call took that it came from.
fn draw_until_error(mut draw: Draw, started: &Barrier) -> (Errno, Duration) {
    let first = draw();
    started.wait();
    if let Err(errno) = first {
        return (errno, Duration::ZERO);
    }
    loop {
        let start = Instant::now();
        if let Err(errno) = draw() {
            return (errno, start.elapsed());
        }
    }
}
