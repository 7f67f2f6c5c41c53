// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that devices and the kernel hold on to.

use exo_core::{errno::Errno, io_buf::IoBuf};
use exo_hal::mm::frame;
use exo_logic::areas::Flags;
use exo_mm::{Backing, map::Placement};
use exo_platform::Buffer;

use crate::support::{
    BASE, PAGE, READ, anonymous, can_read, file, get, machine, map_file, put, space, within,
};

fn content(buffer: &Buffer) -> Vec<u8> {
    let mut out = vec![0; buffer.len()];
    buffer.copy_to(0, &mut out);
    out
}

#[test]
fn a_device_writes_where_the_program_reads() {
    machine(|| {
        let at = anonymous(2);
        let mut buffer = space().pin(at + PAGE - 3, 6, true).unwrap();
        buffer.copy_from(0, b"device");
        assert_eq!((get(at + PAGE - 3, 6), buffer.len()), (b"device".to_vec(), 6));
        put(at + PAGE - 3, b"D");
        assert_eq!(content(&buffer), b"Device");
        let lengths: Vec<u32> = buffer.segments().map(|segment| segment.length).collect();
        assert_eq!(lengths.iter().sum::<u32>(), 6);
    });
}

#[test]
fn what_is_pinned_outlives_its_mapping() {
    machine(|| {
        let at = anonymous(1);
        put(at, b"data");
        let buffer = space().pin(at, 4, false).unwrap();
        space().unmap(at, PAGE).unwrap();
        assert_eq!((content(&buffer), can_read(at)), (b"data".to_vec(), false));
    });
}

#[test]
fn a_child_gets_a_copy_of_what_is_pinned() {
    machine(|| {
        let at = anonymous(2);
        put(at, &[b'x'; 2 * PAGE]);
        let mut buffer = space().pin(at, 6, true).unwrap();
        let child = space().fork().unwrap();
        buffer.copy_from(0, b"device");
        put(at, b"D");
        assert_eq!(get(at, 6), b"Device");
        within(&child, || assert_eq!(get(at, 6), b"xxxxxx"));
        assert_eq!(content(&buffer), b"Device", "the parent still writes to the page that is pinned");
    });
}

#[test]
fn a_page_shared_with_a_child_is_copied_before_a_device_writes() {
    machine(|| {
        let at = anonymous(1);
        put(at, b"both");
        let child = space().fork().unwrap();
        let mut buffer = space().pin(at, 4, true).unwrap();
        buffer.copy_from(0, b"mine");
        within(&child, || assert_eq!(get(at, 4), b"both"));
        assert_eq!(get(at, 4), b"mine");
    });
}

#[test]
fn a_private_page_of_a_file_is_copied_before_a_device_writes() {
    machine(|| {
        let pages = file(b"content");
        let at = map_file(&pages, 1, false);
        get(at, 1);
        let frames = frame::in_use();
        let reader = space().pin(at, 7, false).unwrap();
        assert_eq!(frame::in_use(), frames, "a device that reads needs no copy");
        drop(reader);
        let mut buffer = space().pin(at, 7, true).unwrap();
        buffer.copy_from(0, b"C");
        let mut out = [0; 7];
        pages.read(0, &mut IoBuf::kernel(&mut out)).unwrap();
        assert_eq!((&out, get(at, 7)), (b"content", b"Content".to_vec()));
    });
}

#[test]
fn what_cannot_be_pinned_has_its_error() {
    machine(|| {
        let at = anonymous(1);
        let pin = |start, length, write| space().pin(start, length, write).map(drop);
        assert_eq!(pin(at + PAGE - 1, 2, false), Err(Errno::EFAULT), "it ends behind the mapping");
        assert_eq!(pin(usize::MAX, 2, false), Err(Errno::EFAULT));
        assert_eq!(pin(at, 0, false), Err(Errno::EINVAL));
        let fixed = space().map(Placement::Hint(0), PAGE, READ, Backing::Anonymous, false).unwrap();
        assert_eq!(pin(fixed, 1, true), Err(Errno::EFAULT));
        assert_eq!(pin(fixed, 1, false), Ok(()));
        let large = anonymous(40);
        assert_eq!(pin(large, Buffer::MAX, true), Ok(()));
        assert_eq!(pin(large, Buffer::MAX + 1, true), Err(Errno::EINVAL));
        frame::set_free(0);
        assert_eq!(pin(large + 39 * PAGE, 1, true), Err(Errno::ENOMEM));
    });
}

#[test]
fn a_word_is_pinned_for_the_kernel() {
    machine(|| {
        let at = anonymous(1);
        let pinned = space().pin_for_writing(at + 8).unwrap();
        pinned.frame().write(8, b"kernel");
        assert_eq!(get(at + 8, 6), b"kernel");
        assert!(pinned.frame().is_pinned() && !pinned.is_last());
        space().unmap(at, PAGE).unwrap();
        assert!(pinned.is_last());
        assert_eq!(space().pin_for_writing(BASE).err(), Some(Errno::EFAULT));
        let none = space().map(Placement::Hint(0), PAGE, Flags::empty(), Backing::Anonymous, false).unwrap();
        assert_eq!(space().pin_for_writing(none).err(), Some(Errno::EFAULT));
    });
}
