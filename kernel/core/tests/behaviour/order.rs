// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who runs next, and for how long.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use exo_core::sched::{
    self,
    policy::{PREEMPTION_NS, Policy},
    wait::{WaitQueue, wait_for},
};
use exo_hal::time;
use linux_raw_sys::general as abi;

use crate::support::{
    Log, MS, TestTask, compute, compute_until, fifo, machine, nice, return_to_user, round_robin, shared,
    sleep, task,
};

#[test]
fn who_waited_first_runs_first_among_equals() {
    machine(1, || {
        let (log, queue, open) = (Log::new(), shared(WaitQueue::new()), shared(AtomicBool::new(false)));
        for name in ["a", "b", "c"] {
            task(name).start(move || {
                wait_for(queue, || open.load(Ordering::SeqCst).then_some(())).unwrap();
                log.note(name);
            });
        }
        sleep(MS);
        open.store(true, Ordering::SeqCst);
        queue.wake_all();
        sleep(MS);
        assert_eq!(log.notes(), ["a", "b", "c"]);
    });
}

#[test]
fn who_has_had_least_runs_first() {
    machine(1, || {
        let (log, queue, open) = (Log::new(), shared(WaitQueue::new()), shared(AtomicBool::new(false)));
        for (name, ns) in [("most", 3 * MS), ("least", MS / 2), ("middle", 2 * MS)] {
            task(name).start(move || {
                compute(ns);
                wait_for(queue, || open.load(Ordering::SeqCst).then_some(())).unwrap();
                log.note(name);
            });
        }
        sleep(8 * MS);
        open.store(true, Ordering::SeqCst);
        queue.wake_all();
        sleep(MS);
        assert_eq!(log.notes(), ["least", "middle", "most"]);
    });
}

/// What tasks of these policies get of `ns` nanoseconds on one CPU in which all of them compute.
fn shares<const N: usize>(policies: [Policy; N], ns: u64) -> [u64; N] {
    let end = time::now_ns() + ns;
    let tasks = policies.map(|policy| task("computes").policy(policy).start(move || compute_until(end)));
    tasks.iter().for_each(|task| task.join());
    tasks.map(|task| task.cpu_ns())
}

#[test]
fn the_share_of_a_nice_value_is_by_its_weight() {
    machine(1, || {
        let weights = [1024, 335, 3121];
        let got = shares([nice(0), nice(5), nice(-5)], 20_000 * MS);
        let sum: u64 = weights.iter().sum();
        for (got, weight) in got.into_iter().zip(weights) {
            let fair = 20_000 * MS * weight / sum;
            assert!(got.abs_diff(fair) <= sched::SLICE_NS, "{got} of {fair} ns");
        }
    });
}

#[test]
fn a_task_of_sched_idle_gets_three_thousandths() {
    machine(1, || {
        let idle = Policy { number: abi::SCHED_IDLE, ..Policy::DEFAULT };
        let [_, got] = shares([nice(0), idle], 20_000 * MS);
        let fair = 20_000 * MS * 3 / 1027;
        assert!(got.abs_diff(fair) <= sched::SLICE_NS, "{got} of {fair} ns");
    });
}

#[test]
fn equals_take_turns_and_nobody_is_ahead_by_more_than_a_slice() {
    machine(1, || {
        let log = Log::new();
        let start = time::now_ns();
        let run = move |name| {
            move || {
                for _ in 0..4 {
                    log.note(name);
                    compute(sched::SLICE_NS);
                }
            }
        };
        let tasks = ["a", "b"].map(|name| task(name).start(run(name)));
        tasks.iter().for_each(|task| task.join());
        // Ticks come each 10 ms. After 20 ms both have had as much, and who runs goes on until it is ahead.
        assert_eq!(log.notes(), ["a", "b", "b", "a", "a", "b", "b", "a"]);
        assert_eq!(time::now_ns() - start, 8 * sched::SLICE_NS);
    });
}

#[test]
fn real_time_tasks_go_first_in_the_order_of_their_priorities() {
    machine(1, || {
        let log = Log::new();
        let run = move |name| {
            move || {
                log.note(name);
                compute(30 * MS);
                log.note(name);
            }
        };
        task("fair").policy(nice(-20)).start(run("fair"));
        task("fifo 10").policy(fifo(10)).start(run("fifo 10"));
        task("fifo 20").policy(fifo(20)).start(run("fifo 20"));
        task("rr 15").policy(round_robin(15)).start(run("rr 15"));
        return_to_user();
        assert_eq!(
            log.notes(),
            ["fifo 20", "fifo 20", "rr 15", "rr 15", "fifo 10", "fifo 10"],
            "before the one that started them goes on"
        );
    });
}

#[test]
fn a_real_time_task_takes_the_cpu_the_moment_it_wakes_up() {
    machine(1, || {
        let log = Log::new();
        task("fifo").policy(fifo(1)).start(move || {
            sleep(3 * MS);
            log.note("woken");
        });
        compute(8 * MS);
        assert_eq!(log.times(), [("woken", 3 * MS)]);
    });
}

#[test]
fn fifo_tasks_of_one_priority_do_not_take_turns() {
    machine(1, || {
        let log = Log::new();
        let run = |name| log.computes(250 * MS, name);
        let tasks = ["a", "b"].map(|name| task(name).policy(fifo(5)).start(run(name)));
        tasks.iter().for_each(|task| task.join());
        assert_eq!(log.times(), [("a", 250 * MS), ("b", 500 * MS)]);
    });
}

