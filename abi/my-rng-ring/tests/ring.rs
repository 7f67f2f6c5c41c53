// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ring on a memory of one thread, with the device's side played by the tests.

use std::cell::RefCell;

use my_rng_ring::queue::{
    COMPLETED, ERROR, ERROR_ADDRESS, INTERRUPT_AT, INTERRUPT_WANTED, POSTED, SLEEPING, passes,
};
use my_rng_ring::{Fault, Layout, Piece, Ring, State, ring::is_reached};

const SIZE: usize = 64;

struct Memory(RefCell<[u32; 64]>);

impl State for &Memory {
    fn load(&self, offset: usize) -> u32 {
        self.0.borrow()[offset / 4]
    }
    fn load_acquire(&self, offset: usize) -> u32 {
        self.load(offset)
    }
    fn store(&self, offset: usize, value: u32) {
        self.0.borrow_mut()[offset / 4] = value;
    }
    fn store_release(&self, offset: usize, value: u32) {
        self.store(offset, value);
    }
    fn full_barrier(&self) {}
}

fn dirty() -> Memory {
    Memory(RefCell::new([77; 64]))
}

fn ring(memory: &Memory, depth: u32) -> Ring<&Memory> {
    let mut ring = Ring::new(memory, Layout::new(depth, SIZE as u32).unwrap());
    assert!(!ring.give_back());
    ring
}

fn piece(offset: usize, length: usize) -> Result<Option<Piece>, Fault> {
    Ok(Some(Piece { offset, length }))
}

#[test]
fn only_powers_of_two_within_the_limits_make_a_layout() {
    for (depth, size) in [(0, 64), (3, 64), (2048, 64), (4, 0), (4, 65), (4, 1 << 21)] {
        assert_eq!(Layout::new(depth, size), None, "{depth} × {size}");
    }
    let largest = Layout::new(1024, 1 << 20).unwrap();
    assert_eq!((largest.depth(), largest.buffer_size(), largest.size()), (1024, 1 << 20, 1 << 30));
}

#[test]
fn a_new_ring_clears_the_state_and_then_posts_all() {
    let memory = dirty();
    let mut ring = Ring::new(&memory, Layout::new(8, 64).unwrap());
    for offset in [POSTED, INTERRUPT_AT, INTERRUPT_WANTED, COMPLETED, SLEEPING, ERROR] {
        assert_eq!((&memory).load(offset), 0, "{offset:#x}");
    }
    assert!(!ring.give_back());
    assert_eq!((&memory).load(POSTED), 8);
    assert_eq!(ring.take(100), Ok(None));
}

#[test]
fn attaching_to_a_running_queue_wakes_a_device_that_sleeps_already() {
    let memory = Memory(RefCell::new([0; 64]));
    (&memory).store(SLEEPING, 1);
    let mut ring = Ring::attach(&memory, Layout::new(8, 64).unwrap());
    assert!(ring.give_back(), "the doorbell is needed");
    assert_eq!((&memory).load(POSTED), 8);
}

#[test]
fn bytes_come_in_order_and_once() {
    let memory = dirty();
    let mut ring = ring(&memory, 4);
    (&memory).store(COMPLETED, 3);
    assert_eq!(ring.take(10), piece(0, 10));
    assert_eq!(ring.take(60), piece(10, 60));
    assert_eq!(ring.take(0), Ok(None));
    assert_eq!(ring.take(usize::MAX), piece(70, 3 * SIZE - 70));
    assert_eq!(ring.take(usize::MAX), Ok(None));
}

#[test]
fn a_piece_ends_at_the_end_of_the_ring() {
    let memory = dirty();
    let mut ring = ring(&memory, 4);
    (&memory).store(COMPLETED, 4);
    assert_eq!(ring.take(3 * SIZE), piece(0, 3 * SIZE));
    assert!(!ring.give_back());
    assert_eq!((&memory).load(POSTED), 7);
    (&memory).store(COMPLETED, 6);
    // The count of completions was read before: first what was known then, up to the end, then the rest.
    assert_eq!(ring.take(usize::MAX), piece(3 * SIZE, SIZE));
    assert_eq!(ring.take(usize::MAX), piece(0, 2 * SIZE));
}

#[test]
fn buffers_are_given_back_in_batches_or_when_nothing_is_left() {
    let memory = dirty();
    let mut ring = ring(&memory, 16);
    (&memory).store(COMPLETED, 16);
    assert_eq!(ring.take(3 * SIZE), piece(0, 3 * SIZE));
    assert!(!ring.give_back());
    assert_eq!((&memory).load(POSTED), 16, "three are no batch of four");
    assert_eq!(ring.take(SIZE), piece(3 * SIZE, SIZE));
    assert!(!ring.give_back());
    assert_eq!((&memory).load(POSTED), 20);
    assert_eq!(ring.take(12 * SIZE), piece(4 * SIZE, 12 * SIZE));
    assert!(!ring.give_back());
    assert_eq!((&memory).load(POSTED), 32);
    (&memory).store(COMPLETED, 17);
    assert_eq!(ring.take(SIZE), piece(0, SIZE));
    assert!(!ring.give_back());
    assert_eq!((&memory).load(POSTED), 33, "nothing was left");
}

