// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loopback device: what is sent comes back.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};

use exo_platform::SpinLock;

use super::{Counters, Direction, FrameListener, NetworkDevice, NetworkError};

/// Most bytes of a packet, as on Linux.
const MTU: usize = 65536;
/// Packets on their way at a time.
const DEPTH: usize = 64;

/// The device. Its packets are bare IP packets.
#[derive(Default)]
pub struct Loopback {
    packets: SpinLock<VecDeque<Vec<u8>>>,
    counters: Counters,
}

impl Loopback {
    /// The device without a packet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
}

impl NetworkDevice for Loopback {
    fn name(&self) -> &str {
        "loopback"
    }

    fn hardware_address(&self) -> Option<[u8; 6]> {
        None
    }

    fn mtu(&self) -> usize {
        MTU
    }

    fn is_connected(&self) -> bool {
        true
    }

    fn receive(&self, frame: &mut Vec<u8>) -> bool {
        let Some(packet) = self.packets.lock().pop_front() else { return false };
        self.counters.count(Direction::In, packet.len());
        *frame = packet;
        true
    }

    fn transmit(&self, frame: &[u8]) -> Result<(), NetworkError> {
        if frame.len() > MTU {
            return Err(NetworkError::TooLong);
        }
        {
            let mut packets = self.packets.lock();
            if packets.len() == DEPTH {
                self.counters.count_dropped(Direction::Out);
                return Err(NetworkError::QueueFull);
            }
            packets.push_back(frame.to_vec());
        }
        self.counters.count(Direction::Out, frame.len());
        Ok(())
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whoever sends looks for what came back: there is nobody to be told.
    fn listen(&self, _listener: Arc<dyn FrameListener>) {}
}
