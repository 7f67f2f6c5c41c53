// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptors, and the tables that they are in.

use std::sync::Arc;

use exo_core::{errno::Errno, limits::index};
use exo_hal::mm::frame;
use exo_vfs::{FileTable, Files, OpenFile};

use crate::support::{create, kill_self, machine, open, set_limit};

/// A table with as many descriptors of one file.
fn table_with(count: usize) -> (FileTable, Arc<OpenFile>) {
    let (table, file) = (FileTable::new(), create("/f"));
    for fd in 0..count {
        assert_eq!(table.add(file.clone(), false, 0), Ok(fd));
    }
    (table, file)
}

#[test]
fn a_file_gets_the_lowest_free_descriptor() {
    machine(|| {
        let (table, file) = table_with(5);
        table.close(1).unwrap();
        table.close(3).unwrap();
        assert_eq!(table.add(file.clone(), false, 2), Ok(3));
        assert_eq!(table.add(file.clone(), false, 0), Ok(1));
        assert_eq!(table.add(file.clone(), false, 0), Ok(5));
        assert_eq!(table.add(file, false, 100), Ok(100));
        assert_eq!((table.end(), table.first_from(6), table.first_from(101)), (101, Some(100), None));
    });
}

#[test]
fn what_is_not_open_has_its_error() {
    machine(|| {
        let (table, file) = table_with(1);
        for fd in [-1, 1, i32::MAX, i32::MIN] {
            assert_eq!(table.get(fd).err(), Some(Errno::EBADF));
            assert_eq!(table.close(fd), Err(Errno::EBADF));
            assert_eq!(table.close_on_exec_flag(fd), Err(Errno::EBADF));
            assert_eq!(table.set_close_on_exec(fd, true), Err(Errno::EBADF));
        }
        assert!(Arc::ptr_eq(&table.get(0).unwrap(), &file));
        assert_eq!((table.close(0), table.close(0)), (Ok(()), Err(Errno::EBADF)));
    });
}

#[test]
fn the_limit_of_descriptors_holds() {
    machine(|| {
        let (table, file) = table_with(3);
        set_limit(index::NOFILE, 4);
        assert_eq!(table.add(file.clone(), false, 0), Ok(3));
        assert_eq!(table.add(file.clone(), false, 0), Err(Errno::EMFILE));
        assert_eq!(table.add(file.clone(), false, 9), Err(Errno::EMFILE));
        assert_eq!(table.replace(4, file.clone(), false), Err(Errno::EBADF));
        assert_eq!(table.replace(-1, file.clone(), false), Err(Errno::EBADF));
        set_limit(index::NOFILE, 2);
        assert!(table.get(3).is_ok(), "what is open stays");
        table.close(0).unwrap();
        assert_eq!(table.add(file, false, 0), Ok(0));
    });
}

#[test]
fn a_descriptor_is_given_to_another_file() {
    machine(|| {
        let (table, file) = table_with(2);
        let other = create("/g");
        assert_eq!(table.replace(1, other.clone(), true), Ok(1));
        assert_eq!(Arc::strong_count(&file), 2);
        assert!(Arc::ptr_eq(&table.get(1).unwrap(), &other));
        assert_eq!(table.close_on_exec_flag(1), Ok(true));
        assert_eq!(table.replace(50, other, false), Ok(50));
    });
}

#[test]
fn exec_closes_what_is_marked() {
    machine(|| {
        let (table, file) = table_with(200);
        for fd in (0..200).step_by(2) {
            table.set_close_on_exec(fd, true).unwrap();
        }
        table.set_close_on_exec(0, false).unwrap();
        table.add(file.clone(), true, 300).unwrap();
        table.close_on_exec();
        assert!(table.get(0).is_ok() && table.get(2).is_err() && table.get(3).is_ok());
        assert_eq!((Arc::strong_count(&file), table.end()), (102, 200));
    });
}

#[test]
fn ranges_are_closed_or_marked() {
    machine(|| {
        let (table, file) = table_with(200);
        table.close_range(10, 149, false);
        assert_eq!(Arc::strong_count(&file), 61);
        assert!(table.get(9).is_ok() && table.get(10).is_err() && table.get(150).is_ok());
        table.close_range(0, usize::MAX, true);
        assert_eq!(Arc::strong_count(&file), 61);
        table.close_range(151, 5, true);
        assert_eq!(table.close_on_exec_flag(199), Ok(true));
        table.close_on_exec();
        assert_eq!((Arc::strong_count(&file), table.end()), (1, 0));
    });
}

