// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a driver has to do when sectors are bad, and when its device keeps silent, lies, dies or goes.

use super::{Bench, FakeController, LIES, LONG, Misdeed, SECTORS, Start, content, pattern, summary};
use crate::block::{Cause, Operation, TIMEOUT_NS, fake_disk::FakeDisk};

pub(crate) fn a_bad_sector_fails_its_request_and_no_other<F: FakeController>(start: Start<F>) {
    let bench = Bench::new(start);
    let depth = bench.device.geometry().depth.min(32) as u64;
    for bad in [0, depth / 2, depth - 1] {
        bench.disk.set_bad(bad * 8, true);
        bench.rig.fake.pause(true);
        for token in 0..depth {
            bench.submit(bench.read(token * 8, 8, token)).unwrap();
        }
        bench.device.ring(0);
        bench.rig.fake.pause(false);
        let mut ended = bench.settle();
        ended.append(&mut bench.wait(2));
        ended.sort_by_key(|completion| completion.token);
        assert_eq!(ended.len() as u64, depth);
        for completion in &ended {
            match completion.result {
                Ok(bytes) => assert_eq!((bytes, completion.token == bad), (4096, false)),
                Err(error) => {
                    assert!(matches!(error.cause, Cause::Medium(_)), "{error}");
                    assert_eq!((error.sector, completion.token), (Some(bad * 8), bad));
                }
            }
        }
        bench.disk.set_bad(bad * 8, false);
    }
    bench.assert_works();
}

pub(crate) fn two_bad_sectors_at_once_fail_both<F: FakeController>(start: Start<F>) {
    let bench = Bench::new(start);
    for bad in [3, 9] {
        bench.disk.set_bad(bad, true);
    }
    bench.rig.fake.pause(true);
    for token in 0..12 {
        let request = match token {
            // A flush in between is to blame for nothing.
            5 => bench.request(Operation::Flush, 0, 0, None, token),
            _ => bench.write(token, &pattern(token, 512), token),
        };
        bench.submit(request).unwrap();
    }
    bench.device.ring(0);
    bench.rig.fake.pause(false);
    let mut ended = bench.settle();
    ended.append(&mut bench.wait(2));
    let mut failed: Vec<u64> = ended.iter().filter(|c| c.result.is_err()).map(|c| c.token).collect();
    failed.sort_unstable();
    assert_eq!((ended.len(), failed), (12, vec![3, 9]));
    bench.assert_works();
}

pub(crate) fn a_device_that_never_answers_gives_time_outs_and_works_after_the_reset<F: FakeController>(
    start: Start<F>,
) {
    let bench = Bench::new(start);
    bench.rig.fake.misbehave(Misdeed::Silent);
    for token in 0..4 {
        bench.submit(bench.read(token, 1, token)).unwrap();
    }
    bench.device.ring(0);
    assert!(bench.wait(TIMEOUT_NS / 1_000_000_000 - 1).is_empty(), "too early");
    let ended = bench.wait(30);
    assert_eq!(ended.len(), 4);
    assert!(
        ended.iter().all(|c| {
            // A device that takes one command at a time was given the others only after its reset.
            c.result == Ok(512) && c.token > 0 || c.result.is_err_and(|e| e.cause == Cause::TimedOut)
        }),
        "{:?}",
        summary(&ended)
    );
    bench.assert_works();
}

pub(crate) fn a_young_request_survives_the_reset_that_an_old_one_causes<F: FakeController>(start: Start<F>) {
    let bench = Bench::new(start);
    bench.rig.fake.misbehave(Misdeed::Silent);
    bench.submit(bench.read(0, 1, 0)).unwrap();
    bench.device.ring(0);
    let mut ended = bench.wait(TIMEOUT_NS / 1_000_000_000 - 1);
    let bytes = pattern(11, 512);
    bench.submit(bench.write(11, &bytes, 1)).unwrap();
    bench.device.ring(0);
    ended.append(&mut bench.wait(20));
    ended.append(&mut bench.settle());
    ended.sort_by_key(|completion| completion.token);
    assert_eq!(ended.len(), 2, "{:?}", summary(&ended));
    assert!(ended[0].result.is_err_and(|e| e.cause == Cause::TimedOut));
    assert_eq!(ended[1].result, Ok(512));
    assert_eq!(bench.disk.read(11, 1), Ok(bytes));
}

pub(crate) fn a_dead_device_is_given_up_and_every_request_ends<F: FakeController>(start: Start<F>) {
    let bench = Bench::new(start);
    bench.rig.fake.misbehave(Misdeed::Dead);
    for token in 0..8 {
        let request = match token {
            4 => bench.request(Operation::Flush, 0, 0, None, token),
            _ => bench.read(token, 1, token),
        };
        bench.submit(request).unwrap();
    }
    bench.device.ring(0);
    let ended = bench.wait(LONG);
    assert_eq!(ended.len(), 8, "{:?}", summary(&ended));
    assert!(ended.iter().all(|completion| completion.result.is_err()));
    assert!(!bench.device.is_present());
    assert!(bench.rig.disks().is_empty(), "it is offered no more");
    assert_eq!(bench.submit(bench.read(0, 1, 9)), Err(Cause::Removed));
}

