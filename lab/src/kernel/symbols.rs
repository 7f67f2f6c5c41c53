// SPDX-License-Identifier: MIT OR Apache-2.0
//! Do the regenerated Rust crates fit the running kernel? Their exported symbols must be its own: rustc mangles into each name the crate's
//! identity, a hash of its name and of the compiler's exact version, and the item's path and types. Equal names say that compiler, items and
//! signatures are the same; that C's structures have the same layout follows from the same source and configuration, which
//! [`prepare`](super::prepare) insists on.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, bail};

/// Compares what the regenerated crates export (`rust/exports_*_generated.h`) with what the kernel exports
/// (`Module.symvers`), both ways. Returns how many symbols are equal.
pub(super) fn verify(build: &Path) -> anyhow::Result<usize> {
    let symvers =
        std::fs::read_to_string(build.join("Module.symvers")).context("cannot read Module.symvers")?;
    let mut headers = String::new();
    for entry in std::fs::read_dir(build.join("rust")).context("the tree has no rust folder")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("exports_") && name.ends_with("_generated.h") {
            headers +=
                &std::fs::read_to_string(entry.path()).with_context(|| format!("cannot read {name}"))?;
        }
    }
    compare(&exported_by_the_kernel(&symvers), &regenerated(&headers))
}

/// `EXPORT_SYMBOL_RUST_GPL(name);` lines.
fn regenerated(headers: &str) -> BTreeSet<&str> {
    headers
        .lines()
        .filter_map(|line| line.strip_prefix("EXPORT_SYMBOL_RUST_GPL(")?.split(')').next())
        .collect()
}

/// The symbols of the image itself that are Rust's: mangled names and the helpers of `rust/helpers`.
fn exported_by_the_kernel(symvers: &str) -> BTreeSet<&str> {
    symvers
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('\t');
            let (_crc, name, module) = (fields.next()?, fields.next()?, fields.next()?);
            (module == "vmlinux" && (name.starts_with("_R") || name.starts_with("rust_helper_")))
                .then_some(name)
        })
        .collect()
}

fn compare(kernel: &BTreeSet<&str>, ours: &BTreeSet<&str>) -> anyhow::Result<usize> {
    let equal = kernel.intersection(ours).count();
    if equal == 0 {
        bail!("none of the {} regenerated Rust symbols is exported by the kernel", ours.len());
    }
    // Some names come from C headers through bindgen and are not mangled; only Rust's own must agree both ways.
    let mangled = |name: &&&str| name.starts_with("_R") || name.starts_with("rust_helper_");
    let only_ours: Vec<_> = ours.difference(kernel).filter(mangled).collect();
    let only_kernel: Vec<_> = kernel.difference(ours).collect();
    if let Some(example) = only_ours.first().or(only_kernel.first()) {
        bail!(
            "the regenerated Rust crates differ from the kernel's: {equal} symbols are equal, {} are only in ours, \
             {} only in the kernel, for example {example}; source, configuration or rustc are not those of this kernel",
            only_ours.len(),
            only_kernel.len()
        );
    }
    Ok(equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYMVERS: &str = "0x00000000\t_RNvCsabc_6kernel3foo\tvmlinux\tEXPORT_SYMBOL_GPL\t\n\
                           0x00000000\trust_helper_mutex_lock\tvmlinux\tEXPORT_SYMBOL_GPL\t\n\
                           0x00000000\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n\
                           0x00000000\t_RNvCsxyz_4nova3bar\tdrivers/gpu/nova\tEXPORT_SYMBOL_GPL\t\n";
    const HEADERS: &str =
        "EXPORT_SYMBOL_RUST_GPL(_RNvCsabc_6kernel3foo);\nEXPORT_SYMBOL_RUST_GPL(rust_helper_mutex_lock);\n";

    fn verify_texts(symvers: &str, headers: &str) -> anyhow::Result<usize> {
        compare(&exported_by_the_kernel(symvers), &regenerated(headers))
    }

    #[test]
    fn equal_symbols_are_counted() {
        assert_eq!(verify_texts(SYMVERS, HEADERS).unwrap(), 2);
    }

    #[test]
    fn another_hash_is_refused() {
        let error = verify_texts(SYMVERS, &HEADERS.replace("Csabc", "Csabd")).unwrap_err().to_string();
        assert!(error.contains("1 are only in ours") && error.contains("_RNvCsabd_6kernel3foo"), "{error}");
    }

    #[test]
    fn a_symbol_that_is_missing_in_ours_is_refused() {
        let fewer = HEADERS.lines().next().unwrap();
        assert!(verify_texts(SYMVERS, fewer).is_err());
        assert!(verify_texts(SYMVERS, "").is_err());
    }
}
