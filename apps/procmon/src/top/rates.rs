// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rates that the module's thread keeps.

use std::fs;

const STATS: &str = "/sys/class/procmon/procmon/stats";

/// What is shown of them: over 1, 10 and 60 seconds, as the module writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rates {
    pub(super) forks: [String; 3],
    pub(super) execs: [String; 3],
    pub(super) exits: [String; 3],
    pub(super) runnable: [String; 3],
}

/// Reads the module's file. What it does not tell stays empty.
pub(super) fn read() -> Rates {
    parse(&fs::read_to_string(STATS).unwrap_or_default())
}

fn parse(text: &str) -> Rates {
    let value = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        // One decimal of three.
        found
            .map(|value| value.get(..value.len().saturating_sub(2)).unwrap_or(value).to_owned())
            .unwrap_or_default()
    };
    let all = |name: &str| ["1s", "10s", "60s"].map(|window| value(&format!("{name}_{window}")));
    Rates {
        forks: all("forks_per_second"),
        execs: all("execs_per_second"),
        exits: all("exits_per_second"),
        runnable: all("runnable"),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn rates_are_found_by_name_and_window() {
        let rates = parse(
            "opens: 1\nforks_per_second_1s: 12.345\nforks_per_second_60s: 0.000\nrunnable_10s: 3.210\n",
        );
        assert_eq!(rates.forks, ["12.3", "", "0.0"]);
        assert_eq!(rates.runnable, ["", "3.2", ""]);
    }
}
