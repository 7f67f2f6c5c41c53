// SPDX-License-Identifier: MIT OR Apache-2.0
//! A second real client beside QEMU: rust-vmm's, which Cloud Hypervisor uses. It does not look at errors, and where a reply
//! has data it waits for all of that even after an error: what it asks in the ordinary course must not fail.

use crate::common::*;
use std::os::fd::AsRawFd;
use vfio_user_server::{DmaAccess, IrqIndex};

fn connect(server: &TestServer) -> vfio_user::Client {
    vfio_user::Client::new(&server.directory.path().join("socket")).expect("the versions agree")
}

#[test]
fn it_finds_regions_and_interrupts() {
    let server = TestServer::start();
    let mut client = connect(&server);
    // Its `resettable` is the flag turned round.
    let sizes: Vec<_> = (0..9).map(|index| client.region(index).map_or(0, |region| region.size)).collect();
    assert_eq!(sizes, [4096, 16, 16, 2 << 20, 0, 0, 0, 4096, 0]);
    for (index, count) in [(0, 1), (1, 0), (2, MSIX_VECTORS.into())] {
        assert_eq!(client.get_irq_info(index).unwrap().count, count);
    }
    client.reset().unwrap();
    server.calls_until(&Call::Reset);
}

/// Memory-mapped configuration space is read to its end; an error would make the client wait for ever.
#[test]
fn it_reads_all_of_configuration_space() {
    let server = TestServer::start();
    let mut client = connect(&server);
    for offset in (0..4096).step_by(4) {
        client.region_read(CONFIG, offset, &mut [0; 4]).unwrap();
    }
    client.region_write(0, 8, &[1, 2, 3, 4]).unwrap();
    let mut read = [0; 4];
    client.region_read(0, 8, &mut read).unwrap();
    assert_eq!(read, [1, 2, 3, 4]);
}

#[test]
fn it_shares_memory_and_gets_interrupts() {
    let server = TestServer::start();
    let mut client = connect(&server);
    let file = memory_file(0x2000);
    client.dma_map(0, 0x10_0000, 0x2000, file.as_raw_fd()).unwrap();
    let mut handle = server.peer().memory.handle();
    handle.with_slice(0x10_0000, 0x2000, DmaAccess::Write, |_| ()).unwrap();
    let eventfd = new_eventfd();
    client.set_irqs(2, 0x24, 3, 1, &[eventfd.as_raw_fd()]).unwrap();
    assert!(server.peer().interrupts.trigger(IrqIndex::Msix, 3));
    assert_eq!(signals(&eventfd), 1);
    client.dma_unmap(0x10_0000, 0x2000).unwrap();
    assert!(handle.check(0x10_0000, 1, DmaAccess::Read).is_err());
    client.shutdown().unwrap();
    server.calls_until(&Call::Left);
}
