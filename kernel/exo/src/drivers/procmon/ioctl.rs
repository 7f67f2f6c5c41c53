// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ioctl` on `/dev/procmon`. A command's number contains the size of its argument, so a structure of another size is another
//! command: ENOTTY. There are no 32-bit programs here, and so none of their commands.

use procmon_abi::ioctl::{GET_COUNT, GET_STATS, QUERY_PID, Query, RESET, SET_FILTER, SNAPSHOT, Stats};

use super::{bytes, filter, message, operations, snapshot};
use crate::{
    errno::{Errno, Result},
    user,
};

/// Does what a command asks.
pub(super) fn answer(request: u32, argument: usize) -> Result {
    match request {
        RESET => operations::reset(),
        GET_COUNT => user::write(argument, &(message::length() as i32))?,
        GET_STATS => user::copy_out(argument, &bytes::stats(&stats()))?,
        SET_FILTER => filter::set(user::read(argument)?)?,
        QUERY_PID => user::copy_out(argument, &bytes::query(&query(user::read(argument)?)))?,
        SNAPSHOT => return snapshot::take(argument),
        _ => return Err(Errno::ENOTTY),
    }
    Ok(0)
}

fn stats() -> Stats {
    let totals = operations::totals();
    Stats {
        total_opens: totals.opens,
        total_reads: totals.reads,
        total_writes: totals.writes,
        total_ioctls: totals.ioctls,
        current_filter_pid: filter::number(),
        padding: 0,
    }
}

/// Answers a query: nothing of the program's but the number is in the answer.
fn query(pid: i32) -> Query {
    match snapshot::find(pid) {
        Some((comm, state, vsize)) => Query { pid, comm, state: state as i32, vsize },
        None => Query { pid, comm: [0; 16], state: -1, vsize: 0 },
    }
}
