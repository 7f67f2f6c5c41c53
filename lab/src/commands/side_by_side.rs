// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same programs on two kernels, one after the other so that neither measures the other's work, and what they say in two columns.

use anyhow::ensure;

use crate::machine::{self, Config, Outcome, Output, Parts};
use crate::ui;

/// Between what two programs say; none of them says this.
const NEXT: &str = "--- next ---";
/// Characters of a column.
const WIDTH: usize = 54;

/// Runs `lines`, each a shell command, in a machine of each kind, and prints the outputs beside each other.
///
/// # Errors
/// A line that fails on one of them.
pub(super) fn show(left: &Parts, right: &Parts, config: &Config, lines: &[String]) -> anyhow::Result<()> {
    let script = lines.iter().map(|line| format!("{line}\necho '{NEXT}'\n")).collect::<String>();
    let command = ["sh".to_owned(), "-ec".to_owned(), script];
    let said_on = |parts: &Parts| {
        let Outcome { status, captured, .. } = machine::run(parts, config, &command, Output::Capture)?;
        let (name, said) = (parts.system.name(), captured.stdout);
        ensure!(status == 0, "on {name}: status {status}\n{said}{}", captured.stderr);
        Ok(said)
    };
    let (left_said, right_said) = (said_on(left)?, said_on(right)?);
    println!("\n{}", row(&left.system.name(), &right.system.name()));
    for ((line, left), right) in lines.iter().zip(left_said.split(NEXT)).zip(right_said.split(NEXT)) {
        println!("\n{}", ui::paint_stdout("2", &format!("# {line}")));
        print!("{}", beside(left.trim(), right.trim()));
    }
    Ok(())
}

fn row(left: &str, right: &str) -> String {
    let room = WIDTH.saturating_sub(left.chars().count());
    format!("{left}{:room$} │ {right}", "").trim_end().to_owned()
}

/// Two texts as two columns, as long as the longer one.
fn beside(left: &str, right: &str) -> String {
    let (mut left, mut right) = (left.lines(), right.lines());
    let mut out = String::new();
    loop {
        match (left.next(), right.next()) {
            (None, None) => return out,
            (left, right) => {
                out += &format!("{}\n", row(left.unwrap_or_default(), right.unwrap_or_default()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_text_sets_the_length() {
        let text = beside("a\nµs", "b\nc\nd");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.chars().position(|c| c == '│') == Some(WIDTH + 1)), "{text}");
        assert!(lines[0].starts_with("a ") && lines[2].ends_with("│ d"), "{text}");
    }

    #[test]
    fn what_is_too_wide_is_not_cut() {
        let wide = "x".repeat(WIDTH + 10);
        assert_eq!(row(&wide, "y"), format!("{wide} │ y"));
    }
}
