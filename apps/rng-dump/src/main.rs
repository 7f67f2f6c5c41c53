// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rng-dump`: raw numbers of a `my_rng` device on stdout, for programs that judge them, by ioctl, read or mmap.
#![forbid(unsafe_code)]

mod arguments;

use std::error::Error;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use arguments::{Action, Arguments, Way};
use my_rng_client::{Device, MappedRing};

/// What the shell sees for a wrong command line.
const STATUS_USAGE: u8 = 2;

/// Bytes that are read and written at a time.
const PIECE: usize = 1 << 16;

fn main() -> ExitCode {
    let result = match Arguments::parse(lexopt::Parser::from_env()) {
        Ok(Action::Run(arguments)) => dump(&arguments, &mut io::stdout().lock()),
        Ok(Action::Help) => io::stdout().write_all(arguments::HELP.as_bytes()).map_err(Into::into),
        Ok(Action::Version) => {
            println!(concat!("rng-dump ", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        Err(error) => {
            eprintln!("rng-dump: {error}; rng-dump --help shows the options");
            return ExitCode::from(STATUS_USAGE);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rng-dump: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Fills a piece of memory with the next bytes.
type Fill = Box<dyn FnMut(&mut [u8]) -> Result<(), Box<dyn Error>>>;

fn dump(arguments: &Arguments, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let mut fill: Fill = match arguments.way {
        Way::Ioctl => {
            let device = Device::open(&arguments.device)?;
            Box::new(move |piece| by_ioctl(&device, piece))
        }
        Way::Read => {
            let device = Device::open(&arguments.device)?;
            Box::new(move |piece| Ok((&device).read_exact(piece)?))
        }
        Way::Mmap => {
            let mut ring = MappedRing::open(&arguments.device)?;
            Box::new(move |piece| Ok(ring.fill(piece)?))
        }
    };
    let mut buffer = vec![0; PIECE];
    let mut left = arguments.bytes;
    while left > 0 {
        let length = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        let (piece, _) = buffer.split_at_mut(length);
        fill(piece)?;
        out.write_all(piece)?;
        left = left.saturating_sub(length as u64);
    }
    Ok(out.flush()?)
}

/// The numbers in the order in which they are drawn, each with its lowest byte first.
fn by_ioctl(device: &Device, piece: &mut [u8]) -> Result<(), Box<dyn Error>> {
    for number in piece.chunks_mut(size_of::<u32>()) {
        let bytes = device.rand32()?.to_le_bytes();
        number.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    }
    Ok(())
}
