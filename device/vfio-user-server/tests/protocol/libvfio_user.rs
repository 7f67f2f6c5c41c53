// SPDX-License-Identifier: MIT OR Apache-2.0
//! What libvfio-user's own tests (`test/py`) expect and this server does otherwise, each with the reason. Where the
//! specification says something, it decides; the rest is that library's taste, or about what a device here does not offer.

use crate::common::*;
use std::os::fd::AsFd;

/// `test_request_errors.py: test_bad_command` wants EINVAL. The specification names no errno. ENOSYS tells a command that
/// nobody knows from one with a wrong field, and EOPNOTSUPP one that is known and not offered.
#[test]
fn an_unknown_command_is_enosys_and_one_that_is_not_offered_eopnotsupp() {
    let server = TestServer::start();
    let mut client = server.client();
    for command in [0, 19, 999, u16::MAX] {
        assert_eq!(client.request(command, &[0], &[]).errno(), ENOSYS, "command {command}");
    }
    for command in [GET_REGION_IO_FDS, 14, 15, 16, 17, 18] {
        assert_eq!(client.request(command, &[0; 16], &[]).errno(), EOPNOTSUPP, "command {command}");
    }
}

/// `test_request_errors.py: test_too_small` wants EINVAL and an open connection. A size that does not even have room for the
/// header leaves nobody knowing where the next message begins; to go on would mean to guess.
#[test]
fn a_size_below_the_header_ends_the_connection() {
    let server = TestServer::start();
    let mut client = server.client();
    client.send_bytes(&header(1, SET_IRQS, 15, 0), &[]);
    client.assert_closed();
}

/// `test_request_errors.py: test_too_large` wants EINVAL. The message is thrown away and refused with EMSGSIZE, which says
/// what is wrong; one of more than 16 MiB ends the connection.
#[test]
fn a_message_that_is_too_large_is_emsgsize() {
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(client.request(SET_IRQS, &vec![0; 2 << 20], &[]).errno(), EMSGSIZE);
    client.assert_in_step();
}

/// `test_request_errors.py: test_unsolicited_reply` wants EINVAL as an answer to a reply. A reply is never answered: two
/// sides that did so would not stop.
#[test]
fn a_reply_to_nothing_is_counted_and_not_answered() {
    let server = TestServer::start();
    let mut client = server.client();
    client.send(SET_IRQS, REPLY, &[], &[]);
    client.assert_in_step();
    assert_eq!(server.counters.snapshot().stray_replies, 1);
}

/// `test_negotiate.py: test_invalid_json_bad_migration_object`, `…_bad_pgsize…`: this server offers no migration, and what
/// is not looked at is not judged. `…_bad_max_fds3`: how many descriptors the client could take is its business, as it is sent
/// none. Types that are looked at are judged.
#[test]
fn capabilities_that_do_not_matter_here_are_not_judged() {
    let server = TestServer::start();
    for json in [
        r#"{"capabilities":{"migration":"23"}}"#,
        r#"{"capabilities":{"migration":{"pgsize":4095}}}"#,
        r#"{"capabilities":{"max_msg_fds":1000}}"#,
    ] {
        let mut client = server.connect();
        client.negotiate(json);
        drop(client);
    }
    let mut client = server.connect();
    let wrong = version(0, 1, r#"{"capabilities":{"max_msg_fds":"foo"}}"#);
    assert_eq!(client.request(VERSION, &wrong, &[]).errno(), EINVAL);
}

/// `test_negotiate.py: test_valid_negotiate_no_json` wants a `migration` capability back; there is none to offer.
#[test]
fn no_migration_is_offered() {
    let server = TestServer::start();
    let reply = server.connect().negotiate("");
    assert!(!String::from_utf8_lossy(&reply).contains("migration"));
}

/// `test_device_get_irq_info.py` has a device with error reporting. One without answers as Linux does; 1 would have QEMU
/// offer PCI Express error reporting. That messages are MASKABLE, which it does not say, follows from the definition of the
/// flag, as they can be masked (`test_device_set_irqs.py: test_irq_state`).
#[test]
fn error_interrupts_are_not_there_and_messages_are_maskable() {
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(client.request(GET_IRQ_INFO, &get_irq_info(3), &[]).errno(), EINVAL);
    let info = client.request(GET_IRQ_INFO, &get_irq_info(2), &[]).ok();
    assert_eq!(info, words(&[16, 0b11, 2, MSIX_VECTORS.into()]));
}

/// `test_device_get_region_info.py: …_caps` sends the structure followed by as much room as it wants back. The request is the
/// structure, and the room is what `argsz` says.
#[test]
fn a_request_is_its_structure_and_argsz_may_be_larger() {
    let server = TestServer::start();
    let mut client = server.client();
    let mut request = get_region_info(0);
    request[..4].copy_from_slice(&80_u32.to_ne_bytes());
    let answer = client.request(GET_REGION_INFO, &request, &[]).ok();
    assert_eq!((answer.len(), &answer[..4]), (32, &32_u32.to_ne_bytes()[..]));
    request.resize(80, 0);
    assert_eq!(client.request(GET_REGION_INFO, &request, &[]).errno(), EINVAL);
}

/// `test_dma_map.py` counts on at most 64 maps and 8 TiB, and on callbacks into the test's own process.
#[test]
fn there_is_room_for_more_maps_than_64() {
    let server = TestServer::start();
    let mut client = server.client();
    let file = memory_file(0x1000);
    for page in 0..100 {
        client.request(DMA_MAP, &dma_map(0, page * 0x1000, 0x1000), &[file.as_fd()]).ok();
    }
    assert_eq!(server.peer().memory.map_count(), 100);
}

/// `test_dma_unmap.py: …_dirty…` asks for a bitmap of dirty pages, which nobody tracks.
#[test]
fn an_unmap_with_a_dirty_bitmap_is_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    client.request(DMA_MAP, &dma_map(0, 0, 0x1000), &[memory_file(0x1000).as_fd()]).ok();
    assert_eq!(client.request(DMA_UNMAP, &dma_unmap(1, 0, 0x1000), &[]).errno(), EINVAL);
    assert_eq!(server.peer().memory.map_count(), 1);
}