pub(crate) fn a_device_that_was_pulled_out_ends_everything_at_once<F: FakeController>(start: Start<F>) {
    let bench = Bench::new(start);
    bench.rig.fake.pause(true);
    for token in 0..4 {
        bench.submit(bench.read(token, 1, token)).unwrap();
    }
    bench.device.ring(0);
    bench.submit(bench.read(4, 1, 4)).unwrap();
    bench.rig.fake.misbehave(Misdeed::Gone);
    let ended = bench.wait(1);
    assert_eq!(ended.len(), 5);
    assert!(
        ended.iter().all(|c| c.result.is_err_and(|e| e.cause == Cause::Removed)),
        "{:?}",
        summary(&ended)
    );
    assert!(!bench.device.is_present());
    assert_eq!(bench.submit(bench.read(0, 1, 9)), Err(Cause::Removed));
    bench.device.ring(0);
    assert_eq!(bench.device.poll(0), 0);
    assert!(bench.wait(LONG).is_empty());
}

pub(crate) fn removal_by_the_bus_ends_everything_at_once<F: FakeController>(start: Start<F>) {
    let bench = Bench::new(start);
    bench.rig.fake.pause(true);
    bench.submit(bench.read(1, 1, 1)).unwrap();
    bench.device.ring(0);
    bench.rig.fake.misbehave(Misdeed::Gone);
    bench.rig.driver.removed();
    assert!(bench.taken().iter().all(|c| c.result.is_err_and(|e| e.cause == Cause::Removed)));
    let _ = bench.rig.driver.shutdown();
    assert!(!bench.rig.driver.is_ready());
    assert!(bench.submit(bench.read(0, 1, 9)).is_err());
}

pub(crate) fn lies_of_the_device_end_no_request_twice_and_corrupt_nothing<F: FakeController>(
    start: Start<F>,
) {
    for lie in LIES {
        let bench = Bench::new(start);
        for token in 0..SECTORS.min(64) {
            bench.disk.write(token, &pattern(token, 512)).unwrap();
        }
        bench.rig.fake.misbehave(lie);
        let mut ended = Vec::new();
        let mut accepted = 0_u64;
        for round in 0..8 {
            bench.rig.fake.pause(true);
            for n in 0..8 {
                let token = 8 * round + n;
                accepted += u64::from(bench.submit(bench.read(token, 1, token)).is_ok());
            }
            // What ends before the device has looked at it has no data yet.
            ended.append(&mut bench.settle());
            bench.rig.fake.pause(false);
            ended.append(&mut bench.settle());
        }
        bench.rig.fake.misbehave(Misdeed::None);
        ended.append(&mut bench.wait(LONG));
        ended.sort_by_key(|completion| completion.token);
        let tokens: Vec<u64> = ended.iter().map(|completion| completion.token).collect();
        let mut unique = tokens.clone();
        unique.dedup();
        assert_eq!((tokens.len() as u64, unique.len()), (accepted, tokens.len()), "{lie:?}");
        // A device that lies may end a request early, but it is an error or the data are those of the sector.
        if lie != Misdeed::Garbage {
            for completion in ended.iter().filter(|completion| completion.result.is_ok()) {
                let bytes = content(completion.buffer.as_ref().unwrap());
                assert_eq!(bytes, pattern(completion.token, 512), "{lie:?}, sector {}", completion.token);
            }
        }
        if bench.device.is_present() {
            bench.assert_works();
        }
    }
}

pub(crate) fn a_read_only_disk_refuses_writes_and_reads<F: FakeController>(start: Start<F>) {
    let bench = Bench::with(start, FakeDisk::with_protection(SECTORS, 512, true));
    let written = match bench.submit(bench.write(0, &[1; 512], 1)) {
        Err(cause) => Err(cause),
        // A device without a way to say so fails the command.
        Ok(_) => {
            let mut ended = bench.settle();
            ended.append(&mut bench.wait(1));
            ended.remove(0).result.map_err(|error| error.cause)
        }
    };
    assert!(matches!(written, Err(Cause::ReadOnly | Cause::Medium(_))), "{written:?}");
    assert_eq!(bench.read_back(0, 1), Ok(vec![0; 512]));
}

pub(crate) fn shutting_down_ends_everything<F: FakeController>(start: Start<F>) {
    let bench = Bench::new(start);
    assert!(bench.rig.driver.is_ready());
    bench.rig.fake.pause(true);
    bench.submit(bench.read(1, 1, 1)).unwrap();
    bench.device.ring(0);
    let _ = bench.rig.driver.shutdown();
    assert_eq!(bench.taken().len(), 1);
    assert!(!bench.rig.driver.is_ready());
    assert!(matches!(bench.submit(bench.read(0, 1, 9)), Err(Cause::NotReady | Cause::Removed)));
    bench.rig.fake.pause(false);
    bench.rig.deliver();
    assert!(bench.taken().is_empty());
}
