// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lock that waits asleep.

use std::sync::atomic::{AtomicU32, Ordering};

use exo_core::{errno::Errno, sched::mutex::Mutex};
use exo_hal::{sync::SpinLock, time};

use crate::support::{Log, MS, compute, machine, shared, sleep, task};

#[test]
fn one_has_the_lock_at_a_time() {
    machine(1, || {
        let (lock, inside) = (shared(Mutex::new()), shared(AtomicU32::new(0)));
        let tasks = ["a", "b", "c"].map(|name| {
            task(name).start(|| {
                for _ in 0..20 {
                    let guard = lock.lock().unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    // Longer than a slice, now and then asleep.
                    compute(12 * MS);
                    sleep(MS);
                    assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                    drop(guard);
                    compute(MS);
                }
            })
        });
        tasks.iter().for_each(|task| task.join());
        assert!(!lock.is_locked());
    });
}

#[test]
fn one_has_the_lock_at_a_time_on_two_cpus() {
    machine(2, || {
        let (lock, counter) = (shared(Mutex::new()), shared(AtomicU32::new(0)));
        let tasks = [1, 2, 3, 3].map(|affinity| {
            task("counts").on(affinity).start(|| {
                for _ in 0..500 {
                    let _guard = lock.lock().unwrap();
                    // Not one step, so that two at a time would lose some.
                    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                }
            })
        });
        tasks.iter().for_each(|task| task.join());
        assert_eq!(counter.load(Ordering::Relaxed), 2000);
    });
}

#[test]
fn the_lock_goes_to_those_that_wait_in_their_order() {
    machine(1, || {
        let (lock, log) = (shared(Mutex::default()), Log::new());
        let guard = lock.lock().unwrap();
        for name in ["a", "b", "c"] {
            task(name).start(move || {
                let _guard = lock.lock().unwrap();
                log.note(name);
                sleep(10 * MS);
            });
        }
        sleep(MS);
        assert!(lock.is_locked());
        drop(guard);
        sleep(100 * MS);
        assert_eq!(log.times(), [("a", MS), ("b", 11 * MS), ("c", 21 * MS)]);
    });
}

#[test]
fn a_killed_waiter_gives_up_and_another_signal_does_not_matter() {
    machine(1, || {
        let lock = shared(Mutex::new());
        let guard = lock.lock().unwrap();
        let waiter = task("waiter").start(|| assert_eq!(lock.lock().err(), Some(Errno::EINTR)));
        sleep(MS);
        waiter.signal();
        sleep(MS);
        assert!(waiter.sleeps());
        waiter.kill();
        waiter.join();
        assert!(lock.is_locked());
        drop(guard);
        assert!(!lock.is_locked());
        drop(lock.lock().unwrap());
    });
}

#[test]
fn a_killed_task_takes_a_free_lock_all_the_same() {
    machine(1, || {
        let lock = shared(Mutex::new());
        let start = time::now_ns();
        let killed = task("killed").start(move || {
            compute(MS);
            assert!(lock.lock().is_ok());
        });
        killed.kill();
        killed.join();
        assert_eq!(time::now_ns(), start + MS);
    });
}

#[test]
#[should_panic(expected = "sleeping with a spin lock held")]
fn the_lock_is_not_for_who_holds_a_spin_lock() {
    machine(1, || {
        let spin = SpinLock::new(());
        let _held = spin.lock();
        let _ = Mutex::new().lock();
    });
}
