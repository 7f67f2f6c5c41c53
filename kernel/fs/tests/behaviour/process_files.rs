// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links and directories of /proc/PID: descriptors, places, strings, and who may look.

use exo_test_support::{call, programs::*};

#[test]
fn descriptors_are_links_to_files() {
    machine(|| {
        make_file("file", b"content");
        let fd = open("file", abi::O_RDWR | abi::O_APPEND).unwrap();
        let [from, _to] = pipe().unwrap();
        let listed = names("/proc/self/fd");
        for number in [0, 1, 2, fd, from] {
            assert!(listed.contains(&number.to_string()), "{number}");
        }
        assert_eq!(read_link(&format!("/proc/self/fd/{fd}")).unwrap(), "/tmp/file");
        assert!(read_link(&format!("/proc/self/fd/{from}")).unwrap().starts_with("pipe:["));
        assert_eq!(read_link("/proc/self/fd/0").unwrap(), "/dev/null");
        unlink("file").unwrap();
        assert_eq!(read_link(&format!("/proc/self/fd/{fd}")).unwrap(), "/tmp/file (deleted)");
        assert_eq!(content(&format!("/proc/self/fd/{fd}")), b"content", "and still leads there");
        assert_eq!(open("/proc/self/fd/99", 0), Err(Errno::ENOENT));
    });
}

#[test]
fn fdinfo_says_where_a_file_is_and_how_it_was_opened() {
    machine(|| {
        make_file("file", b"content");
        let fd = open("file", abi::O_RDWR | abi::O_APPEND | abi::O_CLOEXEC).unwrap();
        read(fd, 3).unwrap();
        let info = text(&format!("/proc/self/fdinfo/{fd}"));
        let line =
            |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_string();
        assert_eq!(line("pos:"), "3");
        let flags = u32::from_str_radix(&line("flags:"), 8).unwrap();
        assert_eq!(
            flags & (abi::O_ACCMODE | abi::O_APPEND | abi::O_CLOEXEC),
            abi::O_RDWR | abi::O_APPEND | abi::O_CLOEXEC
        );
    });
}

#[test]
fn places_and_the_program_are_links() {
    machine(|| {
        mkdir("folder").unwrap();
        make_program("program", || {
            let own = pid();
            assert_eq!(read_link("/proc/self").unwrap(), own.to_string());
            assert_eq!(read_link("/proc/self/exe").unwrap(), "/tmp/program");
            assert_eq!(read_link("/proc/self/cwd").unwrap(), "/tmp/folder");
            assert_eq!(read_link("/proc/self/root").unwrap(), "/");
            assert_eq!(content("/proc/self/cmdline"), b"name\0one\0");
            assert_eq!(content("/proc/self/environ"), b"A=1\0");
            let vector = content("/proc/self/auxv");
            assert_eq!(vector.len() % 16, 0);
            assert_eq!(vector[vector.len() - 16..], [0; 16]);
            assert_eq!(text("/proc/self/comm"), "program\n");
        });
        let child = fork(|| {
            call!(abi::__NR_chdir, memory::string("folder")).unwrap();
            exec("/tmp/program", &["name", "one"], &["A=1"]);
        });
        assert_eq!(end_of(child), 0);
        assert_eq!(content("/proc/self/cmdline"), b"", "who has started no program has none");
    });
}

#[test]
fn a_name_can_be_changed() {
    machine(|| {
        store("/proc/self/comm", b"a name that is too long").unwrap();
        assert_eq!(text("/proc/self/comm"), "a name that is \n");
    });
}

#[test]
fn strangers_see_what_is_no_secret() {
    machine(|| {
        let subject = pid();
        let child = fork(move || {
            call!(abi::__NR_setresuid, 7, 7, 7).unwrap();
            for name in ["stat", "status", "cmdline", "comm", "limits"] {
                assert!(open(&format!("/proc/{subject}/{name}"), 0).is_ok(), "{name}");
            }
            for name in ["environ", "auxv", "io", "fd"] {
                assert_eq!(open(&format!("/proc/{subject}/{name}"), 0), Err(Errno::EACCES), "{name}");
            }
            assert_eq!(open(&format!("/proc/{subject}/oom_score_adj"), abi::O_WRONLY), Err(Errno::EACCES));
        });
        assert_eq!(end_of(child), 0);
    });
}

