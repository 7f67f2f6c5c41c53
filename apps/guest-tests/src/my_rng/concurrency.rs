// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several programs at once. The stream is known, so that what all of them got together can be compared with it: every
//! number must have gone to exactly one of them, whole.

use std::sync::Barrier;
use std::thread;

use super::machine::first_device;
use super::numbers::wide;
use crate::harness::{Options, Stop, Test, fail};
use crate::raw::Glibc;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "two_drawers_of_64_bits_never_get_halves_of_different_numbers",
            two_drawers_of_64_bits_never_get_halves_of_different_numbers,
        ),
        Test::new(
            "drawers_of_both_widths_share_the_stream_without_loss",
            drawers_of_both_widths_share_the_stream_without_loss,
        ),
    ]
}

const SEED: u32 = 2024;
const DRAWS: usize = 2000;

fn two_drawers_of_64_bits_never_get_halves_of_different_numbers(_: &Options) -> Result<(), Stop> {
    let device = first_device()?;
    device.open()?.seed(SEED)?;
    let (one, other) = (device.open()?, device.open()?);
    let (one, other) = at_once(|| many(|| one.rand64()), || many(|| other.rand64()))?;

    let expected: Vec<u64> = Glibc::numbers(SEED, DRAWS * 4).chunks_exact(2).map(wide).collect();
    for drawn in [&one, &other] {
        let strange = drawn.iter().find(|number| !expected.contains(number));
        assert!(strange.is_none(), "{:#x} is no number of the stream: torn", strange.unwrap_or(&0));
        assert!(
            is_in_order(drawn, &expected),
            "a drawer got numbers in another order than they were drawn in"
        );
    }
    let mut all = [one, other].concat();
    let mut expected = expected;
    all.sort_unstable();
    expected.sort_unstable();
    assert!(all == expected, "a number was lost, or given out twice");
    Ok(())
}

fn drawers_of_both_widths_share_the_stream_without_loss(_: &Options) -> Result<(), Stop> {
    let device = first_device()?;
    device.open()?.seed(SEED)?;
    let (narrow, broad) = (device.open()?, device.open()?);
    let (narrow, broad) = at_once(|| many(|| narrow.rand32()), || many(|| broad.rand64()))?;

    // Each drawer got its numbers in the order of the stream: so walk along it, and give every number to whoever has it
    // next. A 32-bit number that is also the next high half could go to either; there is none in this stream.
    let stream = Glibc::numbers(SEED, DRAWS * 3);
    let (mut narrow, mut broad) = (narrow.into_iter().peekable(), broad.into_iter().peekable());
    let mut position = 0;
    while position < stream.len() {
        let rest = &stream[position..];
        if rest.len() >= 2 && broad.next_if_eq(&wide(rest)).is_some() {
            position += 2;
        } else if narrow.next_if_eq(&rest[0]).is_some() {
            position += 1;
        } else {
            return fail(format!(
                "number {position} of the stream, {}, went to nobody, or was torn",
                rest[0]
            ));
        }
    }
    Ok(())
}

fn many<T>(
    mut draw: impl FnMut() -> Result<T, my_rng_client::Error>,
) -> Result<Vec<T>, my_rng_client::Error> {
    (0..DRAWS).map(|_| draw()).collect()
}

/// Runs both at the same time.
fn at_once<A: Send, B, E: Send + std::error::Error>(
    one: impl FnOnce() -> Result<A, E> + Send,
    other: impl FnOnce() -> Result<B, E>,
) -> Result<(A, B), Stop> {
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let one = scope.spawn(|| {
            start.wait();
            one()
        });
        start.wait();
        let other = other();
        let one = one.join().map_err(|_| Stop::Failed("a drawer has panicked".to_owned()))?;
        Ok((one?, other?))
    })
}

/// Whether `part` is what is left of `whole` when some numbers are taken out.
fn is_in_order(part: &[u64], whole: &[u64]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|number| whole.any(|other| other == number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_told_from_disorder() {
        assert!(is_in_order(&[1, 3], &[1, 2, 3]));
        assert!(!is_in_order(&[3, 1], &[1, 2, 3]));
        assert!(!is_in_order(&[2, 2], &[1, 2, 3]));
    }

    #[test]
    fn the_stream_of_the_test_holds_each_number_once() {
        let mut numbers = Glibc::numbers(SEED, DRAWS * 4);
        numbers.sort_unstable();
        assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
