// SPDX-License-Identifier: MIT OR Apache-2.0
//! No descriptor is ever left behind. One test only, because it counts those of the whole process.
#[expect(dead_code, reason = "this test needs part of it")]
#[path = "protocol/common.rs"]
mod common;
use common::*;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::path::PathBuf;

/// The open descriptors and what they are.
fn descriptors() -> Vec<(RawFd, PathBuf)> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str().unwrap().parse().unwrap();
    let mut numbers: Vec<RawFd> = entries.map(|entry| number(entry.unwrap())).collect();
    numbers.sort_unstable();
    // Without that of the directory, which is closed by now.
    let path = |fd: RawFd| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok();
    numbers.into_iter().filter_map(|fd| Some((fd, path(fd)?))).collect()
}

#[test]
fn every_descriptor_is_closed_and_none_is_inherited() {
    let server = TestServer::start();
    let before = descriptors();
    {
        let mut client = server.client();
        let file = memory_file(0x10000);
        let eventfds: Vec<_> = (0..8).map(|_| new_eventfd()).collect();
        let many: Vec<BorrowedFd<'_>> = std::iter::repeat_n(file.as_fd(), 100).collect();
        let kept = descriptors().len();

        // Each is wrong, and carries descriptors.
        for count in [1, 2, 16, 17, 64, 65, 100] {
            let fds = &many[..count];
            for command in 0..=20 {
                client.request(command, &[0; 3], fds).errno();
            }
            client.send(REGION_WRITE, NO_REPLY, &write(0, 0, &[1]), fds);
            client.send(GET_INFO, REPLY, &[], fds);
            client.request(REGION_WRITE, &vec![0; 2 << 20], fds).errno();
            client.request(SET_IRQS, &set_irqs(0x24, 2, 9, count as u32), fds).errno();
        }
        for _ in 0..100 {
            client.request(DMA_MAP, &dma_map(0, 0, 0x10000), &[file.as_fd()]).ok();
            client.request(DMA_MAP, &dma_map(0, 0, 0x10000), &[file.as_fd()]).errno();
            client.request(DMA_UNMAP, &dma_unmap(0, 0, 0x10000), &[]).ok();
        }
        wait_for("what came with wrong messages and maps to be closed", || descriptors().len() == kept);

        let fds: Vec<_> = eventfds.iter().map(AsFd::as_fd).collect();
        for _ in 0..10 {
            client.request(SET_IRQS, &set_irqs(0x24, 2, 0, 8), &fds).ok();
        }
        wait_for("the eventfds to be kept, once", || descriptors().len() == kept + 8);
        for (fd, path) in descriptors() {
            // SAFETY: nobody closes it now; were it otherwise, fcntl fails.
            let flags = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) }).unwrap();
            let ours = path.starts_with("/dev") || path.to_string_lossy().contains("pipe") || fd < 3;
            assert!(
                ours || flags.contains(rustix::io::FdFlags::CLOEXEC),
                "{fd} ({path:?}) would be inherited"
            );
        }
        client.request(SET_IRQS, &set_irqs(0x21, 2, 0, 0), &[]).ok();
        wait_for("the eventfds to be closed", || descriptors().len() == kept);
        client.request(SET_IRQS, &set_irqs(0x24, 2, 0, 8), &fds).ok();
        client.request(DMA_MAP, &dma_map(0, 0, 0x10000), &[file.as_fd()]).ok();
        // Leaves in the middle of a message with a descriptor.
        client.send_bytes(&header(1, DMA_MAP, 48, 0), &[file.as_fd()]);
    }
    wait_for("the descriptors of the client that left", || descriptors().len() == before.len());
    assert_eq!(descriptors(), before);
}
