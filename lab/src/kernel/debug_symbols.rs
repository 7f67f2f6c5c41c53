// SPDX-License-Identifier: MIT OR Apache-2.0
//! What debuggers need of a kernel of Debian's: its `vmlinux` with debug symbols, which Debian has in a package of their own (`linux-image-…-dbg`), and
//! the scripts by which gdb finds the kernel's modules and tasks, which are in the kernel's source.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{Kernel, Prepared, archive, archives};
use crate::context::{Context, remove_folder, write_whole};
use crate::lock::Lock;
use crate::process;
use crate::toolroot::Toolroot;
use crate::ui::Step;

/// The folder beside the kernel. It is moved there when it is whole.
const FOLDER: &str = "debug";
/// Unpacks one file of a package: most of it is the symbols of the kernel's own modules.
const UNPACK: &str = "dpkg-deb --fsys-tarfile ./*.deb | tar --extract --wildcards '*/vmlinux*'";
/// Debian's kernels are configured without the scripts, which leaves out the one file of them that depends on the configuration. This makes it as
/// `scripts/gdb/linux/Makefile` does, outside of the tree.
const CONSTANTS: &str = "always-y := constants.py
quiet_cmd_constants = GEN     $@
      cmd_constants = $(CPP) -E -x c -P $(c_flags) $< | sed '1,/<!-- end-c-headers -->/d' > $@
$(obj)/constants.py: $(srctree)/scripts/gdb/linux/constants.py.in FORCE
\t$(call if_changed_dep,constants)
";

/// The path of the kernel's `vmlinux`, downloaded if it is not there yet.
pub(super) fn get(context: &Context, toolroot: &Toolroot, kernel: &Kernel) -> anyhow::Result<PathBuf> {
    let folder = kernel.place.join(FOLDER);
    let vmlinux = folder.join("vmlinux");
    if vmlinux.is_file() {
        return Ok(vmlinux);
    }
    let _lock = Lock::take(&context.cache_lock("packages"), "downloads debug symbols")?;
    if vmlinux.is_file() {
        return Ok(vmlinux);
    }
    let partial = kernel.place.join(format!("partial-{FOLDER}"));
    remove_folder(&partial)?;
    std::fs::create_dir_all(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
    let series = &toolroot.definition().kernel;
    let archives = archives(context, toolroot, true)?;
    let (archive, _) = archive::find(toolroot, &archives, series, Some(&kernel.release))?;
    let title = format!("Downloading the debug symbols of Linux {}", kernel.release);
    let step = Step::new(&title, Some(Duration::from_secs(60)));
    let packages = [format!("linux-image-{}-dbg", kernel.release)];
    archive::download_packages(
        toolroot,
        archive,
        &packages,
        &Prepared::of(kernel)?.version,
        &partial,
        &step,
    )?;
    step.message("unpacking");
    process::run(toolroot.command("sh", &partial)?.args(["-c", UNPACK]), &step)?;
    let unpacked = partial.join(format!("usr/lib/debug/lib/modules/{}/vmlinux", kernel.release));
    if !unpacked.is_file() {
        bail!("{} has no {}", packages.concat(), unpacked.display());
    }
    let whole = partial.join("whole");
    add_scripts(toolroot, kernel, &partial.join("constants"), &whole, &step)?;
    std::fs::rename(&unpacked, whole.join("vmlinux")).context("cannot move the kernel's symbols")?;
    std::fs::rename(&whole, &folder).context("cannot move the kernel's symbols")?;
    remove_folder(&partial)?;
    step.done();
    Ok(vmlinux)
}

/// Puts the kernel's scripts where gdb looks for them when it is given a file `vmlinux`.
fn add_scripts(
    toolroot: &Toolroot,
    kernel: &Kernel,
    made: &Path,
    folder: &Path,
    step: &Step,
) -> anyhow::Result<()> {
    write_whole(&made.join("Kbuild"), CONSTANTS.as_bytes())?;
    let mut make = kernel.make(toolroot, &[made.to_path_buf()])?;
    process::run(make.arg(format!("M={}", made.display())).arg("modules"), step)?;
    let source =
        kernel.source().canonicalize().context("the kernel's source is missing")?.join("scripts/gdb");
    let scripts = folder.join("scripts/gdb/linux");
    std::fs::create_dir_all(&scripts).with_context(|| format!("cannot create {}", scripts.display()))?;
    let link = |from: &Path, to: &Path| {
        symlink(from, to).with_context(|| format!("cannot make the link {}", to.display()))
    };
    link(&source.join("vmlinux-gdb.py"), &folder.join("vmlinux-gdb.py"))?;
    for entry in
        std::fs::read_dir(source.join("linux")).context("the kernel's source has no scripts for gdb")?
    {
        let path = entry.context("cannot list the kernel's scripts for gdb")?.path();
        if let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|ending| ending == "py"))
        {
            link(&path, &scripts.join(name))?;
        }
    }
    std::fs::copy(made.join("constants.py"), scripts.join("constants.py"))
        .context("Kbuild made no constants for the kernel's scripts for gdb")?;
    Ok(())
}
