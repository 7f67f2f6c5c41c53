// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exo-Kernel in machines: that it keeps `cargo exo vm`'s word as Linux does, that programs which nobody here wrote behave
//! alike on both, and that no program can stop it.

mod basics;
mod crash;
mod crates;
mod devices;
mod disks;
mod entropy;
mod images;
mod instruction_budget;
mod io_uring;
mod lines;
mod network;
mod programs;
mod servers;

use super::queue::{self, Case};
use super::{ALONE, Lab, Report};
use crate::exo_kernel::Profile;

/// The machines of a test: with Exo-Kernel, and with Linux to compare.
#[derive(Debug)]
pub(super) struct Both<'a> {
    linux: &'a Lab,
    exo: Lab,
}

type ExoTest = fn(&Both<'_>) -> anyhow::Result<()>;

const TESTS: &[(&str, ExoTest)] = &[
    ("exo::it_boots_on_one_two_and_four_processors", basics::it_boots_on_one_two_and_four_processors),
    ("exo::the_exit_status_comes_back", basics::the_exit_status_comes_back),
    ("exo::output_arrives_whole_and_apart", basics::output_arrives_whole_and_apart),
    ("exo::input_reaches_the_command", basics::input_reaches_the_command),
    ("exo::a_hanging_machine_is_stopped", basics::a_hanging_machine_is_stopped),
    ("exo::every_program_of_this_project_starts", basics::every_program_of_this_project_starts),
    ("exo::vi_edits_over_the_serial_line", basics::vi_edits_over_the_serial_line),
    ("exo::what_makes_no_sense_is_refused", basics::what_makes_no_sense_is_refused),
    ("exo::a_panic_is_reported_with_names", crash::a_panic_is_reported_with_names),
    ("exo::a_stack_overflow_meets_the_guard_page", crash::a_stack_overflow_meets_the_guard_page),
    ("exo::c_programs_behave_alike", programs::c_programs_behave_alike),
    ("exo::rust_programs_behave_alike", programs::rust_programs_behave_alike),
    ("exo::sqlite_loses_no_row_of_several_writers", programs::sqlite_loses_no_row_of_several_writers),
    ("exo::messages_reach_whom_they_are_for", programs::messages_reach_whom_they_are_for),
    ("exo::short_calls_neither_allocate_nor_lock", programs::short_calls_neither_allocate_nor_lock),
    ("exo::instruction_budget", instruction_budget::instruction_budget),
    (
        "exo::long_calls_and_busy_neighbours_hold_up_nobody",
        instruction_budget::long_calls_and_busy_neighbours_hold_up_nobody,
    ),
    ("exo::faults_kill_only_the_program", programs::faults_kill_only_the_program),
    ("exo::any_allocation_may_fail", programs::any_allocation_may_fail),
    ("exo::greedy_programs_leave_a_working_system", programs::greedy_programs_leave_a_working_system),
    (
        "exo::what_the_kernel_holds_for_a_program_counts_as_its_own",
        programs::what_the_kernel_holds_for_a_program_counts_as_its_own,
    ),
    ("exo::random_calls_do_not_stop_the_kernel", programs::random_calls_do_not_stop_the_kernel),
    ("exo::what_programs_wrote_before_a_crash_arrives", crash::what_programs_wrote_before_a_crash_arrives),
    ("exo::the_machine_ends_through_its_exit_device", programs::the_machine_ends_through_its_exit_device),
    ("exo::io_uring_behaves_alike", io_uring::io_uring_behaves_alike),
    ("exo::io_uring_reads_and_writes_disks", io_uring::io_uring_reads_and_writes_disks),
    ("exo::errors_of_disks_reach_io_uring", io_uring::errors_of_disks_reach_io_uring),
    ("exo::io_uring_survives_hostile_programs", io_uring::io_uring_survives_hostile_programs),
    ("exo::disks::what_programs_write_is_on_the_medium", disks::what_programs_write_is_on_the_medium),
    ("exo::disks::errors_of_the_medium_reach_the_program", disks::errors_of_the_medium_reach_the_program),
    (
        "exo::disks::a_disk_can_be_unplugged_while_programs_use_it",
        disks::a_disk_can_be_unplugged_while_programs_use_it,
    ),
    (
        "exo::disks::what_was_flushed_outlives_a_killed_machine",
        disks::what_was_flushed_outlives_a_killed_machine,
    ),
    ("exo::disks::queues_are_at_the_node_of_their_cpu", disks::queues_are_at_the_node_of_their_cpu),
    ("exo::disks::ram_disks_and_partitions_work", disks::ram_disks_and_partitions_work),
    (
        "exo::disks::a_disk_that_does_not_answer_holds_no_processor",
        disks::a_disk_that_does_not_answer_holds_no_processor,
    ),
    ("exo::procmon_answers_as_on_linux", devices::procmon_answers_as_on_linux),
    (
        "exo::slow_readers_of_events_are_told_what_they_lost",
        devices::slow_readers_of_events_are_told_what_they_lost,
    ),
    ("exo::the_program_procmon_works", devices::the_program_procmon_works),
    ("exo::my_rng_gives_the_same_numbers_as_on_linux", devices::my_rng_gives_the_same_numbers_as_on_linux),
    ("exo::longer_seeds_give_the_same_numbers_on_both", devices::longer_seeds_give_the_same_numbers_on_both),
    ("exo::c_programs_find_both_devices", devices::c_programs_find_both_devices),
    ("exo::my_rng_behaves_as_on_linux", devices::my_rng_behaves_as_on_linux),
    ("exo::the_kernels_own_random_numbers_are_fed", devices::the_kernels_own_random_numbers_are_fed),
    ("exo::a_killed_random_device_hangs_nobody", devices::a_killed_random_device_hangs_nobody),
    (
        "exo::devices_can_be_unplugged_while_programs_use_them",
        devices::devices_can_be_unplugged_while_programs_use_them,
    ),
    (
        "exo::dev_hwrng_reads_a_virtio_device_as_on_linux",
        entropy::dev_hwrng_reads_a_virtio_device_as_on_linux,
    ),
    (
        "exo::qemus_entropy_device_is_read_and_feeds_the_kernel",
        entropy::qemus_entropy_device_is_read_and_feeds_the_kernel,
    ),
    (
        "exo::an_entropy_device_can_be_unplugged_while_it_is_read",
        entropy::an_entropy_device_can_be_unplugged_while_it_is_read,
    ),
    ("exo::pings_are_answered_and_sent", network::pings_are_answered_and_sent),
    ("exo::an_address_comes_by_dhcp", network::an_address_comes_by_dhcp),
    ("exo::the_host_gets_to_a_server_in_the_machine", network::the_host_gets_to_a_server_in_the_machine),
    ("exo::a_machine_gets_what_the_host_has", network::a_machine_gets_what_the_host_has),
    ("exo::lines_are_alike", lines::lines_are_alike),
    ("exo::known_differences_are_all_there_are", lines::known_differences_are_all_there_are),
];

/// Those that take long, and run only with `--long`: Debian's servers, whose packages have to be downloaded too, and
/// the tests of crates.
const LONG_TESTS: &[(&str, ExoTest)] = &[
    ("exo::servers::redis_behaves_alike", servers::redis_behaves_alike),
    ("exo::servers::lighttpd_behaves_alike", servers::lighttpd_behaves_alike),
    ("exo::servers::socat_and_nc_behave_alike", servers::socat_and_nc_behave_alike),
    ("exo::servers::iperf3_behaves_alike", servers::iperf3_behaves_alike),
    ("exo::servers::busyboxs_servers_behave_alike", servers::busyboxs_servers_behave_alike),
    ("exo::servers::dropbear_behaves_alike", servers::dropbear_behaves_alike),
    ("exo::servers::go_programs_behave_alike", servers::go_programs_behave_alike),
    ("exo::servers::tokio_behaves_alike", servers::tokio_behaves_alike),
    ("exo::tests_of_crates_pass_as_on_linux", crates::tests_of_crates_pass_as_on_linux),
];

/// The names of the tests.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TESTS.iter().chain(LONG_TESTS).map(|(name, _)| *name)
}

