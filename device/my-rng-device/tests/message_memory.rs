// SPDX-License-Identifier: MIT OR Apache-2.0
//! Queues in guest memory that came without a descriptor: each access is a message, and the client answers when it likes.

mod common;

use std::time::{Duration, Instant};

use common::Served;
use common::client::{
    BAR0, CONFIG, Client, DMA_MAP, DMA_READ, DMA_WRITE, Message, PATIENCE, REGION_READ, RESET, access,
    dma_map,
};
use my_rng_abi::{queue, registers};
use my_rng_device::limiter::{Limits, Rate};
use my_rng_device::stream::PowerOn;

const SIZE: usize = 1 << 20;
const STATE: usize = 0x1000;
const OTHER_STATE: usize = 0x3000;
const DESCRIPTORS: usize = 0x2000;
const BUFFERS: usize = 0x10000;

/// A guest whose memory is a vector that only messages reach.
struct Guest {
    client: Client,
    memory: Vec<u8>,
}

impl Guest {
    fn new(served: &Served) -> Self {
        let mut client = served.connect();
        assert_eq!(client.request(DMA_MAP, &dma_map(0, 0, SIZE as u64), &[]).error, 0);
        client.write(CONFIG, 4, 6); // Memory and bus master.
        Self { client, memory: vec![0; SIZE] }
    }

    /// Sets queue 0 or 1 up and enables it. Its worker asks for memory from now on.
    fn enable(&mut self, number: u32, depth: u32) {
        let state = if number == 0 { STATE } else { OTHER_STATE };
        for place in 0..depth as usize {
            let address = ((BUFFERS + place * 4096) as u64).to_le_bytes();
            let at = DESCRIPTORS + place * queue::DESCRIPTOR_SIZE;
            self.memory[at..at + 8].copy_from_slice(&address);
            self.put(at + queue::DESCRIPTOR_LENGTH, 4096);
        }
        for (register, value) in [
            (registers::QUEUE_SELECT, number),
            (registers::QUEUE_DEPTH, depth),
            (registers::QUEUE_DESCRIPTORS_LOW, DESCRIPTORS as u32),
            (registers::QUEUE_STATE_LOW, state as u32),
            (registers::QUEUE_CONTROL, registers::QUEUE_ENABLE),
        ] {
            self.write(register, value);
        }
    }

