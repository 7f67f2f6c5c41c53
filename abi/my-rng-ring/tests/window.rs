// SPDX-License-Identifier: MIT OR Apache-2.0
//! The window on one thread; `loom.rs` tries it with several.

use std::cell::Cell;

use my_rng_ring::window::{Position, Taken, Window};

#[derive(Default)]
struct Word(Cell<u64>);

impl Position for Word {
    fn load_acquire(&self) -> u64 {
        self.0.get()
    }
    fn store_release(&self, value: u64) {
        self.0.set(value);
    }
    fn compare_exchange(&self, old: u64, new: u64) -> bool {
        let is_old = self.0.get() == old;
        if is_old {
            self.0.set(new);
        }
        is_old
    }
}

fn window() -> Window<Word> {
    Window::new(Word::default())
}

#[test]
fn nothing_comes_out_of_a_window_that_has_too_little() {
    let window = window();
    window.open(4..7);
    assert_eq!(window.take(2, Some), Taken::Some(4));
    assert_eq!(window.take(2, Some), Taken::Empty);
    assert_eq!((window.len(), window.is_empty()), (1, false));
    assert_eq!(window.take(1, Some), Taken::Some(6));
    assert_eq!((window.len(), window.is_empty()), (0, true));
}

#[test]
fn who_was_overtaken_reads_again() {
    let window = window();
    window.open(0..8);
    let mut reads = 0;
    let taken = window.take(2, |position| {
        reads += 1;
        // Another takes one in between.
        if reads == 1 {
            assert_eq!(window.take(1, Some), Taken::Some(0));
        }
        Some(position)
    });
    assert_eq!((taken, reads), (Taken::Some(1), 2));
}

#[test]
fn who_was_overtaken_by_the_end_gets_nothing() {
    let window = window();
    window.open(0..8);
    let taken = window.take(2, |position| {
        window.close();
        Some(position)
    });
    assert_eq!(taken, Taken::Empty);
}

#[test]
fn an_older_window_ends_where_the_next_begins() {
    let window = window();
    window.open(0..8);
    assert_eq!(window.close(), 0..8);
    assert_eq!(window.close(), 8..8);
    let taken = window.take(1, Some);
    window.open(16..17);
    assert_eq!((taken, window.take(1, Some)), (Taken::Empty, Taken::Some(16)));
}

#[test]
fn positions_begin_anew_after_2_48() {
    let window = window();
    let last = (1 << 48) - 1;
    window.open(last..last + 3);
    assert_eq!(window.take(2, Some), Taken::Some(last));
    assert_eq!(window.take(1, Some), Taken::Some(1));
    assert_eq!(window.take(1, Some), Taken::Empty);
}

#[test]
fn a_window_has_as_many_as_it_can() {
    let window = window();
    window.open(0..1 << 20);
    assert_eq!(window.len(), Window::<Word>::MOST);
    assert_eq!(window.close(), 0..0xffff);
}
