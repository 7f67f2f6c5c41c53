// SPDX-License-Identifier: MIT OR Apache-2.0
//! epoll: what is told, how often, and to whom.

use exo_test_support::{call, programs::*};

use crate::support::*;

pub(crate) const IN: u32 = abi::EPOLLIN;
const OUT: u32 = abi::EPOLLOUT;

pub(crate) fn create() -> usize {
    call!(abi::__NR_epoll_create1, 0).unwrap()
}

pub(crate) fn control(epoll: usize, operation: u32, fd: usize, bits: u32, data: u64) -> Result {
    let event = put_bytes(&[&bits.to_ne_bytes()[..], &data.to_ne_bytes()].concat());
    call!(abi::__NR_epoll_ctl, epoll, operation, fd, event)
}

pub(crate) fn add(epoll: usize, fd: usize, bits: u32) -> Result {
    control(epoll, abi::EPOLL_CTL_ADD, fd, bits, fd as u64)
}

fn modify(epoll: usize, fd: usize, bits: u32) -> Result {
    control(epoll, abi::EPOLL_CTL_MOD, fd, bits, fd as u64)
}

/// Events and data; waits up to `ms` milliseconds.
pub(crate) fn wait_for(epoll: usize, most: usize, ms: i32) -> Result<Vec<(u32, u64)>> {
    let at = zeros(12 * most);
    let count = call!(abi::__NR_epoll_wait, epoll, at, most, ms)?;
    let event = |index: usize| (get::<u32>(at + 12 * index), get::<u64>(at + 12 * index + 4));
    Ok((0..count).map(event).collect())
}

/// What is told at once.
pub(crate) fn told(epoll: usize) -> Vec<(u32, u64)> {
    wait_for(epoll, 16, 0).unwrap()
}

#[test]
fn a_level_is_told_as_long_as_it_lasts() {
    machine(|| {
        let epoll = create();
        let fd = eventfd(0, 0).unwrap();
        control(epoll, abi::EPOLL_CTL_ADD, fd, IN, 0xdead_beef_1234).unwrap();
        assert_eq!(told(epoll), []);
        raise(fd);
        for _ in 0..3 {
            assert_eq!(told(epoll), [(IN, 0xdead_beef_1234)]);
        }
        take(fd).unwrap();
        assert_eq!(told(epoll), []);
    });
}

fn raise(fd: usize) {
    crate::support::add(fd, 1).unwrap();
}

#[test]
fn an_edge_is_told_once_for_each_change() {
    machine(|| {
        let epoll = create();
        let [from, to] = pipe().unwrap();
        add(epoll, from, IN | abi::EPOLLET).unwrap();
        write(to, b"ab").unwrap();
        assert_eq!(told(epoll), [(IN, from as u64)]);
        assert_eq!(told(epoll), []);
        read(from, 1).unwrap();
        assert_eq!(told(epoll), [], "less is no news");
        write(to, b"c").unwrap();
        assert_eq!(told(epoll), [(IN, from as u64)], "more is");
    });
}

#[test]
fn once_means_once_until_it_is_asked_again() {
    machine(|| {
        let epoll = create();
        let fd = eventfd(1, 0).unwrap();
        add(epoll, fd, IN | abi::EPOLLONESHOT).unwrap();
        assert_eq!(told(epoll), [(IN, fd as u64)]);
        raise(fd);
        assert_eq!(told(epoll), []);
        modify(epoll, fd, IN | abi::EPOLLONESHOT).unwrap();
        assert_eq!(told(epoll), [(IN, fd as u64)]);
        assert_eq!(told(epoll), []);
    });
}

#[test]
fn what_is_asked_can_be_changed_and_taken_back() {
    machine(|| {
        let epoll = create();
        let fd = eventfd(1, 0).unwrap();
        assert_eq!(modify(epoll, fd, IN), Err(Errno::ENOENT));
        add(epoll, fd, OUT).unwrap();
        assert_eq!(add(epoll, fd, IN), Err(Errno::EEXIST));
        assert_eq!(told(epoll), [(OUT, fd as u64)]);
        control(epoll, abi::EPOLL_CTL_MOD, fd, IN | OUT, 5).unwrap();
        assert_eq!(told(epoll), [(IN | OUT, 5)]);
        control(epoll, abi::EPOLL_CTL_DEL, fd, 0, 0).unwrap();
        assert_eq!(told(epoll), []);
        assert_eq!(control(epoll, abi::EPOLL_CTL_DEL, fd, 0, 0), Err(Errno::ENOENT));
    });
}

#[test]
fn ends_are_told_without_being_asked_for() {
    machine(|| {
        let epoll = create();
        let [from, to] = pipe().unwrap();
        add(epoll, from, 0).unwrap();
        add(epoll, to, 0).unwrap();
        assert_eq!(told(epoll), []);
        close(to).unwrap();
        assert_eq!(told(epoll), [(abi::EPOLLHUP, from as u64)], "and what is closed is out of the set");
    });
}

