// SPDX-License-Identifier: MIT OR Apache-2.0
//! Modules for the stock kernel: ours, somebody else's, and those that must be refused.

use std::path::Path;

use anyhow::{Context as _, ensure};

use super::Lab;
use super::vm::shell;
use crate::kernel;
use crate::kmod::{self, Options};
use crate::machine::Config;
use crate::process::{self, output};
use crate::ui::Step;

/// One changed character in a symbol of `Module.symvers` stands for another kernel.
pub(super) fn symbols_of_another_kernel_are_refused(lab: &Lab) -> anyhow::Result<()> {
    let build = &lab.parts.linux()?.kernel.build;
    let equal = kernel::verify_symbols(build)?;
    ensure!(equal > 1000, "only {equal} symbols were compared");
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let symvers =
        std::fs::read_to_string(build.join("Module.symvers")).context("cannot read Module.symvers")?;
    let changed = symvers.replacen("\t_RNv", "\t_RNw", 1);
    ensure!(changed != symvers, "Module.symvers has no Rust symbol");
    std::fs::write(folder.path().join("Module.symvers"), changed).context("cannot write Module.symvers")?;
    std::os::unix::fs::symlink(build.join("rust"), folder.path().join("rust")).context("cannot link")?;
    let error =
        kernel::verify_symbols(folder.path()).err().context("another kernel's symbols were accepted")?;
    ensure!(error.to_string().contains("differ from the kernel's"), "the message was: {error:#}");
    Ok(())
}

/// A small module.
pub(super) const FOREIGN: &str = r#"// SPDX-License-Identifier: GPL-2.0
//! A module of somebody else.

use kernel::prelude::*;

module! {
    type: Foreign,
    name: "foreign",
    authors: ["Somebody Else"],
    description: "Greets",
    license: "GPL",
}

struct Foreign;

impl kernel::Module for Foreign {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("greetings from a foreign module\n");
        Ok(Foreign)
    }
}
"#;

pub(super) fn a_foreign_module_is_built_and_loads(lab: &Lab) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    std::fs::write(folder.path().join("foreign.rs"), FOREIGN).context("cannot write the module")?;
    std::fs::write(folder.path().join("Kbuild"), "obj-m := foreign.o\n")
        .context("cannot write the Kbuild file")?;
    let parts = &lab.parts;
    let built = kmod::build(
        &parts.context,
        &parts.toolroot,
        &parts.linux()?.kernel,
        folder.path(),
        Options::default(),
    )?;
    let left: Vec<_> = std::fs::read_dir(folder.path())?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(left.len() == 2, "the build left files among the sources: {left:?}");
    let config = Config { more_modules: built, rng: 0, load_modules: false, ..lab.config() };
    let (status, captured) =
        shell(lab, &config, "insmod /lib/modules/exo/foreign.ko && dmesg | grep -c 'foreign: greetings'")?;
    ensure!(
        status == 0 && captured.stdout == "1\n",
        "status {status}, {:?} {:?}",
        captured.stdout,
        captured.stderr
    );
    crate::context::remove_folder(&kmod::out_folder(
        &parts.context,
        &parts.linux()?.kernel,
        &folder.path().canonicalize()?,
    )?)
}

/// Two errors and a warning in one source, each with the place and the text that rustc points at.
pub(super) fn every_error_of_a_module_is_shown(lab: &Lab) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let wrong = FOREIGN.replace(
        "        Ok(Foreign)",
        "        let unused = 5;\n        let number: u32 = \"text\";\n        missing();\n        Ok(Foreign)",
    );
    std::fs::write(folder.path().join("wrong.rs"), wrong.replace("foreign", "wrong"))
        .context("cannot write the module")?;
    std::fs::write(folder.path().join("Kbuild"), "obj-m := wrong.o\n")
        .context("cannot write the Kbuild file")?;
    let context = &lab.parts.context;
    let build = |format: &str| -> anyhow::Result<std::process::Output> {
        let mut command =
            std::process::Command::new(std::env::current_exe().context("cannot find this program")?);
        command.current_dir(&context.checkout).args(["kmod", "--message-format", format, "--module"]);
        command.arg(folder.path()).output().context("cannot start this program")
    };
    let human = build("human")?;
    let text = String::from_utf8_lossy(&human.stderr);
    let place = format!("{}/wrong.rs:20:27", folder.path().display());
    for part in ["error[E0308]: mismatched types", &place, "error[E0425]: cannot find function `missing`"] {
        ensure!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    ensure!(!human.status.success() && !text.contains("make"), "make's own words are shown:\n{text}");
    let json = build("json")?;
    let said = String::from_utf8_lossy(&json.stdout);
    let errors = said.lines().map(serde_json::from_str::<serde_json::Value>).collect::<Result<Vec<_>, _>>();
    let codes: Vec<_> =
        errors.context("a line is no JSON")?.iter().map(|it| it["code"]["code"].clone()).collect();
    ensure!(codes.contains(&"E0308".into()) && codes.contains(&"E0425".into()), "the codes are {codes:?}");
    let kernel = &lab.parts.linux()?.kernel;
    crate::context::remove_folder(&kmod::out_folder(context, kernel, &folder.path().canonicalize()?)?)
}

/// What kernel people expect: `make -C linux/my_rng KDIR=<prepared tree>`, in a copy so that the checkout stays clean.
pub(super) fn plain_make_builds_my_rng(lab: &Lab) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let copy = folder.path();
    let step = Step::new("Copying the module's sources", None);
    for part in ["abi", "linux"] {
        process::run(
            std::process::Command::new("cp").arg("-r").arg(lab.parts.context.checkout.join(part)).arg(copy),
            &step,
        )?;
    }
    step.done();
    let mut make = lab.parts.toolroot.command("make", copy)?;
    output(
        make.args(["-C", "linux/my_rng"]).arg(format!("KDIR={}", lab.parts.linux()?.kernel.build.display())),
    )?;
    let module = copy.join("linux/my_rng/my_rng.ko");
    ensure!(module.is_file(), "plain make did not make my_rng.ko");
    let told = kmod::info(&lab.parts.toolroot, &module)?;
    ensure!(told.contains(&lab.parts.linux()?.kernel.release), "its vermagic is another kernel's:\n{told}");
    Ok(())
}

pub(super) fn modinfo_tells_what_the_module_is(lab: &Lab) -> anyhow::Result<()> {
    let module = lab
        .parts
        .linux()?
        .modules
        .iter()
        .find(|path| path.file_stem() == Path::new("my_rng").file_stem())
        .context("no my_rng.ko")?;
    let told = kmod::info(&lab.parts.toolroot, module)?;
    for field in ["author:", "description:", "license:", "version:", "pci:v00001234d0000CAFE"] {
        ensure!(told.contains(field), "modinfo shows no {field}:\n{told}");
    }
    Ok(())
}
