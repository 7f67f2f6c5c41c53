// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signatures of modules: appended to the file by the kernel's own `scripts/sign-file`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::info;
use crate::kernel::Kernel;
use crate::process;
use crate::toolroot::Toolroot;
use crate::ui::Step;

/// What the kernel looks for at the end of a signed module (`MODULE_SIGNATURE_MARKER` of `include/linux/module_signature.h`).
const MARKER: &[u8] = b"~Module signature appended~\n";

/// Signs the modules in place with the private key `key` and its certificate `cert`.
pub(crate) fn sign(
    toolroot: &Toolroot,
    kernel: &Kernel,
    key: &Path,
    cert: &Path,
    files: &[PathBuf],
) -> anyhow::Result<()> {
    let hash = kernel.option("CONFIG_MODULE_SIG_HASH").with_context(|| {
        format!("Linux {} knows no signatures: CONFIG_MODULE_SIG is not set", kernel.release)
    })?;
    let tool = kernel.build.join("scripts/sign-file");
    ensure!(tool.is_file(), "the kernel's tree has no scripts/sign-file");
    let whole =
        |path: &Path| path.canonicalize().with_context(|| format!("there is no file {}", path.display()));
    let (key, cert) = (whole(key)?, whole(cert)?);
    for file in files {
        let file = whole(file)?;
        let content = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        ensure!(content.starts_with(b"\x7fELF"), "{} is no module: it is not an ELF file", file.display());
        if content.ends_with(MARKER) {
            bail!("{} is signed already: build it anew to sign it with another key", file.display());
        }
        let folders: Vec<PathBuf> =
            [&key, &cert, &file].iter().filter_map(|path| path.parent().map(Path::to_path_buf)).collect();
        let folder = file.parent().unwrap_or(Path::new("/"));
        let step = Step::new(&format!("Signing {}", file.display()), None);
        let mut command = kernel.tools(toolroot).command_with(&tool.to_string_lossy(), folder, &folders)?;
        process::run(command.arg(&hash).args([&key, &cert, &file]), &step)?;
        step.done();
        ensure!(
            info(toolroot, &file)?.lines().any(|line| line.starts_with("sig_id:")),
            "the kernel's sign-file ended well, but {} has no signature",
            file.display()
        );
    }
    Ok(())
}
