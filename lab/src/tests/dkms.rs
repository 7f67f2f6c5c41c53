// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packages for DKMS: that they are reproducible and refuse what cannot be (each run of the tests), and that they do what they are for, on a Debian
//! system of the test's own with the real DKMS and the archive's kernels (`--dkms`, which takes a quarter of an hour and 6 GB).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::Parser as _;
use nix::unistd::Uid;

use super::module_life::forget;
use super::vm::succeed;
use super::{Lab, Report};
use crate::cli::{self, Cli, KmodDkmsArgs, KmodKind, KmodStep};
use crate::context::{Context, remove_folder};
use crate::kernel::{Choice, Kernel};
use crate::kmod::{dkms, new};
use crate::machine::{Config, Linux, System};
use crate::process::{self, output};
use crate::sandbox::Layout;
use crate::toolroot::Toolroot;
use crate::ui::Step;

/// Who vouches for the packages made here.
const MAINTAINER: &str = "Ada Example <ada@example.org>";

fn arguments(module: &Path, output: &Path, more: &[&str]) -> anyhow::Result<KmodDkmsArgs> {
    let paths = [module, output].map(|path| path.display().to_string());
    let words = ["exo", "kmod", "dkms", &paths[0], "--output", &paths[1], "--maintainer", MAINTAINER];
    let cli = Cli::try_parse_from(words.iter().chain(more))?;
    match cli.command {
        cli::Command::Kmod(cli::KmodArgs { step: Some(KmodStep::Dkms(args)), .. }) => Ok(args),
        _ => anyhow::bail!("this is not kmod dkms"),
    }
}

fn package(lab: &Lab, module: &Path, output: &Path, more: &[&str]) -> anyhow::Result<PathBuf> {
    let parts = &lab.parts;
    dkms::package(&parts.context, &parts.toolroot, &parts.linux()?.kernel, &arguments(module, output, more)?)
}

/// Made twice, from copies in two places, by two umasks, it is the same to the byte.
pub(super) fn a_package_for_dkms_is_the_same_each_time(lab: &Lab) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let first = new::make(&lab.parts.context, &folder.path().join("a/hello"), KmodKind::Misc)?;
    let version = ["--package-version", "1.0"];
    let one = package(lab, &first, &folder.path().join("one"), &version)?;
    // What a build or an editor leaves is no part of it, and neither are the modes that somebody's umask gave.
    let second = folder.path().join("elsewhere/hello");
    std::fs::create_dir_all(&second)?;
    output(Command::new("cp").args(["-rT", "--preserve=timestamps"]).arg(&first).arg(&second))?;
    std::fs::write(second.join("hello.o"), "left")?;
    std::fs::write(second.join(".hello.rs.swp"), "left")?;
    output(Command::new("chmod").args(["-R", "go-rwx"]).arg(&second))?;
    let two = package(lab, &second, &folder.path().join("two"), &version)?;
    ensure!(one.file_name() == two.file_name(), "{} and {}", one.display(), two.display());
    ensure!(std::fs::read(&one)? == std::fs::read(&two)?, "the packages differ");

    let mut list = lab.parts.toolroot.command("dpkg-deb", folder.path())?;
    let listed = output(list.arg("--contents").arg(&one))?;
    for path in ["hello.rs", "Kbuild", "test.sh", "dkms.conf", "dkms/build-rust-module"] {
        ensure!(
            listed.contains(&format!(" ./usr/src/hello-1.0/{path}\n")),
            "{path} is missing in:\n{listed}"
        );
    }
    for module in [&first, &second] {
        forget(lab, module)?;
    }
    ensure!(!listed.contains("hello.o") && !listed.contains(".swp"), "it has what was left:\n{listed}");
    Ok(())
}