#[test]
fn a_buffer_that_is_not_used_up_is_not_given_back() {
    let memory = dirty();
    let mut ring = ring(&memory, 1);
    (&memory).store(COMPLETED, 1);
    assert_eq!(ring.take(SIZE - 1), piece(0, SIZE - 1));
    assert!(!ring.give_back());
    assert_eq!((&memory).load(POSTED), 1);
    assert_eq!(ring.take(9), piece(SIZE - 1, 1));
    assert!(!ring.give_back());
    assert_eq!((&memory).load(POSTED), 2);
}

#[test]
fn the_doorbell_is_for_a_device_that_sleeps() {
    let memory = dirty();
    let mut ring = ring(&memory, 4);
    (&memory).store(COMPLETED, 4);
    (&memory).store(SLEEPING, 1);
    assert!(ring.take(usize::MAX).unwrap().is_some());
    assert!(ring.give_back());
    assert!(!ring.give_back(), "nothing was posted");
}

#[test]
fn counts_run_past_their_end() {
    let memory = dirty();
    let mut ring = ring(&memory, 1024);
    let (mut completed, mut bytes) = (0_u32, 0_u64);
    for _ in 0..(1 << 22) + 2 {
        completed = completed.wrapping_add(1024);
        (&memory).store(COMPLETED, completed);
        let piece = ring.take(usize::MAX).unwrap().unwrap();
        bytes += piece.length as u64;
        assert!(!ring.give_back());
    }
    assert_eq!(completed, 2048);
    assert_eq!(bytes, ((1_u64 << 32) + 2048) * SIZE as u64);
}

#[test]
fn a_count_that_cannot_be_is_a_fault() {
    for wrong in [5, u32::MAX, 1 << 31] {
        let memory = dirty();
        let mut ring = ring(&memory, 4);
        (&memory).store(COMPLETED, wrong);
        assert_eq!(ring.take(1), Err(Fault::Count), "{wrong}");
        assert_eq!(ring.has_some(), Err(Fault::Count), "{wrong}");
    }
}

#[test]
fn what_was_completed_before_an_error_is_still_there() {
    let memory = dirty();
    let mut ring = ring(&memory, 4);
    (&memory).store(COMPLETED, 1);
    (&memory).store(ERROR, ERROR_ADDRESS);
    assert_eq!(ring.take(usize::MAX), piece(0, SIZE));
    assert_eq!(ring.take(usize::MAX), Err(Fault::Stopped(ERROR_ADDRESS)));
    assert!(is_reached(&&memory, 3), "nobody may sleep for a queue that has stopped");
}

#[test]
fn an_interrupt_is_asked_for_what_is_posted() {
    let memory = dirty();
    let mut ring = ring(&memory, 8);
    let at = ring.ask_for_interrupt(1000);
    assert_eq!((at, (&memory).load(INTERRUPT_AT), (&memory).load(INTERRUPT_WANTED)), (8, 8, 1));
    assert!(!is_reached(&&memory, at));
    (&memory).store(COMPLETED, 7);
    assert!(!is_reached(&&memory, at) && !passes(at, 0, 7));
    (&memory).store(COMPLETED, 8);
    assert!(is_reached(&&memory, at) && passes(at, 7, 8));
}

#[test]
fn who_waits_for_less_is_not_made_to_wait_for_more() {
    let memory = dirty();
    let mut ring = ring(&memory, 8);
    assert_eq!(ring.ask_for_interrupt(2), 2);
    assert_eq!(ring.ask_for_interrupt(6), 2);
    assert_eq!(ring.ask_for_interrupt(0), 1);
    (&memory).store(COMPLETED, 2);
    assert!(ring.take(usize::MAX).unwrap().is_some());
    assert!(!ring.give_back());
    assert_eq!(ring.ask_for_interrupt(6), 8, "the earlier ones are past");
}

#[test]
fn a_reset_ring_begins_anew() {
    let memory = dirty();
    let mut ring = ring(&memory, 4);
    (&memory).store(COMPLETED, 4);
    assert_eq!(ring.take(3), piece(0, 3));
    let _ = ring.ask_for_interrupt(1);
    ring.reset();
    assert_eq!(ring.take(3), Ok(None));
    assert!(!ring.give_back());
    assert_eq!(((&memory).load(POSTED), (&memory).load(INTERRUPT_WANTED)), (4, 0));
}
