// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo exo doctor`: what is missing or slow on this host, and the command that mends it.

use std::path::Path;
use std::process::Command;

use nix::unistd::Uid;

use crate::context::Context;
use crate::disk_space::{self, Room};
use crate::process::output;
use crate::toolroot::{Toolroot, missing_package_advice, missing_user_ids, on_path, tools};
use crate::{sandbox, ui};

/// Memory below which builds of the kernel's Rust crates become slow or fail.
const WANTED_MEMORY_GIB: u64 = 4;

enum Finding {
    Good(String),
    Slow(String, String),
    Missing(String, String),
}

pub(super) fn run(context: &Context) -> anyhow::Result<i32> {
    let mut findings = vec![namespaces(), linker(), kvm()];
    findings.extend(tree_tools(context)?);
    findings.extend(disks(context)?);
    findings.extend([memory(), cache(context)?]);
    let mut status = 0;
    for finding in &findings {
        match finding {
            Finding::Good(text) => println!("{} {text}", ui::paint_stdout("32", "ok     ")),
            Finding::Slow(text, advice) => {
                println!("{} {text}\n        {advice}", ui::paint_stdout("33", "slow   "));
            }
            Finding::Missing(text, advice) => {
                status = 1;
                println!("{} {text}\n        {advice}", ui::paint_stdout("31", "missing"));
            }
        }
    }
    Ok(status)
}

fn namespaces() -> Finding {
    let layout = sandbox::Layout { tree: None, writable_var: false, folders: vec![], certificates: None };
    let tried = layout.command("true", Path::new("/")).and_then(|mut command| output(&mut command));
    let who = if Uid::effective().is_root() { "root" } else { "an ordinary user" };
    match tried {
        Ok(_) => Finding::Good(format!("namespaces work, as {who}")),
        Err(error) => Finding::Missing(
            format!("namespaces do not work as {who}: {error:#}"),
            "run as root, or: sudo sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000".to_owned(),
        ),
    }
}

/// What makes the tool tree; asked for only as long as there is none.
fn tree_tools(context: &Context) -> anyhow::Result<Vec<Finding>> {
    let (_, tree) = Toolroot::locate(context)?;
    if tree.is_dir() {
        return Ok(Vec::new());
    }
    let installs_itself = Uid::effective().is_root() && on_path("apt-get");
    let mut findings: Vec<Finding> = tools()
        .iter()
        .map(|tool| {
            let program = tool.program;
            if on_path(program) {
                Finding::Good(format!("{program} is installed"))
            } else if installs_itself {
                Finding::Good(format!("{program} will be installed when it is needed"))
            } else {
                let text = format!("{program}, which making the tool tree needs, is not installed");
                Finding::Missing(text, missing_package_advice(tool.package))
            }
        })
        .collect();
    findings.extend(missing_user_ids().map(|(problem, advice)| Finding::Missing(problem, advice)));
    Ok(findings)
}

fn linker() -> Finding {
    let found = output(Command::new("cc").arg("-print-file-name=libc.a"));
    match found {
        Ok(path) if path.trim().starts_with('/') => {
            Finding::Good("a C compiler and a static C library are installed".to_owned())
        }
        Ok(_) => Finding::Missing(
            "the C library has no static form (libc.a)".to_owned(),
            missing_package_advice("libc6-dev"),
        ),
        Err(_) => Finding::Missing(
            "there is no C compiler (cc) to link with".to_owned(),
            missing_package_advice("gcc libc6-dev"),
        ),
    }
}

fn kvm() -> Finding {
    let advice = |text: &str| text.to_owned();
    match std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => Finding::Good("/dev/kvm opens; a probe machine decides whether it is used".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Finding::Slow(
            "/dev/kvm may not be opened, so machines are emulated".to_owned(),
            advice("sudo usermod -a -G kvm $USER    (and log in again)"),
        ),
        Err(_) => Finding::Slow(
            "there is no /dev/kvm, so machines are emulated".to_owned(),
            advice("switch virtualisation on in the firmware, or nested virtualisation in the hypervisor"),
        ),
    }
}

/// For the cache and for the builds: together if they share a file system.
fn disks(context: &Context) -> anyhow::Result<Vec<Finding>> {
    let finding = |Room { folder, free, wanted }: &Room| {
        let (folder, free, wanted) = (folder.display(), free >> 10, wanted >> 10);
        if free >= wanted {
            Finding::Good(format!("{free} GiB are free in {folder}"))
        } else {
            Finding::Missing(
                format!("only {free} GiB are free in {folder}; everything from nothing may take {wanted}"),
                "export EXO_CACHE=/a/folder/with/room CARGO_TARGET_DIR=/another".to_owned(),
            )
        }
    };
    Ok(disk_space::rooms(context)?.iter().map(finding).collect())
}

fn memory() -> Finding {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse::<u64>().ok());
    match kib.map(|kib| kib >> 20) {
        Some(gib) if gib < WANTED_MEMORY_GIB => Finding::Slow(
            format!("only {gib} GiB of memory are available"),
            format!("close other programs: builds want {WANTED_MEMORY_GIB} GiB"),
        ),
        Some(gib) => Finding::Good(format!("{gib} GiB of memory are available")),
        None => {
            Finding::Slow("the host does not say how much memory it has".to_owned(), "mount /proc".to_owned())
        }
    }
}

fn cache(context: &Context) -> anyhow::Result<Finding> {
    let (_, tree) = Toolroot::locate(context)?;
    Ok(if tree.is_dir() {
        Finding::Good(format!("the tool tree is in {}", tree.display()))
    } else {
        Finding::Slow(
            "the tool tree is not made yet; the first run makes it".to_owned(),
            "cargo exo kmod".to_owned(),
        )
    })
}
