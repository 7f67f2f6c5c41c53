// SPDX-License-Identifier: MIT OR Apache-2.0
//! `my_rng` and `procmon` on Exo-Kernel: the programs and tests that Linux's modules have, unchanged.

use anyhow::{Context as _, ensure};

use super::super::c_program;
use super::super::vm::succeed;
use super::Both;
use crate::machine::{Config, Machine, Output};

/// Tests of `my_rng` that ask for what only Linux has: its bus in sysfs, modules, drivers that are told to let go.
const ONLY_ON_LINUX: [&str; 5] = [
    "the_major_number_is_dynamic",
    "the_class_in_sysfs_agrees_with_the_nodes",
    "a_draw_that_is_under_way_ends_when_its_device_is_unbound",
    "the_module_describes_itself",
    "readers_end_with_enodev_when_the_device_is_unbound",
];

/// At least so many of the tests must have something to say here; the others skip themselves.
const MOST_OF_PROCMON: u32 = 45;
const MOST_OF_MY_RNG: u32 = 25;

/// Runs tests of `guest-tests`: none may fail, and so many must pass.
fn pass(both: &Both<'_>, config: &Config, arguments: &str, least: u32) -> anyhow::Result<()> {
    let said = succeed(&both.exo, config, &format!("guest-tests {arguments}"))?.stdout;
    let summary = said.lines().last().unwrap_or_default();
    let passed: u32 = summary.split(' ').next().unwrap_or_default().parse().context("no summary")?;
    ensure!(passed >= least, "only {passed} tests passed, expected {least}:\n{said}");
    Ok(())
}

pub(super) fn procmon_answers_as_on_linux(both: &Both<'_>) -> anyhow::Result<()> {
    let config = Config { smp: 2, ..both.exo.config() };
    pass(both, &config, "procmon::", MOST_OF_PROCMON)
}

pub(super) fn slow_readers_of_events_are_told_what_they_lost(both: &Both<'_>) -> anyhow::Result<()> {
    let config = Config { smp: 2, append: vec!["procmon.ring_events=64".to_owned()], ..both.exo.config() };
    pass(both, &config, "procmon::a_slow_reader", 2)
}

pub(super) fn the_program_procmon_works(both: &Both<'_>) -> anyhow::Result<()> {
    // What looks for the reader makes events itself, which may be all that the reader wants.
    let line = "procmon write Hello && procmon read && procmon query 1 && procmon stats && procmon snapshot --json && \
                (procmon events --count 8 --timeout 20 --json & \
                until grep -q 'event_readers: 1' /sys/class/procmon/procmon/stats || ! kill -0 $! 2> /dev/null; do :; done; \
                /bin/true; /bin/true; /bin/true; wait $!)";
    let said = succeed(&both.exo, &Config { smp: 2, ..both.exo.config() }, line)?.stdout;
    for expected in [
        "Hello\n",
        "\n1: init state ",
        "\nforks_per_second_60s: ",
        "\"comm\": \"init\"",
        "\"kind\":\"fork\"",
        "\"kind\":\"exit\"",
    ] {
        ensure!(said.contains(expected), "no {expected:?} in:\n{said}");
    }
    Ok(())
}

pub(super) fn my_rng_gives_the_same_numbers_as_on_linux(both: &Both<'_>) -> anyhow::Result<()> {
    let line = "my-app --rounds 2 --numbers 100 && rng-benchmark --count 1000 --runs 1 > /dev/null";
    let linux = succeed(both.linux, &both.linux.config(), line)?.stdout;
    let exo = succeed(&both.exo, &Config { rng: 1, ..both.exo.config() }, line)?.stdout;
    ensure!(linux.contains("number 4: 1957747793"), "on Linux:\n{linux}");
    ensure!(linux == exo, "on Linux:\n{linux}\non Exo-Kernel:\n{exo}");
    Ok(())
}

