// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo exo kmod`: modules for a Debian kernel.

use std::path::PathBuf;

use anyhow::ensure;

use super::{System, with_programs};
use crate::cli::{KmodArgs, KmodBuildArgs, KmodKernelArgs, KmodModulesArgs, KmodStep};
use crate::context::Context;
use crate::kernel::{Choice, Kernel, checked};
use crate::kmod::{self, Options, check, check_variables, dkms, doc, ide, new, sign, unit_tests};
use crate::machine::{CHECKED_MEMORY, Config, Linux};
use crate::toolroot::Toolroot;
use crate::ui;

pub(super) fn run(context: &Context, args: &KmodArgs) -> anyhow::Result<i32> {
    match &args.step {
        None => build(context, &args.build)?,
        Some(KmodStep::New(args)) => {
            let folder = new::make(context, &args.folder, args.kind)?;
            println!("{}", folder.display());
            ui::note(&format!(
                "`cargo exo kmod test {}` builds it and runs its tests",
                args.folder.display()
            ));
        }
        Some(KmodStep::Check(args)) => {
            let (toolroot, kernel) = get(context, args)?;
            for module in folders(context, args) {
                check::check(context, &toolroot, &kernel, &module, &args.variables)?;
            }
        }
        Some(KmodStep::Test(args)) => test(context, args)?,
        Some(KmodStep::Doc(args)) => {
            let (toolroot, kernel) = get(context, args)?;
            for module in folders(context, args) {
                for page in doc::document(context, &toolroot, &kernel, &module, &args.variables)? {
                    println!("{}", page.display());
                }
            }
        }
        Some(KmodStep::Ide(args)) => {
            let (toolroot, kernel) = get(context, args)?;
            for module in folders(context, args) {
                println!("{}", ide::project(context, &toolroot, &kernel, &module)?.display());
            }
        }
        Some(KmodStep::Dkms(args)) => {
            check_variables(&args.variables)?;
            let choice = choice(&args.kernel)?;
            let toolroot = Toolroot::get(context)?;
            let kernel = Kernel::stock(context, &toolroot, choice)?;
            println!("{}", dkms::package(context, &toolroot, &kernel, args)?.display());
        }
        Some(KmodStep::Sign(args)) => {
            let toolroot = Toolroot::get(context)?;
            let kernel = Kernel::stock(context, &toolroot, choice(&args.kernel)?)?;
            sign::sign(&toolroot, &kernel, &args.key, &args.cert, &args.files)?;
        }
    }
    Ok(0)
}

fn choice(args: &KmodKernelArgs) -> anyhow::Result<Choice<'_>> {
    if args.update { Ok(Choice::Refreshed) } else { Choice::of(args.kernel_release.as_deref()) }
}

/// The tools and the kernel that a step of modules needs.
fn get(context: &Context, args: &KmodModulesArgs) -> anyhow::Result<(Toolroot, Kernel)> {
    check_variables(&args.variables)?;
    let choice = choice(&args.kernel)?;
    let toolroot = Toolroot::get(context)?;
    let kernel = Kernel::stock(context, &toolroot, choice)?;
    Ok((toolroot, kernel))
}

fn folders(context: &Context, args: &KmodModulesArgs) -> Vec<PathBuf> {
    if args.modules.is_empty() { kmod::own_folders(context) } else { args.modules.clone() }
}

fn build(context: &Context, args: &KmodBuildArgs) -> anyhow::Result<()> {
    check_variables(&args.variables)?;
    let choice = choice(&args.kernel)?;
    if let Some(Some(tree)) = &args.kdir {
        ensure!(
            matches!(choice, Choice::Newest),
            "--kdir {}: that tree's kernel is built for, so --kernel-release and --update have no meaning",
            tree.display()
        );
    }
    let toolroot = Toolroot::get(context)?;
    let kernel = match &args.kdir {
        Some(Some(tree)) => Kernel::of_tree(&toolroot, tree)?,
        _ => Kernel::stock(context, &toolroot, choice)?,
    };
    if args.kdir == Some(None) {
        println!("{}", kernel.build.display());
        return Ok(());
    }
    let modules = if args.modules.is_empty() { kmod::own_folders(context) } else { args.modules.clone() };
    let options = Options {
        format: args.message_format,
        variables: &args.variables,
        in_place: args.in_place,
        ..Options::default()
    };
    let mut built = Vec::new();
    for module in &modules {
        built.extend(kmod::build(context, &toolroot, &kernel, module, options)?);
    }
    if args.debug_info {
        built.push(kernel.debug_symbols(context, &toolroot)?);
    }
    for path in built {
        println!("{}", path.display());
    }
    Ok(())
}

fn test(context: &Context, args: &KmodModulesArgs) -> anyhow::Result<()> {
    let (toolroot, stock) = get(context, args)?;
    let kernel = checked::get(context, &toolroot, &stock)?;
    let parts = with_programs(context, toolroot, System::Linux(Linux { kernel, modules: Vec::new() }))?;
    let config = Config { memory: CHECKED_MEMORY, rng: 0, final_check: true, ..Config::default() };
    for module in folders(context, args) {
        unit_tests::test(context, &parts, &config, &module, &args.variables, |line| println!("{line}"))?;
    }
    Ok(())
}
