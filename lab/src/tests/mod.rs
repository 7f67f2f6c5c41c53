// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tests of `cargo exo test`: those of the host's programs, and those that need a machine.
//!
//! A test in a machine is one line in [`MACHINE_TESTS`]; it fails by returning an error that says what was wrong. Tests
//! *inside* a machine are those of the program `guest-tests`, each of which is reported here under its own name.

mod c_program;
pub(crate) mod checked;
mod controls;
mod debug_info;
pub(crate) mod dkms;
mod edu;
pub(crate) mod exo;
pub(crate) mod host;
mod hotplug;
mod inside;
mod kernel_style;
mod kmod;
mod live_table;
mod module_life;
mod network;
mod ordinary_user;
mod power;
mod quality;
mod queue;
pub(crate) mod series;
mod slow_to_stop;
mod snapshot;
mod virtio;
mod vm;
mod vm_snapshot;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::exo_kernel::{self, Profile};
use crate::machine::{Accel, CHECKED_MEMORY, Config, Parts, System};
use crate::{interrupt, ui};

use queue::Case;
pub(crate) use queue::usual_jobs;

/// All that tests in machines start from.
#[derive(Debug)]
pub(crate) struct Lab {
    /// Kernel, programs, modules, device.
    pub(crate) parts: Parts,
    /// KVM or TCG, if the person said so.
    pub(crate) accel: Option<Accel>,
    /// Whether the kernel is the checked one.
    pub(crate) checked: bool,
    /// Whether what comes and goes does so a thousand times.
    pub(crate) long: bool,
    /// How many tests have their machines at a time.
    pub(crate) jobs: usize,
}

/// No test's machine may take longer than this.
const TIME_LIMIT: Duration = Duration::from_secs(480);
/// … unless detectors slow it down, or each allocation fails in turn.
const CHECKED_TIME_LIMIT: Duration = Duration::from_secs(20 * 60);
/// … or it does everything a thousand times.
const LONG_TIME_LIMIT: Duration = Duration::from_secs(6 * 3600);

impl Lab {
    /// A machine with this project's modules loaded.
    pub(crate) fn config(&self) -> Config {
        Config {
            accel: self.accel,
            timeout: Some(match self {
                Self { long: true, .. } => LONG_TIME_LIMIT,
                Self { checked: true, .. } => CHECKED_TIME_LIMIT,
                _ => TIME_LIMIT,
            }),
            final_check: self.checked,
            rng: if matches!(self.parts.system, System::Linux(_)) { 1 } else { 0 },
            memory: if self.checked { CHECKED_MEMORY } else { Config::default().memory },
            ..Config::default()
        }
    }
}

type MachineTest = fn(&Lab) -> anyhow::Result<()>;