/// `my_rng` on 7.3 reads nothing of what it takes on 7.2; its Kbuild file names that.
pub(super) fn a_package_has_what_other_kernels_need(lab: &Lab) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let package = package(lab, &lab.parts.context.checkout.join("linux/my_rng"), folder.path(), &[])?;
    let mut list = lab.parts.toolroot.command("dpkg-deb", folder.path())?;
    let listed = output(list.arg("--contents").arg(&package))?;
    for path in
        ["my_rng/Kbuild", "chardev/mod.rs", "compat/compat.mk", "compat/kernel_7_2.rs", "compat/irq.rs"]
    {
        ensure!(listed.contains(&format!("/linux/{path}\n")), "{path} is missing in:\n{listed}");
    }
    Ok(())
}

/// A file that a Kbuild file names and that is not there.
const NAMES_NOTHING: &str = "package-files := $(src)/../nothing.rs\n";

/// What cannot be a package is told before anything is built.
pub(super) fn what_cannot_be_a_package_is_told(lab: &Lab) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let module = new::make(&lab.parts.context, &folder.path().join("hello"), KmodKind::Misc)?;
    for (more, expected) in [
        (&["--name", "Hello World"][..], "cannot be a package's name"),
        (&["--package-version", "v1-2"], "cannot be a package's version"),
        (&["--package-version", "1.0", "--kernel-min", "seven"], "no kernel version"),
        (&["--package-version", "1.0", "--maintainer", "ada"], "expected Name <address>"),
        (&[], "the module tells no version"),
    ] {
        let mut args = arguments(&module, folder.path(), &[])?;
        for pair in more.chunks(2) {
            let value = pair.last().map(|word| (*word).to_owned());
            match pair.first().copied() {
                Some("--name") => args.name = value,
                Some("--package-version") => args.package_version = value,
                Some("--kernel-min") => args.kernel_min = value,
                _ => args.maintainer = value,
            }
        }
        let parts = &lab.parts;
        let error = dkms::package(&parts.context, &parts.toolroot, &parts.linux()?.kernel, &args)
            .err()
            .with_context(|| format!("{more:?} was accepted"))?;
        ensure!(format!("{error:#}").contains(expected), "{more:?}: {error:#}");
    }
    let kbuild = module.join("Kbuild");
    let text = std::fs::read_to_string(&kbuild).context("the module has no Kbuild file")? + NAMES_NOTHING;
    std::fs::write(&kbuild, text).context("cannot change the Kbuild file")?;
    let error = package(lab, &module, folder.path(), &["--package-version", "1.0"]);
    let error = error.err().context("a file that is not there was packaged")?;
    ensure!(format!("{error:#}").contains("nothing.rs in package-files, which is no file"), "{error:#}");
    forget(lab, &module)
}

/// A Debian system of its own, and commands that run in it.
struct Machine<'a> {
    context: &'a Context,
    root: PathBuf,
}

impl<'a> Machine<'a> {
    /// A minimal system. Kernels come from backports, all else from the release: what a person sets up who wants newer kernels.
    fn make(context: &'a Context, toolroot: &Toolroot) -> anyhow::Result<Self> {
        let machine = Self { context, root: context.build().join("dkms-system") };
        machine.remove()?;
        std::fs::create_dir_all(&machine.root).context("cannot make a folder")?;
        let step = Step::new("Making a Debian system", None);
        let (definition, host) = (toolroot.definition(), host_layout());
        let mut make = host.command("mmdebstrap", Path::new("/"))?;
        make.args([
            "--variant=apt",
            "--architectures=amd64",
            "--skip=cleanup/apt/lists",
            "--include=ca-certificates",
        ]);
        // Nobody needs this system after a crash of the host.
        make.arg("--dpkgopt=force-unsafe-io");
        make.args(crate::toolroot::apt_options());
        make.arg(format!(
            "--setup-hook=mkdir -p \"$1/etc/apt/preferences.d\" && \
             printf 'Package: src:linux src:linux-signed-amd64\\nPin: release n={}\\nPin-Priority: 500\\n' > \"$1/etc/apt/preferences.d/kernel\"",
            definition.backports
        ));
        make.arg(&definition.suite).arg(&machine.root).args(crate::toolroot::sources(definition));
        process::run(&mut make, &step)?;
        step.done();
        // For downloads through the host's own proxy, if it has one.
        for (from, to) in [
            (Some(PathBuf::from("/etc/resolv.conf")), "etc/resolv.conf"),
            (crate::sandbox::host_certificates(), "etc/ssl/certs/ca-certificates.crt"),
        ] {
            if let Some(from) = from.filter(|path| path.is_file()) {
                std::fs::copy(&from, machine.root.join(to))
                    .with_context(|| format!("cannot copy {}", from.display()))?;
            }
        }
        Ok(machine)
    }

