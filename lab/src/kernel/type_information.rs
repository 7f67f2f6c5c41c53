// SPDX-License-Identifier: MIT OR Apache-2.0
//! BTF, the type information that BPF programs and tracers find in modules. It is told in terms of the kernel's own, for which Debian's headers have
//! a `vmlinux` of nothing but that.

use anyhow::Context as _;

use super::Kernel;
use crate::context::write_whole;

/// Puts it where Kbuild looks for it, if it is not there yet.
pub(super) fn prepare(kernel: &Kernel) -> anyhow::Result<()> {
    let headers = kernel.place.join(format!("packages/usr/src/linux-headers-{}", kernel.release));
    let (from, to) = (headers.join("vmlinux"), kernel.build.join("vmlinux"));
    if to.is_file() || !from.is_file() {
        return Ok(());
    }
    let content = std::fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
    write_whole(&to, &content)
}
