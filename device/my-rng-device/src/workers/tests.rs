// SPDX-License-Identifier: MIT OR Apache-2.0
//! Workers at work: a driver and a hostile one, in shared memory.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use my_rng_abi::queue as abi;
use my_rng_abi::registers::{ONE_SHOT_ERROR, STATUS_QUEUE_ERROR};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use vfio_user_server::{Interrupts, Irqs};

use super::*;
use crate::driver::{Layout, PlainMemory, Ring};
use crate::limiter::Rate;
use crate::registers::{OneShot, Stream, Vector};
use crate::shared::{InterruptKind, RunState};
use crate::stream::PowerOn;

/// Nothing in these tests takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

const SIZE: u64 = 8 << 20;

/// A device's workers and a client.
struct Machine {
    workers: Workers,
    shared: Arc<Shared>,
    memory: PlainMemory,
    client: Client,
}

impl Machine {
    fn new(workers: usize) -> Self {
        Self::with(workers, PowerOn::default())
    }

    fn with(workers: usize, power_on: PowerOn) -> Self {
        let shared = Arc::new(Shared::new(power_on));
        let memory = PlainMemory::new(SIZE).unwrap();
        let interrupts = Interrupts::new(
            &Irqs::default().with(power_on.interrupts.index(), power_on.interrupts.vectors()),
        );
        let client = Client::new(memory.memory.clone(), interrupts);
        let count = NonZero::new(workers).unwrap();
        let workers = Workers::start(shared.clone(), count, &Shutdown::new().unwrap()).unwrap();
        workers.join(&client);
        Self { workers, shared, memory, client }
    }

    /// Starts a queue as the registers do.
    fn start(&self, queue: usize, layout: Layout, stream: Stream) -> Ring {
        let ring = Ring::new(&self.memory.memory, layout).unwrap();
        self.restart(queue, layout, stream);
        ring
    }

    fn restart(&self, queue: usize, layout: Layout, stream: Stream) {
        let cell = self.shared.queue(queue).unwrap();
        assert_eq!(cell.state(), RunState::Off);
        cell.set_state(RunState::Running);
        self.workers.act(Effect::Start(queue, layout.set_up(stream, Vector(Some(queue as u16)))));
    }

    fn stop(&self, queue: usize) {
        let cell = self.shared.queue(queue).unwrap();
        cell.set_state(RunState::Stopping);
        self.workers.act(Effect::Stop(queue));
        wait("the queue to stop", || cell.state() == RunState::Off);
    }

    fn post(&self, queue: usize, ring: &mut Ring, count: u32) {
        if ring.post(count).unwrap() {
            self.workers.act(Effect::Doorbell(queue));
        }
    }

    fn transfer(&self, address: u64, length: usize) -> u32 {
        self.shared.one_shot.set(my_rng_abi::registers::ONE_SHOT_START);
        let vector = Vector(Some(32));
        let transfer = OneShot { stream: Stream::Seedable, address, length, vector };
        self.workers.act(Effect::OneShot(transfer));
        wait("the transfer", || !self.shared.one_shot.is_running());
        self.shared.one_shot.bits()
    }

    fn vector(&self, vector: u32) -> OwnedFd {
        let eventfd = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        self.client
            .interrupts
            .assign(self.shared.power_on.interrupts.index(), vector, eventfd.try_clone().unwrap())
            .unwrap();
        eventfd
    }

    fn layout(place: u64, depth: u32, buffer: u32) -> Layout {
        Layout { base: place << 20, depth, buffer }
    }
}

fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let start = Instant::now();
    while !until() {
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        thread::sleep(Duration::from_micros(50));
    }
}

fn wait_for(ring: &mut Ring, completed: u32) {
    wait("completions", || ring.completed().unwrap() == completed);
}

/// Signals so far; waits for the first.
fn signals(eventfd: &OwnedFd) -> u64 {
    let timeout = rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(eventfd, PollFlags::IN)], Some(&timeout)), Ok(1), "no interrupt");
    let mut count = [0; 8];
    rustix::io::read(eventfd.as_fd(), &mut count).unwrap();
    u64::from_ne_bytes(count)
}

