// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc/sys and files of the machine.

use exo_test_support::programs::*;

#[test]
fn settings_are_a_tree() {
    machine(|| {
        assert_eq!(names("/proc/sys"), ["fs", "kernel", "net", "vm"]);
        assert!(names("/proc/sys/kernel").contains(&"random".to_string()));
        assert_eq!(names("/proc/sys/kernel").iter().filter(|name| *name == "random").count(), 1);
        for (name, value) in
            [("kernel/ostype", "Linux\n"), ("fs/overflowuid", "65534\n"), ("kernel/pid_max", "4194304\n")]
        {
            assert_eq!(text(&format!("/proc/sys/{name}")), value);
        }
        assert_eq!(open("/proc/sys/kernel/nothing", 0), Err(Errno::ENOENT));
        assert_eq!(open("/proc/sys/kern", 0), Err(Errno::ENOENT));
        assert_eq!(store("/proc/sys/kernel/ostype", b"x"), Err(Errno::EACCES));
    });
}

#[test]
fn the_machines_name_can_be_set() {
    machine(|| {
        let before = text("/proc/sys/kernel/hostname");
        store("/proc/sys/kernel/hostname", b"other\nline").unwrap();
        assert_eq!(text("/proc/sys/kernel/hostname"), "other\n");
        let names = zeros(390);
        exo_test_support::call!(abi::__NR_uname, names).unwrap();
        assert_eq!(get_bytes(names + 65, 6), b"other\0");
        store("/proc/sys/kernel/hostname", before.trim().as_bytes()).unwrap();
    });
}

#[test]
fn identifiers_are_of_this_boot_or_new_each_time() {
    machine(|| {
        let read = |name: &str| text(&format!("/proc/sys/kernel/random/{name}"));
        assert_eq!(read("boot_id"), read("boot_id"));
        let (first, second) = (read("uuid"), read("uuid"));
        assert_ne!(first, second);
        let parts: Vec<usize> = first.trim().split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&first[14..15], "4", "version");
        assert!("89ab".contains(&first[19..20]), "variant");
    });
}

#[test]
fn the_machine_says_what_it_has() {
    machine(|| {
        let systems = text("/proc/filesystems");
        for name in ["tmpfs", "proc", "sysfs", "devtmpfs", "ramfs"] {
            assert!(systems.contains(&format!("nodev\t{name}\n")), "{name}");
        }
        assert!(text("/proc/devices").contains("  1 mem\n"));
        assert!(text("/proc/cpuinfo").contains("model name\t: Fake CPU of a host\n"));
        assert!(text("/proc/swaps").starts_with("Filename"));
        assert_eq!(text("/proc/modules"), "");
        assert!(text("/proc/exo").contains("locks "));
        store("/proc/exo", b"0").unwrap();
        exo_hal::boot::set_command_line("quiet");
        assert_eq!(text("/proc/cmdline"), "quiet\n");
        exo_hal::boot::set_command_line("");
        assert!(text("/proc/vmstat").contains("nr_free_pages "));
        assert_eq!(text("/proc/locks"), "");
    });
}
