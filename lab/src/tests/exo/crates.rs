// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tests that crates publish with their sources, as static programs in machines with each kernel: what passes on Linux has to pass on
//! Exo-Kernel. `lab/crate-tests` has the manifests, with exact versions and checksums; cargo brings the sources, and none of them is here.
//! mio, rustix and socket2 publish no tests; tokio, nix and polling do, and use them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::super::Lab;
use super::super::vm::shell;
use super::Both;
use crate::context::Context;
use crate::machine::Config;
use crate::process;
use crate::programs;

/// A crate, what of its folder is taken, and which of its test programs are left out.
struct Published {
    name: &'static str,
    parts: &'static [&'static str],
    /// What the names of its test programs begin with that are about this kernel; none for all.
    wanted: &'static [&'static str],
}

const CRATES: [Published; 3] = [
    Published { name: "nix", parts: &["test", "build.rs"], wanted: &[] },
    Published { name: "polling", parts: &["tests"], wanted: &[] },
    Published {
        name: "tokio",
        parts: &["tests"],
        wanted: &[
            "fs",
            "io_async_fd",
            "io_copy_bidirectional",
            "io_driver",
            "net_",
            "process_",
            "signal_",
            "tcp_",
            "time_",
            "udp",
            "uds_",
            "unix_shutdown",
        ],
    },
];

/// What is for other systems, or for what the build did not ask for.
const ELSEWHERE: [&str; 8] =
    ["windows", "wasm", "emscripten", "uring", "named_pipe", "raw_handle", "unstable", "trace"];
/// Tests with these words in their names are not run: they wait for ever on Linux, in a machine like this, or load modules.
const SKIPPED: [&str; 2] = ["fanotify", "kmod"];
/// How the static programs are built, as the lab's own are.
const FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Memory of a machine that starts with all of a crate's test programs, in MiB.
const MEMORY: u32 = 2048;
/// How long a test program may take, in seconds, and a machine.
const PATIENCE: u32 = 300;
const ALL: Duration = Duration::from_secs(3600);

