// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is mounted.

use core::fmt::Write;

use super::process::Subject;
use crate::fs::mount;

pub(super) fn mounts(_of: &Subject, out: &mut dyn Write) -> core::fmt::Result {
    for mount in mount::list() {
        let (source, target, kind) =
            (mount.source.utf8_chunks(), mount.target.utf8_chunks(), mount.kind.utf8_chunks());
        for field in [source, target, kind] {
            field.into_iter().try_for_each(|chunk| out.write_str(chunk.valid()))?;
            out.write_char(' ')?;
        }
        out.write_str("rw 0 0\n")?;
    }
    Ok(())
}