#[test]
fn a_file_stays_as_long_as_a_descriptor_has_it() {
    machine(|| {
        let epoll = create();
        let fd = eventfd(1, 0).unwrap();
        add(epoll, fd, IN).unwrap();
        let again = call!(abi::__NR_dup, fd).unwrap();
        close(fd).unwrap();
        assert_eq!(told(epoll), [(IN, fd as u64)]);
        close(again).unwrap();
        assert_eq!(told(epoll), []);
    });
}

#[test]
fn waiting_ends_with_an_event_a_limit_or_a_signal() {
    machine(|| {
        let epoll = create();
        let fd = eventfd(0, 0).unwrap();
        add(epoll, fd, IN).unwrap();
        let before = now();
        assert_eq!(wait_for(epoll, 1, 25), Ok(vec![]));
        assert_eq!((now() - before) / MS, 25);
        fork(move || {
            sleep(5 * MS);
            raise(fd);
        });
        assert_eq!(wait_for(epoll, 1, -1), Ok(vec![(IN, fd as u64)]));
        take(fd).unwrap();
        let child = fork(move || {
            on_signal(abi::SIGUSR1, abi::SA_RESTART, || {});
            assert_eq!(wait_for(epoll, 1, -1), Err(Errno::EINTR), "never done again");
        });
        let_others_run();
        kill(child as i64, abi::SIGUSR1).unwrap();
        assert_eq!(end_of(child), 0);
        let limit = put(&[0, 3 * MS]);
        let before = now();
        assert_eq!(call!(abi::__NR_epoll_pwait2, epoll, zeros(12), 1, limit, 0, 0), Ok(0));
        assert_eq!((now() - before) / MS, 3);
    });
}

#[test]
fn nobody_is_left_out_when_there_is_more_than_can_be_told() {
    machine(|| {
        let epoll = create();
        let fds: Vec<usize> = (0..5).map(|_| eventfd(1, 0).unwrap()).collect();
        for fd in &fds {
            add(epoll, *fd, IN).unwrap();
        }
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..3 {
            seen.extend(wait_for(epoll, 2, 0).unwrap().into_iter().map(|event| event.1 as usize));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), fds, "each has its turn");
    });
}

#[test]
fn one_at_least_of_those_that_ask_alone_is_woken_and_all_others() {
    machine(|| {
        let fd = eventfd(0, 0).unwrap();
        let log = Log::default();
        for (bits, least) in [(IN | abi::EPOLLEXCLUSIVE, 1), (IN, 3)] {
            for _ in 0..3 {
                let noted = log.clone();
                thread(move || {
                    let epoll = create();
                    add(epoll, fd, bits).unwrap();
                    if !wait_for(epoll, 1, 50).unwrap().is_empty() {
                        noted.note("woken");
                    }
                    close(epoll).unwrap();
                });
            }
            let_others_run();
            raise(fd);
            let_others_run();
            let count = log.take().len();
            assert!((least..=3).contains(&count), "{count} were woken");
            take(fd).unwrap();
            sleep(100 * MS);
            log.take();
        }
        let epoll = create();
        add(epoll, fd, IN | abi::EPOLLEXCLUSIVE).unwrap();
        assert_eq!(modify(epoll, fd, IN), Err(Errno::EINVAL), "it cannot be changed");
        let other = eventfd(0, 0).unwrap();
        assert_eq!(add(epoll, other, IN | abi::EPOLLEXCLUSIVE | abi::EPOLLONESHOT), Err(Errno::EINVAL));
    });
}

#[test]
fn one_event_wakes_one_of_those_that_wait_at_one_epoll() {
    machine(|| {
        let epoll = create();
        let fd = eventfd(0, 0).unwrap();
        add(epoll, fd, IN | abi::EPOLLET).unwrap();
        let log = Log::default();
        for _ in 0..3 {
            let noted = log.clone();
            thread(move || {
                if !wait_for(epoll, 1, 50).unwrap().is_empty() {
                    noted.note("woken");
                }
            });
        }
        let_others_run();
        raise(fd);
        sleep(100 * MS);
        assert_eq!(log.take(), ["woken"]);
    });
}

