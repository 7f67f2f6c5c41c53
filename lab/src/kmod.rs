// SPDX-License-Identifier: MIT OR Apache-2.0
//! Building out-of-tree Rust modules for a kernel of [`crate::kernel`].

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use crate::context::{Context, remove_folder};
use crate::diagnostics::{Diagnostics, MessageFormat, RUSTC_FLAGS};
use crate::kernel::Kernel;
use crate::lock::Lock;
use crate::process;
use crate::toolroot::Toolroot;
use crate::ui::Step;

/// The modules of this project that a machine loads, in load order.
pub(crate) const MODULES: [&str; 2] = ["my_rng", "procmon"];

/// Builds the module (or modules) of the folder `module` and returns the `.ko` files. Everything that is made lies in
/// this checkout's build folder, so the folder of the sources stays clean and may be anybody's. Only where somebody has
/// built in that folder before, by plain `make`, does Kbuild insist on building there again.
pub(crate) fn build(
    context: &Context,
    toolroot: &Toolroot,
    kernel: &Kernel,
    module: &Path,
    format: MessageFormat,
) -> anyhow::Result<Vec<PathBuf>> {
    let module = module.canonicalize().with_context(|| format!("there is no folder {}", module.display()))?;
    if !["Kbuild", "Makefile"].iter().any(|name| module.join(name).is_file()) {
        bail!(
            "{} has neither a Kbuild file nor a Makefile with obj-m, so there is no module to build",
            module.display()
        );
    }
    let in_place = module.join(BUILT).is_file();
    let out = if in_place { module.clone() } else { out_folder(context, kernel, &module)? };
    let _lock = Lock::take(&context.build_lock("modules"), "builds kernel modules")?;
    if format == MessageFormat::Json && !in_place {
        // An editor wants to know all there is to say; Kbuild tells nothing of what it need not compile again.
        remove_folder(&out)?;
    }
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;

    let name = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let step = Step::new(&format!("Building the module {name} for Linux {}", kernel.release), None);
    let mut make = kernel.make(toolroot, &[module.clone(), out.clone()])?;
    make.arg(format!("M={}", module.display()));
    if !in_place {
        make.arg(format!("MO={}", out.display()));
    }
    make.args([RUSTC_FLAGS, "--no-print-directory", "modules"]);
    let mut diagnostics = Diagnostics::default();
    let status = process::run_apart(&mut make, |line| step.message(line), |line| diagnostics.take(line))?;
    if status.success() {
        step.done();
    } else {
        drop(step);
    }
    diagnostics.print(format);
    if !status.success() {
        let why = if diagnostics.is_empty() { "; `-v` shows what make did" } else { "" };
        bail!("the module {name} does not build for Linux {}{why}", kernel.release);
    }

    let order = std::fs::read_to_string(out.join(BUILT)).context("Kbuild did not say what it built")?;
    let built: Vec<PathBuf> = order.lines().map(|object| out.join(object).with_extension("ko")).collect();
    if built.is_empty() {
        bail!("{} was built, but gave no .ko file: does its Kbuild set obj-m?", module.display());
    }
    Ok(built)
}

/// Kbuild's list of the modules that it built, as objects relative to the folder of the build.
const BUILT: &str = "modules.order";

/// This project's modules for a machine, in load order.
pub(crate) fn build_ours(
    context: &Context,
    toolroot: &Toolroot,
    kernel: &Kernel,
) -> anyhow::Result<Vec<PathBuf>> {
    let mut built = Vec::new();
    for folder in own_folders(context) {
        built.extend(build(context, toolroot, kernel, &folder, MessageFormat::Human)?);
    }
    Ok(built)
}

/// The folders of this project's modules, in load order.
pub(crate) fn own_folders(context: &Context) -> Vec<PathBuf> {
    MODULES.iter().map(|name| context.checkout.join("linux").join(name)).collect()
}

/// Where the folder `module` is built. Two folders of the same name must not share their objects, so those outside this
/// project get a mark.
pub(crate) fn out_folder(context: &Context, kernel: &Kernel, module: &Path) -> anyhow::Result<PathBuf> {
    let name =
        module.file_name().with_context(|| format!("{} is no folder of a module", module.display()))?;
    let folder = context.modules(&kernel.release);
    if module.parent() == Some(&context.checkout.join("linux")) {
        return Ok(folder.join(name));
    }
    let hash = Sha256::digest(module.as_os_str().as_encoded_bytes());
    let mark: String = hash.iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    Ok(folder.join(format!("{}-{mark}", name.to_string_lossy())))
}

/// What `modinfo` says of a module.
pub(crate) fn info(toolroot: &Toolroot, module: &Path) -> anyhow::Result<String> {
    let mut command: Command = toolroot.command("modinfo", Path::new("/"))?;
    process::output(command.arg(module))
}