    /// Removes all of it.
    fn remove(&self) -> anyhow::Result<()> {
        remove_folder(&self.root)
    }

    fn command(&self, words: &[&str]) -> anyhow::Result<Command> {
        const ENTER: &str =
            "mount -t proc proc \"$0/proc\" && mount --rbind /dev \"$0/dev\" && exec chroot \"$0\" \"$@\"";
        let mut command = host_layout().command("sh", Path::new("/"))?;
        command.args(["-c", ENTER]).arg(&self.root).args(["env", "-i", "DEBIAN_FRONTEND=noninteractive"]);
        for name in ["http_proxy", "https_proxy", "no_proxy"] {
            if let Ok(value) = std::env::var(name) {
                command.arg(format!("{name}={value}"));
            }
        }
        command.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root"]).args(words);
        Ok(command)
    }

    /// Installs packages of the archive, or files, as a person does.
    fn install(&self, what: &str, packages: &[&str]) -> anyhow::Result<()> {
        let step = Step::new(what, None);
        let words = ["apt-get", "install", "--yes", "--no-install-recommends", "--allow-downgrades"];
        let mut install = self.command(&[&words[..], packages].concat())?;
        let done = process::run(&mut install, &step).with_context(|| self.log());
        step.done();
        done
    }

    /// What DKMS's builds said at their end, for errors.
    fn log(&self) -> String {
        let script = "tail -n 25 $(ls -t $(find /var/lib/dkms -name make.log) | head -n 1)";
        let said = self.command(&["sh", "-c", script]).and_then(|mut command| output(&mut command));
        format!("the end of DKMS's last log:\n{}", said.unwrap_or_default())
    }

    fn say(&self, words: &[&str]) -> anyhow::Result<String> {
        output(&mut self.command(words)?)
    }

    /// The kernels for which DKMS says that the module is installed.
    fn installed(&self, module: &str) -> anyhow::Result<Vec<String>> {
        let told = self.say(&["dkms", "status", "-m", module])?;
        let lines = told.lines().filter(|line| line.ends_with(": installed"));
        Ok(lines.filter_map(|line| line.split(", ").nth(1)).map(str::to_owned).collect())
    }

    /// The module that DKMS has installed for a kernel, in a file of its own, uncompressed.
    fn module(&self, name: &str, release: &str) -> anyhow::Result<(tempfile::TempDir, PathBuf)> {
        let script = format!(
            "cd /lib/modules/{release}/updates/dkms && if [ -f {name}.ko.xz ]; then xz -dc {name}.ko.xz; else cat {name}.ko; fi > /tmp/{name}.ko"
        );
        self.say(&["sh", "-c", &script])?;
        let folder = tempfile::tempdir_in(self.context.build()).context("cannot make a folder")?;
        let file = folder.path().join(format!("{name}.ko"));
        std::fs::copy(self.root.join(format!("tmp/{name}.ko")), &file)
            .with_context(|| format!("DKMS has installed no {name} for {release}"))?;
        Ok((folder, file))
    }
}

/// The host's own file system, with mounts and processes that end with the command.
fn host_layout() -> Layout {
    Layout { tree: None, writable_var: false, folders: Vec::new(), certificates: None }
}

