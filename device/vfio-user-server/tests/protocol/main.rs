// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server as its clients see it: raw messages over a real socket, the wrong ones as well as the right ones. One file
//! for each command, and one each for what holds for all messages, for clients that come and go, and for the socket.

mod awaited;
mod clients;
mod common;
mod counters;
mod device_get_info;
mod device_get_irq_info;
mod device_get_region_info;
mod device_reset;
mod device_set_irqs;
mod dma_map;
mod dma_read_write;
mod dma_unmap;
mod framing;
mod libvfio_user;
mod listener;
mod region_read;
mod region_write;
mod rust_vmm;
mod version;
