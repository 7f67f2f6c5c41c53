// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver against a device that these tests make up, well-behaved and not.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use exo_platform::{PAGE_SIZE, SharedPage, fake::dma::stray_accesses};

use super::{SLOTS_MAX, VIRTIO_RNG, VirtioRng};
use crate::{
    Driver, DriverError,
    bus::Found,
    random::{Drawn, Listener, RandomDevice, RandomError},
    virtio::{
        fake::{FakeVirtio, Kind},
        feature::{EVENT_INDEX, VERSION_1},
    },
};

fn kind() -> Kind {
    Kind { features: VERSION_1 | EVENT_INDEX, queue_sizes: vec![256], config: vec![0; 4], vectors: 2 }
}

fn device(kind: Kind) -> (Arc<FakeVirtio>, Arc<VirtioRng>) {
    let fake = Arc::new(FakeVirtio::new(kind));
    let function = fake.function();
    (fake, VirtioRng::new(&function))
}

fn started() -> (Arc<FakeVirtio>, Arc<VirtioRng>) {
    let (fake, rng) = device(kind());
    rng.init().unwrap();
    assert!(rng.is_ready() && fake.is_running());
    (fake, rng)
}

/// The device fills the next page with so many bytes of that value.
fn fill(fake: &FakeVirtio, value: u8, length: usize) -> bool {
    let Some(chain) = fake.take(0) else { return false };
    assert!(chain.readable.is_empty() && chain.room() == PAGE_SIZE);
    let written = chain.write(&vec![value; length]);
    fake.give(0, chain.head.into(), written);
    true
}

fn draw(rng: &VirtioRng, limit: usize) -> Result<Vec<u8>, RandomError> {
    let mut bytes = Vec::new();
    let drawn = rng.draw(limit, &mut |page: &SharedPage, offset, length| {
        let mut part = vec![0; length];
        page.read_bytes(offset, &mut part);
        bytes.extend(part);
        length
    })?;
    assert_eq!(drawn, Drawn { bytes: bytes.len(), refused: false });
    Ok(bytes)
}

#[derive(Default)]
struct Heard(AtomicUsize);

