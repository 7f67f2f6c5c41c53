// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo exo test`: every test there is.

use std::num::NonZeroUsize;

use super::{Build, find_checked, prepare};
use crate::cli::TestArgs;
use crate::context::Context;
use crate::tests::{self, Report};

pub(super) fn run(context: &Context, args: &TestArgs) -> anyhow::Result<i32> {
    if args.list {
        for name in tests::names() {
            println!("{name}");
        }
        return Ok(0);
    }
    let smoke: Vec<String> = tests::SMOKE.iter().map(|name| (*name).to_owned()).collect();
    let mut report = Report::new(if args.smoke { &smoke } else { &args.filter });
    let jobs = args.jobs.map_or_else(tests::usual_jobs, NonZeroUsize::get);
    let lab = |parts, checked| tests::Lab { parts, accel: args.accel, checked, long: args.long, jobs };
    if args.series {
        let parts = prepare(context, Build::Stock)?;
        tests::series::run(&lab(parts, args.checked), &mut report)?;
        return Ok(report.finish());
    }
    if args.checked {
        if tests::exo::wants_checked(&report) {
            let parts = prepare(context, Build::Stock)?;
            tests::exo::run_checked(&lab(parts, false), &mut report)?;
        }
        if !report.wants_nothing_but(tests::exo::CHECKED) {
            let parts = prepare(context, Build::Checked)?;
            tests::checked::run(&lab(parts, true), &mut report)?;
        }
        return Ok(report.finish());
    }
    if args.dkms {
        let parts = prepare(context, Build::Stock)?;
        tests::dkms::run(&lab(parts, false), &mut report)?;
        return Ok(report.finish());
    }
    if args.smoke {
        let parts = prepare(context, Build::Stock)?;
        tests::run_in_machines(&lab(parts, false), None, &mut report)?;
        return Ok(report.finish());
    }
    if report.wants(tests::HOST) {
        tests::host::run(context, &mut report)?;
    }
    if report.wants(tests::host::PACKAGES) {
        tests::host::build_packages(context, &mut report)?;
    }
    if report.wants(tests::host::KERNEL) {
        tests::host::run_kernel(context, &mut report)?;
    }
    if report.may_want_machines() {
        let parts = prepare(context, Build::Stock)?;
        // The slow kernel has its machine beside those of the other tests.
        let checked = find_checked(context)?.map(|parts| lab(parts, true));
        if checked.is_none() && report.wants(tests::checked::INSIDE) {
            let why = "(the checked kernel is not built: cargo exo test --checked)";
            report.skip(tests::checked::INSIDE, why);
        }
        let slow = checked.map(|lab| tests::checked::start_quick(&lab, &report)).transpose()?.flatten();
        tests::run_in_machines(&lab(parts, false), slow, &mut report)?;
    }
    Ok(report.finish())
}
