// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the RAM disk, which is the reference for what other block devices do.

use std::sync::Arc;

use super::*;
use crate::block::{
    Polled,
    suite::{Collector, content, filled, summary},
};

/// Tokens and results so far, in the order of the completions.
fn taken(ends: &Collector) -> Vec<(u64, Result<usize, Cause>)> {
    summary(&ends.take())
}

fn disk() -> GenericBlockDevice {
    GenericBlockDevice::new("ram", 64, 512, 2).unwrap()
}

fn request(ends: &Arc<Collector>, operation: Operation, sector: u64, fill: u8, token: u64) -> Request {
    let buffer = matches!(operation, Operation::Read | Operation::Write).then(|| filled(&[fill; 1024]));
    let sectors = if operation == Operation::Flush { 0 } else { 2 };
    Request { operation, sector, buffer, sectors, sink: ends.clone(), token }
}

#[test]
fn requests_are_done_in_order_when_they_were_rung() {
    let (disk, ends) = (disk(), Arc::<Collector>::default());
    disk.submit(0, request(&ends, Operation::Write, 4, 7, 1)).unwrap();
    disk.submit(0, request(&ends, Operation::Read, 5, 0, 2)).unwrap();
    assert_eq!(disk.poll(0), 0, "not rung");
    disk.ring(0);
    assert_eq!((disk.poll(1), disk.poll(0), disk.poll(0)), (0, 2, 0));
    let all = ends.take();
    assert_eq!(all.iter().map(|c| (c.token, c.result)).collect::<Vec<_>>(), [(1, Ok(1024)), (2, Ok(1024))]);
    let bytes = content(all[1].buffer.as_ref().unwrap());
    assert_eq!((bytes[..512] == [7; 512], bytes[512..] == [0; 512]), (true, true));
}

#[test]
fn what_does_not_fit_is_refused_and_comes_back() {
    let (disk, ends) = (disk(), Arc::<Collector>::default());
    for (operation, sector, cause) in [
        (Operation::Read, 63, Cause::OutOfRange),
        (Operation::Write, u64::MAX, Cause::OutOfRange),
        (Operation::Discard, 64, Cause::OutOfRange),
    ] {
        let refused = disk.submit(0, request(&ends, operation, sector, 0, 9)).unwrap_err();
        assert_eq!((refused.why.cause, refused.why.sector, refused.request.token), (cause, Some(sector), 9));
    }
    let mut short = request(&ends, Operation::Read, 0, 0, 1);
    short.sectors = 1;
    assert_eq!(disk.submit(0, short).unwrap_err().why.cause, Cause::Misaligned);
    for token in 0..DEPTH as u64 {
        disk.submit(0, request(&ends, Operation::Flush, 0, 0, token)).unwrap();
    }
    let one_more = || request(&ends, Operation::Flush, 0, 0, 1000);
    assert_eq!(disk.submit(0, one_more()).unwrap_err().why.cause, Cause::QueueFull);
    assert!(disk.submit(1, one_more()).is_ok(), "another CPU has a queue of its own");
    disk.ring(0);
    while disk.poll(0) > 0 {}
    assert_eq!(taken(&ends).len(), DEPTH);
    assert!(disk.submit(0, one_more()).is_ok());
}

#[test]
fn a_request_that_waits_can_be_cancelled_and_one_that_ended_cannot() {
    let (disk, ends) = (disk(), Arc::<Collector>::default());
    let first = disk.submit(0, request(&ends, Operation::Write, 0, 1, 1)).unwrap();
    disk.ring(0);
    disk.poll(0);
    assert!(!disk.cancel(0, first));
    disk.submit(0, request(&ends, Operation::Write, 2, 2, 2)).unwrap();
    let third = disk.submit(0, request(&ends, Operation::Write, 4, 3, 3)).unwrap();
    assert!(disk.cancel(0, third) && !disk.cancel(0, third));
    let mut ended = taken(&ends);
    ended.sort_by_key(|(token, _)| *token);
    assert_eq!(ended, [(1, Ok(1024)), (2, Ok(1024)), (3, Err(Cause::Cancelled))]);
    let mut bytes = [0; 512];
    disk.read_sectors(4, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 512], "a cancelled write does nothing");
}