/// Tests that do not pass on Exo-Kernel, each with its reason in `lab/crate-tests/known.txt`.
fn known(context: &Context) -> anyhow::Result<BTreeSet<String>> {
    let path = context.checkout.join("lab/crate-tests/known.txt");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

pub(super) fn tests_of_crates_pass_as_on_linux(both: &Both<'_>) -> anyhow::Result<()> {
    let context = &both.exo.parts.context;
    let folder = prepare(context)?;
    let known = known(context)?;
    let programs = build(context, &folder)?;
    let mut missing = Vec::new();
    for Published { name, .. } in &CRATES {
        let programs: Vec<_> = programs.iter().filter(|(of, _)| of == name).map(|(_, path)| path).collect();
        ensure!(!programs.is_empty(), "{name}: no test program was built");
        let linux = passed(both.linux, &programs)?;
        let exo = passed(&both.exo, &programs)?;
        ensure!(!linux.is_empty(), "{name}: no test passes on Linux");
        missing.extend(linux.difference(&exo).filter(|test| !known.contains(*test)).cloned());
    }
    ensure!(missing.is_empty(), "these pass on Linux and not on Exo-Kernel:\n{}", missing.join("\n"));
    Ok(())
}

/// A copy of the manifests, with the tests out of the crates' sources beside them.
fn prepare(context: &Context) -> anyhow::Result<PathBuf> {
    let folder = context.target.join("exo/crate-tests");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    copy(&context.checkout.join("lab/crate-tests"), &folder, &|_| true)?;
    let mut cargo = programs::cargo(context);
    cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", TARGET]);
    cargo.arg("--manifest-path").arg(folder.join("Cargo.toml"));
    let metadata: serde_json::Value =
        serde_json::from_str(&process::output(&mut cargo)?).context("cargo's metadata make no sense")?;
    let packages = metadata["packages"].as_array().context("cargo knows no packages")?;
    for Published { name, parts, wanted } in &CRATES {
        let version = exact_version(&folder.join(name).join("Cargo.toml"), name)?;
        let is_it = |package: &&serde_json::Value| package["name"] == *name && package["version"] == *version;
        let manifest = packages.iter().find(is_it).and_then(|package| package["manifest_path"].as_str());
        let source = Path::new(manifest.with_context(|| format!("cargo did not bring {name} {version}"))?);
        let source = source.parent().context("a manifest without a folder")?;
        for part in *parts {
            let takes = |file: &str| {
                !file.ends_with(".rs")
                    || !ELSEWHERE.iter().any(|word| file.contains(word))
                        && (wanted.is_empty() || wanted.iter().any(|start| file.starts_with(start)))
            };
            copy(&source.join(part), &folder.join(name).join(part), &takes)?;
        }
    }
    Ok(folder)
}

/// The version that a manifest wants of a crate, which is exact.
fn exact_version(manifest: &Path, name: &str) -> anyhow::Result<String> {
    let text = fs::read_to_string(manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let line = text.lines().find(|line| line.starts_with(&format!("{name} = ")));
    let version = line.and_then(|line| line.split('"').find_map(|part| part.strip_prefix('=')));
    version.map(str::to_owned).with_context(|| format!("{}: no exact version of {name}", manifest.display()))
}

/// Copies a file, or a folder with those of its files that are taken, and all of the folders in it.
fn copy(from: &Path, to: &Path, takes: &dyn Fn(&str) -> bool) -> anyhow::Result<()> {
    let failed = || format!("cannot copy {} to {}", from.display(), to.display());
    if from.is_dir() {
        fs::create_dir_all(to).with_context(failed)?;
        for entry in fs::read_dir(from).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            let name = entry.file_name();
            let is_folder = entry.path().is_dir();
            if is_folder {
                copy(&entry.path(), &to.join(&name), &|_| true)?;
            } else if takes(&name.to_string_lossy()) {
                fs::copy(entry.path(), to.join(&name)).with_context(failed)?;
            }
        }
        return Ok(());
    }
    fs::copy(from, to).with_context(failed).map(drop)
}

/// Builds the test programs: of which crate, and where they are.
fn build(context: &Context, folder: &Path) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    let mut cargo = programs::cargo(context);
    cargo.args([
        "build",
        "--tests",
        "--workspace",
        "--locked",
        "--message-format",
        "json",
        "--target",
        TARGET,
    ]);
    cargo.arg("--manifest-path").arg(folder.join("Cargo.toml"));
    cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", FLAGS);
    cargo.env("CARGO_TARGET_DIR", context.target.join("exo/crate-tests-built"));
    let said = process::output(&mut cargo)?;
    let mut programs = Vec::new();
    for message in said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
        let is_test = message["target"]["kind"] == serde_json::json!(["test"]);
        let (Some(path), Some(manifest)) =
            (message["executable"].as_str(), message["manifest_path"].as_str().map(Path::new))
        else {
            continue;
        };
        let of = CRATES.iter().find(|it| manifest.parent().is_some_and(|folder| folder.ends_with(it.name)));
        if let Some(of) = of.filter(|_| is_test) {
            programs.push((of.name, PathBuf::from(path)));
        }
    }
    programs.sort();
    Ok(programs)
}

/// The name of a test program, without what cargo adds.
fn name_of(program: &Path) -> String {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.rsplit_once('-').map_or(name.clone(), |(name, _)| name.to_owned())
}

/// The tests that pass in a machine, as `program test`.
fn passed(lab: &Lab, programs: &[&PathBuf]) -> anyhow::Result<BTreeSet<String>> {
    let named: BTreeMap<String, &PathBuf> = programs.iter().map(|path| (name_of(path), *path)).collect();
    let files = named.iter().map(|(name, path)| ((*path).clone(), Path::new("/t").join(name))).collect();
    let config = Config {
        smp: 2,
        rng: 0,
        memory: MEMORY,
        files,
        load_modules: false,
        timeout: Some(ALL),
        ..lab.config()
    };
    let skipped: String = SKIPPED.iter().map(|word| format!("--skip {word} ")).collect();
    // One test of a program at a time: they are not slowed down by each other, and what fails is the same each time.
    let line = format!(
        "ifconfig lo up; mkdir -p /tmp; cd /tmp; export TMPDIR=/tmp; for t in /t/*; do echo \"program ${{t##*/}}\"; \
         timeout {PATIENCE} $t {skipped} --test-threads=1 2>&1; echo; done; exit 0"
    );
    let (_, captured) = shell(lab, &config, &line)?;
    let (mut program, mut tests) = (String::new(), BTreeSet::new());
    for line in captured.stdout.lines() {
        if let Some(name) = line.strip_prefix("program ") {
            name.clone_into(&mut program);
        } else if let Some(test) = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... ok")) {
            tests.insert(format!("{program} {test}"));
        }
    }
    Ok(tests)
}
