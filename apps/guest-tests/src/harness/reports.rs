// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel's own detectors write when they find something. A test after which such a line stands in the log has
//! failed, whatever it says itself.

use std::sync::LazyLock;

use regex_lite::Regex;

/// Where a report begins, or what only reports contain. Upper and lower case differ.
const SIGNS: [&str; 31] = [
    "BUG:",
    "WARNING:",
    "Oops",
    "general protection fault",
    "kernel panic",
    "Kernel panic",
    "invalid opcode",
    "divide error",
    "stack segment",
    "double fault",
    "KASAN:",
    "KFENCE:",
    "KCSAN:",
    "UBSAN:",
    "possible recursive locking",
    "possible circular locking",
    "possible irq lock inversion",
    "suspicious RCU usage",
    "Invalid wait context",
    "held lock freed",
    "lock held when returning to user space",
    "unreferenced object",
    "new suspected memory leaks",
    "DMA-API:",
    "ODEBUG:",
    "rust_kernel: panicked",
    "blocked for more than",
    "trying to register non-static key",
    "DMAR: [",
    "cannot create duplicate filename",
    "turning off the locking correctness validator",
];

/// The same, for what has something between its words: a slab that was damaged, a CPU that hangs, a detector that has given
/// up.
static PATTERNS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let patterns = [
        r"BUG \S+ \(",
        "rcu: INFO: .*detected",
        "kmemleak: .*(pool empty|[Dd]isabled|Cannot allocate a kmemleak_object)",
    ];
    // One that does not compile is caught by the tests below.
    Regex::new(&patterns.join("|")).ok()
});

/// What contains a sign and means no harm: the kernel telling what it is about to check.
const HARMLESS: [&str; 3] = ["DMA-API: preallocated", "DMA-API: debugging enabled", "DMA-API: disabled"];

/// Whether a line of the kernel's log belongs to a report.
pub(super) fn is_report(line: &str) -> bool {
    let is_sign = SIGNS.iter().any(|sign| line.contains(sign));
    let fits = || PATTERNS.as_ref().is_some_and(|patterns| patterns.is_match(line));
    (is_sign || fits()) && !HARMLESS.iter().any(|text| line.contains(text))
}

/// From the first line of the first report to the end; empty when there is none.
///
/// What follows a report belongs to it or comes of it, so nothing is cut away.
pub(super) fn first_report(lines: &[String]) -> &[String] {
    let start = lines.iter().position(|line| is_report(line)).unwrap_or(lines.len());
    lines.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_ordinary_log_holds_no_report() {
        let log = lines(
            "my_rng 0000:00:03.0: /dev/my_rng0 is 240:1\nmy_rng: loading out-of-tree module taints kernel.",
        );
        assert!(first_report(&log).is_empty());
        assert!(first_report(&lines("DMA-API: preallocated 65536 debug entries")).is_empty());
        assert!(first_report(&[]).is_empty());
    }

    #[test]
    fn failures_on_demand_are_no_reports() {
        let log = lines(
            "FAULT_INJECTION: forcing a failure.\nguest-tests: page allocation failure: order:0, mode:0xcc0\n\
             guest-tests: vmalloc error: size 4096, failed to allocate pages\nCall Trace:\n\
             my_rng 0000:00:03.0: probe with driver my_rng failed with error -12\n\
             kmemleak: Cannot allocate a scan area, scanning the full object",
        );
        assert!(first_report(&log).is_empty());
    }

    #[test]
    fn a_report_is_given_from_its_first_line_to_the_end() {
        let log = lines("my_rng: probe\nBUG: KASAN: slab-use-after-free in x\nCall Trace:\n y+0x1/0x2");
        assert_eq!(first_report(&log), &log[1..]);
    }

    #[test]
    fn every_detector_is_known() {
        for line in [
            "WARNING: CPU: 0 PID: 77 at kernel/x.c:1 f+0x1/0x2",
            "WARNING: possible circular locking dependency detected",
            "Oops: general protection fault, probably for non-canonical address 0x1: 0000 [#1]",
            "BUG: sleeping function called from invalid context at x.rs:1",
            "BUG: KFENCE: use-after-free read in f+0x1/0x2",
            "BUG: unable to handle page fault for address: 0000000000001000",
            "UBSAN: array-index-out-of-bounds in x.c:1:2",
            "WARNING: suspicious RCU usage",
            "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "unreferenced object 0xffff888100000000 (size 64):",
            "my_rng 0000:00:03.0: DMA-API: device driver has pending DMA allocations while released from device",
            "rust_kernel: panicked at x.rs:1:2:",
            "INFO: task guest-tests:77 blocked for more than 120 seconds.",
            "INFO: trying to register non-static key.",
            "BUG kmalloc-64 (Tainted: G           O     N ): Object already free",
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "rcu: INFO: rcu_preempt self-detected stall on CPU",
            "DMAR: [DMA Write NO_PASID] Request device [00:03.0] fault addr 0x1000",
            "sysfs: cannot create duplicate filename '/class/my_rng'",
            "BUG: MAX_LOCKDEP_ENTRIES too low!",
            "turning off the locking correctness validator.",
            "kmemleak: Kernel memory leak detector disabled",
            "ODEBUG: Out of memory. ODEBUG disabled",
            "DMA-API: debugging out of memory - disabling",
        ] {
            assert!(is_report(line), "{line}");
        }
    }
}
