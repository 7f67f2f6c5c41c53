// SPDX-License-Identifier: MIT OR Apache-2.0
//! Using a device in every way while something happens to the machine or the device that programs must not notice.

use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use my_rng_client::{Device, MappedRing, Seed};

use crate::raw::Glibc;

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 16;
/// Numbers of a sequence that is begun anew at its end.
const SEQUENCE: usize = 50_000;
/// How often each program must have got something before and after.
const ROUNDS: u64 = 20;

/// Draws, reads and maps, all the time; prints `in use`, and then waits for a line of input, which is written to
/// `/sys/power/state` unless it is `go on`. If there is another device, it is drawn from with a longer seed. What is drawn must be one sequence, and nothing may fail, before and after.
pub(crate) fn across_suspend(path: &Path) -> ExitCode {
    match try_across_suspend(path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guest-tests: {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

fn try_across_suspend(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let done = AtomicBool::new(false);
    let renewals = &AtomicU64::new(0);
    let rounds = [const { AtomicU64::new(0) }; 4];
    let all_go_on = |since: [u64; 4]| {
        // A program that fails ends the whole process.
        while rounds.iter().zip(since).any(|(now, since)| now.load(Ordering::Relaxed) < since + ROUNDS) {
            thread::sleep(Duration::from_millis(5));
        }
    };
    thread::scope(|scope| {
        let [drawn, read, mapped, wide] = &rounds;
        let run = |work: &mut dyn FnMut() -> Result<(), String>, rounds: &AtomicU64| {
            while !done.load(Ordering::Relaxed) {
                if let Err(error) = work() {
                    eprintln!("guest-tests: {error}");
                    std::process::exit(1);
                }
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        };
        scope.spawn(move || match Device::open(path).and_then(|device| device.seed(1).map(|()| device)) {
            Ok(device) => {
                let mut expected = Glibc::seeded(1);
                let mut count = 0_u64;
                run(
                    &mut || {
                        for _ in 0..1000 {
                            let number = device.rand32().map_err(|error| format!("RAND: {error}"))?;
                            if Some(number) != expected.next() {
                                return Err(format!("number {count} of the seedable stream is {number}"));
                            }
                            count += 1;
                        }
                        Ok(())
                    },
                    drawn,
                );
            }
            Err(error) => {
                eprintln!("guest-tests: {error}");
                std::process::exit(1);
            }
        });
        scope.spawn(move || match WideSequence::of_other_device() {
            Ok(Some(mut sequence)) => run(&mut || sequence.draw(1000), wide),
            Ok(None) => run(
                &mut || {
                    thread::sleep(Duration::from_millis(10));
                    Ok(())
                },
                wide,
            ),
            Err(error) => {
                eprintln!("guest-tests: {error}");
                std::process::exit(1);
            }
        });
        scope.spawn(move || {
            let mut bytes = vec![0; CHUNK];
            let mut work = || -> Result<(), String> {
                let mut device = fs::File::open(path).map_err(|error| error.to_string())?;
                device.read_exact(&mut bytes).map_err(|error| format!("read: {error}"))
            };
            run(&mut work, read);
        });
        scope.spawn(move || {
            let mut bytes = vec![0; CHUNK];
            let mut ring = MappedRing::open(path).map_err(|error| error.to_string());
            let mut work = || -> Result<(), String> {
                let ring = ring.as_mut().map_err(|error| error.clone())?;
                ring.fill(&mut bytes).map_err(|error| format!("mmap: {error}"))?;
                renewals.store(ring.renewals(), Ordering::Relaxed);
                Ok(())
            };
            run(&mut work, mapped);
        });

        all_go_on([0; 4]);
        println!("in use");
        io::stdout().flush()?;
        let mut word = String::new();
        io::stdin().lock().read_line(&mut word)?;
        let result = match word.trim() {
            "go on" => Ok(()),
            state => fs::write("/sys/power/state", state),
        };
        all_go_on(rounds.each_ref().map(|rounds| rounds.load(Ordering::Relaxed)));
        done.store(true, Ordering::Relaxed);
        result
    })?;
    let available = fs::read_to_string("/sys/class/misc/hw_random/rng_available")?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !available.split_whitespace().any(|other| other == name) {
        return Err(format!("the kernel has no {name} any more: {available}").into());
    }
    println!("queues mapped anew: {}", renewals.load(Ordering::Relaxed));
    println!("all went on");
    Ok(())
}

/// A position in one of the streams of a seed of 256 bits.
struct WideSequence {
    device: Device,
    numbers: Vec<u32>,
    next: usize,
}

impl WideSequence {
    /// The second device, if there is one, brought there.
    fn of_other_device() -> Result<Option<Self>, Box<dyn std::error::Error>> {
        let path = Path::new("/dev/my_rng1");
        if !path.exists() {
            return Ok(None);
        }
        fs::write("/sys/class/my_rng/my_rng1/generator", "chacha20")?;
        let mut sequence = Self { device: Device::open(path)?, numbers: Vec::new(), next: 0 };
        sequence.begin()?;
        for _ in 0..SEQUENCE {
            sequence.numbers.push(sequence.device.rand32()?);
        }
        sequence.begin()?;
        Ok(Some(sequence))
    }

    fn begin(&self) -> Result<(), my_rng_client::Error> {
        self.device.seed_wide(&Seed::Bits256([7; 32]), Some(9))?;
        self.device.seek(1_000_003)
    }

    fn draw(&mut self, count: usize) -> Result<(), String> {
        for _ in 0..count {
            let number = self.device.rand32().map_err(|error| error.to_string())?;
            if self.numbers.get(self.next) != Some(&number) {
                return Err(format!("number {} of the long seed is {number}", self.next));
            }
            self.next += 1;
            if self.next == SEQUENCE {
                self.begin().map_err(|error| error.to_string())?;
                self.next = 0;
            }
        }
        // Not often at the end, where suspending would show nothing.
        thread::sleep(Duration::from_millis(10));
        Ok(())
    }
}