#[test]
fn all_queues_are_served_by_any_number_of_workers_and_nothing_is_given_twice() {
    for workers in [1, 3] {
        let machine = Machine::new(workers);
        let mut rings: Vec<_> = (0..7)
            .map(|place| machine.start(place, Machine::layout(place as u64, 8, 4096), Stream::Entropy))
            .collect();
        let mut seen = HashSet::new();
        for round in 0..20_u32 {
            for (queue, ring) in rings.iter_mut().enumerate() {
                machine.post(queue, ring, 8);
            }
            for ring in &mut rings {
                wait_for(ring, (round + 1) * 8);
                for number in 0..8 {
                    let bytes = ring.read(number).unwrap();
                    assert!(bytes.chunks_exact(16).all(|piece| seen.insert(piece.to_vec())));
                }
            }
        }
        let counted = machine.shared.counters.snapshot();
        assert_eq!((counted.buffers, counted.entropy_bytes), (7 * 8 * 20, 7 * 8 * 20 * 4096));
    }
}

#[test]
fn registers_queues_and_transfers_draw_from_one_stream() {
    let machine = Machine::new(1);
    let mut expected = crate::generators::Generator::new(Default::default(), 1);
    let mut words =
        |count: usize| -> Vec<u8> { (0..count).flat_map(|_| expected.next_u32().to_le_bytes()).collect() };
    let mut ring = machine.start(5, Machine::layout(1, 4, 100), Stream::Seedable);
    machine.post(5, &mut ring, 1);
    wait_for(&mut ring, 1);
    assert_eq!(ring.read(0).unwrap(), words(25));
    assert_eq!(machine.shared.stream().next_u32().to_le_bytes(), words(1)[..]);
    assert_eq!(machine.transfer(0x20_0001, 4096), 0);
    let mut bytes = [0; 4096];
    machine.memory.memory.handle().read(0x20_0001, &mut bytes).unwrap();
    assert_eq!(bytes[..], words(1024));
    machine.post(5, &mut ring, 3);
    wait_for(&mut ring, 4);
    assert_eq!(ring.read(3).unwrap(), {
        words(50);
        words(25)
    });
}

#[test]
fn a_sleeping_queue_wakes_at_its_doorbell_only() {
    let machine = Machine::new(1);
    let mut ring = machine.start(0, Machine::layout(0, 4, 64), Stream::Entropy);
    for round in 1..50 {
        // It is counted when it is certain. Between its word and that, it looks once more.
        wait("sleep", || machine.shared.counters.snapshot().sleeps >= u64::from(round));
        assert_eq!(ring.field(abi::SLEEPING).unwrap(), 1);
        assert!(ring.post(1).unwrap(), "it wants its doorbell");
        if round == 1 {
            thread::sleep(Duration::from_millis(20));
            assert_eq!(ring.completed().unwrap(), 0, "nobody looks");
        }
        machine.workers.act(Effect::Doorbell(0));
        wait_for(&mut ring, round);
    }
}

#[test]
fn no_wake_up_is_lost_however_the_driver_and_the_device_meet() {
    let machine = Machine::new(1);
    let mut ring = machine.start(0, Machine::layout(0, 4, 64), Stream::Entropy);
    let mut pause = crate::generators::Generator::new(crate::generators::Kind::ChaCha20, 1);
    for round in 1..=3000_u32 {
        // Around the time after which the device falls asleep.
        let until = Instant::now() + Duration::from_nanos(u64::from(pause.next_u32() % 200_000));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        machine.post(0, &mut ring, 1);
        wait_for(&mut ring, round);
    }
}