/// The releases of the flavour that the archive has headers and the source of, oldest first; what is not for Rust is left out.
fn releases(machine: &Machine<'_>, flavour: &str) -> anyhow::Result<Vec<(String, String)>> {
    let known =
        machine.say(&["apt-cache", "search", "--names-only", &format!("^linux-headers-7.*-{flavour}$")])?;
    let mut found = Vec::new();
    for package in known.lines().filter_map(|line| line.split(' ').next()) {
        let release = package.trim_start_matches("linux-headers-");
        let version = machine.say(&["apt-cache", "show", "--no-all-versions", package])?;
        let version = version.lines().find_map(|line| line.strip_prefix("Version: ")).unwrap_or_default();
        let sources = machine.say(&["apt-cache", "madison", &source_of(release)])?;
        if sources.contains(&format!("| {version} |")) {
            found.push((release.to_owned(), version.to_owned()));
        }
    }
    let numbers = |release: &str| -> Vec<u32> {
        let version = release.split('+').next().unwrap_or_default();
        version.split('.').filter_map(|number| number.parse().ok()).collect()
    };
    found.sort_by_key(|(release, _)| numbers(release));
    Ok(found)
}

/// The package with the source of a release.
fn source_of(release: &str) -> String {
    format!("linux-source-{}", series_of(release))
}

/// The series of a release, `7.3`.
fn series_of(release: &str) -> String {
    let numbers: Vec<&str> = release.split('.').take(2).collect();
    numbers.join(".")
}

/// The whole life of two packages: `hello`, through updates of the kernel; and `my_rng`, on kernels of two series.
pub(crate) fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    const NAMES: [&str; 5] = [
        "dkms::a_package_is_built_where_it_is_installed",
        "dkms::a_new_patch_level_gets_its_module",
        "dkms::my_rng_is_built_for_both_series",
        "dkms::what_does_not_fit_is_refused",
        "dkms::a_removed_package_leaves_nothing",
    ];
    if !report.wants_any(NAMES.into_iter()) {
        return Ok(());
    }
    if !Uid::effective().is_root() {
        report.skip("dkms", "(the Debian system that it makes needs root)");
        return Ok(());
    }
    // Each stage starts where the one before has ended.
    let parts = &lab.parts;
    let machine = Machine::make(&parts.context, &parts.toolroot)?;
    let stages = [
        a_package_is_built_where_it_is_installed,
        a_new_patch_level_gets_its_module,
        my_rng_is_built_for_both_series,
        what_does_not_fit_is_refused,
        a_removed_package_leaves_nothing,
    ];
    let series = &parts.toolroot.definition().kernel;
    let kernels = releases(&machine, &series.flavour)?;
    let newest = parts.linux()?.kernel.release.clone();
    let is_older = |entry: &&(String, String)| !entry.0.starts_with(&format!("{}.", series.series));
    let older: Vec<_> = kernels.iter().filter(is_older).collect();
    let [.., before, after] = &older[..] else {
        anyhow::bail!("the archive has no two patch levels of an older series: {kernels:?}");
    };
    let newest = kernels.iter().find(|(release, _)| *release == newest);
    let newest = newest.context("the archive has the stock kernel's headers or source no more")?;
    let stage = Stage { lab, machine: &machine, before, after, newest };
    for (name, run) in NAMES.iter().zip(stages) {
        report.case(name, || run(&stage))?;
        if report.has_failed(name) {
            break;
        }
    }
    machine.remove()
}

/// What the stages share: the system, and releases with their versions.
struct Stage<'a> {
    lab: &'a Lab,
    machine: &'a Machine<'a>,
    before: &'a (String, String),
    after: &'a (String, String),
    newest: &'a (String, String),
}

