// SPDX-License-Identifier: MIT OR Apache-2.0
//! BTF, the type information that BPF programs and tracers find in modules. It is told in terms of the kernel's own, which is in the kernel's
//! image; Debian's headers have no `vmlinux` for Kbuild to take it from.

use std::path::Path;

use anyhow::{Context as _, ensure};

use super::Kernel;
use crate::process;
use crate::toolroot::Toolroot;
use crate::ui::Step;

/// Unpacks the kernel's image into its build tree, where Kbuild looks for it, if it is not there yet.
pub(super) fn prepare(kernel: &Kernel, toolroot: &Toolroot) -> anyhow::Result<()> {
    let vmlinux = kernel.build.join("vmlinux");
    if vmlinux.is_file()
        || kernel.option("CONFIG_DEBUG_INFO_BTF_MODULES").is_none()
        || !kernel.image.is_file()
    {
        return Ok(());
    }
    let step = Step::new("Taking the type information out of the kernel's image", None);
    let script = kernel.source().join("scripts/extract-vmlinux");
    let place =
        tempfile::NamedTempFile::new_in(&kernel.build).context("cannot write in the kernel's tree")?;
    // The script writes to its stdout.
    let line = format!("exec sh {} {} > {}", quoted(&script)?, quoted(&kernel.image)?, quoted(place.path())?);
    process::run(toolroot.command("sh", &kernel.build)?.args(["-c", &line]), &step)?;
    let length = place.as_file().metadata().context("cannot look at the unpacked image")?.len();
    ensure!(length > 0, "scripts/extract-vmlinux found no kernel in {}", kernel.image.display());
    place.persist(&vmlinux).context("cannot keep the unpacked image")?;
    step.done();
    Ok(())
}

fn quoted(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().context("the kernel's folder is not text")?;
    Ok(shell_words::quote(text).into_owned())
}
