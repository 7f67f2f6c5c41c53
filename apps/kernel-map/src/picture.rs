// SPDX-License-Identifier: MIT OR Apache-2.0
//! The picture of the kernel's crates: one on each step of a stair, from the program at the top down to what needs nobody. A line goes from a
//! crate to the right, and at each dot down into a crate that it uses. So a line that went up would be seen at once.

use std::fmt::Write as _;

use crate::floors::{FLOORS, Member};

/// Between two steps.
const STEP: (usize, usize) = (86, 46);
/// A crate's box.
const BOX: (usize, usize) = (122, 28);
/// The names of the floors stand left of the highest box.
const LEFT: usize = 150;
const TOP: usize = 10;

const STYLE: &str = "\
text { font: 13px sans-serif; fill: #1b1f24 } .floor { fill: #57606a; font-size: 12px } .crate { text-anchor: middle } \
.box { fill: #ddf4ff; stroke: #0969da } .odd { fill: #f6f8fa } .even { fill: #ffffff } \
.line { stroke: #57606a; fill: none } .dot { fill: #57606a }";

/// Draws crates that are in the order of their floors, from the lowest.
pub(crate) fn draw(members: &[Member]) -> String {
    let from_top: Vec<&Member> = members.iter().rev().collect();
    let center = |step: usize| (LEFT + BOX.0 / 2 + step * STEP.0, TOP + STEP.1 / 2 + step * STEP.1);
    let (last_x, last_y) = center(from_top.len().saturating_sub(1));
    let (width, height) = (last_x + BOX.0 / 2 + TOP, last_y + STEP.1 / 2 + TOP);
    let mut svg = String::new();
    let mut line = |text: String| {
        // A string takes everything.
        let _ = writeln!(svg, "{text}");
    };
    line("<!-- Drawn by `cargo run -p kernel-map`: do not edit. -->".to_owned());
    line(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">"
    ));
    line("<title>The crates of Exo-Kernel, by floor, and which uses which</title>".to_owned());
    line(format!("<style>{STYLE}</style>"));
    line(format!("<rect class=\"even\" width=\"{width}\" height=\"{height}\"/>"));
    let mut named = None;
    for (step, member) in from_top.iter().enumerate() {
        let (_, y) = center(step);
        if member.floor % 2 == 1 {
            let (y, height) = (y - STEP.1 / 2, STEP.1);
            line(format!("<rect class=\"odd\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>"));
        }
        if named != Some(member.floor) {
            named = Some(member.floor);
            line(format!(
                "<text class=\"floor\" x=\"10\" y=\"{}\">{}</text>",
                y + 4,
                FLOORS[member.floor].name
            ));
        }
    }
    for (step, member) in from_top.iter().enumerate() {
        let (x, y) = center(step);
        let used = from_top.iter().enumerate().filter(|(_, other)| member.uses.contains(&other.name));
        let columns: Vec<usize> = used.map(|(at, _)| at).collect();
        let ends: Vec<usize> = columns.iter().map(|&at| center(at).0).collect();
        if let Some(end) = ends.iter().max() {
            line(format!("<path class=\"line\" d=\"M{} {y}H{end}\"/>", x + BOX.0 / 2));
        }
        for (at, end) in columns.into_iter().zip(ends) {
            let top = center(at).1 - BOX.1 / 2;
            line(format!(
                "<path class=\"line\" d=\"M{end} {y}V{top}\"/><circle class=\"dot\" cx=\"{end}\" cy=\"{y}\" r=\"4\"/>"
            ));
        }
    }
    for (step, member) in from_top.iter().enumerate() {
        let (x, y) = center(step);
        let (left, top) = (x - BOX.0 / 2, y - BOX.1 / 2);
        line(format!(
            "<rect class=\"box\" x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{}\" rx=\"4\"/>",
            BOX.0, BOX.1
        ));
        line(format!("<text class=\"crate\" x=\"{x}\" y=\"{}\">{}</text>", y + 4, member.name));
    }
    line("</svg>".to_owned());
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_use_has_a_dot_and_no_line_goes_up() {
        let member = |floor, name: &str, uses: &[&str]| Member {
            floor,
            name: name.to_owned(),
            uses: uses.iter().map(|&name| name.to_owned()).collect(),
            uses_for_tests: Vec::new(),
        };
        let members = [
            member(0, "exo-logic", &[]),
            member(2, "exo-hal", &["exo-logic"]),
            member(13, "exo-kernel", &["exo-hal", "exo-logic"]),
        ];
        let svg = draw(&members);
        assert_eq!(svg.matches("<circle").count(), 3);
        for part in svg.split("d=\"M").skip(1).filter(|part| part.contains('V')) {
            let (start, rest) = part.split_once('V').unwrap();
            let from: usize = start.split(' ').nth(1).unwrap().parse().unwrap();
            let to: usize = rest.split('"').next().unwrap().parse().unwrap();
            assert!(from < to, "{part}");
        }
    }
}
