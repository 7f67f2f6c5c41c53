// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Debian package that has DKMS build a module on the machine where it is installed, for each kernel that comes.
//!
//! The package carries the module's sources and `lab/templates/dkms/build-rust-module`, a shell script that does there what
//! [`crate::kernel`] does here: it makes the kernel's Rust metadata again and compares the symbols.
//! [`sources`] finds what belongs to the module, [`identity`] checks how the package is called, [`copyright`] tells the licences,
//! [`control`] writes what dpkg and DKMS read.

mod control;
mod copyright;
mod identity;
mod sources;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};

use super::kbuild::Place;
use super::{Options, build, built_in, folder_of, info, name_of, out_folder};
use crate::cli::KmodDkmsArgs;
use crate::context::{Context, remove_folder};
use crate::kernel::Kernel;
use crate::process::{self, output};
use crate::toolroot::Toolroot;
use crate::ui::Step;
use identity::{Identity, ModuleInfo};

/// The script that builds on the machine where the package is installed.
const BUILDER: &str = include_str!("../../../templates/dkms/build-rust-module");
/// Its folder in the package, beside the module's sources.
const BUILDER_FOLDER: &str = "dkms";

/// Makes the package of the module in `args.module` and returns its path.
pub(crate) fn package(
    context: &Context,
    toolroot: &Toolroot,
    kernel: &Kernel,
    args: &KmodDkmsArgs,
) -> anyhow::Result<PathBuf> {
    identity::check_arguments(args)?;
    let module = folder_of(&args.module)?;
    let options = Options { variables: &args.variables, ..Options::default() };
    let built = build(context, toolroot, kernel, &module, options)?;
    let objects: Vec<PathBuf> = built.iter().map(|path| path.with_extension("")).collect();
    let told = built.iter().map(|path| info(toolroot, path)).collect::<anyhow::Result<Vec<_>>>()?;
    let info = ModuleInfo::of(told.first().context("no module was built")?);
    let identity = Identity::find(args, &name_of(&module), &objects, &info, &kernel.series())?;

    let out = built_in(context, kernel, &module)?;
    let foreign = [kernel.place.clone(), kernel.build.clone(), out.clone()];
    let mut named = BTreeSet::new();
    let folders: BTreeSet<&Path> =
        objects.iter().filter_map(|path| path.parent()?.strip_prefix(&out).ok()).collect();
    for below in folders {
        let (module, out) = (&module.join(below), &out.join(below));
        let place = Place { toolroot, kernel, module, out, variables: &args.variables };
        named.extend(place.named_files()?);
    }
    let found = sources::find(&module, &out, named, &foreign)?;
    let epoch = epoch(&found)?;
    let copyright = match &args.copyright {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the copyright file {}", file.display()))?,
        None => copyright::write(&found, &info, &identity, written(toolroot, epoch, "+%Y")?.trim())?,
    };

    let step = Step::new(&format!("Making the package {}", identity.package), None);
    let staging = tempfile::tempdir_in(context.target.as_path()).context("cannot make a folder")?;
    let tree = staging.path().join(&identity.package);
    let source = tree.join("usr/src").join(format!("{}-{}", identity.name, identity.version));
    for file in &found.files {
        let to = source.join(&file.inside);
        write(
            &to,
            &std::fs::read(&file.path).with_context(|| format!("cannot read {}", file.path.display()))?,
            file.executable,
        )?;
    }
    let folder = source.join(&found.module);
    if found.module.as_os_str().is_empty() && source.join(BUILDER_FOLDER).exists() {
        bail!("the module has a folder {BUILDER_FOLDER} of its own, where the package puts its script");
    }
    step.message("building what is in the package");
    prove(context, toolroot, kernel, &folder, &args.variables)?;

    write(&source.join(BUILDER_FOLDER).join("build-rust-module"), BUILDER.as_bytes(), true)?;
    let names: Vec<String> = objects.iter().map(|path| name_of(path)).collect();
    let places: Vec<PathBuf> = objects
        .iter()
        .map(|path| {
            path.parent()
                .and_then(|folder| folder.strip_prefix(&out).ok())
                .map(|below| found.module.join(below))
        })
        .collect::<Option<_>>()
        .context("a module was built outside of its folder")?;
    let conf = control::dkms_conf(&identity, &names, &places, &found.module, &args.variables);
    write(&source.join("dkms.conf"), conf.as_bytes(), false)?;

    let documentation = tree.join("usr/share/doc").join(&identity.package);
    write(&documentation.join("copyright"), copyright.as_bytes(), false)?;
    let date = written(toolroot, epoch, "-R")?;
    let changelog = documentation.join("changelog");
    write(&changelog, control::changelog(&identity, date.trim()).as_bytes(), false)?;
    output(toolroot.command("gzip", &documentation)?.args(["-9n", "changelog"]))?;

    let mut size = 0;
    for path in files_of(&tree)? {
        size += path.metadata().context("cannot read a file's size")?.len().div_ceil(1024);
    }
    let sums = checksums(toolroot, &tree)?;
    let about = tree.join("DEBIAN");
    write(&about.join("control"), control::control(&identity, &info, size).as_bytes(), false)?;
    write(&about.join("md5sums"), sums.as_bytes(), false)?;
    for (name, text) in control::scripts(&identity) {
        write(&about.join(name), text.as_bytes(), true)?;
    }
    set_times(&tree, SystemTime::UNIX_EPOCH + Duration::from_secs(epoch))?;

    std::fs::create_dir_all(&args.output)
        .with_context(|| format!("cannot create {}", args.output.display()))?;
    let folder =
        args.output.canonicalize().with_context(|| format!("no folder {}", args.output.display()))?;
    let file = format!("{}_{}_all.deb", identity.package, identity.version);
    // Made where the tool tree sees it, and moved when it is whole.
    let made = staging.path().join(&file);
    let mut deb = toolroot.command("dpkg-deb", staging.path())?;
    deb.env("SOURCE_DATE_EPOCH", epoch.to_string());
    // The number of threads shows in what xz writes.
    deb.args(["--root-owner-group", "-Zxz", "--threads-max=1", "--build"]).arg(&tree).arg(&made);
    process::run(&mut deb, &step)?;
    let package = folder.join(file);
    std::fs::copy(&made, &package).with_context(|| format!("cannot write {}", package.display()))?;
    step.done();
    Ok(package)
}