#[test]
fn interrupts_come_when_they_are_asked_for() {
    let machine = Machine::new(2);
    let mut ring = machine.start(3, Machine::layout(0, 8, 64), Stream::Entropy);
    let vector = machine.vector(3);
    machine.post(3, &mut ring, 4);
    wait_for(&mut ring, 4);
    ring.want_interrupt_at(6).unwrap();
    machine.post(3, &mut ring, 1);
    wait_for(&mut ring, 5);
    machine.post(3, &mut ring, 3);
    assert_eq!(signals(&vector), 1);
    wait_for(&mut ring, 8);
    wait("the count", || machine.shared.counters.snapshot().interrupts == 1);
    let transfer = machine.vector(32);
    assert_eq!(machine.transfer(0, 1), 0);
    assert_eq!(signals(&transfer), 1);
}

#[test]
fn a_device_with_msi_sends_its_interrupts_as_such() {
    let machine = Machine::with(1, PowerOn { interrupts: InterruptKind::Msi, ..PowerOn::default() });
    let mut ring = machine.start(31, Machine::layout(0, 8, 64), Stream::Entropy);
    let vector = machine.vector(31);
    ring.want_interrupt_at(1).unwrap();
    machine.post(31, &mut ring, 1);
    assert_eq!(signals(&vector), 1);
}

#[test]
fn a_queue_with_an_error_stops_and_the_others_go_on() {
    let machine = Machine::new(1);
    let mut good = machine.start(0, Machine::layout(0, 8, 4096), Stream::Entropy);
    for (fault, layout, posted) in [
        (abi::ERROR_COUNT, Machine::layout(1, 8, 64), 9),
        (abi::ERROR_DESCRIPTOR, Machine::layout(1, 8, abi::BUFFER_SIZE_MAX + 1), 1),
        (abi::ERROR_DESCRIPTOR, Machine::layout(1, 8, 0), 1),
        (abi::ERROR_ADDRESS, Machine::layout(7, 2, 1 << 20), 2),
    ] {
        let vector = machine.vector(1);
        let mut bad = machine.start(1, layout, Stream::Entropy);
        machine.post(1, &mut bad, posted);
        assert_eq!(signals(&vector), 1, "error {fault}");
        assert_eq!(bad.field(abi::ERROR).unwrap(), fault);
        assert_eq!(machine.shared.queue(1).unwrap().state(), RunState::Off);
        assert_eq!(machine.shared.status(), STATUS_QUEUE_ERROR);
        machine.shared.clear_status(u32::MAX);
        let before = good.completed().unwrap();
        machine.post(0, &mut good, 8);
        wait_for(&mut good, before + 8);
        // Enabling it again clears the error.
        machine.memory.memory.handle().write((1 << 20) + abi::POSTED as u64, &[0; 4]).unwrap();
        machine.restart(1, Machine::layout(1, 8, 64), Stream::Entropy);
        wait("the error to go", || {
            machine.memory.memory.handle().with_slice(
                1 << 20,
                4096,
                vfio_user_server::DmaAccess::Read,
                |state| state.load_u32(abi::ERROR, Ordering::Acquire).unwrap(),
            ) == Ok(0)
        });
        machine.stop(1);
    }
}

#[test]
fn a_state_that_is_nowhere_is_told_by_status_and_interrupt() {
    let machine = Machine::new(1);
    let vector = machine.vector(2);
    machine.restart(2, Layout { base: SIZE, depth: 4, buffer: 64 }, Stream::Entropy);
    assert_eq!(signals(&vector), 1);
    assert_eq!(machine.shared.status(), STATUS_QUEUE_ERROR);
    assert_eq!(machine.shared.queue(2).unwrap().state(), RunState::Off);
}

#[test]
fn a_stopped_queue_writes_nothing_more() {
    let machine = Machine::new(1);
    for _ in 0..50 {
        let layout = Machine::layout(1, 2, 1 << 20);
        let mut ring = machine.start(4, layout, Stream::Entropy);
        machine.post(4, &mut ring, 2);
        thread::sleep(Duration::from_micros(100));
        machine.stop(4);
        let (completed, bytes) = (ring.completed().unwrap(), [ring.read(0).unwrap(), ring.read(1).unwrap()]);
        thread::sleep(Duration::from_millis(2));
        assert_eq!(ring.completed().unwrap(), completed);
        assert!([ring.read(0).unwrap(), ring.read(1).unwrap()] == bytes, "something was still written");
    }
}

