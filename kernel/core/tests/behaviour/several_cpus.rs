// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two CPUs, which run at the same time: where tasks run, and what goes from one CPU to the other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use exo_core::{
    sched::{
        self,
        wait::{WaitQueue, wait_for},
    },
    thread::running,
};
use exo_hal::{cpu, cpu::percpu::cpu_index, time};
use exo_logic::inheritance::NOTHING;
use parking_lot::Mutex;

use crate::support::{
    MS, TestTask, compute, compute_until, fifo, machine, nice, return_to_user, shared, sleep, task,
};

/// No CPU yet.
const NOWHERE: usize = usize::MAX;

/// Waits in the host's time, without giving the CPU to another task, until the other CPU has done something.
fn await_other_cpu(condition: impl Fn() -> bool, mut meanwhile: impl FnMut()) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "the other CPU does not do it");
        meanwhile();
        std::thread::yield_now();
    }
}

/// A task on these CPUs that notes where it runs first.
fn note_cpu(name: &'static str, affinity: u64) -> (Arc<TestTask>, &'static AtomicUsize) {
    let at = shared(AtomicUsize::new(NOWHERE));
    (task(name).on(affinity).start(|| at.store(cpu_index(), Ordering::SeqCst)), at)
}

#[test]
fn a_task_runs_where_it_may_alone() {
    machine(2, || {
        for cpu in [0, 1] {
            let (bound, at) = note_cpu("bound", 1 << cpu);
            bound.join();
            assert_eq!(at.load(Ordering::SeqCst), cpu);
        }
    });
}

#[test]
fn a_new_task_goes_to_an_idle_cpu() {
    machine(2, || {
        assert_eq!(cpu_index(), 0);
        let (_, at) = note_cpu("new", 3);
        await_other_cpu(|| at.load(Ordering::SeqCst) == 1, || ());
    });
}

#[test]
fn a_running_task_moves_when_it_may_not_stay() {
    machine(2, || {
        assert_eq!(cpu_index(), 0);
        for cpu in [1, 1, 0] {
            running().affinity.store(1 << cpu, Ordering::Relaxed);
            sched::migrate(&running().counted());
            assert_eq!(cpu_index(), cpu);
        }
    });
}

#[test]
fn a_running_task_is_moved_by_another() {
    machine(2, || {
        let (is_there, stop) = (shared(AtomicUsize::new(NOWHERE)), shared(AtomicBool::new(false)));
        let moved = task("moved").on(2).start(|| {
            while !stop.load(Ordering::SeqCst) {
                is_there.store(cpu_index(), Ordering::SeqCst);
                return_to_user();
                std::thread::yield_now();
            }
        });
        await_other_cpu(|| is_there.load(Ordering::SeqCst) == 1, || ());
        moved.affinity.store(1, Ordering::Relaxed);
        moved.machine.is_running().then(|| sched::migrate(&moved));
        // It goes on with what it does until it is switched away from.
        running().affinity.store(2, Ordering::Relaxed);
        sched::lend(&moved, 0);
        sched::migrate(&running().counted());
        await_other_cpu(|| is_there.load(Ordering::SeqCst) == 0, return_to_user);
        stop.store(true, Ordering::SeqCst);
        moved.join();
    });
}

