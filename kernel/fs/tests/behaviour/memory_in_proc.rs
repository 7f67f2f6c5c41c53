// SPDX-License-Identifier: MIT OR Apache-2.0
//! What /proc/PID says of a process's memory.

use exo_test_support::{call, programs::*};

/// The line of maps for the area at an address: access, offset and what is mapped.
fn area(at: usize) -> Option<(usize, String, String, String)> {
    text("/proc/self/maps").lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let [start, end] = [start, end].map(|word| usize::from_str_radix(word, 16).unwrap());
        let (access, offset) = (words.next()?.to_string(), words.next()?.to_string());
        (start..end)
            .contains(&at)
            .then(|| (end - start, access, offset, words.nth(2).unwrap_or("").to_string()))
    })
}

#[test]
fn areas_have_their_access_and_their_files() {
    machine(|| {
        make_file("file", &[1; 20_000]);
        let fd = open("file", abi::O_RDWR).unwrap();
        let map = |access: u32, flags: u32, offset: usize| {
            call!(abi::__NR_mmap, 0, 8192, access, flags, fd, offset).unwrap()
        };
        let private = map(abi::PROT_READ, abi::MAP_PRIVATE, 4096);
        let shared = map(abi::PROT_READ | abi::PROT_WRITE, abi::MAP_SHARED, 0);
        let line = |at| area(at).unwrap();
        assert_eq!(line(private), (8192, "r--p".into(), "00001000".into(), "/tmp/file".into()));
        assert_eq!(line(shared), (8192, "rw-s".into(), "00000000".into(), "/tmp/file".into()));
        let code =
            call!(abi::__NR_mmap, 0, 4096, abi::PROT_EXEC, abi::MAP_PRIVATE | abi::MAP_ANONYMOUS, -1, 0)
                .unwrap();
        assert_eq!(line(code).1, "--xp");
        call!(abi::__NR_munmap, private, 8192).unwrap();
        assert_eq!(area(private), None);
        call!(abi::__NR_mprotect, shared, 4096, abi::PROT_NONE).unwrap();
        assert_eq!((line(shared).0, &line(shared).1[..]), (4096, "---s"));
    });
}

#[test]
fn a_programs_heap_and_stack_have_names() {
    machine(|| {
        make_program("program", || {
            let heap = call!(abi::__NR_brk, 0).unwrap();
            call!(abi::__NR_brk, heap + 8192).unwrap();
            let line = |at| area(at).unwrap();
            assert_eq!(line(heap), (8192, "rw-p".into(), "00000000".into(), "[heap]".into()));
            assert_eq!(line(user::regs().rsp() as usize).3, "[stack]");
            assert_eq!(line(image::DATA_AT as usize).3, "/tmp/program");
        });
        let child = fork(|| exec("program", &[], &[]));
        assert_eq!(end_of(child), 0);
    });
}

#[test]
fn sizes_count_pages() {
    machine(|| {
        let statm = || {
            text("/proc/self/statm")
                .split_whitespace()
                .map(|word| word.parse().unwrap())
                .collect::<Vec<usize>>()
        };
        let before = statm();
        let at = map(40 * 4096).unwrap();
        assert_eq!(statm()[0], before[0] + 40);
        let resident = statm()[1];
        for page in 0..20 {
            memory::write(at + 4096 * page, b"x");
        }
        assert!((20..=22).contains(&(statm()[1] - resident)), "{} and {resident}", statm()[1]);
        let shown = text("/proc/self/status");
        let size = shown.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
        let kib: usize = size.trim().trim_end_matches(" kB").parse().unwrap();
        assert_eq!(kib, 4 * statm()[0]);
    });
}

#[test]
fn smaps_says_what_is_there_of_each_area() {
    machine(|| {
        let at = map(10 * 4096).unwrap();
        memory::write(at, &[1; 3 * 4096]);
        let all = text("/proc/self/smaps");
        let from = all.find(&format!("{at:08x}-")).unwrap_or_else(|| panic!("{at:x} in {all}"));
        let value = |name: &str| {
            let line = all[from..].lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<usize>().unwrap()
        };
        assert_eq!((value("Size"), value("Rss")), (40, 12));
    });
}

#[test]
fn who_is_ended_for_memory_can_be_moved() {
    machine(|| {
        let file = "/proc/self/oom_score_adj";
        assert_eq!(text(file), "0\n");
        assert_eq!(store(file, b"500\n"), Ok(4));
        assert_eq!(text(file), "500\n");
        assert_eq!(store(file, b"1001"), Err(Errno::EINVAL));
        assert_eq!(store(file, b"much"), Err(Errno::EINVAL));
        store("/proc/self/oom_adj", b"-17").unwrap();
        assert_eq!(text(file), "-1000\n", "the old file has another scale");
        let child = fork(move || {
            assert_eq!(text("/proc/self/oom_score_adj"), "-1000\n");
            assert_eq!(text("/proc/self/oom_score"), "0\n");
        });
        assert_eq!(end_of(child), 0);
        store("/proc/self/coredump_filter", b"0x5").unwrap();
        assert_eq!(text("/proc/self/coredump_filter"), "00000005\n");
    });
}
