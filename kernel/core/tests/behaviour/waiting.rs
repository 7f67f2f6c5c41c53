// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a wait begins and ends.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
};

use exo_core::{
    account::Event,
    sched::{
        self, spans,
        timer::{self, Action},
        wait::{
            Deadline, Ended, Observer, WaitQueue, set_wall_clock, sleep_until, wait_for, wait_on, wait_until,
        },
    },
};
use exo_hal::time;
use parking_lot::Mutex;

use crate::support::{Log, MS, TestTask, compute, fifo, machine, nice, shared, sleep, task};

/// A condition and who waits for it.
#[derive(Default)]
struct Gate {
    is_open: AtomicBool,
    queue: WaitQueue,
}

impl Gate {
    fn new() -> &'static Self {
        shared(Self::default())
    }

    fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
        self.queue.wake_all();
    }

    fn look(&self) -> Option<()> {
        self.is_open.load(Ordering::SeqCst).then_some(())
    }
}

/// What came of a wait.
type Outcome = &'static Mutex<Option<Result<(), Ended>>>;

/// A task that waits with these arguments for a gate, and what came of it.
fn waiter(gate: &'static Gate, deadline: Option<u64>, interruptible: bool) -> (Arc<TestTask>, Outcome) {
    let result = shared(Mutex::new(None));
    let task = task("waiter").start(move || {
        let came = wait_on(&[&gate.queue], deadline, interruptible, || gate.look());
        *result.lock() = Some(came);
    });
    (task, result)
}

#[test]
fn a_condition_that_holds_is_not_waited_for() {
    machine(1, || {
        let gate = Gate::new();
        gate.open();
        assert_eq!(wait_on(&[&gate.queue], Some(0), true, || gate.look()), Ok(()), "whatever the deadline");
        let switches = sched::statistics(0).0;
        assert_eq!(wait_for(&gate.queue, || Some(5)), Ok(5));
        assert_eq!(sched::statistics(0).0, switches);
    });
}

#[test]
fn a_wait_ends_by_its_condition() {
    machine(1, || {
        let gate = Gate::new();
        let (waiter, result) = waiter(gate, None, true);
        sleep(MS);
        assert!(waiter.sleeps());
        gate.queue.wake_all();
        sleep(MS);
        assert!(waiter.sleeps(), "a wake-up without the condition does no harm");
        gate.open();
        waiter.join();
        assert_eq!(*result.lock(), Some(Ok(())));
    });
}

#[test]
fn a_wait_ends_at_its_deadline() {
    machine(1, || {
        let start = time::now_ns();
        let (waiter, result) = waiter(Gate::new(), Some(start + 12_345_678), true);
        waiter.join();
        assert_eq!(*result.lock(), Some(Err(Ended::TimedOut)));
        assert_eq!(time::now_ns(), start + 12_345_678);
    });
}

#[test]
fn a_deadline_that_has_passed_ends_a_wait_at_once() {
    machine(1, || {
        let now = time::now_ns();
        assert_eq!(sleep_until(Some(Deadline::Boot(now - 1))), Ended::TimedOut);
        assert_eq!(sleep_until(Some(Deadline::Boot(now))), Ended::TimedOut);
        assert_eq!(time::now_ns(), now);
    });
}

#[test]
fn a_wait_with_a_deadline_that_ends_before_leaves_no_timer() {
    machine(1, || {
        let (gate, start) = (Gate::new(), time::now_ns());
        let waiter = task("waiter").start(move || {
            wait_on(&[&gate.queue], Some(start + 1000 * MS), true, || gate.look()).unwrap();
            sleep_until(Some(Deadline::Boot(start + 2000 * MS)));
        });
        sleep(MS);
        gate.open();
        waiter.join();
        // A timer that is left would wake it once more in its second wait.
        assert_eq!(waiter.account.get().get(Event::Wait), 3, "its two waits and its end");
    });
}

#[test]
fn a_signal_ends_an_interruptible_wait_alone() {
    machine(1, || {
        let gate = Gate::new();
        let (interruptible, first) = waiter(gate, None, true);
        let (other, second) = waiter(gate, None, false);
        sleep(MS);
        interruptible.signal();
        other.signal();
        sleep(MS);
        assert_eq!(*first.lock(), Some(Err(Ended::Interrupted)));
        assert!(other.sleeps());
        gate.open();
        other.join();
        assert_eq!(*second.lock(), Some(Ok(())));
    });
}

#[test]
fn a_blocked_signal_ends_no_wait() {
    machine(1, || {
        let gate = Gate::new();
        let (waiter, result) = waiter(gate, None, true);
        sleep(MS);
        waiter.signal_blocked();
        sleep(MS);
        assert!(waiter.sleeps());
        gate.open();
        waiter.join();
        assert_eq!(*result.lock(), Some(Ok(())));
    });
}

