// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's command line: words separated by spaces; a word in double quotes may have spaces. What follows ` -- ` are
//! arguments of the first program.

use alloc::vec::Vec;

/// What the command line asks for. Words that mean nothing here are left for others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options<'a> {
    /// Path of the first program (`init=`).
    pub init: Option<&'a str>,
    /// How to crash on demand (`exo.crash=`), for tests.
    pub crash: Option<&'a str>,
    /// Size of the RAM disk in MiB (`exo.ram_disk=`), if one is wanted.
    pub ram_disk: Option<u32>,
    /// The first program's arguments.
    pub arguments: Vec<&'a str>,
}

fn next_word<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let text = rest.trim_start();
    if text.is_empty() {
        return None;
    }
    let (word, after) = match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
        None => text.split_once(char::is_whitespace).unwrap_or((text, "")),
    };
    *rest = after;
    Some(word)
}

/// What `NAME=` says on a command line, in front of ` -- `; the last time counts.
#[must_use]
pub fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = line;
    let words = core::iter::from_fn(|| next_word(&mut rest).filter(|word| *word != "--"));
    words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('=')).last()
}

impl<'a> Options<'a> {
    /// Reads a command line.
    pub fn parse(line: &'a str) -> Self {
        let mut options = Self::default();
        let mut rest = line;
        while let Some(word) = next_word(&mut rest) {
            if word == "--" {
                while let Some(argument) = next_word(&mut rest) {
                    options.arguments.push(argument);
                }
            } else if let Some(path) = word.strip_prefix("init=") {
                options.init = Some(path);
            } else if let Some(size) = word.strip_prefix("exo.ram_disk=") {
                options.ram_disk = size.parse().ok().filter(|size| *size > 0);
            } else if let Some(how) = word.strip_prefix("exo.crash=") {
                options.crash = Some(how);
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_value_by_its_whole_name() {
        let line = "exo.net=dhcp net=x procmon.ring_events=64 procmon.ring_events=128 -- exo.net=no";
        assert_eq!(value(line, "exo.net"), Some("dhcp"));
        assert_eq!(value(line, "procmon.ring_events"), Some("128"));
        assert_eq!(value(line, "exo"), None);
    }

    #[test]
    fn reads_init_and_its_arguments() {
        let options = Options::parse(
            "quiet init=/bin/sh exo.crash=stack exo.ram_disk=64 x=y -- -c \"echo a b\" init=/z",
        );
        assert_eq!(options.init, Some("/bin/sh"));
        assert_eq!(options.crash, Some("stack"));
        assert_eq!(options.ram_disk, Some(64));
        assert_eq!(Options::parse("exo.ram_disk=many").ram_disk, None);
        assert_eq!(options.arguments, ["-c", "echo a b", "init=/z"]);
        assert_eq!(Options::parse(""), Options::default());
    }
}
