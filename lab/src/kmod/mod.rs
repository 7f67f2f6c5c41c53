// SPDX-License-Identifier: MIT OR Apache-2.0
//! Out-of-tree Rust modules for a kernel of [`crate::kernel`]: making a new one, building, checking, testing, documenting and signing
//! it.

pub(crate) mod check;
mod compilations;
pub(crate) mod dkms;
pub(crate) mod doc;
mod doctests;
pub(crate) mod ide;
mod kbuild;
pub(crate) mod new;
pub(crate) mod sign;
pub(crate) mod unit_tests;

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

/// How a module is built.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options<'a> {
    /// How diagnostics are shown.
    pub(crate) format: MessageFormat,
    /// Variables for make, such as `MEI=y`.
    pub(crate) variables: &'a [String],
    /// Whether objects go beside the sources, where some modules look for sources that their Kbuild generates.
    pub(crate) in_place: bool,
    /// Whether clippy looks at it in place of rustc, with the kernel's lints.
    pub(crate) clippy: bool,
}

/// Builds the module (or modules) of the folder `module` and returns the `.ko` files. Everything that is made lies in
/// this checkout's build folder, so the folder of the sources stays clean and may be anybody's. Only where that is asked for, or where somebody
/// has built in that folder before, by plain `make`, does Kbuild build there.
pub(crate) fn build(
    context: &Context,
    toolroot: &Toolroot,
    kernel: &Kernel,
    module: &Path,
    options: Options<'_>,
) -> anyhow::Result<Vec<PathBuf>> {
    let module = folder_of(module)?;
    let mut out = if options.in_place { module.clone() } else { built_in(context, kernel, &module)? };
    let in_place = out == module;
    if options.clippy {
        // It makes no code, and must not pass for a build.
        out = context.modules(&kernel.release).join(format!("clippy-{}", name_of(&module)));
    }
    let _lock = Lock::take(&context.build_lock("modules"), "builds kernel modules")?;
    if options.clippy || (options.format == MessageFormat::Json && !in_place) {
        // Whoever asks wants to know all there is to say; Kbuild tells nothing of what it need not compile again.
        remove_folder(&out)?;
    }
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;

    kernel.prepare_type_information()?;
    let name = name_of(&module);
    let doing = if options.clippy { "Checking" } else { "Building" };
    let step = Step::new(&format!("{doing} the module {name} for Linux {}", kernel.release), None);
    let mut make = kernel.make(toolroot, &[module.clone(), out.clone()])?;
    make.arg(format!("M={}", module.display()));
    if out != module {
        make.arg(format!("MO={}", out.display()));
    }
    if options.clippy {
        make.arg("CLIPPY=1");
    }
    make.args(options.variables).args([RUSTC_FLAGS, "--no-print-directory", "modules"]);
    let mut diagnostics = Diagnostics::default();
    let status = process::run_apart(&mut make, |line| step.message(line), |line| diagnostics.take(line))?;
    if status.success() {
        step.done();
    } else {
        drop(step);
    }
    diagnostics.print(options.format);
    if !status.success() {
        let why = if diagnostics.is_empty() { "; `-v` shows what make did" } else { "" };
        bail!("the module {name} does not build for Linux {}{why}", kernel.release);
    }
    if options.clippy {
        remove_folder(&out)?;
        if !diagnostics.is_empty() {
            bail!("clippy has something to say of the module {name}: see above");
        }
        return Ok(Vec::new());
    }

    let order = std::fs::read_to_string(out.join(BUILT)).context("Kbuild did not say what it built")?;
    let built: Vec<PathBuf> = order.lines().map(|object| out.join(object).with_extension("ko")).collect();
    if built.is_empty() {
        bail!("{} was built, but gave no .ko file: does its Kbuild set obj-m?", module.display());
    }
    Ok(built)
}

/// The folder of a module as an absolute path, if there is something to build in it.
fn folder_of(module: &Path) -> anyhow::Result<PathBuf> {
    let module = module.canonicalize().with_context(|| format!("there is no folder {}", module.display()))?;
    if !["Kbuild", "Makefile"].iter().any(|name| module.join(name).is_file()) {
        bail!(
            "{} has neither a Kbuild file nor a Makefile with obj-m, so there is no module to build",
            module.display()
        );
    }
    Ok(module)
}

/// The last part of the folder's name.
fn name_of(module: &Path) -> String {
    module.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Checks what is to be a variable for make: another word would be a target or an option of it.
pub(crate) fn check_variables(words: &[String]) -> anyhow::Result<()> {
    for word in words {
        let name = word.split_once('=').map(|(name, _)| name).unwrap_or_default();
        let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty()
            || !name.chars().all(is_letter)
            || name.starts_with(|c: char| !c.is_ascii_alphabetic())
        {
            bail!("{word:?} is no variable for make; expected NAME=VALUE, such as CONFIG_HELLO=y");
        }
    }
    Ok(())
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
        built.extend(build(context, toolroot, kernel, &folder, Options::default())?);
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

/// Where the folder `module` is built if nobody asks for another place: where somebody has built it before, or else outside of it.
fn built_in(context: &Context, kernel: &Kernel, module: &Path) -> anyhow::Result<PathBuf> {
    if module.join(BUILT).is_file() {
        return Ok(module.to_path_buf());
    }
    out_folder(context, kernel, module)
}

/// What `modinfo` says of a module.
pub(crate) fn info(toolroot: &Toolroot, module: &Path) -> anyhow::Result<String> {
    let mut command: Command = toolroot.command("modinfo", Path::new("/"))?;
    process::output(command.arg(module))
}

#[cfg(test)]
mod tests {
    use super::check_variables;

    #[test]
    fn words_for_make_are_variables() {
        assert!(check_variables(&["MEI=y".into(), "EXTRA_CFLAGS=-O2 -g".into(), "X=".into()]).is_ok());
        for wrong in ["clean", "-j8", "=y", "--eval=x", "1A=y", "A B=c"] {
            let error = check_variables(&[wrong.to_owned()]).unwrap_err().to_string();
            assert!(error.contains("NAME=VALUE"), "{wrong}: {error}");
        }
    }
}