#[test]
fn a_kill_ends_every_wait() {
    machine(1, || {
        for interruptible in [false, true] {
            let (waiter, result) = waiter(Gate::new(), None, interruptible);
            sleep(MS);
            waiter.kill();
            waiter.join();
            assert_eq!(*result.lock(), Some(Err(Ended::Interrupted)));
        }
    });
}

#[test]
fn a_condition_counts_more_than_a_signal_and_a_deadline() {
    machine(1, || {
        let gate = Gate::new();
        let (waiter, result) = waiter(gate, Some(time::now_ns() + 5 * MS), true);
        sleep(MS);
        // All three before it runs again.
        gate.is_open.store(true, Ordering::SeqCst);
        waiter.signal();
        time::advance(10 * MS);
        waiter.join();
        assert_eq!(*result.lock(), Some(Ok(())));
    });
}

#[test]
fn any_of_several_queues_wakes() {
    machine(1, || {
        for which in 0..3 {
            let gates = [Gate::new(), Gate::new(), Gate::new()];
            let waiter = task("waiter").start(move || {
                let look = || gates.iter().position(|gate| gate.look().is_some());
                assert_eq!(wait_on(&gates.map(|gate| &gate.queue), None, true, look), Ok(which));
            });
            sleep(MS);
            gates[which].open();
            sleep(MS);
            assert!(waiter.has_ended());
        }
    });
}

#[test]
fn one_that_waits_on_many_queues_lets_interrupts_in_meanwhile() {
    static IS_DUE: AtomicBool = AtomicBool::new(false);
    machine(1, || {
        let gates: &'static Vec<_> = shared((0..16).map(|_| Gate::default()).collect());
        let queues: Vec<_> = gates.iter().map(|gate| &gate.queue).collect();
        timer::add(time::now_ns(), Action::Call(|| IS_DUE.store(true, Ordering::SeqCst)));
        time::advance(MS);
        let mut looks = 0;
        let look = || {
            looks += 1;
            assert_eq!(IS_DUE.load(Ordering::SeqCst), looks == 2, "between the first look and the second");
            (looks == 2).then_some(())
        };
        assert_eq!(wait_on(&queues, None, true, look), Ok(()));
    });
}

/// What another CPU does at the worst time is done in the look itself.
#[test]
fn a_wake_up_between_look_and_sleep_is_not_lost() {
    machine(1, || {
        let (gate, mut looks) = (Gate::new(), 0);
        let look_too_early = || {
            looks += 1;
            let found = gate.look();
            // The first look is before anything is prepared.
            if looks == 2 {
                gate.open();
            }
            found
        };
        assert_eq!(wait_for(&gate.queue, look_too_early), Ok(()));
        assert_eq!(looks, 3);
    });
}

#[test]
fn a_wake_up_by_another_cpu_between_look_and_sleep_is_not_lost() {
    machine(2, || {
        for _ in 0..50 {
            let (gate, has_looked) = (Gate::new(), shared(AtomicU32::new(0)));
            let opener = task("opener").on(2).start(|| {
                while has_looked.load(Ordering::SeqCst) < 2 {
                    std::thread::yield_now();
                }
                gate.open();
            });
            let look_too_early = || {
                let found = gate.look();
                if has_looked.fetch_add(1, Ordering::SeqCst) == 1 {
                    while gate.look().is_none() {
                        std::thread::yield_now();
                    }
                    // So that it has most likely woken those in the queue too.
                    std::thread::sleep(std::time::Duration::from_micros(50));
                }
                found
            };
            assert_eq!(wait_for(&gate.queue, look_too_early), Ok(()));
            opener.join();
        }
    });
}

/// Nobody would wake it.
#[test]
fn a_look_that_passes_a_preemption_point_does_not_fall_asleep_there() {
    machine(1, || {
        let (gate, log) = (Gate::new(), Log::new());
        let better = task("better").policy(fifo(1)).start(move || {
            wait_for(&gate.queue, || gate.look()).unwrap();
            log.note("better");
        });
        sleep(MS);
        let mut looks = 0;
        let look = || {
            looks += 1;
            if looks < 2 {
                return None;
            }
            gate.open();
            time::advance(MS);
            assert!(sched::should_reschedule() && !spans::point());
            log.note("looked");
            Some(())
        };
        assert_eq!(wait_on(&[], Some(time::now_ns() + 9 * MS), true, look), Ok(()));
        better.join();
        assert_eq!(log.notes(), ["looked", "better"]);
    });
}

/// Two tasks that wake each other so often, and wait in between.
fn wake_each_other(rounds: u32, affinities: [u64; 2]) {
    let (turn, queues) = (shared(AtomicU32::new(0)), shared([WaitQueue::new(), WaitQueue::new()]));
    let tasks = [0, 1].map(|own: u32| {
        task("one of two").on(affinities[own as usize]).start(move || {
            for round in 0..rounds {
                let mine = 2 * round + own;
                wait_for(&queues[own as usize], || (turn.load(Ordering::SeqCst) == mine).then_some(()))
                    .unwrap();
                turn.store(mine + 1, Ordering::SeqCst);
                queues[1 - own as usize].wake_all();
            }
        })
    });
    tasks.iter().for_each(|task| task.join());
    assert_eq!(turn.load(Ordering::SeqCst), 2 * rounds);
}