/// Every test in a machine, by name.
const MACHINE_TESTS: &[(&str, MachineTest)] = &[
    ("kmod::symbols_of_another_kernel_are_refused", kmod::symbols_of_another_kernel_are_refused),
    ("kmod::a_foreign_module_is_built_and_loads", kmod::a_foreign_module_is_built_and_loads),
    ("kmod::every_error_of_a_module_is_shown", kmod::every_error_of_a_module_is_shown),
    ("kmod::plain_make_builds_my_rng", kmod::plain_make_builds_my_rng),
    ("kmod::modinfo_tells_what_the_module_is", kmod::modinfo_tells_what_the_module_is),
    ("kmod::a_kernel_that_left_the_archive_is_found", snapshot::a_kernel_that_left_the_archive_is_found),
    ("kmod::new_modules_and_examples_are_clean", module_life::new_modules_and_examples_are_clean),
    ("kmod::what_is_not_clean_is_told", module_life::what_is_not_clean_is_told),
    ("kmod::a_module_can_be_signed", module_life::a_module_can_be_signed),
    ("kmod::an_editor_knows_the_kernels_crates", module_life::an_editor_knows_the_kernels_crates),
    ("kmod::a_modules_documentation_is_written", module_life::a_modules_documentation_is_written),
    (
        "kmod::examples_in_a_modules_documentation_are_compiled",
        module_life::examples_in_a_modules_documentation_are_compiled,
    ),
    ("kmod::a_tree_of_ones_own_is_taken", module_life::a_tree_of_ones_own_is_taken),
    ("kmod::variables_and_generated_sources_work", module_life::variables_and_generated_sources_work),
    ("kmod::gdb_knows_the_lines_of_a_module", debug_info::gdb_knows_the_lines_of_a_module),
    ("kmod::type_information_reaches_the_kernel", module_life::type_information_reaches_the_kernel),
    ("kmod::a_package_for_dkms_is_the_same_each_time", dkms::a_package_for_dkms_is_the_same_each_time),
    ("kmod::a_package_has_what_other_kernels_need", dkms::a_package_has_what_other_kernels_need),
    ("kmod::what_cannot_be_a_package_is_told", dkms::what_cannot_be_a_package_is_told),
    ("kmod::the_kernels_rustfmt_is_content", kernel_style::the_kernels_rustfmt_is_content),
    ("kmod::the_kernels_clippy_is_content", kernel_style::the_kernels_clippy_is_content),
    ("kmod::checkpatch_is_content", kernel_style::checkpatch_is_content),
    ("kmod::examples_in_documentation_compile", kernel_style::examples_in_documentation_compile),
    ("ordinary_user::what_is_missing_is_named", ordinary_user::what_is_missing_is_named),
    ("ordinary_user::missing_ids_are_named", ordinary_user::missing_ids_are_named),
    ("vm::the_exit_status_comes_back", vm::the_exit_status_comes_back),
    ("vm::output_arrives_whole_and_apart", vm::output_arrives_whole_and_apart),
    ("vm::input_reaches_the_command", vm::input_reaches_the_command),
    ("vm::a_hanging_machine_is_stopped", vm::a_hanging_machine_is_stopped),
    ("vm::a_crashed_machine_is_reported", vm::a_crashed_machine_is_reported),
    ("vm::a_boot_that_stands_still_starts_again", vm::a_boot_that_stands_still_starts_again),
    ("vm::two_devices_have_their_nodes", vm::two_devices_have_their_nodes),
    ("vm::modules_can_be_left_out", vm::modules_can_be_left_out),
    ("vm::an_interrupted_run_leaves_nothing", vm::an_interrupted_run_leaves_nothing),
    ("vm::forwarded_ports_lead_into_the_machine", network::forwarded_ports_lead_into_the_machine),
    ("vm::a_machine_reaches_servers_on_the_host", network::a_machine_reaches_servers_on_the_host),
    ("vm::programs_reach_each_other_without_a_card", network::programs_reach_each_other_without_a_card),
    ("my_rng::a_c_program_gets_the_same_numbers", c_program::a_c_program_gets_the_same_numbers),
    ("procmon::the_live_table_works_over_a_serial_line", live_table::the_live_table_works_over_a_serial_line),
    ("procmon::the_c_program_passes", c_program::procmons_c_program_passes),
    ("my_rng::an_unplugged_device_gives_enodev", hotplug::an_unplugged_device_gives_enodev),
    ("my_rng::a_device_can_be_plugged_in_again", hotplug::a_device_can_be_plugged_in_again),
    ("my_rng::a_killed_device_process_hangs_nobody", hotplug::a_killed_device_process_hangs_nobody),
    ("my_rng::a_restarted_device_process_serves_again", hotplug::a_restarted_device_process_serves_again),
    ("my_rng::a_device_is_removed_and_another_added", hotplug::a_device_is_removed_and_another_added),
    ("my_rng::a_machine_starts_again_with_its_device", hotplug::a_machine_starts_again_with_its_device),
    ("virtio::the_stock_driver_feeds_dev_hwrng", virtio::the_stock_driver_feeds_dev_hwrng),
    ("virtio::the_stock_driver_works_behind_an_iommu", virtio::the_stock_driver_works_behind_an_iommu),
    ("virtio::it_can_be_unplugged_while_it_is_read", virtio::it_can_be_unplugged_while_it_is_read),
    ("edu::the_example_does_what_qemus_device_does", edu::the_example_does_what_qemus_device_does),
    (
        "my_rng::a_restored_machine_finds_its_device_reset",
        vm_snapshot::a_restored_machine_finds_its_device_reset,
    ),
    (
        "my_rng::a_machine_without_its_device_is_saved_whole",
        vm_snapshot::a_machine_without_its_device_is_saved_whole,
    ),
    ("my_rng::programs_go_on_after_suspend", power::programs_go_on_after_suspend),
    ("my_rng::programs_go_on_after_hibernation", power::programs_go_on_after_hibernation),
    ("my_rng::a_clone_of_a_machine_drops_its_entropy", power::a_clone_of_a_machine_drops_its_entropy),
    (
        "my_rng::a_device_works_again_after_an_error_on_its_bus",
        power::a_device_works_again_after_an_error_on_its_bus,
    ),
    ("my_rng::unbinding_waits_once", slow_to_stop::unbinding_waits_once),
    ("my_rng::refused_queues_do_not_fill_the_log", slow_to_stop::refused_queues_do_not_fill_the_log),
    ("my_rng::a_queue_that_stops_late_is_used_again", slow_to_stop::a_queue_that_stops_late_is_used_again),
    ("my_rng::a_device_that_reaches_too_far_is_counted", controls::a_device_that_reaches_too_far_is_counted),
    ("quality::registers_and_one_shot_transfers", quality::registers_and_one_shot_transfers),
    ("quality::every_way_in_a_machine", quality::every_way_in_a_machine),
    ("quality::numbers_of_31_bits_are_refused", quality::numbers_of_31_bits_are_refused),
];

