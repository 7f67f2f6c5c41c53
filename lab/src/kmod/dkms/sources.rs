// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which files a module is made from: all in its folder, those elsewhere that its last build has read, and those that its makefiles name.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

/// A source.
#[derive(Debug)]
pub(super) struct Source {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Where it goes, below the package's source folder.
    pub(super) inside: PathBuf,
    /// Whether it may be run.
    pub(super) executable: bool,
}

/// All sources of a module.
#[derive(Debug)]
pub(super) struct Sources {
    /// Sorted by where they go.
    pub(super) files: Vec<Source>,
    /// The folder of the module below the package's source folder; empty if it is the same.
    pub(super) module: PathBuf,
}

/// What builds, editors and version control leave in a module's folder.
const LEFT_BY_BUILDS: [&str; 8] = ["o", "ko", "mod", "cmd", "order", "symvers", "rmeta", "orig"];
const LEFT_BY_TOOLS: [&str; 4] = ["Module.symvers", "rust-project.json", "target", "Makefile.xen"];

/// The sources of the module in `module`, which was built in `out`; its makefiles name `named`. Files below `foreign` are not its own.
pub(super) fn find(
    module: &Path,
    out: &Path,
    named: BTreeSet<PathBuf>,
    foreign: &[PathBuf],
) -> anyhow::Result<Sources> {
    let mut paths = BTreeSet::new();
    collect(module, &mut paths)?;
    ensure!(!paths.is_empty(), "{} has no files", module.display());
    for path in read_by_build(out)?.into_iter().chain(named) {
        let is_foreign = !path.starts_with(module)
            && (foreign.iter().any(|place| path.starts_with(place)) || is_of_the_tools(&path));
        if !is_foreign && path.is_file() && !is_left(&path) {
            paths.insert(path);
        }
    }
    let outside: Vec<&PathBuf> = paths.iter().filter(|path| !path.starts_with(module)).collect();
    let mut top = module;
    while !outside.iter().all(|path| path.starts_with(top)) {
        top = top.parent().context("a path without a top")?;
    }
    if let (None, Some(first)) = (top.parent(), outside.first()) {
        bail!(
            "the module reads {}, which has no folder in common with {} but /: move one of them",
            first.display(),
            module.display()
        );
    }
    let mut files = Vec::new();
    for path in &paths {
        let inside = path.strip_prefix(top).context("a source outside of the package")?.to_path_buf();
        let text = inside.to_str().with_context(|| format!("the name {} is no UTF-8", inside.display()))?;
        ensure!(
            !text.contains(|c: char| c.is_whitespace() || c.is_control()),
            "the name {text:?} has white space, which Kbuild and dpkg's lists cannot have"
        );
        let mode =
            path.metadata().with_context(|| format!("cannot read {}", path.display()))?.permissions().mode();
        files.push(Source { path: path.clone(), inside, executable: mode & 0o111 != 0 });
    }
    let module = module.strip_prefix(top).context("the module is outside of the package")?.to_path_buf();
    Ok(Sources { files, module })
}

/// All files below `folder` that a person wrote.
fn collect(folder: &Path, paths: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if is_left(&path) {
            continue;
        }
        let kind = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
        if kind.is_dir() {
            ensure!(!path.is_symlink(), "{} is a link to a folder; a package has files only", path.display());
            collect(&path, paths)?;
        } else if kind.is_file() {
            paths.insert(path);
        } else {
            bail!("{} is neither a file nor a folder", path.display());
        }
    }
    Ok(())
}

/// Whether nobody wrote this file by hand.
fn is_left(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    name.starts_with('.')
        || name.ends_with('~')
        || name.ends_with(".mod.c")
        || LEFT_BY_TOOLS.contains(&&*name)
        || LEFT_BY_BUILDS.contains(&&*ending)
}

/// What comes with compilers.
fn is_of_the_tools(path: &Path) -> bool {
    ["/usr", "/lib", "/lib64", "/etc", "/proc", "/dev"].iter().any(|place| path.starts_with(place))
}

