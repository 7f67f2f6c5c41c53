// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fuzzing with structure, on stable Rust and without tools: messages of a hostile client, and rings, virtqueues, registers and
//! maps of a hostile guest, against the real server, device and workers.
//!
//! A plain `cargo test` plays what is in `tests/corpus` and then some ten thousand random inputs. A long run:
//!
//! ```sh
//! FUZZ_INPUTS=10000000 FUZZ_SEED=7 cargo test --release -p my-rng-device --test fuzz -- --nocapture --test-threads=1
//! ```
//!
//! What must not happen: a panic, an answer that does not come, an answer too many or without an errno, a write outside
//! of what is mapped for writing, or memory that grows. Whoever finds a failure adds its inputs to the corpus.

#[path = "../common/mod.rs"]
mod common;

mod campaign;
mod guest;
mod protocol;
mod random;
mod ring;
mod virtio;

use campaign::Campaign;

#[test]
fn no_message_of_a_client_does_harm() {
    Campaign::new("protocol", 30_000).run(
        protocol::Attacker::new,
        &[
            "requests_failed",
            "dma_maps_failed",
            "stray_replies",
            "clients_dropped",
            "queue_starts",
            "one_shots",
            "resets",
        ],
    );
}

#[test]
fn no_ring_register_or_map_of_a_guest_does_harm() {
    Campaign::new("ring", 30_000).run(
        ring::attacker,
        &[
            "buffers",
            "queue_starts",
            "queue_stops",
            "queue_errors",
            "queue_mistakes",
            "one_shots",
            "one_shot_errors",
            "sleeps",
            "interrupts",
            "resets",
            "dma_faults",
            "dma_messages",
        ],
    );
}

#[test]
fn no_virtqueue_of_a_guest_does_harm() {
    Campaign::new("virtio", 30_000).run(
        virtio::attacker,
        &[
            "buffers",
            "queue_starts",
            "queue_errors",
            "queue_mistakes",
            "doorbells",
            "sleeps",
            "interrupts",
            "resets",
            "dma_faults",
            "dma_messages",
        ],
    );
}

#[test]
#[should_panic(expected = "something was written after 0x0")]
fn a_write_outside_of_what_is_shared_is_seen() {
    let mut attacker = ring::attacker();
    attacker.spoil();
    campaign::Attack::check(&mut attacker);
}
