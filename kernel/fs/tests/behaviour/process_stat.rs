// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc/PID/stat, status and their like: the right thing in the right place, as proc(5) has it.

use exo_test_support::{call, programs::*};

/// Fields of stat, counted from 1 as proc(5) does.
fn stat(path: &str) -> impl Fn(usize) -> String + use<> {
    let text = text(path);
    let (open, close) = (text.find('(').unwrap(), text.rfind(')').unwrap());
    let mut fields = vec![text[..open].trim().to_string(), text[open + 1..close].to_string()];
    fields.extend(text[close + 1..].split_whitespace().map(str::to_string));
    assert_eq!(fields.len(), 52);
    move |number| fields[number - 1].clone()
}

/// A line of status.
fn status(pid: usize, name: &str) -> String {
    let text = text(&format!("/proc/{pid}/status"));
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    line.unwrap_or_else(|| panic!("{name} in {text}")).to_string()
}

#[test]
fn stat_has_its_fields() {
    machine(|| {
        call!(abi::__NR_setpriority, 0, 0, 5).unwrap();
        user::compute(30 * MS);
        let parent = pid();
        let child = fork(|| {
            call!(abi::__NR_setsid).unwrap();
            call!(abi::__NR_prctl, 15, memory::string("odd ) (name"), 0, 0, 0).unwrap();
            mask(abi::SIG_BLOCK, signals(&[abi::SIGUSR1, 2]));
            action(abi::SIGUSR2, 1, 0, 0).unwrap();
            on_signal(abi::SIGALRM, 0, || {});
            kill(pid() as i64, abi::SIGUSR1).unwrap();
            thread(|| sleep(200 * MS));
            user::compute(50 * MS);
            sleep(20 * MS);
        });
        sleep(60 * MS);
        let field = stat(&format!("/proc/{child}/stat"));
        let number = |at: usize| field(at).parse::<i64>().unwrap();
        assert_eq!((number(1), &field(2)[..], &field(3)[..]), (child as i64, "odd ) (name", "S"));
        assert_eq!(
            (number(4), number(5), number(6)),
            (parent as i64, child as i64, child as i64),
            "parent, group, session"
        );
        assert_eq!((number(7), number(8)), (0, -1), "no terminal");
        assert_eq!(number(14), 5, "ticks in user mode");
        assert_eq!((number(18), number(19), number(20)), (25, 5, 2), "priority, nice, threads");
        assert!(number(22) > 0, "started");
        let pages = number(24);
        assert!(number(23) >= (2 << 20) && pages > 0 && pages < 2000, "{} bytes, {pages} pages", number(23));
        assert_eq!((number(31), number(32)), (0, (1 << 9) | 2), "pending for the thread, blocked");
        assert_eq!((number(33), number(34)), (1 << 11, 1 << 13), "ignored, caught");
        assert_eq!((number(38), number(39)), (i64::from(abi::SIGCHLD), 0), "signal at the end, CPU");
        assert_eq!((number(40), number(41)), (0, 0), "policy");
        let own = stat("/proc/self/stat");
        assert_eq!(own(3), "R");
        assert_eq!(own(1), parent.to_string());
        end_of(child);
    });
}

#[test]
fn what_children_used_is_there_when_they_are_waited_for() {
    machine(|| {
        let child = fork(|| user::compute(70 * MS));
        sleep(100 * MS);
        assert_eq!(stat("/proc/self/stat")(16), "0");
        end_of(child);
        assert_eq!(stat("/proc/self/stat")(16), "7");
    });
}

#[test]
fn status_has_its_lines() {
    machine(|| {
        let parent = pid();
        let child = fork(|| {
            call!(abi::__NR_setgroups, 2, put(&[10_u32, 11])).unwrap();
            call!(abi::__NR_setresgid, 1, 2, 3).unwrap();
            call!(abi::__NR_setresuid, 4, 5, 6).unwrap();
            call!(abi::__NR_umask, 0o27).unwrap();
            mask(abi::SIG_BLOCK, signals(&[abi::SIGUSR1]));
            kill(pid() as i64, abi::SIGUSR1).unwrap();
            sleep(20 * MS);
        });
        let_others_run();
        let line = |name: &str| status(child, name);
        assert_eq!(line("Name"), "test");
        assert_eq!(line("Umask"), "0027");
        assert_eq!(line("State"), "S (sleeping)");
        assert_eq!(
            (line("Tgid"), line("Pid"), line("PPid")),
            (child.to_string(), child.to_string(), parent.to_string())
        );
        assert_eq!((&line("Uid")[..], &line("Gid")[..]), ("4\t5\t6\t5", "1\t2\t3\t2"));
        assert_eq!(line("Groups"), "10 11 ");
        assert_eq!(line("Threads"), "1");
        assert_eq!((&line("SigBlk")[..], &line("ShdPnd")[..]), ("0000000000000200", "0000000000000200"));
        assert_eq!(line("SigPnd"), "0".repeat(16));
        assert_eq!(line("CapEff"), "0".repeat(16), "none for an ordinary user");
        assert_eq!(line("NoNewPrivs"), "0");
        assert_eq!((&line("Cpus_allowed")[..], &line("Cpus_allowed_list")[..]), ("1", "0"));
        assert!(line("VmSize").ends_with(" kB") && line("VmRSS").ends_with(" kB"));
        assert_ne!(status(parent, "CapEff"), "0".repeat(16));
        end_of(child);
    });
}