#[test]
fn who_comes_later_goes_behind_its_equals_and_before_those_that_are_worse() {
    machine(1, || {
        let log = Log::new();
        let policies = [("a", fifo(5)), ("fair", nice(0)), ("b", fifo(5)), ("best", fifo(6)), ("c", fifo(5))];
        let tasks = policies.map(|(name, policy)| task(name).policy(policy).start(move || log.note(name)));
        tasks.iter().for_each(|task| task.join());
        assert_eq!(log.notes(), ["best", "a", "b", "c", "fair"]);
    });
}

#[test]
fn a_fifo_task_that_was_interrupted_by_a_better_one_goes_on_before_its_equals() {
    machine(1, || {
        let log = Log::new();
        let run = |name| log.computes(10 * MS, name);
        let better = task("better").policy(fifo(9)).start(move || {
            sleep(5 * MS);
            log.note("better");
        });
        let tasks = ["a", "b"].map(|name| task(name).policy(fifo(5)).start(run(name)));
        better.join();
        tasks.iter().for_each(|task| task.join());
        assert_eq!(log.times(), [("better", 5 * MS), ("a", 10 * MS), ("b", 20 * MS)]);
    });
}

#[test]
fn a_task_that_gives_way_goes_behind_its_equals() {
    machine(1, || {
        let log = Log::new();
        let run = move |name| {
            move || {
                for _ in 0..2 {
                    log.note(name);
                    sched::give_way();
                }
            }
        };
        let tasks = ["a", "b"].map(|name| task(name).policy(fifo(5)).start(run(name)));
        tasks.iter().for_each(|task| task.join());
        assert_eq!(log.notes(), ["a", "b", "a", "b"]);
    });
}

#[test]
fn round_robin_tasks_take_turns_of_100_ms() {
    machine(1, || {
        let log = Log::new();
        let run = |name| log.computes(250 * MS, name);
        let tasks = ["a", "b", "c"].map(|name| task(name).policy(round_robin(5)).start(run(name)));
        tasks.iter().for_each(|task| task.join());
        assert_eq!(log.times(), [("a", 650 * MS), ("b", 700 * MS), ("c", 750 * MS)]);
    });
}

#[test]
fn real_time_tasks_leave_a_twentieth_to_others() {
    machine(1, || {
        let end = time::now_ns() + 10_000 * MS;
        let real_time = task("real time").policy(fifo(50)).start(move || compute_until(end));
        let fair = task("fair").start(move || compute_until(end));
        real_time.join();
        fair.join();
        let got = fair.cpu_ns();
        assert!(got.abs_diff(500 * MS) <= 50 * MS, "{got} ns of 10 s");
    });
}

/// One that computes from the beginning, and one that first computes for `worked` and then sleeps for `slept` nanoseconds, after which
/// it notes the time.
fn woken_beside_a_busy_one(worked: u64, slept: u64, log: &'static Log) -> [Arc<TestTask>; 2] {
    let sleeper = task("sleeper").start(move || {
        compute(worked);
        sleep(slept);
        log.note("woken");
    });
    [sleeper, task("busy").start(|| compute(100 * MS))]
}

#[test]
fn who_wakes_up_far_behind_takes_the_cpu_at_once() {
    machine(1, || {
        let log = Log::new();
        let tasks = woken_beside_a_busy_one(0, 35 * MS, log);
        tasks.iter().for_each(|task| task.join());
        assert_eq!(log.times(), [("woken", 35 * MS)]);
    });
}

#[test]
fn who_wakes_up_ahead_of_the_running_one_waits() {
    machine(1, || {
        let log = Log::new();
        let tasks = woken_beside_a_busy_one(5 * MS, MS, log);
        tasks.iter().for_each(|task| task.join());
        assert_eq!(log.times(), [("woken", 20 * MS)], "at the first tick after the other has had as much");
    });
}

#[test]
fn taking_the_cpu_is_charged() {
    machine(1, || {
        let log = Log::new();
        let [sleeper, busy] = woken_beside_a_busy_one(0, 35 * MS, log);
        busy.join();
        let behind = busy.schedule.key_after(0) - sleeper.schedule.key_after(0);
        // The tick at 30 ms was the last that virtual time was counted at: that, less the credit of 3 ms.
        assert_eq!(behind, 100 * MS - (30 * MS - 3 * MS + PREEMPTION_NS));
    });
}

#[test]
fn a_hand_over_leaves_the_cpu_to_who_does_it() {
    machine(1, || {
        let (log, queue) = (Log::new(), shared(WaitQueue::new()));
        let open = shared(AtomicBool::new(false));
        let sleeper = task("sleeper").start(move || {
            wait_for(queue, || open.load(Ordering::SeqCst).then_some(())).unwrap();
            log.note("woken");
        });
        sleep(MS);
        compute(50 * MS);
        open.store(true, Ordering::SeqCst);
        sched::wake_here(&sleeper);
        assert!(!sched::should_reschedule() && sched::has_waiting());
        compute(2 * MS);
        log.note("waits");
        sleeper.join();
        assert_eq!(log.notes(), ["waits", "woken"]);
    });
}

#[test]
fn a_wake_up_of_one_that_is_far_behind_does_not() {
    machine(1, || {
        let open = shared(AtomicBool::new(false));
        let queue = shared(WaitQueue::new());
        let sleeper =
            task("sleeper").start(|| wait_for(queue, || open.load(Ordering::SeqCst).then_some(())).unwrap());
        sleep(MS);
        compute(50 * MS);
        open.store(true, Ordering::SeqCst);
        assert!(sched::wake(&sleeper));
        assert!(!sched::wake(&sleeper), "it does not sleep any more");
        assert!(sched::should_reschedule());
        sleeper.join();
    });
}