    fn put(&mut self, at: usize, value: u32) {
        self.memory[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn get(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.memory[at..at + 4].try_into().unwrap())
    }

    /// Writes a register, and serves the device meanwhile.
    fn write(&mut self, register: usize, value: u32) {
        let payload = common::client::write(BAR0, register as u64, &value.to_le_bytes());
        let id = self.client.send(common::client::REGION_WRITE, 0, &payload, &[]);
        self.serve_until_reply(id);
    }

    fn read(&mut self, register: usize) -> u32 {
        let id = self.client.send(REGION_READ, 0, &access(BAR0, register as u64, 4), &[]);
        let answer = self.serve_until_reply(id);
        u32::from_le_bytes(answer.payload[16..20].try_into().unwrap())
    }

    fn serve_until_reply(&mut self, id: u16) -> Message {
        loop {
            let message = self.client.receive().expect("a message");
            if message.is_reply() {
                assert_eq!((message.id, message.error), (id, 0));
                return message;
            }
            self.serve(&message);
        }
    }

    /// Does what the device asks for.
    fn serve(&mut self, request: &Message) {
        let (address, count) = request.dma_range();
        let range = address as usize..address as usize + count;
        if request.command == DMA_READ {
            let data = self.memory[range].to_vec();
            self.client.answer(request, &data);
        } else {
            self.memory[range].copy_from_slice(&request.payload[16..]);
            self.client.answer(request, &[]);
        }
    }

    /// Serves until the device has asked for the queue with that state, for the last time before it sleeps, how much is posted. That request is not
    /// answered yet, so that the worker waits for us.
    fn serve_until_last_look(&mut self, state: usize) -> Message {
        let start = Instant::now();
        let mut sleeping = false;
        loop {
            assert!(start.elapsed() < PATIENCE, "the queue never goes to sleep");
            let message = self.client.receive().expect("a message");
            let (address, _) = message.dma_range();
            if sleeping && message.command == DMA_READ && address == (state + queue::POSTED) as u64 {
                return message;
            }
            sleeping = message.command == DMA_WRITE && address == (state + queue::SLEEPING) as u64;
            self.serve(&message);
            sleeping &= self.get(state + queue::SLEEPING) == 1;
        }
    }

    /// Asks until a register has a value, and serves the device meanwhile.
    fn wait_for(&mut self, register: usize, value: u32) {
        let start = Instant::now();
        while self.read(register) != value {
            assert!(start.elapsed() < PATIENCE, "register {register:#x} never reads {value:#x}");
        }
    }

    /// Serves until so many buffers are complete.
    fn wait_for_completions(&mut self, count: u32) {
        let start = Instant::now();
        while self.get(STATE + queue::COMPLETED) != count {
            assert!(start.elapsed() < PATIENCE, "the buffers never come");
            self.read(registers::IDENT);
        }
    }
}

fn served() -> Served {
    Served::start(PowerOn::default(), 1, vfio_user_server::Limits::default())
}

/// Long enough for a worker that was called while it waits for an answer to go back to waiting for it.
fn let_the_worker_settle() {
    std::thread::sleep(Duration::from_millis(20));
}

#[test]
fn a_queue_is_served_by_messages_alone() {
    let served = served();
    let mut guest = Guest::new(&served);
    guest.put(STATE + queue::POSTED, 4);
    guest.enable(0, 4);
    guest.wait_for_completions(4);
    for place in 0..4 {
        assert!(guest.memory[BUFFERS + place * 4096..][..4096].iter().any(|&byte| byte != 0));
    }
    assert_eq!(guest.memory[BUFFERS + 4 * 4096..], vec![0; SIZE - BUFFERS - 4 * 4096]);
    guest.write(registers::QUEUE_CONTROL, 0);
    guest.wait_for(registers::QUEUE_CONTROL, 0);
}

#[test]
fn a_stop_that_comes_while_the_worker_waits_for_the_client_is_not_lost() {
    let served = served();
    let mut guest = Guest::new(&served);
    guest.enable(0, 4);
    let request = guest.serve_until_last_look(STATE);
    guest.client.write(BAR0, registers::QUEUE_CONTROL, 0);
    let_the_worker_settle();
    guest.serve(&request);
    guest.wait_for(registers::QUEUE_CONTROL, 0);
}

#[test]
fn a_doorbell_that_comes_while_the_worker_waits_for_the_client_is_not_lost() {
    let served = served();
    let mut guest = Guest::new(&served);
    guest.enable(0, 4);
    let request = guest.serve_until_last_look(STATE);
    // The answer to the device's look says that nothing is posted; the buffers come right after it.
    let data = guest.memory[STATE + queue::POSTED..][..4].to_vec();
    guest.put(STATE + queue::POSTED, 4);
    guest.client.write(BAR0, registers::DOORBELL, 0);
    let_the_worker_settle();
    guest.client.answer(&request, &data);
    guest.wait_for_completions(4);
}

#[test]
fn limits_that_change_while_the_worker_waits_for_the_client_are_seen() {
    let served = served();
    let mut guest = Guest::new(&served);
    // Once the burst is gone, the next buffer would take an hour.
    served.limits.set(Limits { bytes: Some(Rate { per_second: 1, burst: 4096 }), operations: None });
    guest.put(STATE + queue::POSTED, 1);
    guest.enable(0, 2);
    guest.wait_for_completions(1);
    guest.put(STATE + queue::POSTED, 2);
    guest.write(registers::DOORBELL, 0);
    // The same worker is about to sleep for another queue too.
    guest.enable(1, 4);
    let request = guest.serve_until_last_look(OTHER_STATE);
    served.limits.set(Limits::default());
    let_the_worker_settle();
    guest.serve(&request);
    guest.wait_for_completions(2);
}

#[test]
fn a_reset_does_not_wait_for_a_client_that_does_not_answer() {
    let served = served();
    let mut guest = Guest::new(&served);
    guest.enable(0, 4);
    let request = guest.serve_until_last_look(STATE);
    assert_eq!(guest.client.request(RESET, &[], &[]).error, 0);
    guest.serve(&request);
    guest.wait_for(registers::QUEUE_CONTROL, 0);
}

#[test]
fn the_next_client_finds_all_queues_off_although_the_last_one_answered_nothing() {
    let served = served();
    for _ in 0..20 {
        let mut guest = Guest::new(&served);
        guest.enable(0, 4);
        let _unanswered = guest.serve_until_last_look(STATE);
        drop(guest);
        assert_eq!(served.connect().read_register(registers::QUEUE_CONTROL), 0);
    }
}
