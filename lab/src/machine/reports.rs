// SPDX-License-Identifier: MIT OR Apache-2.0
//! The reports of the kernel's detectors, found in a console log. `lab/kernels/README.md` tells how they look.

use std::sync::LazyLock;

use regex::Regex;

/// Lines shown of one report at the most: a lockdep report with all its chains has about a hundred.
const LONGEST_REPORT: usize = 160;

/// A line that begins a report, or that says that a detector has given up.
static HEADLINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let parts = [
        r"\b(BUG|WARNING): ",
        r"BUG \S+ \(",
        r"Oops: ",
        r"general protection fault",
        r"Kernel panic",
        r"rust_kernel: panicked at",
        r"kmemleak: [0-9]+ new suspected",
        r"INFO: (task .* blocked|trying to register non-static key|possible)",
        r"rcu: INFO: .* detected",
        r"DMAR: \[",
        r"UBSAN: ",
        r"DMA-API: .*(device driver|debugging out of memory|exceed)",
        r"ODEBUG: ",
        r"turning off the locking correctness validator",
        r"kmemleak: .*(pool empty|[Dd]isabled)",
    ];
    // A pattern that does not compile is caught by the tests below.
    Regex::new(&parts.join("|")).ok()
});

/// What looks like a headline and is none.
const HARMLESS: [&str; 3] = ["page allocation failure", "vmalloc error", "on deprecated workqueue"];

/// The first report in a console log, whole.
pub(crate) fn first(console: &str) -> Option<String> {
    let lines: Vec<&str> = console.lines().map(|line| line.trim_end_matches('\r')).collect();
    let headline = HEADLINE.as_ref()?;
    let at = lines
        .iter()
        .position(|line| headline.is_match(line) && !HARMLESS.iter().any(|text| line.contains(text)))?;
    // Reports of lockdep and KASAN begin with a ruler.
    let start =
        if at > 0 && lines.get(at - 1).is_some_and(|line| line.contains("=====")) { at - 1 } else { at };
    let caller = caller_of(lines.get(at)?);
    let mut report: Vec<&str> = Vec::new();
    for line in lines.get(start..)?.iter().take(LONGEST_REPORT) {
        let same_caller = caller.is_none() || caller_of(line) == caller;
        if same_caller {
            report.push(line);
        }
        let ended = line.contains("---[ end trace") || line.contains("---[ end Kernel panic");
        if ended && report.len() > 1 {
            break;
        }
    }
    Some(report.join("\n"))
}

/// The `T57` or `C1` of `[   12.345678][   T57] text`: the task or the processor that printed the line.
fn caller_of(line: &str) -> Option<&str> {
    let rest = line.split_once("][")?.1;
    Some(rest.split_once(']')?.0.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_compiles() {
        assert!(HEADLINE.is_some());
    }

    #[test]
    fn a_report_is_shown_whole_and_alone() {
        let console = "[    1.000000][    T1] fine\n\
                       [    2.000000][   T57] ==================\n\
                       [    2.000001][   T57] BUG: KASAN: slab-use-after-free in foo+0x1/0x2\n\
                       [    2.000002][   T58] something else\n\
                       [    2.000003][   T57] Call Trace:\n\
                       [    2.000004][   T57] ---[ end trace 0000 ]---\n\
                       [    2.000005][   T57] later\n";
        let report = first(console).unwrap();
        assert!(report.starts_with("[    2.000000]") && report.ends_with("end trace 0000 ]---"), "{report}");
        assert!(!report.contains("something else") && report.contains("Call Trace"));
    }

    #[test]
    fn every_detector_is_recognised() {
        for line in [
            "BUG: KASAN: slab-use-after-free in x",
            "BUG: sleeping function called from invalid context at x",
            "WARNING: possible circular locking dependency detected",
            "WARNING: suspicious RCU usage",
            "WARNING: CPU: 0 PID: 1 at lib/x.c:1",
            "DMA-API: pci 0000:00:03.0: device driver has pending DMA allocations while released",
            "ODEBUG: free active (active state 0) object",
            "list_add corruption. BUG: x",
            "kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "rust_kernel: panicked at x.rs:1:1:",
            "DMAR: [DMA Write NO_PASID] Request device [00:03.0] fault addr 0x1000",
        ] {
            assert!(first(&format!("[    1.0][    T1] {line}\n")).is_some(), "{line}");
        }
    }

    #[test]
    fn failures_on_demand_are_no_reports() {
        for line in
            ["FAULT_INJECTION: forcing a failure.", "insmod: page allocation failure: order:0", "Call Trace:"]
        {
            assert_eq!(first(&format!("[    1.0][    T1] {line}\n")), None, "{line}");
        }
    }
}