/// The time that everything in the package bears: what SOURCE_DATE_EPOCH says, else that of the newest source.
fn epoch(found: &sources::Sources) -> anyhow::Result<u64> {
    if let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") {
        let number = text.to_str().and_then(|text| text.parse().ok());
        return number.with_context(|| format!("SOURCE_DATE_EPOCH is {text:?}; expected seconds since 1970"));
    }
    let times = found.files.iter().map(|file| file.path.metadata()?.modified());
    let newest =
        times.collect::<Result<Vec<_>, _>>().context("cannot read a source's time")?.into_iter().max();
    let newest = newest.context("the module has no sources")?;
    Ok(newest.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// That time as `date` writes it.
fn written(toolroot: &Toolroot, epoch: u64, format: &str) -> anyhow::Result<String> {
    output(toolroot.command("date", Path::new("/"))?.args(["-u", "-d", &format!("@{epoch}"), format]))
}

/// Builds the copy that goes into the package: what it lacks would be missed on the user's machine.
fn prove(
    context: &Context,
    toolroot: &Toolroot,
    kernel: &Kernel,
    folder: &Path,
    variables: &[String],
) -> anyhow::Result<()> {
    let options = Options { variables, ..Options::default() };
    let built = build(context, toolroot, kernel, folder, options);
    remove_folder(&out_folder(context, kernel, folder)?)?;
    built.context(
        "the module builds where it is, but not with the files alone that its build is known to read; a package can have \
         only those, and what is in the module's folder",
    )?;
    Ok(())
}

fn write(path: &Path, content: &[u8], executable: bool) -> anyhow::Result<()> {
    let folder = path.parent().context("a file needs a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    std::fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    set_mode(path, if executable { 0o755 } else { 0o644 })
}

fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

/// The files of the tree, sorted.
fn files_of(tree: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(tree).with_context(|| format!("cannot list {}", tree.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", tree.display()))?.path();
        if path.is_dir() {
            files.extend(files_of(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What dpkg compares installed files with.
fn checksums(toolroot: &Toolroot, tree: &Path) -> anyhow::Result<String> {
    let files = files_of(tree)?;
    let inside = files.iter().map(|path| path.strip_prefix(tree).context("a file outside of its tree"));
    let mut command = toolroot.command("md5sum", tree)?;
    output(command.arg("--").args(inside.collect::<anyhow::Result<Vec<_>>>()?))
}

/// Gives everything below `path` that time, and folders their usual mode: neither this run's clock nor this user's umask shall show.
fn set_times(path: &Path, time: SystemTime) -> anyhow::Result<()> {
    if path.is_dir() {
        set_mode(path, 0o755)?;
        for entry in std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
            set_times(&entry.with_context(|| format!("cannot list {}", path.display()))?.path(), time)?;
        }
    }
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    file.set_modified(time).with_context(|| format!("cannot set the time of {}", path.display()))
}
