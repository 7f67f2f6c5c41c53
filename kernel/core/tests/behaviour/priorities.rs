// SPDX-License-Identifier: MIT OR Apache-2.0
//! Policies: what they are worth, and what happens when they change or a priority is lent.

use exo_core::{
    sched::{
        self,
        policy::{BEGINNING, FAIR, PREEMPTION_NS, Policy, Schedule},
    },
    thread::running,
};
use exo_hal::time;
use exo_logic::inheritance::NOTHING;
use linux_raw_sys::general as abi;

use crate::support::{
    Log, MS, compute, compute_until, fifo, machine, nice, return_to_user, round_robin, sleep, task,
};

#[test]
fn priorities_are_linux_ones() {
    let idle = Policy { number: abi::SCHED_IDLE, ..Policy::DEFAULT };
    let batch = Policy { number: abi::SCHED_BATCH, nice: 3, ..Policy::DEFAULT };
    let cases = [
        // policy, what decides, what Linux's kernel calls it
        (fifo(99), 0, 0),
        (fifo(1), 98, 98),
        (round_robin(50), 49, 49),
        (nice(-20), 100, 100),
        (nice(0), 120, 120),
        (nice(19), 139, 139),
        (batch, 123, 123),
        (idle, 140, 120),
    ];
    for (policy, priority, kernel_priority) in cases {
        assert_eq!((policy.priority(), policy.kernel_priority()), (priority, kernel_priority), "{policy:?}");
    }
}

#[test]
fn what_is_no_priority_becomes_the_nearest_one() {
    assert_eq!(fifo(0).priority(), 98);
    assert_eq!(fifo(1000).priority(), 0);
    assert_eq!(fifo(1000).kernel_priority(), 0);
    assert_eq!(nice(-100).priority(), 100);
    assert_eq!(nice(100).priority(), 139);
}

#[test]
fn a_child_starts_with_its_parents_policy_unless_that_is_reset() {
    let reset = |policy| Policy { reset_on_fork: true, ..policy };
    assert_eq!(fifo(5).of_child(), fifo(5));
    assert_eq!(nice(-5).of_child(), nice(-5));
    assert_eq!(reset(fifo(5)).of_child(), Policy::DEFAULT);
    assert_eq!(reset(nice(-5)).of_child(), nice(0));
    assert_eq!(reset(nice(5)).of_child(), nice(5));
}

#[test]
fn virtual_time_runs_by_weight() {
    let after_a_second = |policy| {
        let schedule = Schedule::new(policy, BEGINNING);
        schedule.key_after(1000 * MS) - schedule.key_after(0)
    };
    assert_eq!(after_a_second(nice(0)), 1000 * MS);
    assert_eq!(after_a_second(fifo(1)), 0);
    for (policy, weight) in [(nice(5), 335), (nice(-5), 3121), (nice(19), 15), (nice(-20), 88761)] {
        let expected = 1000 * MS * 1024 / weight;
        assert!(after_a_second(policy).abs_diff(expected) <= 1000, "{policy:?}");
    }
}

#[test]
fn a_turn_of_more_than_eight_seconds_counts_as_that() {
    let schedule = Schedule::new(nice(19), BEGINNING);
    assert_eq!(schedule.key_after(u64::MAX), schedule.key_after(1 << 33));
    assert!(schedule.key_after(1 << 33) > schedule.key_after((1 << 33) - MS));
}

#[test]
fn a_key_says_whether_a_task_is_real_time() {
    assert!(Schedule::new(nice(19), 0).key_after(0) >= FAIR);
    assert!(Schedule::new(fifo(1), BEGINNING).key_after(0) < FAIR);
    assert_eq!(Schedule::new(round_robin(7), 0).policy(), round_robin(7));
    assert!(Schedule::new(round_robin(7), 0).takes_turns() && !Schedule::new(fifo(7), 0).takes_turns());
}

#[test]
fn a_task_that_gets_a_better_policy_takes_the_cpu() {
    machine(1, || {
        let log = Log::new();
        let waits = task("waits").start(move || log.note("waits"));
        return_to_user();
        assert_eq!(log.notes(), [""; 0]);
        sched::set_policy(&waits, fifo(1));
        return_to_user();
        assert_eq!(log.notes(), ["waits"]);
    });
}

