// SPDX-License-Identifier: MIT OR Apache-2.0
//! The crates of `kernel/` and their floors: each crate uses those of its own floor and of floors below, never one above.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

/// A floor, and the packages on it: whole names, or with `*` at the end, beginnings.
pub(crate) struct Floor {
    /// What it is called.
    pub(crate) name: &'static str,
    packages: &'static [&'static str],
}

/// From the lowest. A new crate gets its place here.
pub(crate) const FLOORS: &[Floor] = &[
    Floor { name: "pure", packages: &["exo-logic", "exo-ext4"] },
    Floor { name: "queues", packages: &["exo-queue"] },
    Floor { name: "the machine", packages: &["exo-hal"] },
    Floor { name: "what drivers need", packages: &["exo-platform"] },
    Floor { name: "drivers", packages: &["exo-drivers"] },
    Floor { name: "the core", packages: &["exo-core"] },
    Floor { name: "memory", packages: &["exo-mm"] },
    Floor { name: "names and files", packages: &["exo-vfs"] },
    Floor { name: "the network", packages: &["exo-net"] },
    Floor { name: "programs", packages: &["exo-process"] },
    Floor { name: "file systems", packages: &["exo-fs", "exo-fs-*"] },
    Floor { name: "built on files", packages: &["exo-io", "exo-io-*"] },
    Floor { name: "the calls", packages: &["exo-syscall"] },
    Floor { name: "the kernel", packages: &["exo-kernel"] },
];

/// Packages of the workspace that are not in the kernel: tools for the host, and the machine that tests run on there, with its programs.
const TOOLS: &[&str] = &["exo-hal-fake", "exo-symbols", "exo-test-support"];

impl Floor {
    fn has(&self, package: &str) -> bool {
        self.packages.iter().any(|name| match name.strip_suffix('*') {
            Some(beginning) => package.starts_with(beginning),
            None => package == *name,
        })
    }
}

/// A crate of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    /// The index of its floor in [`FLOORS`].
    pub(crate) floor: usize,
    /// The package's name.
    pub(crate) name: String,
    /// The crates of the kernel that it depends on.
    pub(crate) uses: Vec<String>,
    /// The same for its tests and its build alone.
    pub(crate) uses_for_tests: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// None for a usual one, "dev" or "build".
    kind: Option<String>,
}

/// The crates of the workspace in this folder, from the lowest floor to the highest, as `cargo metadata` has them.
pub(crate) fn members(workspace: &Path) -> anyhow::Result<Vec<Member>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"]);
    let output = command.arg(workspace.join("Cargo.toml")).output().context("cargo cannot be started")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("what cargo metadata says")?;
    on_floors(metadata.packages)
}

fn on_floors(packages: Vec<Package>) -> anyhow::Result<Vec<Member>> {
    let is_tool = |name: &str| TOOLS.contains(&name);
    let names: Vec<String> =
        packages.iter().map(|package| package.name.clone()).filter(|name| !is_tool(name)).collect();
    let mut members = Vec::new();
    for Package { name, dependencies } in packages {
        if is_tool(&name) {
            continue;
        }
        let Some(floor) = FLOORS.iter().position(|floor| floor.has(&name)) else {
            bail!("{name} has no floor: give it one in apps/kernel-map/src/floors.rs");
        };
        let of_kind = |is_wanted: fn(&Option<String>) -> bool| {
            let wanted = dependencies.iter().filter(|it| is_wanted(&it.kind) && names.contains(&it.name));
            let mut found: Vec<String> = wanted.map(|it| it.name.clone()).collect();
            found.sort();
            found.dedup();
            found
        };
        let (uses, uses_for_tests) = (of_kind(Option::is_none), of_kind(Option::is_some));
        members.push(Member { floor, name, uses, uses_for_tests });
    }
    members.sort();
    Ok(members)
}

/// Each arrow that points up, in words.
pub(crate) fn arrows_up(members: &[Member]) -> Vec<String> {
    let mut found = Vec::new();
    for member in members {
        for used in member.uses.iter().chain(&member.uses_for_tests) {
            let above = members.iter().find(|other| other.name == *used && other.floor > member.floor);
            if let Some(above) = above {
                let [lower, upper] = [member.floor, above.floor].map(|floor| FLOORS[floor].name);
                found.push(format!("{} ({lower}) depends on {used} ({upper})", member.name));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace of these packages, each with the section of its dependency on another one.
    fn planted(packages: &[(&str, &str)]) -> anyhow::Result<Vec<Member>> {
        let folder = tempfile::tempdir()?;
        let members: Vec<_> = packages.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let manifest = format!("[workspace]\nresolver = \"3\"\nmembers = [{}]\n", members.join(", "));
        std::fs::write(folder.path().join("Cargo.toml"), manifest)?;
        for (name, dependencies) in packages {
            std::fs::create_dir_all(folder.path().join(name).join("src"))?;
            std::fs::write(folder.path().join(name).join("src/lib.rs"), "")?;
            let manifest = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n{dependencies}\n");
            std::fs::write(folder.path().join(name).join("Cargo.toml"), manifest)?;
        }
        super::members(folder.path())
    }

    #[test]
    fn arrows_down_are_none_up() {
        let down = "[dependencies]\nexo-logic = { path = \"../exo-logic\" }";
        let members = planted(&[("exo-vfs", down), ("exo-logic", "")]).unwrap();
        assert_eq!(
            members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(),
            ["exo-logic", "exo-vfs"]
        );
        assert_eq!(members[1].uses, ["exo-logic"]);
        assert_eq!(arrows_up(&members), [""; 0]);
    }

    #[test]
    fn an_arrow_up_is_found_in_every_kind_of_dependency() {
        for section in
            ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"]
        {
            let up = format!("[{section}]\nexo-fs-tmpfs = {{ path = \"../exo-fs-tmpfs\" }}");
            let members = planted(&[("exo-mm", &up), ("exo-fs-tmpfs", "")]).unwrap();
            assert_eq!(
                arrows_up(&members),
                ["exo-mm (memory) depends on exo-fs-tmpfs (file systems)"],
                "{section}"
            );
        }
    }

    #[test]
    fn a_crate_for_tests_alone_is_on_no_floor() {
        let uses_fake = "[dependencies]\nexo-hal-fake = { path = \"../exo-hal-fake\" }";
        let members = planted(&[("exo-core", uses_fake), ("exo-hal-fake", "")]).unwrap();
        assert_eq!(members.len(), 1);
        assert_eq!(members[0].uses, [""; 0]);
    }

    #[test]
    fn a_crate_without_a_floor_is_refused() {
        let error = planted(&[("exo-cellar", "")]).unwrap_err();
        assert!(error.to_string().contains("exo-cellar has no floor"), "{error}");
    }
}
