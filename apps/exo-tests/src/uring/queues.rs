// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rings themselves: sizes, order, links, overflow, what is announced.

use std::io;

use io_uring::squeue::Flags;
use io_uring::{IoUring, Probe, opcode, register};

use super::{push, reap, submit, submit_sorted};
use crate::Outcome;

pub(super) fn run() -> Outcome {
    sizes()?;
    announced()?;
    nops()?;
    links()?;
    overflow()
}

/// What came of building a ring: its sizes, or the error number.
fn built(ring: io::Result<IoUring>) -> Result<(u32, u32), Option<i32>> {
    match ring {
        Ok(ring) => Ok((ring.params().sq_entries(), ring.params().cq_entries())),
        Err(error) => Err(error.raw_os_error()),
    }
}

fn sizes() -> Outcome {
    for entries in [1, 5, 64, 4096, 32768, 32769, 0] {
        println!("{entries} entries: {:?}", built(IoUring::new(entries)));
    }
    for completions in [3, 8, 100, 0, 1 << 20] {
        let ring = IoUring::builder().setup_cqsize(completions).build(8);
        println!("8 entries, {completions} completions: {:?}", built(ring));
    }
    println!("clamped: {:?}", built(IoUring::builder().setup_clamp().build(1 << 20)));
    println!("affinity without polling: {:?}", built(IoUring::builder().setup_sqpoll_cpu(0).build(8)));
    Ok(())
}

fn announced() -> Outcome {
    let ring = IoUring::new(8)?;
    let params = ring.params();
    println!(
        "one mapping {}, no drops {}, stable {}, position {}, poll {}, argument {}, skip {}",
        params.is_feature_single_mmap(),
        params.is_feature_nodrop(),
        params.is_feature_submit_stable(),
        params.is_feature_rw_cur_pos(),
        params.is_feature_fast_poll(),
        params.is_feature_ext_arg(),
        params.is_feature_skip_cqe_on_success(),
    );
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let codes = [
        opcode::Nop::CODE,
        opcode::Read::CODE,
        opcode::Write::CODE,
        opcode::Readv::CODE,
        opcode::Writev::CODE,
        opcode::ReadFixed::CODE,
        opcode::WriteFixed::CODE,
        opcode::Fsync::CODE,
        opcode::PollAdd::CODE,
        opcode::PollRemove::CODE,
        opcode::Timeout::CODE,
        opcode::TimeoutRemove::CODE,
        opcode::AsyncCancel::CODE,
    ];
    println!("{:?}, 255 {}", codes.map(|code| probe.is_supported(code)), probe.is_supported(255));
    Ok(())
}

fn nops() -> Outcome {
    let mut ring = IoUring::new(4)?;
    let mut order = Vec::new();
    for turn in 0..50_u64 {
        let entries: Vec<_> = (0..4).map(|n| opcode::Nop::new().build().user_data(turn * 4 + n)).collect();
        order.extend(submit(&mut ring, &entries, 4)?);
    }
    let expected: Vec<_> = (0..200).map(|n| (n, 0)).collect();
    println!("200 nops in order: {}", order == expected);
    println!("nothing to submit: {}", ring.submit()?);
    Ok(())
}

fn links() -> Outcome {
    let mut ring = IoUring::new(16)?;
    let nop = |data: u64, flags: Flags| opcode::Nop::new().build().flags(flags).user_data(data);
    // No file has this descriptor.
    let fails = |data: u64, flags: Flags| {
        opcode::Fsync::new(io_uring::types::Fd(12345)).build().flags(flags).user_data(data)
    };
    let none = Flags::empty();
    let chains = [
        ("kept", vec![nop(1, Flags::IO_LINK), nop(2, Flags::IO_LINK), nop(3, none), nop(4, none)]),
        (
            "broken",
            vec![
                nop(1, Flags::IO_LINK),
                fails(2, Flags::IO_LINK),
                nop(3, Flags::IO_LINK),
                nop(4, none),
                nop(5, none),
            ],
        ),
        ("hard", vec![fails(1, Flags::IO_HARDLINK), nop(2, none)]),
        ("drained", vec![nop(1, none), nop(2, Flags::IO_DRAIN), nop(3, none)]),
        ("open at its end", vec![nop(1, none), nop(2, Flags::IO_LINK)]),
    ];
    for (name, chain) in chains {
        // Completions of different chains may come in any order.
        println!("{name}: {:?}", submit_sorted(&mut ring, &chain, chain.len())?);
    }
    let chain = [nop(1, Flags::SKIP_SUCCESS), fails(2, Flags::SKIP_SUCCESS), nop(3, none)];
    println!("skipped: {:?}", submit_sorted(&mut ring, &chain, 2)?);
    let chain: Vec<_> = (0..8).map(|data| nop(data, if data < 7 { Flags::IO_LINK } else { none })).collect();
    let order = submit(&mut ring, &chain, 8)?;
    println!("a chain ends in its order: {}", order.is_sorted());
    Ok(())
}

/// More completions than fit, and none lost.
fn overflow() -> Outcome {
    let mut ring = IoUring::builder().setup_cqsize(8).build(4)?;
    for turn in 0..6_u64 {
        for n in 0..4 {
            push(&mut ring, &opcode::Nop::new().build().user_data(turn * 4 + n))?;
        }
        ring.submit()?;
    }
    println!("overflown: {}", ring.submission().cq_overflow());
    let mut order = Vec::new();
    while order.len() < 24 {
        order.extend(reap(&mut ring).into_iter().map(|(data, _)| data));
        if order.len() < 24 {
            // Shows what was held back.
            ring.submit_and_wait(1)?;
        }
    }
    println!("24 of 24 in order: {}, counted as lost: {}", order.is_sorted(), ring.completion().overflow());
    println!("overflown: {}", ring.submission().cq_overflow());
    let mut restrictions = [register::Restriction::sqe_op(0)];
    println!(
        "restrictions on a running ring: {}",
        ring.submitter().register_restrictions(&mut restrictions).is_err()
    );
    Ok(())
}