#[test]
fn all_are_closed_though_the_task_is_killed() {
    machine(|| {
        let (table, file) = table_with(200);
        kill_self();
        table.close_all();
        assert_eq!(Arc::strong_count(&file), 1);
    });
}

#[test]
fn a_copy_has_the_same_open_files_and_its_own_descriptors() {
    machine(|| {
        let (table, file) = table_with(200);
        table.set_close_on_exec(7, true).unwrap();
        table.close(3).unwrap();
        let copy = table.duplicate(usize::MAX).unwrap();
        assert_eq!((copy.close_on_exec_flag(7), copy.get(3).is_err()), (Ok(true), true));
        copy.close(5).unwrap();
        assert!(table.get(5).is_ok());
        file.set_position(9);
        assert_eq!(copy.get(0).unwrap().position(), 9);
        assert_ne!(copy.number(), table.number());
        let low = table.duplicate(10).unwrap();
        assert_eq!(low.end(), 10);
        kill_self();
        assert_eq!(table.duplicate(usize::MAX).err(), Some(Errno::EINTR));
    });
}

#[test]
fn the_last_who_has_a_table_closes_it() {
    machine(|| {
        let file = create("/f");
        let table = Arc::new(FileTable::new());
        table.add(file.clone(), false, 0).unwrap();
        let (one, two) = (Files::new(table.clone()), Files::new(table.clone()));
        assert!(one.is_shared() && Arc::ptr_eq(&one.arc(), &two.arc()));
        one.leave();
        one.leave();
        assert!(!two.is_shared() && two.get(0).is_ok());
        drop(two);
        assert_eq!(Arc::strong_count(&file), 1);
        drop(one);
        assert!(table.get(0).is_err());
    });
}

#[test]
fn a_thread_gets_a_table_of_its_own() {
    machine(|| {
        let file = create("/f");
        let one = Files::empty();
        one.add(file.clone(), false, 0).unwrap();
        one.add(file.clone(), false, 5).unwrap();
        let shared = one.arc();
        one.unshare().unwrap();
        assert!(Arc::ptr_eq(&shared, &one.arc()), "it is alone already");
        let two = Files::new(shared.clone());
        two.unshare_below(3).unwrap();
        assert!(!Arc::ptr_eq(&shared, &two.arc()) && !one.is_shared());
        assert!(two.get(0).is_ok() && two.get(5).is_err());
        two.close(0).unwrap();
        assert!(one.get(0).is_ok());
    });
}

#[test]
fn a_table_is_replaced_so_often_and_no_more() {
    machine(|| {
        let files = Files::empty();
        let mut others = Vec::new();
        let count = (0..1000)
            .take_while(|_| {
                others.push(Files::new(files.arc()));
                files.unshare().is_ok()
            })
            .count();
        assert!((10..1000).contains(&count), "{count}");
        assert!(files.add(create("/f"), false, 0).is_ok());
    });
}

#[test]
fn the_open_files_are_looked_at_some_at_a_time() {
    machine(|| {
        let (table, _file) = table_with(150);
        let (mut from, mut seen) = (0, 0);
        while let Some((next, files)) = table.some_files(from) {
            seen += files.len();
            from = next;
        }
        assert_eq!((seen, from), (150, 150));
        assert!(table.size() >= 150 && table.kernel_memory() > 0);
        assert_eq!(FileTable::default().size(), 64);
        assert!(table.stateless(0, false).is_none() && table.stateless(u64::MAX, true).is_none());
    });
}

#[test]
fn without_memory_a_table_does_not_grow() {
    machine(|| {
        let table = FileTable::new();
        let file = create("/f");
        frame::exhaust();
        assert_eq!(table.add(file.clone(), false, 1000), Err(Errno::ENOMEM));
        assert_eq!(table.replace(1000, file.clone(), false), Err(Errno::ENOMEM));
        assert_eq!(Arc::strong_count(&file), 1);
        frame::set_free(100);
        assert_eq!(table.add(open("/f", 0), false, 1000), Ok(1000));
    });
}
