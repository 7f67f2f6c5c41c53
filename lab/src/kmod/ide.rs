// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rust-project.json`, by which rust-analyzer knows the kernel's crates, their configuration and their macros.
//!
//! The kernel's own script writes it inside the tool tree, where Rust's sources are in `/usr`; an editor is outside.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::{folder_of, name_of, out_folder};
use crate::context::{Context, write_whole};
use crate::kernel::Kernel;
use crate::lock::Lock;
use crate::process;
use crate::toolroot::Toolroot;
use crate::ui::Step;

const FILE: &str = "rust-project.json";

/// Writes the file into the module's folder and returns its path.
pub(crate) fn project(
    context: &Context,
    toolroot: &Toolroot,
    kernel: &Kernel,
    module: &Path,
) -> anyhow::Result<PathBuf> {
    let module = folder_of(module)?;
    let out = out_folder(context, kernel, &module)?;
    let _lock = Lock::take(&context.build_lock("modules"), "builds kernel modules")?;
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let step = Step::new(&format!("Describing the module {} for rust-analyzer", name_of(&module)), None);
    let mut make = kernel.make(toolroot, &[module.clone(), out.clone()])?;
    make.arg(format!("M={}", module.display())).arg(format!("MO={}", out.display()));
    process::run(make.arg("rust-analyzer"), &step)?;
    let written = out.join(FILE);
    let text = std::fs::read(&written).context("the kernel's script wrote no rust-project.json")?;
    std::fs::remove_file(&written).context("cannot remove the first rust-project.json")?;
    let mut project: Value = serde_json::from_slice(&text).context("rust-project.json is no JSON")?;
    outside(&mut project, kernel.tools(toolroot).path());
    let is_there = |krate: &Value| Path::new(krate["root_module"].as_str().unwrap_or_default()).is_file();
    let crates = project["crates"].as_array().context("rust-project.json lists no crates")?;
    if let Some(missing) = crates.iter().find(|krate| !is_there(krate)) {
        anyhow::bail!("rust-project.json names a crate that is not there: {}", missing["root_module"]);
    }
    let own = |krate: &&Value| {
        krate["root_module"].as_str().is_some_and(|root| Path::new(root).starts_with(&module))
    };
    ensure!(
        crates.iter().any(|krate| own(&krate)),
        "{} has no Rust source that its Kbuild names",
        module.display()
    );
    let path = module.join(FILE);
    write_whole(&path, format!("{project:#}\n").as_bytes())?;
    step.done();
    Ok(path)
}

/// Turns paths of the tool tree into those outside of it. Everything else has the same path inside and outside.
fn outside(value: &mut Value, tree: &Path) {
    match value {
        Value::String(text) if text == "/usr" || text.starts_with("/usr/") => {
            *text = format!("{}{text}", tree.display())
        }
        Value::Array(values) => values.iter_mut().for_each(|value| outside(value, tree)),
        Value::Object(values) => values.values_mut().for_each(|value| outside(value, tree)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_tool_tree_are_seen_from_outside() {
        let mut project = serde_json::json!({
            "sysroot": "/usr",
            "sysroot_src": "/usr/lib/x",
            "crates": [{"root_module": "/usr/src/core/lib.rs"}, {"root_module": "/home/me/hello.rs"}],
        });
        outside(&mut project, Path::new("/cache/tree"));
        assert_eq!(project["crates"][0]["root_module"], "/cache/tree/usr/src/core/lib.rs");
        assert_eq!(project["crates"][1]["root_module"], "/home/me/hello.rs");
        assert_eq!(project["sysroot"], "/cache/tree/usr");
        assert_eq!(project["sysroot_src"], "/cache/tree/usr/lib/x");
    }
}