/// Those that have the host for themselves: they show how long something takes, or what happens in a time that a busy host stretches. Many
/// of the C programs are about timers and threads.
const ALONE: &[&str] = &[
    "exo::c_programs_behave_alike",
    "checked::exo::c_programs_behave_alike",
    "vm::a_boot_that_stands_still_starts_again",
    "my_rng::unbinding_waits_once",
    "my_rng::a_queue_that_stops_late_is_used_again",
    "exo::long_calls_and_busy_neighbours_hold_up_nobody",
    "exo::disks::a_disk_that_does_not_answer_holds_no_processor",
    "checked::exo::disks::a_disk_that_does_not_answer_holds_no_processor",
];

/// Those that `--smoke` runs: a user who passes these can work. What an ordinary user may not have, a module that is built and loaded, machines with
/// output, input, and the device.
pub(crate) const SMOKE: &[&str] = &[
    "ordinary_user::what_is_missing_is_named",
    "kmod::symbols_of_another_kernel_are_refused",
    "kmod::a_foreign_module_is_built_and_loads",
    "vm::the_exit_status_comes_back",
    "vm::input_reaches_the_command",
    "my_rng::a_c_program_gets_the_same_numbers",
];

/// Those that take long, and run only with `--long`.
const LONG_TESTS: &[(&str, MachineTest)] = &[
    ("kmod::gdb_finds_a_module_in_the_kernel", debug_info::gdb_finds_a_module_in_the_kernel),
    ("quality::the_full_dieharder", quality::the_full_dieharder),
];

/// The tests that need no machine.
pub(crate) const HOST: &str = "host";
/// The group of tests that run inside machines.
const INSIDE: &str = "inside";
/// The same tests behind an IOMMU.
const IOMMU: &str = "iommu";

impl Lab {
    /// The same with Exo-Kernel in the machines.
    fn with_exo(&self, profile: Profile) -> anyhow::Result<Self> {
        let kernel = exo_kernel::build(&self.parts.context, &self.parts.toolroot, profile)?;
        let parts = Parts { system: System::Exo(kernel), ..self.parts.clone() };
        Ok(Self { parts, accel: self.accel, checked: false, long: self.long, jobs: self.jobs })
    }
}

/// The names that `--list` shows; the host's and the inner tests have more names of their own.
pub(crate) fn names() -> Vec<&'static str> {
    let mut names = vec![HOST, host::PACKAGES, host::KERNEL];
    names.extend(MACHINE_TESTS.iter().map(|(name, _)| *name).chain(exo::names()));
    names.extend([INSIDE, IOMMU, checked::INSIDE]);
    names.extend(LONG_TESTS.iter().map(|(name, _)| *name));
    names
}

/// Runs the tests that need machines, while `slow` has its machine beside theirs.
pub(crate) fn run_in_machines(
    lab: &Lab,
    slow: Option<inside::Lane>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let slow = inside::finish_later(slow, lab, report)?;
    let usual = inside::start(lab, report, INSIDE)?;
    let usual = inside::finish_later(usual, lab, report)?;
    let iommu = inside::start_behind_iommu(lab, report, IOMMU)?;
    for lane in [usual, iommu] {
        inside::finish(lane, report)?;
    }
    let both = if report.wants_any(exo::names()) { Some(exo::Both::new(lab)?) } else { None };
    let long_tests = LONG_TESTS.iter().filter(|_| lab.long);
    let cases =
        MACHINE_TESTS.iter().chain(long_tests).map(|&(name, test)| Case::new(name, move || test(lab)));
    let cases: Vec<Case<'_>> = cases.chain(both.iter().flat_map(exo::Both::cases)).collect();
    queue::run(cases, ALONE, lab.jobs, report, |report| inside::finish(slow, report))
}

/// What passed and what failed.
#[derive(Debug)]
pub(crate) struct Report {
    filter: Vec<String>,
    passed: usize,
    skipped: usize,
    failed: BTreeMap<String, String>,
    started: Instant,
}

impl Report {
    /// An empty report over the tests whose name contains one of `filter`, or all of them.
    pub(crate) fn new(filter: &[String]) -> Self {
        Self {
            filter: filter.to_vec(),
            passed: 0,
            skipped: 0,
            failed: BTreeMap::new(),
            started: Instant::now(),
        }
    }

