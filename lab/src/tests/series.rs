// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo exo test --series`: new modules, the examples and this project's modules, from the same sources, on the other kernels that Debian has:
//! those of the series in `lab/toolroot.toml`, that of Debian's next release, and the release candidate in experimental. With `--checked`,
//! the series that have one are tested on the checked kernel.

use super::{Lab, Report, inside, module_life};
use crate::interrupt;
use crate::kernel::{Choice, Kernel, Other, checked, others};
use crate::kmod;
use crate::machine::{Linux, Parts, System};

/// The group of these tests.
pub(crate) const SERIES: &str = "series";

/// Runs them for each kernel in turn; `usual` is what machines with the usual kernel start from.
pub(crate) fn run(usual: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let Parts { context, toolroot, .. } = &usual.parts;
    for other in others(context, toolroot, usual.checked)? {
        let mut lane = Lane { other, report };
        let Some(lab) = lane.prepare(usual)? else { continue };
        lane.case("new_modules_pass_their_tests", || module_life::new_modules_pass_their_tests(&lab))?;
        lane.case("examples_pass_their_tests", || module_life::examples_pass_their_tests(&lab))?;
        lane.case("a_foreign_module_is_built_and_loads", || {
            super::kmod::a_foreign_module_is_built_and_loads(&lab)
        })?;
        lane.our_modules(lab)?;
    }
    Ok(())
}

/// The tests of one kernel.
struct Lane<'a> {
    other: Other,
    report: &'a mut Report,
}

impl Lane<'_> {
    fn name(&self, test: &str) -> String {
        format!("{SERIES}::{}::{test}", self.other.name)
    }

    /// Runs one test if it was asked for. What fails on a release candidate is told and is no failure: it says what will have to change.
    fn case(&mut self, test: &str, run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let name = self.name(test);
        if self.report.wants(&name) { self.run(&name, run) } else { Ok(()) }
    }

    fn run(&mut self, name: &str, run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        if !self.other.may_fail {
            return self.report.case(name, run);
        }
        let result = run();
        interrupt::check()?;
        match result {
            Ok(()) => self.report.pass(name, None),
            Err(error) => self.report.skip(name, &format!("(a release candidate: {error:#})")),
        }
        Ok(())
    }

    /// Gets the kernel: its Rust metadata is made, and its symbols are compared. None if that failed, or nothing of this kernel was asked for.
    fn prepare(&mut self, usual: &Lab) -> anyhow::Result<Option<Lab>> {
        if !self.report.may_want(SERIES, &self.name("")) {
            return Ok(None);
        }
        let mut found = None;
        let Parts { context, toolroot, .. } = &usual.parts;
        let release = std::mem::replace(&mut self.other.release, Ok(String::new()));
        let name = self.name("the_rust_metadata_fits");
        self.run(&name, || {
            let stock = Kernel::stock(context, toolroot, Choice::Release(&release?))?;
            found = Some(if usual.checked { checked::get(context, toolroot, &stock)? } else { stock });
            Ok(())
        })?;
        Ok(found.map(|kernel| with_kernel(usual, Linux { kernel, modules: Vec::new() })))
    }

    /// `my_rng` and `procmon`, with the tests that run inside machines.
    fn our_modules(&mut self, lab: Lab) -> anyhow::Result<()> {
        let mut modules = None;
        let Parts { context, toolroot, .. } = &lab.parts;
        let kernel = lab.parts.linux()?.kernel.clone();
        self.case("our_modules_build", || {
            modules = Some(kmod::build_ours(context, toolroot, &kernel)?);
            Ok(())
        })?;
        let Some(modules) = modules else { return Ok(()) };
        let group = self.name("inside");
        inside::run(&with_kernel(&lab, Linux { kernel, modules }), self.report, &group)?;
        if self.other.may_fail {
            self.report.excuse(&group);
        }
        Ok(())
    }
}

fn with_kernel(lab: &Lab, linux: Linux) -> Lab {
    Lab {
        parts: Parts { system: System::Linux(linux), ..lab.parts.clone() },
        accel: lab.accel,
        checked: lab.checked,
        long: lab.long,
        jobs: lab.jobs,
    }
}
