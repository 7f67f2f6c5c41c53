// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exo-Kernel's own calls. Messages: between processes, between threads, with several clients, and with partners that die; the
//! clock; block devices.

use std::thread;
use std::time::Duration;

use exo_user::{Endpoint, get_time};

use crate::{Outcome, failed};

/// Requests of each client.
const REQUESTS: u64 = 2000;
const CLIENTS: u64 = 4;

pub(crate) fn run() -> Outcome {
    time()?;
    between_threads()?;
    one_way()?;
    a_waiting_client_can_be_killed()?;
    wrong_descriptors()?;
    no_block_devices()?;
    println!("messages: ok");
    Ok(())
}

fn expect(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(failed(what)) }
}

/// The clock goes on, and agrees with the C library's.
fn time() -> Outcome {
    let before = get_time()?;
    thread::sleep(Duration::from_millis(20));
    let after = get_time()?;
    expect(after >= before + Duration::from_millis(20), "get_time did not go on while the program slept")?;
    let uptime = std::fs::read_to_string("/proc/uptime")?;
    let seconds: f64 = uptime.split(' ').next().unwrap_or_default().parse()?;
    expect(seconds >= after.as_secs_f64() - 1.0, "/proc/uptime is far behind get_time")
}

/// Several clients call one server; each answer goes to the one that asked.
fn between_threads() -> Outcome {
    let endpoint = Endpoint::new()?;
    thread::scope(|scope| -> Outcome {
        let server = scope.spawn(|| -> Result<u64, std::io::Error> {
            let (mut served, mut stopped) = (0, 0);
            let mut request = endpoint.receive()?;
            loop {
                let [client, number, last] = request.words;
                served += 1;
                stopped += last;
                let answer = [client, number.wrapping_mul(number), u64::MAX];
                if stopped == CLIENTS {
                    // The last answer: nobody sends any more, so it is given without waiting for another message.
                    let done = thread::scope(|scope| {
                        let last = scope.spawn(|| endpoint.answer_and_receive(request.caller, answer));
                        endpoint.send([0; 3])?;
                        last.join().map_err(|_| std::io::Error::other("the server panicked"))?
                    });
                    return done.map(|_| served);
                }
                request = endpoint.answer_and_receive(request.caller, answer)?;
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let endpoint = &endpoint;
                scope.spawn(move || -> Outcome {
                    for number in 0..REQUESTS {
                        let last = u64::from(number == REQUESTS - 1);
                        let answer = endpoint.call([client, number, last])?;
                        expect(
                            answer == [client, number * number, u64::MAX],
                            "an answer went to another client",
                        )?;
                    }
                    Ok(())
                })
            })
            .collect();
        for client in clients {
            client.join().map_err(|_| failed("a client panicked"))??;
        }
        let served = server.join().map_err(|_| failed("the server panicked"))??;
        expect(served == CLIENTS * REQUESTS, "some requests were not served")
    })
}

/// Messages that want no answer, in their order; words that look like error numbers are words.
fn one_way() -> Outcome {
    let endpoint = Endpoint::new()?;
    let odd = [u64::MAX, 0_u64.wrapping_sub(38), 1 << 63];
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            (0..100).try_for_each(|number| endpoint.send([number, 0, 0]))?;
            endpoint.send(odd)
        });
        for number in 0..100 {
            let message = endpoint.receive()?;
            expect(
                message.words == [number, 0, 0] && message.caller.is_none(),
                "a message came out of order",
            )?;
        }
        expect(endpoint.receive()?.words == odd, "large words were changed")?;
        Ok(sender.join().map_err(|_| failed("the sender panicked"))??)
    })
}

/// A client that waits for an answer which never comes can be killed, as whoever waits.
fn a_waiting_client_can_be_killed() -> Outcome {
    let endpoint = Endpoint::new()?;
    let mut killed = crate::limits::fork(|| match endpoint.call([1, 2, 3]) {
        Ok(_) => 1,
        Err(_) => 2,
    })?;
    thread::sleep(Duration::from_millis(50));
    killed.kill()?;
    expect(killed.wait()? == Err(libc::SIGKILL), "a client that waits cannot be killed")?;
    // What it had sent went with it: the next message is another's.
    thread::scope(|scope| {
        let sender = scope.spawn(|| endpoint.send([9, 9, 9]));
        expect(endpoint.receive()?.words == [9, 9, 9], "a killed client's message came")?;
        Ok(sender.join().map_err(|_| failed("the sender panicked"))??)
    })
}

/// Requests to block devices are checked, whether or not there is such a device; none is there.
fn no_block_devices() -> Outcome {
    let mut sector = [7_u8; 512];
    expect(
        exo_user::block_read(0, 0, &mut sector).is_err_and(is(libc::ENODEV))
            && exo_user::block_write(u32::MAX, 1 << 40, &sector).is_err_and(is(libc::ENODEV)),
        "a block device that does not exist did something",
    )?;
    expect(sector == [7; 512], "a block device that does not exist was read")?;
    let at = sector.as_mut_ptr().expose_provenance() as u64;
    for (arguments, expected) in [
        // Half a sector; more than one call moves; the end of what a device can have, and beyond what a number can name.
        ([0, 0, at, 256], libc::EINVAL),
        ([0, 0, at, 0x7fff_f200], libc::EINVAL),
        ([0, 0, at, u64::MAX - 511], libc::EINVAL),
        ([0, (1 << 54) - 1, at, 512], libc::EINVAL),
        ([0, u64::MAX, at, 512], libc::EINVAL),
        ([0, (1 << 54) - 2, at, 512], libc::ENODEV),
        // The kernel's half, and around the end of all addresses.
        ([0, 0, 1 << 63, 512], libc::EFAULT),
        ([0, 0, u64::MAX - 100, 512], libc::EFAULT),
        ([0, 0, 0, 0], libc::ENODEV),
    ] {
        for number in [0x1006, 0x1007] {
            let [device, sector, buffer, length] = arguments;
            // SAFETY: no device is there that could write anything.
            let status = unsafe { exo_user::raw::call(number, [device, sector, buffer, length, 0, 0]) };
            expect(
                status == -i64::from(expected),
                &format!("{number:#x} with {arguments:x?} gave {status}, expected {}", -expected),
            )?;
        }
    }
    Ok(())
}

fn is(number: i32) -> impl Fn(std::io::Error) -> bool {
    move |error| error.raw_os_error() == Some(number)
}

/// Something that is no endpoint is refused.
fn wrong_descriptors() -> Outcome {
    let file = std::fs::File::open("/dev/null")?;
    let descriptor = u64::from(std::os::fd::AsRawFd::as_raw_fd(&file).unsigned_abs());
    for (fd, expected) in [(descriptor, libc::EINVAL), (9999, libc::EBADF), (u64::MAX, libc::EBADF)] {
        // SAFETY: the call passes registers and touches no memory.
        let status = unsafe { exo_user::raw::call(0x1002, [fd, 0, 0, 0, 0, 0]) };
        expect(status == -i64::from(expected), &format!("sending to descriptor {fd} gave {status}"))?;
    }
    Ok(())
}
