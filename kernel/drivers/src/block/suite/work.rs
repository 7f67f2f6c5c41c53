// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a disk has to do when all goes well.

use exo_platform::Buffer;

use super::{Bench, FakeController, SECTORS, Start, content, filled, pattern};
use crate::block::{
    Cause, Operation, Tag,
    fake_disk::{Deed, FakeDisk},
};

pub(crate) fn what_is_written_is_read_back<F: FakeController>(start: Start<F>) {
    let bench = Bench::new(start);
    let most = bench.device.geometry().max_transfer;
    for (seed, (sector, length)) in
        [(0, 512), (1, 1024), (7, 4096), (100, 4608), (333, 65536), (1000, most), (2000, most - 512)]
            .into_iter()
            .enumerate()
    {
        let bytes = pattern(seed as u64, length);
        assert_eq!(bench.write_all(sector, &bytes), Ok(length));
        assert_eq!(bench.read_back(sector, (length / 512) as u32), Ok(bytes.clone()));
        assert_eq!(bench.disk.read(sector, length as u64 / 512), Ok(bytes), "on the medium");
    }
}

pub(crate) fn a_buffer_in_pieces_is_filled_in_order<F: FakeController>(start: Start<F>) {
    let bench = Bench::new(start);
    for sizes in [&[4096, 512][..], &[4096, 4096, 4096, 1024], &[4096; 32]] {
        let length: usize = sizes.iter().sum();
        let bytes = pattern(length as u64, length);
        let mut buffer = Buffer::scattered(sizes).unwrap();
        buffer.copy_from(0, &bytes);
        let sectors = (length / 512) as u32;
        let request = bench.request(Operation::Write, 64, sectors, Some(buffer), 1);
        assert_eq!(bench.run(request).result, Ok(length));
        assert_eq!(bench.disk.read(64, u64::from(sectors)), Ok(bytes.clone()));
        let buffer = Buffer::scattered(sizes).unwrap();
        let completion = bench.run(bench.request(Operation::Read, 64, sectors, Some(buffer), 2));
        assert_eq!(completion.result, Ok(length));
        assert_eq!(content(&completion.buffer.unwrap()), bytes);
    }
}

pub(crate) fn the_last_sector_is_reached_and_none_beyond_it<F: FakeController>(start: Start<F>) {
    let bench = Bench::new(start);
    assert_eq!(bench.device.geometry().sectors, SECTORS);
    let bytes = pattern(1, 512);
    assert_eq!(bench.write_all(SECTORS - 1, &bytes), Ok(512));
    assert_eq!(bench.read_back(SECTORS - 1, 1), Ok(bytes));
    assert_eq!(bench.submit(bench.read(SECTORS, 1, 1)), Err(Cause::OutOfRange));
    assert_eq!(bench.submit(bench.read(SECTORS - 1, 2, 1)), Err(Cause::OutOfRange));
    assert_eq!(bench.submit(bench.read(u64::MAX, 1, 1)), Err(Cause::OutOfRange));
    let empty = bench.request(Operation::Read, 0, 0, None, 1);
    assert_eq!(bench.submit(empty), Err(Cause::OutOfRange));
    let short = bench.request(Operation::Write, 0, 2, Some(filled(&[0; 512])), 1);
    assert_eq!(bench.submit(short), Err(Cause::Misaligned));
    let none = bench.request(Operation::Read, 0, 2, None, 1);
    assert_eq!(bench.submit(none), Err(Cause::Misaligned));
    assert!(bench.settle().is_empty(), "a refused request must not reach its sink");
    bench.assert_works();
}

pub(crate) fn sectors_of_4_kib_work<F: FakeController>(start: Start<F>) {
    let bench = Bench::with(start, FakeDisk::new(64, 4096));
    assert_eq!(bench.device.geometry().sector_size, 4096);
    let bytes = pattern(4, 8192);
    assert_eq!(bench.write_all(62, &bytes), Ok(8192));
    assert_eq!(bench.read_back(62, 2), Ok(bytes));
}

pub(crate) fn a_full_queue_refuses_and_then_completes_everything<F: FakeController>(start: Start<F>) {
    let bench = Bench::new(start);
    let depth = bench.device.geometry().depth as u64;
    for round in 0..3 {
        bench.rig.fake.pause(true);
        for token in 0..depth {
            bench.submit(bench.write(token, &pattern(token + round, 512), token)).unwrap();
        }
        assert_eq!(bench.submit(bench.read(0, 1, 1000)), Err(Cause::QueueFull));
        assert!(bench.settle().is_empty(), "nothing can have completed");
        bench.rig.fake.pause(false);
        let ended = bench.settle();
        assert_eq!(ended.iter().map(|c| c.token).collect::<Vec<_>>(), (0..depth).collect::<Vec<_>>());
        assert!(ended.iter().all(|c| c.result == Ok(512)));
        for token in 0..depth {
            assert_eq!(bench.disk.read(token, 1), Ok(pattern(token + round, 512)));
        }
    }
}

pub(crate) fn every_cpu_has_its_requests_completed<F: FakeController>(start: Start<F>) {
    let bench = Bench::new(start);
    let cpus = exo_platform::cpu_count();
    for cpu in 0..cpus + 2 {
        bench.submit_on(cpu, bench.write(cpu as u64, &pattern(cpu as u64, 512), cpu as u64)).unwrap();
        bench.device.ring(cpu);
    }
    // Interrupts alone are enough.
    bench.rig.deliver();
    assert_eq!(bench.taken().len(), cpus + 2);
    for cpu in 0..cpus as u64 + 2 {
        assert_eq!(bench.disk.read(cpu, 1), Ok(pattern(cpu, 512)));
    }
}