impl<'a> Both<'a> {
    /// Builds the kernel.
    pub(super) fn new(linux: &'a Lab) -> anyhow::Result<Self> {
        Ok(Self { linux, exo: linux.with_exo(Profile::Optimised)? })
    }

    /// All tests.
    pub(super) fn cases(&self) -> impl Iterator<Item = Case<'_>> {
        let long_tests = LONG_TESTS.iter().filter(|_| self.exo.long);
        TESTS.iter().chain(long_tests).map(move |&(name, test)| Case::new(name, move || test(self)))
    }
}

/// Those that count instructions, and so say nothing of a kernel with checks.
const COUNTING: &[&str] = &[
    "exo::instruction_budget",
    "exo::long_calls_and_busy_neighbours_hold_up_nobody",
    "exo::short_calls_neither_allocate_nor_lock",
];

/// Those that are of the kernel with checks alone.
const OF_CHECKS: &[(&str, ExoTest)] =
    &[("exo::what_is_wrong_with_locks_is_found", crash::what_is_wrong_with_locks_is_found)];

/// What the names of tests on the kernel that checks its locks begin with.
pub(crate) const CHECKED: &str = "checked::exo";

/// All tests on that kernel, by name, but for those that count instructions.
fn checked_tests() -> impl Iterator<Item = (String, ExoTest)> {
    let again = TESTS.iter().filter(|(name, _)| !COUNTING.contains(name));
    OF_CHECKS.iter().chain(again).map(|&(name, test)| (format!("checked::{name}"), test))
}

/// Whether any test on the kernel that checks its locks was asked for.
pub(crate) fn wants_checked(report: &Report) -> bool {
    checked_tests().any(|(name, _)| report.wants(&name))
}

/// Builds that kernel and runs them.
pub(crate) fn run_checked(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let both = Both { linux: lab, exo: lab.with_exo(Profile::Checked)? };
    let both = &both;
    let cases = checked_tests().map(|(name, test)| Case::new(name, move || test(both)));
    queue::run(cases.collect(), ALONE, lab.jobs, report, |_| Ok(()))
}