/// A seed of 256 bits.
const KEY: &str = "0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// `my-app`'s options, and the first of the numbers that they give, or none if the generator takes no such thing.
type Line = (&'static str, Option<[u32; 3]>);

/// Longer seeds, stream numbers and seeking: a generator each machine. The numbers are those of a program in Python that has
/// nothing in common with the device.
const WIDE_SEEDS: [(&str, &[Line]); 3] = [
    (
        "pcg64",
        &[
            ("--seed 0x0123456789abcdef", Some([2_809_034_599, 3_215_087_541, 903_340_992])),
            (
                "--seed 0x0123456789abcdef --stream 7 --seek 5",
                Some([3_160_063_086, 37_012_582, 1_783_286_338]),
            ),
            ("--seed KEY", Some([303_284_566, 2_383_317_629, 3_910_099_483])),
            ("--seed KEY --stream 7", None),
        ],
    ),
    (
        "chacha20",
        &[
            ("--seed KEY", Some([2_100_034_873, 1_780_073_945, 1_996_733_837])),
            ("--seed KEY --stream 9 --seek 1000003", Some([3_839_071_782, 206_791_398, 1_187_086_462])),
        ],
    ),
    (
        "glibc",
        &[
            ("--seed 1", Some([1_804_289_383, 846_930_886, 1_681_692_777])),
            ("--seed 0x00000001", Some([1_804_289_383, 846_930_886, 1_681_692_777])),
            ("--seed 0x0123456789abcdef", None),
            ("--seed KEY", None),
            ("--seed 1 --stream 7", None),
            ("--seed 1 --seek 5", None),
        ],
    ),
];

pub(super) fn longer_seeds_give_the_same_numbers_on_both(both: &Both<'_>) -> anyhow::Result<()> {
    for (generator, lines) in WIDE_SEEDS {
        let mut script = String::new();
        let mut expected = String::new();
        for (options, numbers) in lines {
            let options = options.replace("KEY", KEY);
            // Two rounds, the second of which begins in the middle of what was fetched ahead for the first.
            script += &format!(
                "my-app --numbers 3 {options} 2> /tmp/error || grep -c 'takes no such' /tmp/error; "
            );
            for round in 0..2 {
                for (index, number) in numbers.iter().flatten().enumerate() {
                    expected += &format!("Round {round} number {index}: {number}\n");
                }
            }
            expected += if numbers.is_none() { "1\n" } else { "" };
        }
        for lab in [both.linux, &both.exo] {
            let config = Config { rng: 1, generator: Some(generator), ..lab.config() };
            let said = succeed(lab, &config, &script)?.stdout;
            let system = lab.parts.system.name();
            ensure!(said == expected, "{generator} on {system}:\n{said}\nexpected:\n{expected}");
        }
    }
    Ok(())
}

/// Programs that know nothing but the numbers of ioctls, and C's own headers.
pub(super) fn c_programs_find_both_devices(both: &Both<'_>) -> anyhow::Result<()> {
    c_program::procmons_c_program_passes(&both.exo)?;
    c_program::a_c_program_gets_the_same_numbers(&both.exo)
}

pub(super) fn my_rng_behaves_as_on_linux(both: &Both<'_>) -> anyhow::Result<()> {
    let config = Config { rng: 2, smp: 2, ..both.exo.config() };
    let skipped: String = ONLY_ON_LINUX.iter().map(|name| format!(" --skip {name}")).collect();
    pass(both, &config, &format!("my_rng::{skipped}"), MOST_OF_MY_RNG)
}

pub(super) fn the_kernels_own_random_numbers_are_fed(both: &Both<'_>) -> anyhow::Result<()> {
    let line =
        "until grep -q '^random_fed [1-9]' /proc/exo; do sleep 0.1; done; head -c 16 /dev/random | wc -c";
    let said = succeed(&both.exo, &Config { rng: 1, ..both.exo.config() }, line)?.stdout;
    ensure!(said == "16\n", "output: {said:?}");
    let said = succeed(&both.exo, &both.exo.config(), "grep '^random_fed' /proc/exo")?.stdout;
    ensure!(said == "random_fed 0\n", "without a device: {said:?}");
    Ok(())
}

/// The device process dies as by a crash, under load: every way of drawing gives an error, nothing hangs.
pub(super) fn a_killed_random_device_hangs_nobody(both: &Both<'_>) -> anyhow::Result<()> {
    let line = "guest-tests --draw-until-error /dev/my_rng0 && echo gone; my-app || echo refused; \
                head -c 16 /dev/urandom | wc -c";
    let config = Config { rng: 1, smp: 2, ..both.exo.config() };
    let mut machine =
        Machine::start(&both.exo.parts, &config, &["sh", "-c", line].map(str::to_owned), Output::Capture)?;
    machine.wait_for("drawing")?;
    machine.devices().kill()?;
    let outcome = machine.wait()?;
    let said = &outcome.captured.stdout;
    ensure!(
        outcome.status == 0 && said.contains("\ngone\n") && said.ends_with("refused\n16\n"),
        "status {}, output:\n{said}{}",
        outcome.status,
        outcome.captured.stderr
    );
    Ok(())
}

/// The random device and a network card are pulled out, the one under load: programs are told, the nodes and interfaces go.
pub(super) fn devices_can_be_unplugged_while_programs_use_them(both: &Both<'_>) -> anyhow::Result<()> {
    let card = [
        "-netdev",
        "user,id=net",
        "-device",
        "pcie-root-port,id=card-port,chassis=40,slot=40",
        "-device",
        "virtio-net-pci,netdev=net,bus=card-port,id=card",
    ];
    let config = Config {
        rng: 1,
        smp: 2,
        hotplug: true,
        qemu_args: card.map(str::to_owned).to_vec(),
        ..both.exo.config()
    };
    let line = "until grep -q 'eth0: *[1-9]' /proc/net/dev; do sleep 0.1; done; \
                guest-tests --draw-until-error /dev/my_rng0 && echo gone; \
                until ! grep -q eth0 /proc/net/dev; do sleep 0.1; done; ls /dev /sys/class/my_rng | grep my_rng; \
                head -c 16 /dev/urandom | wc -c";
    let command = ["sh", "-c", line].map(str::to_owned);
    let mut machine = Machine::start(&both.exo.parts, &config, &command, Output::Capture)?;
    machine.wait_for("drawing")?;
    let mut qmp = machine.qmp()?;
    for id in ["card", "rng0"] {
        qmp.execute("device_del", &serde_json::json!({ "id": id }))?;
        let unplugged = qmp.wait_for("DEVICE_DELETED");
        unplugged.with_context(|| format!("{id} stays; the machine said: {}", machine.stdout_so_far()))?;
    }
    let outcome = machine.wait()?;
    let said = &outcome.captured.stdout;
    ensure!(
        outcome.status == 0
            && said.contains("\ngone\n")
            && said.ends_with("16\n")
            && !said.contains("\nmy_rng"),
        "status {}, output:\n{said}{}",
        outcome.status,
        outcome.captured.stderr
    );
    Ok(())
}