impl Stage<'_> {
    /// The packages that an update to that kernel brings: headers and source of one version.
    fn kernel((release, version): &(String, String)) -> [String; 3] {
        let source = source_of(release);
        [
            format!("linux-headers-{release}={version}"),
            format!("{source}={version}"),
            format!("linux-source={version}"),
        ]
    }

    /// Loads a module that DKMS has installed into the kernel that it is for, in a machine, and runs a line there.
    fn load(&self, name: &str, release: &str, rng: u32, line: &str) -> anyhow::Result<String> {
        let parts = &self.lab.parts;
        let kernel = if parts.linux()?.kernel.release == release {
            parts.linux()?.kernel.clone()
        } else {
            Kernel::stock(&parts.context, &parts.toolroot, Choice::Release(release))?
        };
        let mut parts = parts.clone();
        parts.system = System::Linux(Linux { kernel, modules: Vec::new() });
        let lab = Lab { parts, accel: self.lab.accel, checked: false, long: false, jobs: self.lab.jobs };
        let (_folder, module) = self.machine.module(name, release)?;
        let config = Config { more_modules: vec![module], rng, load_modules: false, ..lab.config() };
        let line = format!("uname -r && insmod /lib/modules/exo/{name}.ko && {line} && rmmod {name}");
        let said = succeed(&lab, &config, &line)?.stdout;
        ensure!(said.starts_with(release), "the machine ran {said}");
        Ok(said)
    }
}

/// Into a minimal system, with one command, as README has it.
fn a_package_is_built_where_it_is_installed(stage: &Stage<'_>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let module = new::make(&stage.lab.parts.context, &folder.path().join("hello"), KmodKind::Misc)?;
    let more = ["--package-version", "1.0", "--kernel-min", "7.0"];
    let package = package(stage.lab, &module, &stage.machine.root.join("root"), &more)?;
    let file = format!("/root/{}", package.file_name().unwrap_or_default().to_string_lossy());
    let kernel = Stage::kernel(stage.before);
    let packages: Vec<&str> = kernel.iter().map(String::as_str).chain([file.as_str()]).collect();
    stage.machine.install("Installing hello-dkms and what it needs", &packages)?;
    let installed = stage.machine.installed("hello")?;
    ensure!(installed == [stage.before.0.clone()], "hello is installed for {installed:?}");
    let log = stage.machine.say(&["sh", "-c", "cat /var/lib/dkms/hello/1.0/*/*/log/make.log"])?;
    ensure!(log.contains(&format!("Rust symbols are those that Linux {} exports", stage.before.0)), "{log}");
    Ok(())
}

/// An update of headers and source, as apt makes it: no other command.
fn a_new_patch_level_gets_its_module(stage: &Stage<'_>) -> anyhow::Result<()> {
    let kernel = Stage::kernel(stage.after);
    stage.machine.install("Updating the kernel's patch level", &kernel.each_ref().map(String::as_str))?;
    let mut installed = stage.machine.installed("hello")?;
    installed.sort();
    let mut expected = [stage.before.0.clone(), stage.after.0.clone()];
    expected.sort();
    ensure!(installed == expected, "hello is installed for {installed:?}");
    let said = stage.load("hello", &stage.after.0, 0, "echo letters > /dev/hello; echo done")?;
    ensure!(said.ends_with("done\n"), "the machine said {said}");
    Ok(())
}

/// Another series, and a module that is for both.
fn my_rng_is_built_for_both_series(stage: &Stage<'_>) -> anyhow::Result<()> {
    let module = stage.lab.parts.context.checkout.join("linux/my_rng");
    let oldest = series_of(&stage.before.0);
    let package = package(stage.lab, &module, &stage.machine.root.join("root"), &["--kernel-min", &oldest])?;
    let file = format!("/root/{}", package.file_name().unwrap_or_default().to_string_lossy());
    let kernel = Stage::kernel(stage.newest);
    let packages: Vec<&str> = kernel.iter().map(String::as_str).chain([file.as_str()]).collect();
    stage.machine.install("Installing the newest kernel and my-rng-dkms", &packages)?;
    let mut expected = [stage.before, stage.after, stage.newest].map(|(release, _)| release.clone());
    expected.sort();
    for module in ["my_rng", "hello"] {
        let mut installed = stage.machine.installed(module)?;
        installed.sort();
        ensure!(installed == expected, "{module} is installed for {installed:?}");
    }
    for (release, _) in [stage.after, stage.newest] {
        let said = stage.load("my_rng", release, 1, "my-app")?;
        ensure!(said.lines().count() >= 2, "my-app said {said:?}");
    }
    Ok(())
}