    /// Whether this test was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.filter.is_empty() || self.filter.iter().any(|part| name.contains(part.as_str()))
    }

    /// Whether only tests were asked for whose names start with `prefix`.
    pub(crate) fn wants_nothing_but(&self, prefix: &str) -> bool {
        !self.filter.is_empty() && self.filter.iter().all(|part| part.starts_with(prefix))
    }

    /// Whether any of these was asked for.
    pub(crate) fn wants_any<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        names.any(|name| self.wants(name))
    }

    /// Whether any test whose name starts with `prefix` may have been asked for, where `group` is that of these tests.
    pub(crate) fn may_want(&self, group: &str, prefix: &str) -> bool {
        let may = |part: &String| {
            !part.starts_with(group) || part.starts_with(prefix) || prefix.starts_with(part.as_str())
        };
        self.filter.is_empty() || self.filter.iter().any(may)
    }

    /// Whether a test that needs a machine may have been asked for: what tests there are inside, only the built program
    /// tells.
    pub(crate) fn may_want_machines(&self) -> bool {
        let is_of_the_host = |part: &String| {
            [HOST, host::PACKAGES, host::KERNEL].iter().any(|name| name.contains(part.as_str()))
        };
        self.filter.is_empty() || !self.filter.iter().all(is_of_the_host)
    }

    /// Runs one test.
    pub(crate) fn case(
        &mut self,
        name: &str,
        test: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        let result = test();
        // A test that was interrupted says nothing about what it tests.
        interrupt::check()?;
        self.note(name, result, started.elapsed());
        Ok(())
    }

    /// Notes how a test ended.
    fn note(&mut self, name: &str, result: anyhow::Result<()>, time: Duration) {
        match result {
            Ok(()) => self.pass(name, Some(time)),
            Err(error) => self.fail(name, &format!("{error:#}")),
        }
    }

    /// Notes a test that passed.
    pub(crate) fn pass(&mut self, name: &str, time: Option<Duration>) {
        self.passed += 1;
        let time = time.map(|time| format!(" ({})", ui::humane(time))).unwrap_or_default();
        ui::say(&format!("test {name} ... {}{time}", ui::paint_stdout("32", "ok")));
    }

    /// Notes many that passed, reported together.
    pub(crate) fn pass_many(&mut self, name: &str, count: usize, time: Duration) {
        self.passed += count;
        println!("test {name} ({count} tests) ... {} ({})", ui::paint_stdout("32", "ok"), ui::humane(time));
    }

    /// Lets failures whose names start with `prefix` pass for tests that did not apply: what broke was told, and counts for nothing.
    pub(crate) fn excuse(&mut self, prefix: &str) {
        let before = self.failed.len();
        self.failed.retain(|name, _| !name.starts_with(prefix));
        self.skipped += before - self.failed.len();
    }

    /// Notes a test that did not apply.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        self.skipped += 1;
        ui::say(&format!("test {name} ... {} {why}", ui::paint_stdout("33", "skipped")));
    }

    /// Notes a test that failed.
    pub(crate) fn fail(&mut self, name: &str, why: &str) {
        let failed = ui::paint_stdout("31;1", "FAILED");
        ui::say(&format!("test {name} ... {failed}\n{}", crate::process::indent(why)));
        self.failed.insert(name.to_owned(), why.to_owned());
    }

    /// Whether this test has failed.
    pub(crate) fn has_failed(&self, name: &str) -> bool {
        self.failed.contains_key(name)
    }

    /// Prints the sum and returns the exit status.
    pub(crate) fn finish(self) -> i32 {
        println!();
        if !self.failed.is_empty() {
            println!("failed:");
            for name in self.failed.keys() {
                println!("  {name}");
            }
            println!();
        }
        println!("all together in {}", ui::humane(self.started.elapsed()));
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped);
        if self.passed + self.failed.len() == 0 {
            ui::note("no test has a name that contains this; `cargo exo test --list` names them");
            return 1;
        }
        i32::from(!self.failed.is_empty())
    }
}

#[cfg(test)]
mod report_tests {
    use super::Report;

    #[test]
    fn a_group_is_wanted_alone_if_all_words_name_it() {
        let report =
            |words: &[&str]| Report::new(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        assert!(report(&["checked::exo::a", "checked::exo"]).wants_nothing_but("checked::exo"));
        assert!(!report(&["checked::exo", "edu"]).wants_nothing_but("checked::exo"));
        assert!(!report(&[]).wants_nothing_but("checked::exo"));
    }

    #[test]
    fn what_is_excused_is_no_failure() {
        let mut report = Report::new(&[]);
        report.fail("series::a::x", "why");
        report.fail("series::b::x", "why");
        report.excuse("series::a::");
        assert_eq!((report.failed.len(), report.skipped), (1, 1));
        assert_eq!(report.finish(), 1);
    }
}