#[test]
fn memory_can_be_unmapped_under_a_transfer() {
    let machine = Machine::new(1);
    let mut good = machine.start(0, Machine::layout(0, 4, 64), Stream::Entropy);
    for _ in 0..20 {
        let file = rustix::fs::memfd_create("more", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, 4 << 20).unwrap();
        machine.memory.memory.share(SIZE, 4 << 20, file, 0).unwrap();
        let mut ring = machine.start(1, Layout { base: SIZE, depth: 2, buffer: 1 << 20 }, Stream::Entropy);
        machine.post(1, &mut ring, 2);
        thread::sleep(Duration::from_micros(100));
        machine.memory.memory.unshare(SIZE, 4 << 20).unwrap();
        wait("the error", || machine.shared.queue(1).unwrap().state() == RunState::Off);
        assert!(ring.completed().is_err());
        let before = good.completed().unwrap();
        machine.post(0, &mut good, 1);
        wait_for(&mut good, before + 1);
    }
}

#[test]
fn a_transfer_out_of_bounds_touches_nothing() {
    let machine = Machine::new(1);
    let vector = machine.vector(32);
    for (address, length) in [(SIZE - 1, 2), (SIZE - 65_536, 65_537), (SIZE, 1), (u64::MAX, 1)] {
        assert_eq!(machine.transfer(address, length), ONE_SHOT_ERROR);
        assert_eq!(signals(&vector), 1);
    }
    let mut end = vec![1; 1 << 17];
    machine.memory.memory.handle().read(SIZE - (1 << 17), &mut end).unwrap();
    assert!(end.iter().all(|&byte| byte == 0));
    assert_eq!(machine.shared.stream().next_u32(), 1_804_289_383, "and draws nothing");
    assert_eq!(machine.transfer(SIZE - 65_536, 65_536), 0);
    assert_eq!(machine.shared.counters.snapshot().one_shot_errors, 4);
}

#[test]
fn limits_hold_and_can_be_changed_while_queues_wait() {
    let machine = Machine::new(1);
    machine
        .shared
        .limiter
        .set(Limits { bytes: Some(Rate { per_second: 1 << 20, burst: 4096 }), operations: None });
    let mut ring = machine.start(0, Machine::layout(0, 64, 4096), Stream::Entropy);
    let start = Instant::now();
    machine.post(0, &mut ring, 64);
    wait_for(&mut ring, 64);
    // How much later it is done is a matter of the host.
    let time = start.elapsed();
    assert!(time >= Duration::from_millis(200), "256 KiB at 1 MiB/s: {time:?}");
    assert!(machine.shared.counters.snapshot().throttles >= 1);
    machine.shared.limiter.set(Limits { bytes: Some(Rate { per_second: 1, burst: 1 }), operations: None });
    machine.post(0, &mut ring, 64);
    thread::sleep(Duration::from_millis(20));
    assert!(ring.completed().unwrap() <= 64 + 8);
    machine.workers.limit_setter().set(Limits::default());
    wait_for(&mut ring, 128);
}

#[test]
fn the_next_client_starts_with_all_queues_off() {
    let machine = Machine::new(2);
    let mut rings: Vec<_> = (0..6)
        .map(|place| machine.start(place, Machine::layout(place as u64, 8, 4096), Stream::Entropy))
        .collect();
    for _ in 0..20 {
        for (queue, ring) in rings.iter_mut().enumerate() {
            machine.post(queue, ring, 8);
        }
        machine.workers.leave();
        assert!(machine.shared.queues().iter().all(|cell| cell.state() == RunState::Off));
        let completed: Vec<_> = rings.iter_mut().map(|ring| ring.completed().unwrap()).collect();
        thread::sleep(Duration::from_millis(1));
        let later: Vec<_> = rings.iter_mut().map(|ring| ring.completed().unwrap()).collect();
        assert_eq!(completed, later);
        machine.workers.join(&machine.client);
        for (queue, ring) in rings.iter_mut().enumerate() {
            *ring = machine.start(queue, Machine::layout(queue as u64, 8, 4096), Stream::Entropy);
        }
    }
}

