// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fuzzing with structure, on stable Rust and without tools: messages of a hostile client, and rings, virtqueues, registers and
//! maps of a hostile guest, against the real server, device and workers; and requests of hostile clients of the control socket,
//! against the program.
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
mod control;
mod descriptors;
mod guest;
mod protocol;
mod random;
mod ring;
mod virtio;

use std::time::Duration;

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
fn no_client_of_the_control_socket_does_harm() {
    Campaign::new("control", 10_000).run(
        control::Attacker::new,
        &["answers", "errors", "added", "removed", "too_long", "too_many_descriptors", "left"],
    );
}

/// As on a host so busy that nobody reads for a while.
#[test]
fn a_client_that_is_too_late_comes_again() {
    let mut attacker = protocol::Attacker::with_patience(Duration::from_millis(1));
    for _ in 0..3 {
        attacker.stop_reading();
        campaign::Attack::check(&mut attacker);
    }
    let effects = campaign::Attack::effects(&attacker);
    assert!(effects.contains(&("clients_not_reading", 3)), "{effects:?}");
}

#[test]
#[should_panic(expected = "the connection was closed without a reason")]
fn a_connection_that_is_closed_without_a_reason_is_seen() {
    let mut attacker = protocol::Attacker::new();
    attacker.hang_up();
    campaign::Attack::check(&mut attacker);
}

#[test]
#[should_panic(expected = "something was written after 0x0")]
fn a_write_outside_of_what_is_shared_is_seen() {
    let mut attacker = ring::attacker();
    attacker.spoil();
    campaign::Attack::check(&mut attacker);
}