#[test]
fn what_is_open_of_a_process_outlives_it_as_an_error() {
    machine(|| {
        let child = fork(|| sleep(5 * MS));
        let fd = open(&format!("/proc/{child}/stat"), 0).unwrap();
        let directory = open(&format!("/proc/{child}"), abi::O_DIRECTORY).unwrap();
        end_of(child);
        assert_eq!(read(fd, 10), Err(Errno::ESRCH));
        assert_eq!(call!(abi::__NR_openat, directory, memory::string("stat"), 0), Err(Errno::ENOENT));
        assert_eq!(call!(abi::__NR_getdents64, directory, zeros(1000), 1000), Err(Errno::ENOENT));
    });
}

#[test]
fn processes_are_listed_by_number() {
    machine(|| {
        let children = [fork(|| sleep(10 * MS)), fork(|| sleep(10 * MS))];
        let listed = names("/proc");
        let numbers: Vec<usize> = listed.iter().filter_map(|name| name.parse().ok()).collect();
        assert_eq!(numbers, [1, pid(), children[0], children[1]]);
        for name in ["self", "meminfo", "mounts", "sys", "net", "version"] {
            assert!(listed.contains(&name.to_string()), "{name}");
        }
        for wrong in ["01", "0x1", "99999", "-1"] {
            let path = format!("/proc/{wrong}/stat");
            assert_eq!(open(&path, 0), Err(Errno::ENOENT), "{path}");
        }
    });
}

#[test]
fn mounts_are_shown_in_three_ways() {
    machine(|| {
        mkdir("a b").unwrap();
        call!(
            abi::__NR_mount,
            memory::string("source"),
            memory::string("a b"),
            memory::string("tmpfs"),
            abi::MS_RDONLY | abi::MS_NOSUID,
            0
        )
        .unwrap();
        let mounts = text("/proc/mounts");
        let line = mounts.lines().find(|line| line.starts_with("source ")).unwrap();
        assert!(line.starts_with("source /tmp/a\\040b tmpfs ro,nosuid"), "{line}");
        assert!(line.ends_with(" 0 0"));
        let info = text("/proc/self/mountinfo");
        let line = info.lines().find(|line| line.contains("a\\040b")).unwrap();
        let (before, after) = line.split_once(" - ").unwrap();
        let fields: Vec<&str> = before.split(' ').collect();
        assert_eq!((fields[3], fields[4]), ("/", "/tmp/a\\040b"));
        assert!(fields[5].contains("nosuid"), "{line}");
        assert!(after.starts_with("tmpfs source ro"), "{line}");
        let parent = info.lines().find(|line| line.split(' ').nth(4) == Some("/tmp")).unwrap();
        assert_eq!(fields[1], parent.split(' ').next().unwrap(), "what it is mounted on");
        let statistics = text("/proc/self/mountstats");
        assert!(
            statistics.contains("device source mounted on /tmp/a\\040b with fstype tmpfs"),
            "{statistics}"
        );
        unmount("a b").unwrap();
    });
}

#[test]
fn transfers_and_timers_are_counted() {
    machine(|| {
        let value = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().parse::<u64>().unwrap()
        };
        let [from, to] = pipe().unwrap();
        let before = text("/proc/self/io");
        write(to, &[0; 1000]).unwrap();
        read(from, 600).unwrap();
        let after = text("/proc/self/io");
        assert_eq!(value(&after, "wchar") - value(&before, "wchar"), 1000);
        assert!(value(&after, "rchar") - value(&before, "rchar") >= 600);
        assert!(value(&after, "syscr") > value(&before, "syscr"));
        assert_eq!(text("/proc/self/timers"), "");
        let id = reserve(4);
        call!(abi::__NR_timer_create, abi::CLOCK_MONOTONIC, 0, id).unwrap();
        let timers = text("/proc/self/timers");
        assert!(timers.starts_with(&format!("ID: {}\nsignal: 14/", get::<u32>(id))), "{timers}");
        assert!(timers.contains("ClockID: 1"), "{timers}");
    });
}
