// SPDX-License-Identifier: MIT OR Apache-2.0
//! What compilers and the kernel's build say of a module's source: errors and warnings, whole, without make's own lines.
//!
//! rustc is asked for JSON whatever the person wants to see, because other flags would make Kbuild compile everything again.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use serde_json::Value;

/// How diagnostics are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum MessageFormat {
    /// For people, on stderr, coloured on a terminal
    #[default]
    Human,
    /// For editors, on stdout: rustc's own JSON, one object a line, before the paths
    Json,
}

/// The variable for make that has rustc write its diagnostics as JSON with a rendered form for people.
pub(crate) const RUSTC_FLAGS: &str = "KRUSTFLAGS=--error-format=json --json=diagnostic-rendered-ansi";

/// Said of each module where the kernel's tree has no vmlinux to take type information from.
const NO_BTF: &str = "Skipping BTF generation for ";

/// The diagnostics of one build.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    /// rustc's, as JSON lines.
    rust: Vec<Value>,
    /// The C compiler's and modpost's, as they came.
    other: Vec<String>,
}

impl Diagnostics {
    /// Takes a line of the build's stderr.
    pub(crate) fn take(&mut self, line: &str) {
        match serde_json::from_str::<Value>(line) {
            Ok(value) if value["$message_type"] == "diagnostic" => self.rust.push(value),
            _ if is_make(line) || line.starts_with(NO_BTF) => {}
            _ => self.other.push(line.to_owned()),
        }
    }

    /// Whether nothing was said.
    pub(crate) fn is_empty(&self) -> bool {
        self.rust.is_empty() && self.other.iter().all(|line| line.trim().is_empty())
    }

    /// Prints everything in that format. What is not rustc's has no JSON and goes to stderr in both.
    pub(crate) fn print(&self, format: MessageFormat) {
        match format {
            MessageFormat::Human => {
                let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
                eprint!("{}", self.rendered(colour));
            }
            MessageFormat::Json => self.rust.iter().for_each(|value| println!("{value}")),
        }
        self.other.iter().for_each(|line| eprintln!("{line}"));
    }

    fn rendered(&self, colour: bool) -> String {
        let texts = self.rust.iter().filter_map(|value| value["rendered"].as_str());
        texts.map(|text| if colour { text.to_owned() } else { without_colour(text) }).collect()
    }
}

/// Make's reports of what it does and that it stops, which repeat what a compiler has said better.
fn is_make(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("make") else { return false };
    let rest =
        rest.strip_prefix('[').map_or(rest, |rest| rest.split_once(']').map_or(rest, |(_, rest)| rest));
    rest.starts_with(": ")
}

/// Removes the sequences that set colours (ECMA-48, CSI … m).
fn without_colour(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain += part.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustc_and_modpost_are_kept_and_make_is_not() {
        let mut diagnostics = Diagnostics::default();
        diagnostics.take(
            r#"{"$message_type":"diagnostic","rendered":"\u001b[1merror\u001b[0m: no\n --> /a.rs:1:1\n"}"#,
        );
        diagnostics.take("make[3]: *** [scripts/Makefile.build:366: bad.o] Error 1");
        diagnostics.take("make: *** [Makefile:260: __sub-make] Error 2");
        diagnostics.take("ERROR: modpost: \"nothing\" [bad.ko] undefined!");
        diagnostics.take("/a.c:3:5: error: makes no sense");
        assert_eq!(diagnostics.rendered(false), "error: no\n --> /a.rs:1:1\n");
        assert!(diagnostics.rendered(true).starts_with("\x1b[1merror"));
        assert_eq!(
            diagnostics.other,
            ["ERROR: modpost: \"nothing\" [bad.ko] undefined!", "/a.c:3:5: error: makes no sense"]
        );
    }

    #[test]
    fn a_quiet_build_has_nothing_to_print() {
        let mut diagnostics = Diagnostics::default();
        diagnostics.take("");
        diagnostics.take("make[1]: Leaving directory '/a'");
        assert!(diagnostics.is_empty());
    }
}
