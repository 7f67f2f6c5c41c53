// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kernel tree of somebody's own, built with the tools of the tool tree or with the same versions of them.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::{Kernel, checked, prepare, symbols};
use crate::toolroot::Toolroot;

/// What a tree must have, and how one gets it.
const NEEDED: [(&str, &str); 4] = [
    ("include/config/auto.conf", "configure the kernel with CONFIG_RUST=y"),
    ("include/config/kernel.release", "run `make prepare` in it"),
    ("rust/libkernel.rmeta", "run `make prepare` in it, with CONFIG_RUST=y"),
    ("Module.symvers", "build the kernel: `make vmlinux modules`"),
];

/// The kernel of the tree `build`, which is only read.
pub(super) fn open(toolroot: &Toolroot, build: &Path) -> anyhow::Result<Kernel> {
    let build = build.canonicalize().with_context(|| format!("there is no folder {}", build.display()))?;
    check_complete(&build)?;
    let read = |name: &str| {
        std::fs::read_to_string(build.join(name))
            .with_context(|| format!("cannot read {name} in the kernel tree"))
    };
    let config = read("include/config/auto.conf")?;
    prepare::check_rust(toolroot, &config)?;
    symbols::verify(&build)
        .context("the tree's metadata is not that of its kernel: build the kernel again")?;
    let mut folders = vec![build.clone()];
    folders.extend(build.join("source").canonicalize());
    Ok(Kernel {
        release: read("include/config/kernel.release")?.trim().to_owned(),
        image: build.join("arch/x86/boot/bzImage"),
        modules: None,
        make_variables: vec![compiler(&config)?],
        boot_options: Vec::new(),
        folders,
        tools: None,
        place: build.clone(),
        build,
    })
}

fn check_complete(build: &Path) -> anyhow::Result<()> {
    for (name, remedy) in NEEDED {
        if !build.join(name).is_file() {
            bail!(
                "{} is no kernel tree to build Rust modules for: it has no {name}; {remedy}",
                build.display()
            );
        }
    }
    Ok(())
}

/// The variable that has make take the compiler that built the kernel.
fn compiler(config: &str) -> anyhow::Result<String> {
    if prepare::option(config, "CONFIG_CC_IS_CLANG") == Some("y") {
        return Ok(checked::LLVM.to_owned());
    }
    let text = prepare::option(config, "CONFIG_CC_VERSION_TEXT")
        .context("the tree does not say which compiler built it")?;
    Ok(format!("CC={}", text.split(' ').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tree_lacks_is_named_with_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let lacks = |folder: &Path| check_complete(folder).unwrap_err().to_string();
        assert!(lacks(folder.path()).contains("auto.conf; configure"));
        for (name, _) in NEEDED {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            assert!(lacks(folder.path()).contains(name), "{name}");
            std::fs::write(path, "").unwrap();
        }
        assert!(check_complete(folder.path()).is_ok());
    }

    #[test]
    fn the_compiler_is_the_kernels() {
        let gcc = "CONFIG_CC_VERSION_TEXT=\"x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0\"\n";
        assert_eq!(compiler(gcc).unwrap(), "CC=x86_64-linux-gnu-gcc-14");
        assert_eq!(compiler(&format!("CONFIG_CC_IS_CLANG=y\n{gcc}")).unwrap(), "LLVM=-19");
    }
}