pub(crate) fn a_request_that_was_not_rung_can_be_cancelled<F: FakeController>(start: Start<F>) {
    let bench = Bench::new(start);
    for victim in 0..3 {
        let tags: Vec<Tag> =
            (0..3).map(|n| bench.submit(bench.write(10 + n, &pattern(n + 1, 512), n)).unwrap()).collect();
        assert!(bench.device.cancel(0, tags[victim]), "the device knows nothing of it yet");
        assert!(!bench.device.cancel(0, tags[victim]), "twice");
        let ended = bench.settle();
        assert_eq!(ended.len(), 3);
        for completion in &ended {
            if completion.token == victim as u64 {
                assert_eq!(
                    completion.result.map_err(|e| (e.cause, e.sector)),
                    Err((Cause::Cancelled, Some(10 + completion.token)))
                );
            } else {
                assert_eq!(completion.result, Ok(512));
            }
        }
        assert!(!bench.device.cancel(0, tags[(victim + 1) % 3]), "it has completed");
    }
    assert_eq!(bench.disk.deeds().len(), 6);
}

pub(crate) fn a_flush_comes_after_what_was_complete_before<F: FakeController>(start: Start<F>) {
    let bench = Bench::new(start);
    assert_eq!(bench.write_all(5, &pattern(5, 512)), Ok(512));
    let completion = bench.run(bench.request(Operation::Flush, 0, 0, None, 3));
    assert_eq!(completion.result, Ok(0));
    assert_eq!(bench.disk.deeds(), [Deed::Write(5), Deed::Flush]);
}

pub(crate) fn flushes_among_many_writes_all_complete<F: FakeController>(start: Start<F>) {
    let bench = Bench::new(start);
    bench.rig.fake.pause(true);
    for token in 0..24 {
        let request = match token % 4 {
            3 => bench.request(Operation::Flush, 0, 0, None, token),
            _ => bench.write(token, &pattern(token, 512), token),
        };
        bench.submit(request).unwrap();
        if token % 5 == 0 {
            bench.device.ring(0);
        }
    }
    bench.device.ring(0);
    bench.rig.fake.pause(false);
    let mut ended = Vec::new();
    for _ in 0..24 {
        ended.append(&mut bench.settle());
    }
    assert_eq!(ended.len(), 24);
    assert!(ended.iter().all(|completion| completion.result.is_ok()));
    assert_eq!(bench.disk.deeds().iter().filter(|deed| **deed == Deed::Flush).count(), 6);
}

pub(crate) fn discarded_sectors_are_gone_and_their_neighbours_are_not<F: FakeController>(start: Start<F>) {
    let bench = Bench::new(start);
    let bytes = pattern(6, 4 * 512);
    assert_eq!(bench.write_all(100, &bytes), Ok(2048));
    let discard = bench.request(Operation::Discard, 101, 2, None, 1);
    if !bench.device.geometry().discard {
        assert_eq!(bench.submit(discard), Err(Cause::Unsupported));
        return;
    }
    assert_eq!(bench.run(discard).result, Ok(0));
    let mut expected = bytes;
    expected[512..1536].fill(0);
    assert_eq!(bench.read_back(100, 4), Ok(expected));
    let beyond = bench.request(Operation::Discard, SECTORS - 1, 2, None, 1);
    assert_eq!(bench.submit(beyond), Err(Cause::OutOfRange));
}

pub(crate) fn a_long_random_run_agrees_with_a_model<F: FakeController>(start: Start<F>) {
    let bench = Bench::new(start);
    let mut model = vec![0; SECTORS as usize * 512];
    let mut random = pattern(2024, 40_000).into_iter().map(u64::from);
    let mut next = |below: u64| {
        let value = (random.next().unwrap() << 16) | (random.next().unwrap() << 8) | random.next().unwrap();
        value % below
    };
    for round in 0..400 {
        // Requests of one round touch areas of their own, as their order is nobody's promise.
        let area = SECTORS / 8;
        bench.rig.fake.pause(next(2) == 0);
        let mut reads = Vec::new();
        for token in 0..8 {
            let sector = token * area + next(area - 16);
            let sectors = 1 + next(16) as u32;
            let range = sector as usize * 512..(sector as usize + sectors as usize) * 512;
            if next(2) == 0 {
                let bytes = pattern(round * 8 + token, range.len());
                bench.submit(bench.write(sector, &bytes, token)).unwrap();
                model[range].copy_from_slice(&bytes);
            } else {
                bench.submit(bench.read(sector, sectors, token)).unwrap();
                reads.push((token, range));
            }
            if next(3) == 0 {
                bench.device.ring(0);
            }
        }
        bench.rig.fake.pause(false);
        let ended = bench.settle();
        assert_eq!(ended.len(), 8);
        for (token, range) in reads {
            let completion = ended.iter().find(|completion| completion.token == token).unwrap();
            assert!(content(completion.buffer.as_ref().unwrap()) == model[range], "round {round}");
        }
    }
    assert!(bench.disk.read(0, SECTORS).unwrap() == model);
}
