// SPDX-License-Identifier: MIT OR Apache-2.0
//! /dev: memory devices, and what else is always there.

use exo_test_support::{call, programs::*};

#[track_caller]
fn device(name: &str) -> usize {
    open(&format!("/dev/{name}"), abi::O_RDWR).unwrap()
}

#[test]
fn null_takes_all_and_gives_nothing() {
    machine(|| {
        let fd = device("null");
        assert_eq!(write(fd, b"gone"), Ok(4));
        assert_eq!(read(fd, 10), Ok(vec![]));
        assert_eq!(call!(abi::__NR_write, fd, 8, 100), Ok(100), "it does not even look");
        assert_eq!(seek(fd, 1000), Ok(0));
    });
}

#[test]
fn zero_gives_zeros_and_can_be_mapped() {
    machine(|| {
        let fd = device("zero");
        let at = put_bytes(&[7; 5000]);
        assert_eq!(call!(abi::__NR_read, fd, at, 5000), Ok(5000));
        assert_eq!(get_bytes(at, 5000), [0; 5000]);
        assert_eq!(call!(abi::__NR_read, fd, 8, 1), Err(Errno::EFAULT));
        assert_eq!(write(fd, b"gone"), Ok(4));
        let both = abi::PROT_READ | abi::PROT_WRITE;
        let map = call!(abi::__NR_mmap, 0, 8192, both, abi::MAP_PRIVATE, fd, 0).unwrap();
        memory::write(map, b"own");
        assert_eq!(get_bytes(map, 4), b"own\0");
    });
}

#[test]
fn full_is_full() {
    machine(|| {
        let fd = device("full");
        assert_eq!(write(fd, b"x"), Err(Errno::ENOSPC));
        assert_eq!(write(fd, b""), Ok(0));
        assert_eq!(read(fd, 3), Ok(vec![0; 3]));
    });
}

#[test]
fn random_bytes_differ() {
    machine(|| {
        for name in ["random", "urandom"] {
            let fd = device(name);
            let (first, second) = (read(fd, 1000).unwrap(), read(fd, 1000).unwrap());
            assert_ne!(first, second);
            let ones: u32 = first.iter().map(|byte| byte.count_ones()).sum();
            assert!((3600..4400).contains(&ones), "{ones} of 8000 bits");
            assert_eq!(write(fd, b"a seed"), Ok(6));
            let bits = put(&0_u32);
            assert_eq!(call!(abi::__NR_ioctl, fd, 0x8004_5200_u32, bits), Ok(0));
            assert_eq!(get::<u32>(bits), 256);
            assert_eq!(call!(abi::__NR_ioctl, fd, 0x1234, bits), Err(Errno::EINVAL));
        }
    });
}

#[test]
fn devices_are_found_by_their_numbers_too() {
    machine(|| {
        let number = |major: u32, minor: u32| (major << 8) | minor;
        call!(abi::__NR_mknod, memory::string("mine"), abi::S_IFCHR | 0o666, number(1, 5)).unwrap();
        let fd = open("mine", abi::O_RDONLY).unwrap();
        assert_eq!(read(fd, 2), Ok(vec![0; 2]));
        call!(abi::__NR_mknod, memory::string("nobodys"), abi::S_IFCHR | 0o666, number(1, 99)).unwrap();
        assert_eq!(open("nobodys", abi::O_RDONLY), Err(Errno::ENXIO));
    });
}

#[test]
fn names_lead_to_ones_own_files() {
    machine(|| {
        let [from, to] = pipe().unwrap();
        call!(abi::__NR_dup2, to, 1).unwrap();
        store("/dev/stdout", b"out").unwrap();
        assert_eq!(read(from, 9), Ok(b"out".to_vec()));
        assert_eq!(read_link("/dev/fd").unwrap(), "/proc/self/fd");
        for name in ["null", "zero", "full", "random", "urandom", "kmsg", "tty", "console", "ttyS0", "shm"] {
            assert!(names("/dev").contains(&name.to_string()), "{name}");
        }
    });
}
