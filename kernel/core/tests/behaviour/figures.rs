// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is counted: by the scheduler, and for each thread.

use std::sync::atomic::Ordering;

use exo_core::{
    account::{Account, Counts, Event},
    sched,
    thread::{AsThread, has_signal, running, work},
};
use exo_hal::{thread::current, time};

use crate::support::{MS, TestTask, compute, machine, sleep, task};

#[test]
fn an_account_counts_calls_and_bytes() {
    let account = Account::default();
    account.read(100);
    account.read(20);
    account.wrote(7);
    account.count(Event::Fault, 3);
    let counts = account.get();
    let got = [Event::Read, Event::ByteRead, Event::Write, Event::ByteWritten, Event::Fault, Event::Wait]
        .map(|event| counts.get(event));
    assert_eq!(got, [2, 120, 1, 7, 3, 0]);
}

#[test]
fn the_counts_of_threads_add_up() {
    let (whole, ended) = (Account::default(), Account::default());
    whole.count(Event::DiskByteRead, 5);
    ended.count(Event::DiskByteRead, 6);
    ended.count(Event::DiskByteWritten, 7);
    whole.add(&ended.get());
    let mut sum = Counts::default();
    sum.add(&whole.get());
    sum.add(&ended.get());
    assert_eq!((sum.get(Event::DiskByteRead), sum.get(Event::DiskByteWritten)), (17, 14));
}

#[test]
fn idle_time_and_switches_are_counted() {
    machine(1, || {
        let (switches, idle) = sched::statistics(0);
        sleep(5 * MS);
        compute(2 * MS);
        sleep(3 * MS);
        let (switches_now, idle_now) = sched::statistics(0);
        assert_eq!(
            (switches_now - switches, idle_now - idle),
            (4, 8 * MS),
            "to the idle task and back, twice"
        );
    });
}

#[test]
fn switches_are_counted_by_their_reason() {
    machine(1, || {
        let run = || {
            compute(35 * MS);
            sleep(MS);
        };
        let tasks = ["a", "b"].map(|name| task(name).start(run));
        tasks.iter().for_each(|task| task.join());
        let counts = tasks.map(|task| {
            let counts = task.account.get();
            (counts.get(Event::Preemption), counts.get(Event::Wait))
        });
        // Turns of a: 10, 20 and 5 ms; of b: 20 and 15 ms. Each sleeps once, and ends.
        assert_eq!(counts, [(2, 2), (1, 2)]);
    });
}

#[test]
fn cpu_time_has_the_turn_so_far_in_it() {
    machine(1, || {
        let before = running().cpu_ns();
        compute(3 * MS);
        assert_eq!(running().cpu_ns() - before, 3 * MS);
        assert_eq!(sched::running_ns(), 3 * MS);
        sleep(2 * MS);
        compute(MS);
        assert_eq!(running().cpu_ns() - before, 4 * MS);
        assert_eq!(sched::running_ns(), MS);
    });
}

#[test]
fn time_in_user_mode_is_no_more_than_all_cpu_time() {
    machine(1, || {
        compute(3 * MS);
        running().user_cycles.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(running().user_ns(), running().cpu_ns());
    });
}

#[test]
fn those_that_can_run_are_counted() {
    machine(1, || {
        assert_eq!(sched::runnable_count(), 1);
        assert!(!sched::has_waiting());
        let others = ["a", "b"].map(|name| task(name).start(|| ()));
        assert_eq!(sched::runnable_count(), 3);
        assert!(sched::has_waiting());
        others.iter().for_each(|task| task.join());
        assert_eq!(sched::runnable_count(), 1);
    });
}

#[test]
fn a_task_knows_itself_and_its_page_tables_are_loaded_for_each_turn() {
    machine(1, || {
        let other = task("other").start(|| sleep(MS));
        assert!(current::<TestTask>().is_running_here() && !other.is_running_here());
        assert!(running().counted().is(&running()) && !running().counted().is(&other));
        assert!(std::ptr::eq(running().counted().as_thread(), &**current::<TestTask>()));
        other.join();
        assert_eq!(other.loads.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn a_stop_and_an_end_are_to_be_handled_and_a_signal_if_it_is_not_blocked() {
    machine(1, || {
        let with = |bits| {
            running().work.store(bits, Ordering::Relaxed);
            has_signal()
        };
        assert!(!with(0) && with(work::STOP) && with(work::EXIT));
        assert!(!with(work::SIGNAL) && !with(work::RESTORE_MASK | work::OUT_OF_MEMORY | work::DEAD_PAGES));
        current::<TestTask>().is_deliverable.store(true, Ordering::Relaxed);
        assert!(with(work::SIGNAL) && !with(0));
    });
}

#[test]
fn a_task_that_has_ended_is_let_go_of() {
    machine(1, || {
        let start = time::now_ns();
        let ended = task("ended").start(|| compute(MS));
        ended.join();
        sleep(MS);
        assert!(!ended.machine.is_running() && !ended.queued.load(Ordering::Relaxed));
        assert!(!sched::wake(&ended), "it never wakes up");
        assert_eq!(time::now_ns() - start, 2 * MS);
    });
}
