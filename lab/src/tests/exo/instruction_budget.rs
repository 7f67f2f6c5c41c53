// SPDX-License-Identifier: MIT OR Apache-2.0
//! What system calls may cost, in instructions.

use anyhow::{Context as _, ensure};

use super::Both;
use crate::bench::budget::{LIMITS, rows_of};

/// Each operation stays within its limit.
pub(super) fn instruction_budget(both: &Both<'_>) -> anyhow::Result<()> {
    let rows = rows_of(&both.exo.parts, 1)?;
    let mut over = String::new();
    for limit in LIMITS {
        let row = rows.iter().find(|row| row.name == limit.row);
        let taken = row.with_context(|| format!("{} was not measured", limit.row))?.median;
        println!("{:<20}{taken:>12.1} of {}", limit.row, limit.instructions);
        if taken > limit.instructions {
            over += &format!(
                "{}: {taken:.1} instructions, and at most {} are allowed\n",
                limit.row, limit.instructions
            );
        }
    }
    ensure!(
        over.is_empty(),
        "{over}Find what it is spent on (`cargo exo bench syscall --instructions` shows all rows; `git bisect` works, for the figures are \
         exact) and save it. If it is worth its price, raise the limit in lab/src/bench/budget.rs and say in the commit what it buys."
    );
    Ok(())
}