#[test]
fn a_zombie_has_no_memory_and_no_files() {
    machine(|| {
        let child = fork(|| exit(3));
        let_others_run();
        assert_eq!(status(child, "State"), "Z (zombie)");
        assert!(!text(&format!("/proc/{child}/status")).contains("VmSize"));
        let field = stat(&format!("/proc/{child}/stat"));
        assert_eq!((&field(3)[..], &field(23)[..], &field(24)[..], &field(52)[..]), ("Z", "0", "0", "768"));
        assert_eq!(text(&format!("/proc/{child}/maps")), "");
        assert_eq!(names(&format!("/proc/{child}/fd")), [""; 0]);
        assert_eq!(read_link(&format!("/proc/{child}/exe")), Err(Errno::ENOENT));
        end_of(child);
    });
}

#[test]
fn limits_are_a_table() {
    machine(|| {
        call!(abi::__NR_prlimit64, 0, abi::RLIMIT_NOFILE, put(&[100_u64, 200]), 0).unwrap();
        let table = text("/proc/self/limits");
        let row = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().to_string();
        let words = |line: String| line.split_whitespace().map(str::to_string).collect::<Vec<_>>();
        assert_eq!(words(row("Max open files"))[3..], ["100", "200", "files"]);
        assert_eq!(words(row("Max cpu time"))[3..], ["unlimited", "unlimited", "seconds"]);
    });
}

#[test]
fn threads_have_directories_of_their_own() {
    machine(|| {
        let other = thread(|| {
            call!(abi::__NR_prctl, 15, memory::string("second"), 0, 0, 0).unwrap();
            sleep(20 * MS);
        });
        let_others_run();
        let own = pid();
        let mut threads = names("/proc/self/task");
        threads.sort();
        let mut expected = [own.to_string(), other.to_string()];
        expected.sort();
        assert_eq!(threads, expected);
        assert_eq!(text(&format!("/proc/self/task/{other}/comm")), "second\n");
        assert_eq!(stat(&format!("/proc/self/task/{other}/stat"))(38), "-1");
        assert_eq!(text(&format!("/proc/{other}/comm")), "second\n", "found by its number");
        assert!(!names("/proc").contains(&other.to_string()), "but not listed");
        assert_eq!(read_link("/proc/thread-self").unwrap(), format!("{own}/task/{own}"));
    });
}

#[test]
fn the_machines_own_counts() {
    machine(|| {
        let before = text("/proc/stat");
        user::compute(100 * MS);
        sleep(200 * MS);
        let after = text("/proc/stat");
        let of = |text: &str, line: &str, column: usize| {
            let line = text.lines().find(|it| it.split(' ').next() == Some(line)).unwrap().to_string();
            line.split_whitespace().nth(column).unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(of(&after, "cpu0", 1) - of(&before, "cpu0", 1), 10, "busy");
        assert_eq!(of(&after, "cpu", 4) - of(&before, "cpu", 4), 20, "idle");
        assert!(of(&after, "ctxt", 1) > of(&before, "ctxt", 1));
        let child = fork(|| {});
        end_of(child);
        assert_eq!(of(&text("/proc/stat"), "processes", 1), of(&after, "processes", 1) + 1);
        assert_eq!(text("/proc/uptime").split(' ').count(), 2);
        let load = text("/proc/loadavg");
        assert_eq!(load.split_whitespace().nth(4).unwrap(), child.to_string(), "the last number: {load}");
        assert!(text("/proc/version").starts_with("Linux version "));
        let memory = text("/proc/meminfo");
        for name in ["MemTotal:", "MemFree:", "MemAvailable:"] {
            assert!(memory.contains(name), "{name}");
        }
    });
}