#[test]
fn a_removed_disk_ends_everything_once() {
    let (disk, ends) = (disk(), Arc::<Collector>::default());
    disk.submit(0, request(&ends, Operation::Read, 0, 0, 1)).unwrap();
    disk.submit(1, request(&ends, Operation::Flush, 0, 0, 2)).unwrap();
    disk.remove();
    assert_eq!(taken(&ends), [(1, Err(Cause::Removed)), (2, Err(Cause::Removed))]);
    assert!(!disk.is_present());
    let refused = disk.submit(0, request(&ends, Operation::Read, 0, 0, 1)).unwrap_err();
    assert_eq!(refused.why.cause, Cause::Removed);
    assert_eq!(disk.read_sectors(0, &mut [0; 512]).unwrap_err().cause, Cause::Removed);
    assert_eq!(BlockDevice::flush(&disk).unwrap_err().cause, Cause::Removed);
    assert_eq!(taken(&ends), []);
}

#[test]
fn plain_calls_read_what_was_written_and_discards_clear_it() {
    let disk = disk();
    let pattern: Vec<u8> = (0..8192u32).map(|n| (n / 7) as u8).collect();
    disk.write_sectors(3, &pattern).unwrap();
    let mut out = vec![0; 8192];
    disk.read_sectors(3, &mut out).unwrap();
    assert_eq!(out, pattern);
    assert_eq!(disk.read_sectors(60, &mut out).unwrap_err().cause, Cause::OutOfRange);
    assert_eq!(disk.write_sectors(0, &[0; 100]).unwrap_err().cause, Cause::Misaligned);
    let ends = Arc::<Collector>::default();
    disk.submit_async_request(request(&ends, Operation::Discard, 4, 0, 1)).unwrap();
    assert_eq!(disk.process_async_requests(), 1);
    disk.read_sectors(3, &mut out).unwrap();
    assert_eq!((&out[..512], &out[1536..]), (&pattern[..512], &pattern[1536..]));
    assert_eq!(out[512..1536], [0; 1024]);
}

#[test]
fn the_memory_itself_is_reached_in_order_and_not_beyond() {
    let disk = disk();
    disk.write_sectors(0, &[1; 4096]).unwrap();
    disk.write_sectors(8, &[2; 4096]).unwrap();
    let mut seen = Vec::new();
    let mut each = |done: usize, bytes: &mut [u8]| {
        seen.push((done, bytes.len(), bytes[0]));
        true
    };
    assert_eq!(disk.with_memory(4000, 200, &mut each), Some(Ok(())));
    assert_eq!(seen, [(0, 96, 1), (96, 104, 2)]);
    let mut count = 0;
    assert!(
        disk.with_memory(0, 64 * 512, &mut |_, _| {
            count += 1;
            false
        })
        .unwrap()
        .is_ok()
    );
    assert_eq!(count, 1, "it ends when it is told to");
    let beyond = disk.with_memory(64 * 512 - 1, 2, &mut |_, _| panic!("beyond the end"));
    assert_eq!(beyond.unwrap().unwrap_err().cause, Cause::OutOfRange);
}

#[test]
fn every_cpu_works_at_once_and_nothing_is_lost() {
    const ROUNDS: u64 = if cfg!(miri) { 20 } else { 2000 };
    let disk = Arc::new(GenericBlockDevice::new("ram", 256, 512, 4).unwrap());
    std::thread::scope(|scope| {
        for cpu in 0..4 {
            let disk = disk.clone();
            scope.spawn(move || {
                exo_platform::fake::cpu::set_cpu(cpu);
                let front = Polled::new(disk);
                for round in 0..ROUNDS {
                    let fill = (round as u8).wrapping_mul(4).wrapping_add(cpu as u8);
                    let at = cpu as u64 * 64 + round % 32;
                    front.write_sectors(at, &[fill; 1024]).unwrap();
                    let mut out = [0; 1024];
                    front.read_sectors(at, &mut out).unwrap();
                    assert_eq!(out, [fill; 1024]);
                }
            });
        }
    });
}

#[test]
fn a_plain_call_waits_for_a_place_in_a_full_queue() {
    let (disk, ends) = (Arc::new(disk()), Arc::<Collector>::default());
    for token in 0..DEPTH as u64 {
        disk.submit(0, request(&ends, Operation::Write, 4, 7, token)).unwrap();
    }
    let refused = disk.submit(0, request(&ends, Operation::Write, 4, 7, 0)).unwrap_err();
    assert_eq!(refused.why.cause, Cause::QueueFull);
    let mut out = [0; 512];
    Polled::new(disk).read_sectors(5, &mut out).unwrap();
    assert_eq!((out, taken(&ends).len()), ([7; 512], DEPTH));
}
