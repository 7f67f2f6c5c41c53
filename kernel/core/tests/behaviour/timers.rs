// SPDX-License-Identifier: MIT OR Apache-2.0
//! Timers, and the points where their interrupt is taken.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicUsize, Ordering},
};

use exo_core::{
    sched::{
        spans,
        timer::{self, Action, TimerTarget},
    },
    thread::running,
};
use exo_hal::{cpu, time, trap::Regs};
use parking_lot::Mutex;

use crate::support::{Log, MS, compute, fifo, machine, return_to_user, shared, sleep, task};

struct Note(&'static Log, &'static str);

impl TimerTarget for Note {
    fn expired(self: Arc<Self>) {
        self.0.note(self.1);
    }
}

/// A target that is told, and the timer's action.
fn target(log: &'static Log, name: &'static str) -> (Arc<Note>, Action) {
    let target = Arc::new(Note(log, name));
    let weak: Weak<Note> = Arc::downgrade(&target);
    (target, Action::Tell(weak))
}

#[test]
fn timers_run_out_in_the_order_of_their_times_and_exactly_then() {
    machine(1, || {
        let (log, start) = (Log::new(), time::now_ns());
        let names = [("c", 30), ("a", 10), ("b", 20), ("b2", 20)];
        let _kept = names.map(|(name, ms)| {
            let (kept, action) = target(log, name);
            timer::add(start + ms * MS, action);
            kept
        });
        sleep(50 * MS);
        assert_eq!(log.times(), [("a", 10 * MS), ("b", 20 * MS), ("b2", 20 * MS), ("c", 30 * MS)]);
    });
}

#[test]
fn a_timer_that_is_cancelled_does_nothing() {
    machine(1, || {
        let (log, start) = (Log::new(), time::now_ns());
        let (_kept, first) = target(log, "first");
        let (_kept2, second) = target(log, "second");
        let keys = [timer::add(start + MS, first), timer::add(start + MS, second)];
        assert!(timer::cancel(keys[0]));
        assert!(!timer::cancel(keys[0]), "it is gone");
        sleep(2 * MS);
        assert_eq!(log.notes(), ["second"]);
        assert!(!timer::cancel(keys[1]), "it has run out");
    });
}

#[test]
fn a_target_that_nobody_keeps_is_not_told() {
    machine(1, || {
        let log = Log::new();
        let (kept, action) = target(log, "told");
        timer::add(time::now_ns() + MS, action);
        drop(kept);
        sleep(2 * MS);
        assert_eq!(log.notes(), [""; 0]);
    });
}

#[test]
fn a_timer_wakes_a_task() {
    machine(1, || {
        let log = Log::new();
        let start = time::now_ns();
        let sleeper = task("sleeper").start(move || {
            running().state.begin_sleep();
            timer::add(start + 3 * MS, Action::Wake(running().counted()));
            exo_core::sched::schedule();
            log.note("woken");
        });
        sleeper.join();
        assert_eq!(log.times(), [("woken", 3 * MS)]);
    });
}

static CALLS: AtomicUsize = AtomicUsize::new(0);

fn count_call() {
    CALLS.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn at_most_32_timers_run_out_in_one_interrupt_and_the_others_in_the_next() {
    machine(1, || {
        CALLS.store(0, Ordering::SeqCst);
        for _ in 0..100 {
            timer::add(time::now_ns() + MS, Action::Call(count_call));
        }
        time::advance(MS);
        let after_each = [(); 5].map(|()| {
            cpu::interrupt_window();
            CALLS.load(Ordering::SeqCst)
        });
        assert_eq!(after_each, [32, 64, 96, 100, 100]);
    });
}

#[test]
fn an_idle_cpu_does_more_than_32_timers_at_one_time() {
    machine(1, || {
        CALLS.store(0, Ordering::SeqCst);
        let start = time::now_ns();
        let (log, times) = (Log::new(), 200);
        for _ in 0..times {
            timer::add(start + MS, Action::Call(count_call));
        }
        let (_kept, last) = target(log, "last");
        timer::add(start + MS, last);
        sleep(2 * MS);
        assert_eq!(CALLS.load(Ordering::SeqCst), times);
        assert_eq!(log.times(), [("last", MS)]);
    });
}

#[test]
fn a_timer_that_is_due_waits_for_a_window() {
    machine(1, || {
        let log = Log::new();
        let (_kept, action) = target(log, "due");
        timer::add(time::now_ns() + MS, action);
        time::advance(5 * MS);
        assert_eq!(log.notes(), [""; 0], "interrupts are off in the kernel");
        cpu::interrupt_window();
        assert_eq!(log.times(), [("due", 5 * MS)]);
    });
}

#[test]
fn a_busy_task_has_a_tick_each_10_ms_and_a_sleeping_one_none() {
    machine(1, || {
        let busy = task("busy").start(|| compute(105 * MS));
        busy.join();
        assert_eq!(busy.ticks.load(Ordering::Relaxed), 10);
        let sleeper = task("sleeper").start(|| sleep(105 * MS));
        sleeper.join();
        assert_eq!(sleeper.ticks.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_point_lets_interrupts_in_once_they_have_been_off_for_20_us() {
    machine(1, || {
        let log = Log::new();
        // Since the last window.
        spans::window();
        let (_kept, action) = target(log, "due");
        timer::add(time::now_ns(), action);
        time::advance(19_999);
        assert!(!spans::point());
        assert_eq!(log.notes(), [""; 0]);
        time::advance(1);
        assert!(!spans::point());
        assert_eq!(log.notes(), ["due"]);
    });
}

#[test]
fn a_point_gives_the_cpu_to_who_is_better_and_says_when_to_end() {
    machine(1, || {
        let log = Log::new();
        let long_call = task("long call").start(move || {
            spans::window();
            let mut pieces = 0;
            while !spans::point() {
                time::advance(MS);
                pieces += 1;
                assert!(pieces < 1000);
            }
            log.note("ends");
        });
        task("fifo").policy(fifo(1)).start(move || {
            sleep(7 * MS);
            log.note("fifo");
            long_call.kill();
        });
        sleep(50 * MS);
        assert_eq!(log.times(), [("fifo", 7 * MS), ("ends", 7 * MS)]);
    });
}

#[test]
fn the_longest_time_without_interrupts_is_known_with_its_cause() {
    machine(1, || {
        spans::reset();
        spans::enter();
        time::advance(MS);
        spans::leave(&Regs::of_call(7));
        assert_eq!(spans::longest(), (MS, Ok(7)));
        spans::enter();
        time::advance(MS / 2);
        spans::leave(&Regs::of_call(8));
        assert_eq!(spans::longest(), (MS, Ok(7)), "a shorter one is none");
        spans::enter();
        time::advance(3 * MS);
        spans::leave(&Regs::of_trap(14));
        assert_eq!(spans::longest(), (3 * MS, Err(14)));
    });
}

#[test]
fn time_in_user_mode_is_counted_apart() {
    machine(1, || {
        let counted = shared(Mutex::new((0, 0)));
        let program = task("program").start(|| {
            spans::leave(&Regs::of_call(1));
            time::advance(4 * MS);
            spans::enter();
            time::advance(2 * MS);
            *counted.lock() = (running().user_ns(), running().cpu_ns());
            return_to_user();
        });
        program.join();
        assert_eq!(*counted.lock(), (4 * MS, 6 * MS));
        assert_eq!(program.cpu_ns(), 6 * MS);
    });
}
