// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several tests at a time, each with machines of its own. A machine under emulation keeps one processor busy, mostly; the others would
//! wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::bail;

use super::Report;
use crate::interrupt;

/// At most so many: each has the memory of its machines.
const MOST: usize = 4;

/// One for each processor of this host, within reason.
pub(crate) fn usual_jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST)
}

/// A test that runs when it is its turn.
pub(super) struct Case<'a> {
    name: String,
    test: Box<dyn FnOnce() -> anyhow::Result<()> + Send + 'a>,
}

impl<'a> Case<'a> {
    pub(super) fn new(
        name: impl Into<String>,
        test: impl FnOnce() -> anyhow::Result<()> + Send + 'a,
    ) -> Self {
        Self { name: name.into(), test: Box::new(test) }
    }
}

/// Runs those that were asked for, `jobs` at a time, and those that are named in `alone` one after the other at the end, when `others` has
/// waited for all else that runs.
pub(super) fn run(
    cases: Vec<Case<'_>>,
    alone: &[&str],
    jobs: usize,
    report: &mut Report,
    others: impl FnOnce(&mut Report) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let wanted = cases.into_iter().filter(|case| report.wants(&case.name));
    let (alone, beside): (Vec<_>, Vec<_>) = wanted.partition(|case| alone.contains(&case.name.as_str()));
    run_beside(beside, jobs, report)?;
    others(report)?;
    run_beside(alone, 1, report)
}

/// Starts them in their order and reports each when it ends.
fn run_beside(cases: Vec<Case<'_>>, jobs: usize, report: &mut Report) -> anyhow::Result<()> {
    let jobs = jobs.clamp(1, cases.len().max(1));
    let queue = Mutex::new(cases.into_iter());
    std::thread::scope(|scope| {
        let (ended, results) = channel();
        for _ in 0..jobs {
            let (queue, ended) = (&queue, ended.clone());
            scope.spawn(move || {
                while !interrupt::requested() {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(Case { name, test }) = next else { return };
                    let started = Instant::now();
                    // The others still say what they have found.
                    let result = catch_unwind(AssertUnwindSafe(test))
                        .unwrap_or_else(|_| bail!("it panicked, as was said above"));
                    if ended.send((name, result, started.elapsed())).is_err() {
                        return;
                    }
                }
            });
        }
        drop(ended);
        for (name, result, time) in results {
            // A test that was interrupted says nothing about what it tests.
            interrupt::check()?;
            report.note(&name, result, time);
        }
        interrupt::check()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{Case, Report, run};

    /// Nothing else runs.
    fn nothing(_: &mut Report) -> anyhow::Result<()> {
        Ok(())
    }

    #[test]
    fn as_many_as_there_are_jobs_run_at_a_time() {
        // Each of the two waits for the other; the third has the host for itself.
        let (meeting, running) = (Barrier::new(2), AtomicUsize::new(0));
        let meet = || {
            running.fetch_add(1, Ordering::SeqCst);
            meeting.wait();
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        let alone = || {
            anyhow::ensure!(running.load(Ordering::SeqCst) == 0, "others run");
            Ok(())
        };
        let cases = vec![Case::new("a", alone), Case::new("b", meet), Case::new("c", meet)];
        let mut report = Report::new(&[]);
        run(cases, &["a"], 2, &mut report, nothing).unwrap();
        assert_eq!((report.passed, report.failed.len()), (3, 0));
    }

    #[test]
    fn only_those_that_were_asked_for_run_and_failures_are_told() {
        let ran = AtomicUsize::new(0);
        let count = || {
            ran.fetch_add(1, Ordering::SeqCst);
            anyhow::bail!("why")
        };
        let mut report = Report::new(&["wanted".to_owned()]);
        let cases = vec![Case::new("wanted::a", count), Case::new("other", count)];
        run(cases, &[], 2, &mut report, nothing).unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), 1);
        assert!(report.has_failed("wanted::a"));
    }

    #[test]
    fn a_test_that_panics_fails_and_the_others_run() {
        let mut report = Report::new(&[]);
        let cases = vec![Case::new("panics", || panic!("as it should")), Case::new("other", || Ok(()))];
        run(cases, &[], 1, &mut report, nothing).unwrap();
        assert!(report.has_failed("panics") && report.passed == 1);
    }

    #[test]
    fn what_runs_besides_has_ended_when_those_that_want_to_be_alone_begin() {
        let has_ended = AtomicUsize::new(0);
        let alone = || {
            anyhow::ensure!(has_ended.load(Ordering::SeqCst) == 1, "others run");
            Ok(())
        };
        let mut report = Report::new(&[]);
        run(vec![Case::new("a", alone)], &["a"], 2, &mut report, |_| {
            has_ended.store(1, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        assert_eq!(report.passed, 1);
    }
}