#[test]
fn a_running_task_that_gets_a_worse_policy_loses_the_cpu() {
    machine(1, || {
        let log = Log::new();
        sched::set_policy(&running(), fifo(10));
        task("waits").policy(fifo(5)).start(move || log.note("waits"));
        return_to_user();
        assert_eq!(log.notes(), [""; 0]);
        sched::set_policy(&running(), fifo(1));
        return_to_user();
        assert_eq!(log.notes(), ["waits"]);
    });
}

#[test]
fn who_is_lent_a_priority_goes_before_those_that_are_worse() {
    machine(1, || {
        let log = Log::new();
        let run = |name| log.computes(5 * MS, name);
        let owner = task("owner").policy(nice(19)).start(run("owner"));
        task("middle").policy(fifo(10)).start(run("middle"));
        // That of one with FIFO 20 which waits for the owner.
        sched::lend(&owner, fifo(20).priority());
        assert_eq!(owner.schedule.policy(), nice(19), "what was set stays");
        return_to_user();
        assert_eq!(log.notes(), ["owner", "middle"]);
    });
}

#[test]
fn a_worse_priority_than_its_own_is_nothing_to_a_task() {
    machine(1, || {
        let log = Log::new();
        let good = task("good").policy(fifo(10)).start(move || log.note("good"));
        sched::lend(&good, nice(19).priority());
        return_to_user();
        assert_eq!(log.notes(), ["good"]);
    });
}

#[test]
fn a_priority_that_is_taken_back_leaves_the_task_where_it_was() {
    machine(1, || {
        let key = || running().schedule.key_after(0);
        let before = key();
        sched::lend(&running(), fifo(20).priority());
        assert_eq!(key(), u64::from(fifo(20).priority()));
        compute(40 * MS);
        sched::lend(&running(), NOTHING);
        // What it had meanwhile was at the other's expense.
        assert_eq!(key(), before);
    });
}

#[test]
fn a_lent_nice_value_gives_its_share() {
    machine(1, || {
        let end = time::now_ns() + 10_000 * MS;
        let tasks = [nice(10), nice(0)]
            .map(|policy| task("computes").policy(policy).start(move || compute_until(end)));
        sched::lend(&tasks[0], nice(0).priority());
        tasks.iter().for_each(|task| task.join());
        let got = tasks.map(|task| task.cpu_ns());
        assert!(got[0].abs_diff(got[1]) <= 2 * sched::SLICE_NS, "{got:?}");
    });
}

#[test]
fn a_policy_that_changes_on_the_way_counts_from_then_on() {
    machine(1, || {
        let start = time::now_ns();
        let end = start + 20_000 * MS;
        let tasks = ["a", "b"].map(|name| task(name).start(move || compute_until(end)));
        sleep(10_000 * MS);
        let half = tasks[0].cpu_ns();
        assert!(half.abs_diff(5_000 * MS) <= 2 * sched::SLICE_NS, "{half}");
        sched::set_policy(&tasks[0], nice(5));
        tasks.iter().for_each(|task| task.join());
        let fair = 10_000 * MS * 335 / (1024 + 335);
        let got = tasks[0].cpu_ns() - half;
        assert!(got.abs_diff(fair) <= 3 * sched::SLICE_NS, "{got} of {fair} ns");
    });
}

#[test]
fn what_a_task_is_ahead_by_is_counted_by_its_new_weight() {
    machine(1, || {
        // At the second tick, which says how far the queue has come.
        compute(20 * MS);
        let beginning = running().schedule.key_after(sched::running_ns());
        let ahead = task("ahead").start(|| {
            compute(5 * MS);
            sleep(100 * MS);
        });
        sleep(6 * MS);
        let ahead_by = || ahead.schedule.key_after(0) - beginning;
        assert_eq!(ahead_by(), 5 * MS);
        // The queue has come on by what the last wake-up was charged.
        sched::set_policy(&ahead, nice(5));
        assert!(ahead_by().abs_diff(5 * MS * 1024 / 335) <= 3 * PREEMPTION_NS, "{}", ahead_by());
        sched::set_policy(&ahead, fifo(5));
        sched::set_policy(&ahead, nice(5));
        assert!(ahead_by().abs_diff(5 * MS * 1024 / 335) <= 3 * PREEMPTION_NS, "{}", ahead_by());
        sched::set_policy(&ahead, nice(0));
        assert!(ahead_by().abs_diff(5 * MS) <= 3 * PREEMPTION_NS, "{}", ahead_by());
    });
}
