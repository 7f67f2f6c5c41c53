// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random bytes for programs. The state is one for all tests of this program, so they ask what holds whatever came before.

use exo_core::{errno::Errno, io_buf::IoBuf, random};
use exo_hal::{PAGE_SIZE, mm::user as fake};

use crate::support::machine;

const START: usize = 0x10_0000;

/// Random bytes of one request.
fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    random::fill(&mut bytes);
    bytes
}

#[test]
fn no_block_comes_twice_in_a_request_or_in_two() {
    machine(1, || {
        let mut blocks: Vec<[u8; 16]> = [bytes::<1600>(), bytes::<1600>()]
            .iter()
            .flat_map(|bytes| {
                bytes.chunks_exact(16).map(|chunk| chunk.try_into().unwrap()).collect::<Vec<_>>()
            })
            .collect();
        blocks.sort_unstable();
        assert!(blocks.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(blocks.len(), 200);
    });
}

#[test]
fn what_is_fed_is_counted_and_what_programs_stir_in_is_not() {
    machine(1, || {
        let before = random::fed();
        random::feed(&[1; 100]);
        random::stir(&[2; 1000]);
        assert_eq!(random::fed(), before + 100);
        // Zeros take nothing away.
        random::feed(&[0; 64]);
        assert_ne!(bytes::<32>(), bytes::<32>());
    });
}

#[test]
fn a_program_gets_what_there_is_memory_for() {
    machine(1, || {
        fake::map(START, 2);
        assert_eq!(random::fill_all(&mut IoBuf::user(START + 10, 1000)), Ok(1000));
        let mut seen = [0; 1010];
        fake::copy_in(&mut seen, START + 10).unwrap();
        assert!(seen[..1000].chunks(8).all(|word| word != [0; 8]));
        assert_eq!(seen[1000..], [0; 10], "no more was written");
        // Up to the bad page, by whole pieces.
        assert_eq!(random::fill_all(&mut IoBuf::user(START + PAGE_SIZE, 2 * PAGE_SIZE)), Ok(PAGE_SIZE));
        assert_eq!(random::fill_all(&mut IoBuf::user(START + 2 * PAGE_SIZE, 1)), Err(Errno::EFAULT));
        assert_eq!(random::fill_all(&mut IoBuf::user(START, 0)), Ok(0));
    });
}