/// Other tools, other symbols, a kernel without Rust, a source of another version.
fn what_does_not_fit_is_refused(stage: &Stage<'_>) -> anyhow::Result<()> {
    let (machine, release) = (stage.machine, &stage.newest.0);
    let run = |words: &str| -> anyhow::Result<String> {
        // Headers that can be changed, and a folder for tools that are none.
        let script = format!(
            "mkdir -p /root/headers /root/bin; cd /usr/src/hello-1.0; PATH=/root/bin:$PATH; headers=/root/headers; \
             cp /lib/modules/{release}/build/.config /lib/modules/{release}/build/Module.symvers $headers; \
             tool() {{ dkms/build-rust-module \"$@\" 2>&1 | tail -n 1; }}; {words}; rm -r $headers /root/bin"
        );
        machine.say(&["sh", "-c", &script])
    };
    let (before, after) = (&stage.before.0, &stage.after.0);
    for (words, expected) in [
        (
            format!("tool verify {release} $headers"),
            format!("Rust symbols are those that Linux {release} exports"),
        ),
        (
            format!(
                "sed -i '0,/\\t_RNv/s//\\t_RNw/' $headers/Module.symvers; tool verify {release} $headers"
            ),
            "the regenerated Rust crates differ".into(),
        ),
        (
            format!(
                "printf '#!/bin/sh\\necho bindgen 0.1.0' > /root/bin/bindgen; chmod +x /root/bin/bindgen; tool build {release} $headers ."
            ),
            "bindgen here is \"bindgen 0.1.0\"".into(),
        ),
        (
            format!(
                "sed -i '/^CONFIG_RUSTC_VERSION_TEXT=/s/rustc [0-9.]*/rustc 1.2.3/' $headers/.config; tool build {release} $headers ."
            ),
            "was built with \"rustc 1.2.3".into(),
        ),
        (
            format!("sed -i '/^CONFIG_RUST=y/d' $headers/.config; tool build {release} $headers ."),
            "was built without Rust".into(),
        ),
        (
            format!(
                "RUST_MODULE_TREES=/root/trees; export RUST_MODULE_TREES; tool build {before} /lib/modules/{before}/build ."
            ),
            format!("{} is version {}, but Linux {before} is version", source_of(before), stage.after.1),
        ),
        ("tool build ../../x $headers .".into(), "../../x is no kernel release".into()),
    ] {
        let said = run(&words)?;
        ensure!(said.contains(&expected), "{words}\nsaid {said:?}, expected {expected:?}");
    }
    // A kernel whose source has gone is left out if it has no tree yet.
    let possible = |release: &str, trees: &str| {
        let words = ["env", trees, "/usr/src/hello-1.0/dkms/build-rust-module", "possible", release];
        machine.say(&[&words[..], &[&format!("/lib/modules/{release}/build")]].concat()).is_ok()
    };
    let none = "RUST_MODULE_TREES=/nowhere";
    ensure!(!possible(before, none) && possible(after, none), "what is possible is told wrongly");
    ensure!(possible(before, "RUST_MODULE_TREES=/var/cache/rust-module-trees"), "a tree is not used");
    Ok(())
}

/// No module, no tree, no entry of DKMS's.
fn a_removed_package_leaves_nothing(stage: &Stage<'_>) -> anyhow::Result<()> {
    let machine = stage.machine;
    for package in ["hello-dkms", "my-rng-dkms"] {
        machine.say(&["apt-get", "purge", "--yes", package])?;
    }
    let script = "dkms status; ls -d /var/cache/rust-module-trees /usr/src/hello-* /usr/src/my_rng-* /lib/modules/*/updates/dkms/* 2>/dev/null; true";
    let left = machine.say(&["sh", "-c", script])?;
    ensure!(left.is_empty(), "there is still:\n{left}");
    Ok(())
}