impl Listener for Heard {
    fn happened(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn bytes_come_whole_in_order_and_once() {
    let (fake, rng) = started();
    assert_eq!(fake.lock().agreed, VERSION_1 | EVENT_INDEX);
    assert_eq!(draw(&rng, 100), Ok(vec![]));
    for round in 0..1000_usize {
        let length = 1 + round * 37 % PAGE_SIZE;
        assert!(fill(&fake, round as u8, length), "no page in round {round}");
        let (first, rest) = (draw(&rng, length / 2).unwrap(), draw(&rng, 2 * PAGE_SIZE).unwrap());
        assert_eq!((first.len(), rest.len()), (length / 2, length - length / 2));
        assert!(first.iter().chain(&rest).all(|byte| *byte == round as u8), "round {round}");
    }
    assert_eq!(rng.bytes(), (0..1000).map(|round| 1 + round * 37 % PAGE_SIZE as u64).sum::<u64>());
    // As many pages as there are may be filled at once.
    assert_eq!((0..100).take_while(|_| fill(&fake, 1, 8)).count(), SLOTS_MAX.into());
    assert_eq!(draw(&rng, 1000).unwrap().len(), 8 * usize::from(SLOTS_MAX));
}

#[test]
fn who_waits_is_told() {
    let (fake, rng) = started();
    let heard = Arc::new(Heard::default());
    rng.listen(heard.clone());
    let awaited = rng.await_bytes(1).unwrap().expect("nothing is there");
    assert!(!rng.is_reached(awaited));
    fill(&fake, 5, 1);
    fake.wires.deliver();
    assert_eq!(heard.0.load(Ordering::Relaxed), 1);
    assert!(rng.is_reached(awaited));
    assert_eq!(rng.await_bytes(1), Ok(None));
    assert_eq!(draw(&rng, 10), Ok(vec![5]));
    assert!(!rng.is_reached(awaited));
}

#[test]
fn what_the_taker_leaves_nobody_gets() {
    let (fake, rng) = started();
    fill(&fake, 1, 100);
    fill(&fake, 2, 100);
    let drawn = rng.draw(50, &mut |_, _, _| 10).unwrap();
    assert_eq!(drawn, Drawn { bytes: 10, refused: true });
    let rest = draw(&rng, 1000).unwrap();
    assert_eq!(rest, [vec![1; 50], vec![2; 100]].concat());
}

/// The page had somebody's bytes.
#[test]
fn a_device_that_only_says_that_it_has_filled_gives_nobody_elses_bytes() {
    let (fake, rng) = started();
    for _ in 0..2 * SLOTS_MAX {
        assert!(fill(&fake, 0xaa, PAGE_SIZE));
        assert_eq!(draw(&rng, PAGE_SIZE).unwrap(), [0xaa; PAGE_SIZE]);
    }
    for _ in 0..2 * SLOTS_MAX {
        let chain = fake.take(0).unwrap();
        fake.give(0, chain.head.into(), PAGE_SIZE as u32);
        assert_eq!(draw(&rng, PAGE_SIZE).unwrap(), [0; PAGE_SIZE]);
    }
}

#[test]
fn a_length_that_cannot_be_ends_the_device() {
    for written in [PAGE_SIZE as u32 + 1, 1 << 16, u32::MAX] {
        let (fake, rng) = started();
        let awaited = rng.await_bytes(1).unwrap().unwrap();
        let chain = fake.take(0).unwrap();
        fake.give(0, chain.head.into(), written);
        assert!(rng.is_reached(awaited), "who waits must not wait for ever");
        assert_eq!(draw(&rng, 1), Err(RandomError::Failed), "{written} bytes");
        assert_eq!(rng.await_bytes(1), Err(RandomError::Failed));
        assert!(!rng.is_ready());
        rng.shutdown().unwrap();
        assert_eq!(draw(&rng, 1), Err(RandomError::Gone));
    }
}

#[test]
fn a_device_that_gives_back_what_it_does_not_have_is_not_used_any_more() {
    for head in [99, u32::MAX, 0x1_0000] {
        let (fake, rng) = started();
        fake.give(0, head, 8);
        assert_eq!(draw(&rng, 1), Err(RandomError::Failed), "head {head}");
    }
    // Twice the same.
    let (fake, rng) = started();
    let chain = fake.take(0).unwrap();
    fake.give(0, chain.head.into(), 8);
    fake.give(0, chain.head.into(), 8);
    assert_eq!(draw(&rng, 1), Err(RandomError::Failed));
}

#[test]
fn empty_pages_are_given_again_and_a_count_that_is_far_ahead_gives_nothing() {
    let (fake, rng) = started();
    for _ in 0..100 {
        let chain = fake.take(0).unwrap();
        fake.give(0, chain.head.into(), 0);
        assert_eq!(draw(&rng, 1), Ok(vec![]));
    }
    assert!(fill(&fake, 3, 1) && draw(&rng, 1) == Ok(vec![3]));
    for given in [200, 0x7fff, u16::MAX] {
        let (fake, rng) = started();
        fake.set_given(0, given);
        for _ in 0..20 {
            assert!(draw(&rng, 1).is_ok_and(|bytes| bytes.is_empty()), "{given}");
        }
    }
}

#[test]
fn a_device_that_goes_takes_nothing_with_it() {
    let (fake, rng) = started();
    let heard = Arc::new(Heard::default());
    rng.listen(heard.clone());
    let awaited = rng.await_bytes(1).unwrap().unwrap();
    let strays = stray_accesses();
    fake.lock().absent = true;
    assert!(!rng.is_ready());
    assert_eq!(rng.look(), Err(RandomError::Gone));
    rng.removed();
    assert_eq!(heard.0.load(Ordering::Relaxed), 1);
    assert!(rng.is_reached(awaited));
    assert_eq!(draw(&rng, 1), Err(RandomError::Gone));
    assert_eq!(rng.shutdown(), Err(DriverError::Removed));
    drop(rng);
    // It was on its way out, and still writes.
    fake.lock().absent = false;
    assert!(fill(&fake, 1, 8));
    assert_eq!(stray_accesses(), strays);
}

#[test]
fn a_device_that_was_shut_down_starts_again() {
    let (fake, rng) = started();
    fill(&fake, 1, 8);
    rng.shutdown().unwrap();
    assert!(!rng.is_ready() && rng.devices().is_empty());
    rng.init().unwrap();
    assert_eq!(draw(&rng, 8), Ok(vec![]), "what was there before is gone");
    assert!(fill(&fake, 2, 8) && draw(&rng, 8) == Ok(vec![2; 8]));
    assert_eq!(rng.devices().len(), 1);
}

#[test]
fn a_line_and_a_small_queue_are_enough() {
    let (fake, rng) = device(Kind { queue_sizes: vec![3], vectors: 1, features: VERSION_1, ..kind() });
    rng.init().unwrap();
    let heard = Arc::new(Heard::default());
    rng.listen(heard.clone());
    assert_eq!((0..10).take_while(|_| fill(&fake, 1, 1)).count(), 2);
    fake.wires.deliver();
    assert!(heard.0.load(Ordering::Relaxed) > 0);
    assert_eq!(draw(&rng, 10), Ok(vec![1; 2]));
}

#[test]
fn a_device_without_a_queue_or_that_disagrees_is_not_started() {
    let (_, rng) = device(Kind { queue_sizes: vec![0], ..kind() });
    assert!(matches!(rng.init(), Err(DriverError::Device(_))));
    let (fake, rng) = device(kind());
    fake.lock().disagrees = true;
    assert!(matches!(rng.init(), Err(DriverError::Device(_))));
    assert!(!rng.is_ready());
    let (fake, _) = device(kind());
    assert!((VIRTIO_RNG.probe)(&Found::Pci(fake.function())).is_ok());
}