#[test]
fn what_cannot_be_watched_is_refused() {
    machine(|| {
        let epoll = create();
        make_file("file", b"");
        let file = open("file", 0).unwrap();
        assert_eq!(add(epoll, file, IN), Err(Errno::EPERM), "files are always ready");
        assert_eq!(add(epoll, 99, IN), Err(Errno::EBADF));
        assert_eq!(add(epoll, epoll, IN), Err(Errno::EINVAL));
        let fd = eventfd(0, 0).unwrap();
        assert_eq!(add(fd, epoll, IN), Err(Errno::EINVAL), "no epoll");
        assert_eq!(control(epoll, 7, fd, IN, 0), Err(Errno::EINVAL));
        assert_eq!(call!(abi::__NR_epoll_ctl, epoll, abi::EPOLL_CTL_ADD, fd, 8), Err(Errno::EFAULT));
        for most in [0, -1] {
            assert_eq!(call!(abi::__NR_epoll_wait, epoll, zeros(12), most, 0), Err(Errno::EINVAL));
        }
        assert_eq!(call!(abi::__NR_epoll_create1, 1), Err(Errno::EINVAL));
        assert_eq!(call!(abi::__NR_epoll_create, 0), Err(Errno::EINVAL));
        assert_eq!(read(epoll, 1), Err(Errno::EINVAL));
    });
}

#[test]
fn an_event_that_cannot_be_written_is_not_lost() {
    machine(|| {
        let epoll = create();
        let fd = eventfd(1, 0).unwrap();
        add(epoll, fd, IN | abi::EPOLLET).unwrap();
        assert_eq!(call!(abi::__NR_epoll_wait, epoll, 8, 1, 0), Err(Errno::EFAULT));
        assert_eq!(told(epoll), [(IN, fd as u64)]);
    });
}

#[test]
fn a_table_shows_what_is_watched() {
    machine(|| {
        let epoll = create();
        let fd = eventfd(1, 0).unwrap();
        add(epoll, fd, IN).unwrap();
        let info = text(&format!("/proc/self/fdinfo/{epoll}"));
        let line = info.lines().find(|line| line.starts_with("tfd:")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((words[1], words[2]), (&fd.to_string()[..], "events:"), "{line}");
        assert_eq!(u32::from_str_radix(words[3], 16).unwrap() & IN, IN);
    });
}

#[test]
fn those_that_have_nothing_to_say_cost_nothing() {
    machine(|| {
        let epoll = create();
        let busy = eventfd(0, 0).unwrap();
        add(epoll, busy, IN).unwrap();
        let locks = || exo_hal::cpu::percpu::counters().0;
        let cost = || {
            raise(busy);
            let before = locks();
            assert_eq!(told(epoll), [(IN, busy as u64)]);
            let cost = locks() - before;
            take(busy).unwrap();
            cost
        };
        cost();
        let alone = cost();
        call!(abi::__NR_prlimit64, 0, abi::RLIMIT_NOFILE, put(&[4096_u64, 4096]), 0).unwrap();
        for _ in 0..1000 {
            add(epoll, eventfd(0, 0).unwrap(), IN).unwrap();
        }
        cost();
        let among_many = cost();
        assert!(among_many <= alone, "{among_many} locks with 1000 idle ones, {alone} without");
    });
}

const EXCLUSIVE: u32 = IN | abi::EPOLLEXCLUSIVE;

/// Programs that wait, each with an epoll of its own, and how many were woken by `happens`.
fn woken(bits: [u32; 3], happens: impl FnOnce(usize)) -> usize {
    let fd = eventfd(0, 0).unwrap();
    let log = Log::default();
    for bits in bits {
        let log = log.clone();
        let epoll = create();
        add(epoll, fd, bits).unwrap();
        fork(move || {
            if !wait_for(epoll, 1, 20).unwrap().is_empty() {
                log.note("woken");
            }
        });
    }
    sleep(5 * MS);
    happens(fd);
    for _ in bits {
        wait(-1, 0).unwrap();
    }
    log.take().len()
}

#[test]
fn of_those_that_watch_exclusively_one_is_woken_for_each_event() {
    machine(|| {
        assert_eq!(woken([EXCLUSIVE; 3], raise), 1);
        assert_eq!(woken([EXCLUSIVE, IN, EXCLUSIVE], raise), 2, "and all others");
        let twice = |fd| {
            raise(fd);
            sleep(MS);
            raise(fd);
        };
        assert_eq!(woken([EXCLUSIVE; 3], twice), 2);
        let at_once = |fd| {
            raise(fd);
            raise(fd);
        };
        assert_eq!(woken([EXCLUSIVE; 3], at_once), 2, "who is about to wake up counts as busy");
        let out = abi::EPOLLOUT | abi::EPOLLEXCLUSIVE | abi::EPOLLET;
        assert_eq!(woken([EXCLUSIVE, EXCLUSIVE, out], raise), 2, "what is true already is told at once");
    });
}

#[test]
fn an_end_is_told_to_all_that_watch_exclusively() {
    machine(|| {
        let [from, to] = pipe().unwrap();
        let epolls = [create(), create(), create()];
        for epoll in epolls {
            add(epoll, from, EXCLUSIVE).unwrap();
        }
        write(to, b"x").unwrap();
        close(to).unwrap();
        for epoll in epolls {
            assert_eq!(told(epoll), [(IN | abi::EPOLLHUP, from as u64)]);
        }
    });
}