/// The absolute paths in the `.cmd` files in which Kbuild notes what each object was made from.
fn read_by_build(out: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::new();
    for entry in std::fs::read_dir(out).with_context(|| format!("cannot list {}", out.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", out.display()))?.path();
        if path.is_dir() && !path.is_symlink() {
            paths.extend(read_by_build(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "cmd") {
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            paths.extend(dependencies(&text));
        }
    }
    Ok(paths)
}

/// `source_X.o := PATH` and the lines of `deps_X.o := \`.
fn dependencies(text: &str) -> impl Iterator<Item = PathBuf> + '_ {
    let listed = text.lines().skip_while(|line| !line.starts_with("deps_")).skip(1);
    let listed = listed.take_while(|line| line.starts_with(' ')).flat_map(str::split_whitespace);
    let source = text.lines().filter_map(|line| line.strip_prefix("source_")?.split_once(" := ")?.1.into());
    listed.chain(source).filter(|word| word.starts_with('/')).map(|word| plain(Path::new(word)))
}

/// The path without `.` and `..`, as the compiler has taken them: names, not links.
fn plain(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                result.pop();
            }
            Component::CurDir => {}
            other => result.push(other),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("linux/hello/Kbuild", "obj-m := hello.o\n"),
            ("linux/hello/hello.rs", "//!\n"),
            ("linux/hello/hello.ko", "left"),
            ("linux/hello/.hello.ko.cmd", "left"),
            ("linux/hello/parts/part.rs", "//!\n"),
            ("abi/numbers.rs", "//!\n"),
            ("abi/unread.rs", "//!\n"),
            ("kernel/include/linux/kernel.h", ""),
        ] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn build_of(top: &Path, deps: &str) -> PathBuf {
        let out = top.join("out");
        std::fs::create_dir_all(&out).unwrap();
        let text = format!(
            "savedcmd_hello.o := rustc\n\nsource_hello.o := {0}/linux/hello/hello.rs\n\ndeps_hello.o := \\\n{deps}\nhello.o: $(deps_hello.o)\n",
            top.display()
        );
        std::fs::write(out.join(".hello.o.cmd"), text).unwrap();
        out
    }

    #[test]
    fn files_that_the_build_has_read_elsewhere_come_along() {
        let folder = sample();
        let top = folder.path();
        let deps = format!(
            "  {0}/linux/hello/../../abi/numbers.rs \\\n  {0}/kernel/include/linux/kernel.h \\\n  include/generated/x.h \\\n  /usr/include/stdio.h \\\n",
            top.display()
        );
        let out = build_of(top, &deps);
        let found = find(&top.join("linux/hello"), &out, BTreeSet::new(), &[top.join("kernel"), out.clone()])
            .unwrap();
        let names: Vec<_> = found.files.iter().map(|file| file.inside.to_str().unwrap()).collect();
        assert_eq!(
            names,
            ["abi/numbers.rs", "linux/hello/Kbuild", "linux/hello/hello.rs", "linux/hello/parts/part.rs"]
        );
        assert_eq!(found.module, Path::new("linux/hello"));
    }

    #[test]
    fn files_that_only_makefiles_name_come_along() {
        let folder = sample();
        let top = folder.path();
        let out = build_of(top, "");
        let named = ["abi/numbers.rs", "kernel/include/linux/kernel.h", "linux/hello/Kbuild"];
        let named = named.map(|name| top.join(name)).into();
        let found = find(&top.join("linux/hello"), &out, named, &[top.join("kernel"), out.clone()]).unwrap();
        let names: Vec<_> = found.files.iter().map(|file| file.inside.to_str().unwrap()).collect();
        assert_eq!(
            names,
            ["abi/numbers.rs", "linux/hello/Kbuild", "linux/hello/hello.rs", "linux/hello/parts/part.rs"]
        );
    }

    #[test]
    fn a_module_that_reads_nothing_else_is_the_package() {
        let folder = sample();
        let top = folder.path();
        let out = build_of(top, "");
        let found =
            find(&top.join("linux/hello"), &out, BTreeSet::new(), std::slice::from_ref(&out)).unwrap();
        assert_eq!(found.module, Path::new(""));
        assert_eq!(found.files.len(), 3);
    }

    #[test]
    fn names_with_spaces_and_links_to_folders_are_refused() {
        let folder = sample();
        let top = folder.path();
        let out = build_of(top, "");
        let module = top.join("linux/hello");
        std::fs::write(module.join("a b.rs"), "").unwrap();
        let error = find(&module, &out, BTreeSet::new(), &[]).unwrap_err().to_string();
        assert!(error.contains("\"a b.rs\" has white space"), "{error}");
        std::fs::remove_file(module.join("a b.rs")).unwrap();
        std::os::unix::fs::symlink(top.join("abi"), module.join("abi")).unwrap();
        let error = find(&module, &out, BTreeSet::new(), &[]).unwrap_err().to_string();
        assert!(error.contains("is a link to a folder"), "{error}");
    }
}
