// SPDX-License-Identifier: MIT OR Apache-2.0
//! The seedable stream, when its numbers are fetched before anybody asks: nobody may notice.

use std::fs;
use std::path::PathBuf;
use std::thread;

use super::entropy::device_with_queues;
use super::machine::{expect_it_works, first_device};
use super::numbers::wide;
use crate::harness::{Options, Stop, Test, beside_a_page_fault, fail, is_exo_kernel, skip};
use crate::raw::{Access, Glibc, Memory, PAGE, Place, ioctl};
use my_rng_abi::ioctl::RAND64;
use rustix::io::Errno;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_long_sequence_is_the_classic_one", a_long_sequence_is_the_classic_one),
        Test::new("a_seed_drops_what_was_fetched", a_seed_drops_what_was_fetched),
        Test::new("a_number_that_was_not_delivered_comes_next", a_number_that_was_not_delivered_comes_next),
        Test::new("a_draw_whose_memory_is_missing_holds_up_nobody", a_stuck_draw_holds_up_nobody),
        Test::new("the_counter_of_bytes_counts_what_was_given", the_counter_counts),
        Test::new("reading_entropy_does_not_disturb_the_sequence", entropy_does_not_disturb),
        Test::new("reseeding_under_load_hangs_nobody", reseeding_under_load),
        Test::new("a_generator_is_chosen_by_name", a_generator_is_chosen_by_name),
    ]
}

fn a_long_sequence_is_the_classic_one(_: &Options) -> Result<(), Stop> {
    let device = first_device()?.open()?;
    device.seed(5)?;
    // Across several rounds of the ring; an odd one at the start makes 64-bit numbers lie across its end.
    let expected = Glibc::numbers(5, 1 + 2 * 40_000);
    assert_eq!(device.rand32()?, expected[0]);
    for (index, pair) in expected[1..].chunks_exact(2).enumerate() {
        assert_eq!(device.rand64()?, wide(pair), "number {index} of 64 bits");
    }
    Ok(())
}

fn a_seed_drops_what_was_fetched(_: &Options) -> Result<(), Stop> {
    let device = first_device()?.open()?;
    for seed in 0..50 {
        device.seed(seed)?;
        for (index, expected) in Glibc::seeded(seed).take(seed as usize).enumerate() {
            assert_eq!(device.rand32()?, expected, "number {index} after seed {seed}");
        }
    }
    Ok(())
}

fn a_number_that_was_not_delivered_comes_next(_: &Options) -> Result<(), Stop> {
    let device = device_with_queues()?.open()?;
    let read_only = Memory::new(Access::ReadOnly)?;
    let memory = Memory::new(Access::Full)?;
    let expected = Glibc::numbers(9, 300);
    device.seed(9)?;
    for pair in expected.chunks_exact(3) {
        for place in [Place::In(&read_only, 8), Place::In(&memory, PAGE - 4), Place::In(&memory, PAGE)] {
            assert_eq!(ioctl(&device, RAND64, place), Err(Errno::FAULT));
        }
        assert_eq!(device.rand64()?, wide(pair));
        assert_eq!(device.rand32()?, pair[2]);
    }
    Ok(())
}

/// Others draw, and even seed, while it waits for its page; it gets the number that is the next when its memory is there.
fn a_stuck_draw_holds_up_nobody(_: &Options) -> Result<(), Stop> {
    let device = device_with_queues()?.open()?;
    let draw = |memory: &Memory| ioctl(&device, RAND64, Place::In(memory, 8)).map(|_| memory.read_u64(8));
    let numbers = Glibc::numbers(3, 12);
    device.seed(3)?;
    assert_eq!(device.rand64()?, wide(&numbers));
    let (stuck, ()) = beside_a_page_fault(draw, || {
        for pair in numbers[2..].chunks_exact(2).take(3) {
            assert_eq!(device.rand64()?, wide(pair));
        }
        Ok(())
    })?;
    assert_eq!(stuck, Ok(Some(wide(&numbers[8..]))));
    assert_eq!(device.rand64()?, wide(&numbers[10..]));

    let (stuck, ()) = beside_a_page_fault(draw, || Ok(device.seed(3)?))?;
    assert_eq!(stuck, Ok(Some(wide(&numbers))), "after another has seeded");
    assert_eq!(device.rand64()?, wide(&numbers[2..]));
    Ok(())
}

fn the_counter_counts(_: &Options) -> Result<(), Stop> {
    if is_exo_kernel() {
        return skip("this kernel does not count them");
    }
    let device = device_with_queues()?;
    let counted = || -> Result<u64, Stop> {
        let text = device.text("bytes")?;
        let seedable = text.rsplit(' ').next().and_then(|bytes| bytes.parse().ok());
        seedable.map_or_else(|| fail(format!("bytes shows {text:?}")), Ok)
    };
    let file = device.open()?;
    let (before, mut drawn) = (counted()?, 0);
    for seed in 0..4 {
        file.seed(seed)?;
        // Across several pieces of the ring, and with an odd number left over in between.
        for _ in 0..10_000 {
            file.rand64()?;
        }
        file.rand32()?;
        file.rand64()?;
        drawn += 10_001 * 8 + 4;
        assert_eq!(counted()? - before, drawn, "after seed {seed}");
    }
    Ok(())
}

fn entropy_does_not_disturb(_: &Options) -> Result<(), Stop> {
    use std::io::Read;
    let device = device_with_queues()?.open()?;
    device.seed(77)?;
    for expected in Glibc::numbers(77, 2000) {
        (&device).read_exact(&mut [0; 100])?;
        assert_eq!(device.rand32()?, expected);
    }
    Ok(())
}

fn reseeding_under_load(_: &Options) -> Result<(), Stop> {
    let device = first_device()?;
    let (one, other) = (device.open()?, device.open()?);
    thread::scope(|scope| {
        let drawer = scope.spawn(|| (0..20_000).try_for_each(|_| one.rand64().map(drop)));
        for seed in 0..100 {
            other.seed(seed)?;
        }
        drawer.join().unwrap_or(Ok(()))?;
        Ok::<(), Stop>(())
    })?;
    expect_it_works(&other)
}

fn a_generator_is_chosen_by_name(_: &Options) -> Result<(), Stop> {
    let device = first_device()?;
    let path: PathBuf = device.path().join("my_rng").join(device.node_name()?).join("generator");
    let choose = |name: &str| fs::write(&path, name);
    assert_eq!(device.text("generator")?, "glibc", "at the start");
    let unknown = choose("dice\n").err().and_then(|error| error.raw_os_error());
    assert_eq!(unknown, Some(Errno::INVAL.raw_os_error()), "an unknown name");

    let file = device.open()?;
    let draw = |seed| -> Result<Vec<u32>, Stop> {
        file.seed(seed)?;
        Ok((0..8).map(|_| file.rand32()).collect::<Result<_, _>>()?)
    };
    let classic = draw(1)?;
    if let Err(error) = choose("xorshift64*\n") {
        return skip(format!("this device has one generator: {error}"));
    }
    let chosen = device.text("generator");
    let others = (draw(1), draw(2), draw(1));
    // Choosing restarts the stream with the last seed.
    let restarted = choose("glibc\n").map_err(Stop::from).and_then(|()| Ok(file.rand32()?));
    assert_eq!(chosen?, "xorshift64*");
    let (one, two, again) = (others.0?, others.1?, others.2?);
    assert!(one == again && one != two && one != classic, "{one:?} {two:?} {again:?}");
    assert_eq!(restarted?, classic[0], "back to glibc, which begins anew");
    if draw(1)? == classic { Ok(()) } else { fail("glibc is not what it was") }
}
