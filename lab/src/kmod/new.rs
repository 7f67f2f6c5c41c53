// SPDX-License-Identifier: MIT OR Apache-2.0
//! A new module to start from: it builds, loads, and has tests.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::cli::KmodKind;
use crate::context::Context;

/// A file of a template, under its name in the new folder; `NAME` in either stands for the module's.
type File = (&'static str, &'static str);

const COMMON: [File; 2] = [
    ("Makefile", include_str!("../../templates/kmod/Makefile")),
    (".gitignore", include_str!("../../templates/kmod/gitignore")),
];
const KBUILD: File = ("Kbuild", include_str!("../../templates/kmod/Kbuild"));
/// For modules that have another kernel's interfaces from [`COMPAT`].
const COMPAT_KBUILD: File = ("Kbuild", include_str!("../../templates/kmod/compat.Kbuild"));
const MISC: [File; 2] = [
    ("NAME.rs", include_str!("../../templates/kmod/misc.rs")),
    ("test.sh", include_str!("../../templates/kmod/misc.sh")),
];
const CHARDEV: [File; 2] = [
    ("NAME_main.rs", include_str!("../../templates/kmod/chardev.rs")),
    ("test.sh", include_str!("../../templates/kmod/chardev.sh")),
];
const PCI: [File; 2] = [
    ("NAME_main.rs", include_str!("../../templates/kmod/pci.rs")),
    ("test.sh", include_str!("../../templates/kmod/pci.sh")),
];
const PLATFORM: [File; 2] = [
    ("NAME_main.rs", include_str!("../../templates/kmod/platform.rs")),
    ("test.sh", include_str!("../../templates/kmod/platform.sh")),
];

/// What older kernels lack, in `linux`.
const COMPAT: &str = "compat";

/// The folders of `linux` that a module of that kind gets a copy of.
fn parts(kind: KmodKind) -> &'static [&'static str] {
    match kind {
        KmodKind::Misc => &[],
        KmodKind::Chardev => &["chardev", COMPAT],
        // The interfaces of buses change from one series to the next.
        KmodKind::Pci | KmodKind::Platform => &[COMPAT],
    }
}

/// The longest name: `MODULE_NAME_LEN` of `include/linux/moduleparam.h` is 64 bytes less an address, its final NUL included.
const LONGEST_NAME: usize = 55;
/// Names that Rust or the module's own source has taken.
const TAKEN: [&str; 54] = [
    "abstract", "alloc", "as", "async", "await", "become", "box", "break", "const", "continue", "core",
    "crate", "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in",
    "kernel", "let", "loop", "macro", "macros", "match", "mod", "move", "mut", "override", "priv", "pub",
    "ref", "return", "self", "static", "struct", "super", "tests", "trait", "true", "try", "type", "typeof",
    "unsafe", "use", "where", "while", "yield",
];

/// Makes the folder, which must not exist, with a module of that kind.
pub(crate) fn make(context: &Context, folder: &Path, kind: KmodKind) -> anyhow::Result<PathBuf> {
    let folder = std::path::absolute(folder).with_context(|| format!("{} is no path", folder.display()))?;
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    check_name(name)?;
    if folder.exists() {
        bail!("{} is there already; a new module gets a new folder", folder.display());
    }
    let files = match kind {
        KmodKind::Misc => MISC,
        KmodKind::Chardev => CHARDEV,
        KmodKind::Pci => PCI,
        KmodKind::Platform => PLATFORM,
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let kbuild = if parts(kind).contains(&COMPAT) { COMPAT_KBUILD } else { KBUILD };
    for (file, text) in COMMON.iter().chain([&kbuild]).chain(&files) {
        let path = folder.join(file.replace("NAME", name));
        std::fs::write(&path, filled(text, name))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    for part in parts(kind) {
        copy(&context.checkout.join("linux").join(part), &folder.join(part))?;
    }
    Ok(folder)
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || !name.chars().all(fine) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        bail!("{name:?} cannot be a module's name: use lower-case letters, digits and _, a letter first");
    }
    if name.len() > LONGEST_NAME {
        bail!("{name:?} is too long for a module's name: the kernel has room for {LONGEST_NAME} bytes");
    }
    if TAKEN.contains(&name) {
        bail!("{name:?} cannot be a module's name: Rust has a meaning for it");
    }
    Ok(())
}

/// The text of a template with the module's name, also as a type's.
fn filled(text: &str, name: &str) -> String {
    text.replace("@NAME@", name).replace("@TYPE@", &type_name(name))
}

/// `my_module` as `MyModule`.
fn type_name(name: &str) -> String {
    let parts = name.split('_').filter_map(|part| part.split_at_checked(1));
    parts.map(|(first, rest)| first.to_uppercase() + rest).collect()
}

/// Copies the sources of a folder, without those of its subfolders.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let source = entry.with_context(|| format!("cannot list {}", from.display()))?.path();
        if source.is_file() {
            let target = to.join(source.file_name().unwrap_or_default());
            std::fs::copy(&source, &target).with_context(|| format!("cannot copy {}", source.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_modules() {
        for fine in ["hello", "my_rng", "a1", "x_9"] {
            assert!(check_name(fine).is_ok(), "{fine}");
        }
        for wrong in ["", "Hello", "9p", "my-module", "_x", "kernel", "struct", "ä", &"a".repeat(56)] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn types_are_named_after_modules() {
        assert_eq!(type_name("hello"), "Hello");
        assert_eq!(type_name("my_first_9p"), "MyFirst9p");
    }

    #[test]
    fn templates_have_no_other_marks() {
        for (file, text) in COMMON
            .iter()
            .chain([&KBUILD, &COMPAT_KBUILD])
            .chain(&MISC)
            .chain(&CHARDEV)
            .chain(&PCI)
            .chain(&PLATFORM)
        {
            let filled = filled(text, "hello");
            let marks = filled.split('@').skip(1).filter(|word| word.chars().all(|c| c.is_ascii_uppercase()));
            assert_eq!(marks.filter(|word| !word.is_empty()).count(), 0, "{file}");
        }
    }
}