#[test]
fn a_sleeping_task_wakes_up_where_it_may_run() {
    machine(2, || {
        let (queue, open) = (shared(WaitQueue::new()), shared(AtomicBool::new(false)));
        let at = shared(AtomicUsize::new(NOWHERE));
        let sleeper = task("sleeper").on(1).start(|| {
            wait_for(queue, || open.load(Ordering::SeqCst).then_some(())).unwrap();
            at.store(cpu_index(), Ordering::SeqCst);
        });
        sleep(MS);
        sleeper.affinity.store(2, Ordering::Relaxed);
        open.store(true, Ordering::SeqCst);
        queue.wake_all();
        sleeper.join();
        assert_eq!(at.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_task_in_a_queue_is_moved_when_its_turn_comes() {
    machine(2, || {
        let (queued, at) = note_cpu("queued", 1);
        queued.affinity.store(2, Ordering::Relaxed);
        sched::migrate(&queued);
        queued.join();
        assert_eq!(at.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn an_idle_cpu_takes_work_from_a_busy_one_at_its_tick() {
    machine(2, || {
        let (queued, at) = note_cpu("queued", 1);
        time::advance(5 * MS);
        cpu::interrupt_window();
        queued.affinity.store(3, Ordering::Relaxed);
        assert_eq!(at.load(Ordering::SeqCst), NOWHERE);
        // In the kernel, so that this task keeps its CPU.
        let tick = || {
            time::advance(10 * MS);
            cpu::interrupt_window();
        };
        await_other_cpu(|| at.load(Ordering::SeqCst) == 1, tick);
        assert_eq!(queued.cpu.load(Ordering::Relaxed), 1, "others find it there");
    });
}

#[test]
fn an_idle_cpu_takes_nothing_that_may_not_run_there() {
    machine(2, || {
        let (queued, at) = note_cpu("queued", 1);
        for _ in 0..20 {
            time::advance(10 * MS);
            cpu::interrupt_window();
            std::thread::yield_now();
        }
        assert_eq!(at.load(Ordering::SeqCst), NOWHERE);
        queued.join();
        assert_eq!(at.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_task_wakes_up_where_it_ran_and_a_hand_over_brings_it_here() {
    machine(2, || {
        let queue = shared(WaitQueue::new());
        let (gate, at) = (shared(AtomicUsize::new(0)), shared(AtomicUsize::new(NOWHERE)));
        let sleeper = task("sleeper").on(2).start(|| {
            for round in 1..=2 {
                wait_for(queue, || (gate.load(Ordering::SeqCst) >= round).then_some(())).unwrap();
                at.store(cpu_index(), Ordering::SeqCst);
            }
        });
        sleep(MS);
        sleeper.affinity.store(3, Ordering::Relaxed);
        gate.store(1, Ordering::SeqCst);
        queue.wake_all();
        await_other_cpu(|| at.load(Ordering::SeqCst) == 1, || ());
        await_other_cpu(|| sleeper.sleeps(), || ());
        gate.store(2, Ordering::SeqCst);
        sched::wake_here(&sleeper);
        sleeper.join();
        assert_eq!(at.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_hand_over_to_one_that_may_not_run_here_is_a_wake_up() {
    machine(2, || {
        let (queue, open) = (shared(WaitQueue::new()), shared(AtomicBool::new(false)));
        let at = shared(AtomicUsize::new(NOWHERE));
        let sleeper = task("sleeper").on(2).start(|| {
            wait_for(queue, || open.load(Ordering::SeqCst).then_some(())).unwrap();
            at.store(cpu_index(), Ordering::SeqCst);
        });
        sleep(MS);
        open.store(true, Ordering::SeqCst);
        sched::wake_here(&sleeper);
        await_other_cpu(|| at.load(Ordering::SeqCst) == 1, || ());
    });
}

#[test]
fn a_killed_task_that_computes_elsewhere_notices() {
    machine(2, || {
        let runs = shared(AtomicBool::new(false));
        let busy = task("busy").on(2).start(|| {
            while !running().is_killed() {
                runs.store(true, Ordering::SeqCst);
                return_to_user();
                std::thread::yield_now();
            }
        });
        await_other_cpu(|| runs.load(Ordering::SeqCst), || ());
        busy.kill();
        busy.join();
    });
}

#[test]
fn a_worse_policy_for_one_that_runs_elsewhere_lets_another_go_before_it() {
    machine(2, || {
        let (runs, stop) = (shared(AtomicBool::new(false)), shared(AtomicBool::new(false)));
        let busy = task("busy").policy(fifo(10)).on(2).start(|| {
            while !stop.load(Ordering::SeqCst) {
                runs.store(true, Ordering::SeqCst);
                return_to_user();
                std::thread::yield_now();
            }
        });
        await_other_cpu(|| runs.load(Ordering::SeqCst), || ());
        let waits = task("waits").policy(fifo(5)).on(2).start(|| stop.store(true, Ordering::SeqCst));
        assert_eq!(sched::runnable_count(), 3);
        sched::set_policy(&busy, fifo(1));
        await_other_cpu(|| stop.load(Ordering::SeqCst), || ());
        busy.join();
        waits.join();
    });
}

/// Each CPU has a virtual time of its own, and this task's is that of a CPU that has been busy for seconds.
#[test]
fn a_task_that_moves_gets_its_share_where_it_comes_to() {
    machine(2, || {
        let (queue, end) = (shared(WaitQueue::new()), shared(AtomicU64::new(0)));
        let runs = shared(AtomicBool::new(false));
        let local = task("local").on(2).start(move || {
            let end = wait_for(queue, || Some(end.load(Ordering::SeqCst)).filter(|end| *end > 0)).unwrap();
            runs.store(true, Ordering::SeqCst);
            await_other_cpu(sched::has_waiting, || ());
            compute_until(end);
        });
        sleep(MS);
        compute(3000 * MS);
        end.store(time::now_ns() + 1000 * MS, Ordering::SeqCst);
        queue.wake_all();
        await_other_cpu(|| runs.load(Ordering::SeqCst), || ());
        running().affinity.store(2, Ordering::Relaxed);
        sched::migrate(&running().counted());
        compute_until(end.load(Ordering::SeqCst));
        local.join();
        assert!(local.cpu_ns().abs_diff(500 * MS) <= 3 * sched::SLICE_NS, "{}", local.cpu_ns());
    });
}

/// Marsaglia's xorshift.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// One task's part in [`tasks_that_do_all_kinds_of_things_come_to_their_end`].
fn do_all_kinds_of_things(seed: u64, tasks: &'static Mutex<Vec<Arc<TestTask>>>) {
    let mut state = seed;
    for _ in 0..300 {
        let number = random(&mut state);
        let other = tasks.lock().get(number as usize % 8).cloned();
        match (number >> 8) % 10 {
            0 | 1 => compute(number % (3 * MS)),
            2 => sleep(number % MS),
            3 => sched::give_way(),
            4 => {
                running().affinity.store(((number >> 16) & 2) | (1 << (number & 1)), Ordering::Relaxed);
                sched::migrate(&running().counted());
            }
            5 => sched::set_policy(&running(), nice((number >> 16) as i32 % 20)),
            _ => {
                let Some(other) = other else { continue };
                match (number >> 16) & 7 {
                    0 => sched::set_policy(&other, fifo(1 + number as u32 % 9)),
                    1 => sched::set_policy(&other, nice(5)),
                    2 => sched::lend(&other, 90),
                    3 => sched::lend(&other, NOTHING),
                    4 => sched::prod(&other),
                    5 => sched::migrate(&other),
                    _ => sched::wake_here(&other),
                };
            }
        }
        return_to_user();
    }
}

#[test]
fn tasks_that_do_all_kinds_of_things_come_to_their_end() {
    machine(2, || {
        let tasks = shared(Mutex::new(Vec::new()));
        for seed in 1..=8 {
            let new = task("one of eight").start(move || do_all_kinds_of_things(seed * 0x9e37_79b9, tasks));
            tasks.lock().push(new);
        }
        let all = tasks.lock().clone();
        all.iter().for_each(|task| task.join());
        tasks.lock().clear();
    });
}
