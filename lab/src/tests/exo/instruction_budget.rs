// SPDX-License-Identifier: MIT OR Apache-2.0
//! What system calls may cost, in instructions: each call alone, and the longest span in which one keeps interrupts off.

use anyhow::{Context as _, ensure};

use super::super::vm::succeed;
use super::Both;
use crate::bench::budget::{LIMITS, rows_of};
use crate::machine::{Accel, Config};
use crate::ui;

/// Each operation stays within its limit.
pub(super) fn instruction_budget(both: &Both<'_>) -> anyhow::Result<()> {
    let rows = rows_of(&both.exo.parts, 1)?;
    let (mut table, mut over) = (String::new(), String::new());
    for limit in LIMITS {
        let row = rows.iter().find(|row| row.name == limit.row);
        let taken = row.with_context(|| format!("{} was not measured", limit.row))?.median;
        table += &format!("{:<20}{taken:>12.1} of {}\n", limit.row, limit.instructions);
        if taken > limit.instructions {
            over += &format!(
                "{}: {taken:.1} instructions, and at most {} are allowed\n",
                limit.row, limit.instructions
            );
        }
    }
    // At once: other tests say something meanwhile.
    ui::say(table.trim_end());
    ensure!(
        over.is_empty(),
        "{over}Find what it is spent on (`cargo exo bench syscall --instructions` shows all rows; `git bisect` works, for the figures are \
         exact) and save it. If it is worth its price, raise the limit in lab/src/bench/budget.rs and say in the commit what it buys."
    );
    Ok(())
}

/// The largest calls let interrupts in and can be killed, and whoever counts is not starved by who else is on its CPU.
pub(super) fn long_calls_and_busy_neighbours_hold_up_nobody(both: &Both<'_>) -> anyhow::Result<()> {
    let config = Config { accel: Some(Accel::Icount), smp: 1, ..both.exo.config() };
    let said = succeed(&both.exo, &config, "exo-tests spans && exo-tests fairness")?;
    ui::say(said.stdout.trim_end());
    Ok(())
}