/// A bug in one device is no reason to end the others.
#[test]
fn a_worker_that_fails_ends_its_own_device_and_no_other() {
    let shutdowns = [Shutdown::new().unwrap(), Shutdown::new().unwrap()];
    let devices = shutdowns.each_ref().map(|shutdown| {
        let shared = Arc::new(Shared::new(PowerOn::default()));
        (Workers::start(shared.clone(), NonZero::<usize>::MIN, shutdown).unwrap(), shared)
    });
    devices[0].0.of(0, |worker| worker.send(Command::Fail));
    let start = Instant::now();
    while !shutdowns[0].is_triggered() {
        assert!(start.elapsed() < PATIENCE);
        thread::yield_now();
    }
    assert!(devices[0].1.failed.load(Ordering::SeqCst));
    devices[0].0.stop_all(); // Does not wait for the one that has failed.
    devices[1].0.stop_all();
    assert!(!shutdowns[1].is_triggered() && !devices[1].1.failed.load(Ordering::SeqCst));
}

/// Small buffers and large ones under one limit: each gets on, and together they get no more than the limit says. That it is no
/// less either, `tests/attacks` shows.
#[test]
fn a_limit_is_shared_by_all_who_wait_and_kept() {
    let machine = Machine::new(2);
    let rate = Rate { per_second: 1 << 20, burst: 64 << 10 };
    machine.shared.limiter.set(Limits { bytes: Some(rate), operations: None });
    let mut small = machine.start(0, Machine::layout(0, 64, 16), Stream::Entropy);
    let mut large = machine.start(1, Machine::layout(1, 64, 65_536), Stream::Entropy);
    let start = Instant::now();
    let bytes = || machine.shared.counters.snapshot().entropy_bytes;
    // The burst does not count.
    machine.post(1, &mut large, 1);
    wait_for(&mut large, 1);
    let (begin, first) = (Instant::now(), bytes());
    while begin.elapsed() < Duration::from_secs(2) {
        for (queue, ring) in [(0, &mut small), (1, &mut large)] {
            let free = 64 - ring.posted().wrapping_sub(ring.completed().unwrap());
            machine.post(queue, ring, free);
        }
        thread::sleep(Duration::from_millis(1));
    }
    let allowed = begin.elapsed().as_secs_f64() * f64::from(1 << 20);
    let got = (bytes() - first) as f64;
    // A burst more, and two hundredths.
    assert!(got <= allowed * 1.02 + 65_536.0, "{got} of {allowed}");
    let (small, large) = (small.completed().unwrap(), large.completed().unwrap());
    assert!(large >= 2 && small >= large, "{small} small buffers, {large} large ones: they take turns");
    assert!(start.elapsed() < PATIENCE);
}

/// Without work, a doorbell is worth nothing; under a limit it is worth no processor time either.
#[test]
fn doorbells_in_vain_cost_a_limited_guest_its_hearing() {
    let machine = Machine::new(1);
    machine.shared.limiter.set(Limits { bytes: Some(Rate { per_second: 1, burst: 1 }), operations: None });
    let mut ring = machine.start(0, Machine::layout(0, 8, 16), Stream::Entropy);
    let start = Instant::now();
    let mut rung = 0_u64;
    while start.elapsed() < Duration::from_millis(500) {
        machine.workers.act(Effect::Doorbell(0));
        rung += 1;
    }
    let counted = machine.shared.counters.snapshot().doorbells_in_vain;
    assert!(rung > 5000 && counted <= 550, "{counted} of {rung} had an effect");
    // What it is rung for in earnest still comes, here by the burst.
    machine.post(0, &mut ring, 1);
    wait_for(&mut ring, 1);
}