#[test]
fn no_wake_up_is_lost_on_one_cpu() {
    machine(1, || wake_each_other(500, [1, 1]));
}

/// If one were lost, the machine would come to rest with both tasks waiting.
#[test]
fn no_wake_up_between_look_and_sleep_is_lost_on_two_cpus() {
    machine(2, || wake_each_other(5000, [1, 2]));
    machine(2, || wake_each_other(2000, [3, 3]));
}

#[test]
fn a_wait_for_a_wall_time_ends_then() {
    machine(1, || {
        set_wall_clock(1_000_000 * MS);
        let start = time::now_ns();
        assert_eq!(sleep_until(Some(Deadline::Wall(1_000_007 * MS))), Ended::TimedOut);
        assert_eq!(time::now_ns(), start + 7 * MS);
        assert_eq!(time::wall_ns(), 1_000_007 * MS);
    });
}

#[test]
fn setting_the_wall_clock_moves_the_end_of_a_wait_for_a_time_of_it() {
    machine(1, || {
        set_wall_clock(1_000_000 * MS);
        let (log, start) = (Log::new(), time::now_ns() - 1_000_000 * MS);
        for (name, ms) in [("soon", 1_000_100), ("late", 1_000_900)] {
            task(name).start(move || {
                assert_eq!(sleep_until(Some(Deadline::Wall(ms * MS))), Ended::TimedOut);
                log.note(name);
            });
        }
        sleep(10 * MS);
        // Both have 50 ms more to wait than before …
        set_wall_clock(999_960 * MS);
        sleep(130 * MS);
        assert_eq!(log.notes(), [""; 0]);
        sleep(20 * MS);
        assert_eq!(log.times(), [("soon", 150 * MS)]);
        // … and the second none.
        set_wall_clock(2_000_000 * MS);
        sleep(MS);
        assert_eq!(log.times(), [("soon", 150 * MS), ("late", 160 * MS)]);
        assert_eq!(time::now_ns() - start, 1_000_161 * MS);
    });
}

#[test]
fn a_wait_for_a_wall_time_ends_by_condition_and_signal_too() {
    machine(1, || {
        set_wall_clock(1000 * MS);
        let open = shared(AtomicBool::new(false));
        let results = shared(Mutex::new(Vec::new()));
        let waiter = task("waiter").start(move || {
            for _ in 0..2 {
                let look = || open.load(Ordering::SeqCst).then_some(());
                results.lock().push(wait_until(Some(Deadline::Wall(9000 * MS)), true, look));
            }
        });
        sleep(MS);
        open.store(true, Ordering::SeqCst);
        sched::wake(&waiter);
        waiter.join();
        let sleeper = task("sleeper").start(|| results.lock().push(Err(sleep_until(None))));
        sleep(MS);
        sleeper.signal();
        sleeper.join();
        assert_eq!(*results.lock(), [Ok(()), Ok(()), Err(Ended::Interrupted)]);
    });
}

struct Counter(AtomicUsize);

impl Observer for Counter {
    fn changed(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn observers_are_told_as_long_as_somebody_keeps_them() {
    machine(1, || {
        let (queue, kept) = (WaitQueue::new(), Arc::new(Counter(AtomicUsize::new(0))));
        queue.wake_all();
        let observer: Arc<dyn Observer> = kept.clone();
        queue.observe(&observer).unwrap();
        let dropped: Arc<dyn Observer> = Arc::new(Counter(AtomicUsize::new(0)));
        queue.observe(&dropped).unwrap();
        let gone = Arc::downgrade(&dropped);
        queue.wake_all();
        drop(dropped);
        assert!(gone.upgrade().is_none(), "the queue does not keep it");
        queue.wake_all();
        assert_eq!(kept.0.load(Ordering::SeqCst), 2);
        drop((observer, kept));
        queue.wake_all();
    });
}

#[test]
fn who_waits_is_woken_beside_observers() {
    machine(1, || {
        let gate = Gate::new();
        let observer: Arc<dyn Observer> = Arc::new(Counter(AtomicUsize::new(0)));
        gate.queue.observe(&observer).unwrap();
        let (waiter, result) = waiter(gate, None, true);
        sleep(MS);
        gate.open();
        waiter.join();
        assert_eq!(*result.lock(), Some(Ok(())));
    });
}

#[test]
fn prod_does_nothing_to_a_task_that_waits_for_its_turn() {
    machine(1, || {
        let waits = task("waits").policy(nice(0)).start(|| ());
        sched::prod(&waits);
        assert_eq!(sched::runnable_count(), 2);
        compute(MS);
        waits.join();
    });
}
