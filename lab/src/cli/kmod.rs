// SPDX-License-Identifier: MIT OR Apache-2.0
//! The arguments of `cargo exo kmod`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::diagnostics::MessageFormat;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct KmodArgs {
    #[command(subcommand)]
    pub(crate) step: Option<KmodStep>,

    #[command(flatten)]
    pub(crate) build: KmodBuildArgs,
}

/// What else there is in a module's life than building it.
#[derive(Debug, Subcommand)]
pub(crate) enum KmodStep {
    /// Make a new module that builds, loads and has tests
    New(KmodNewArgs),
    /// Look at a module with clippy, by the kernel's lints, and with rustfmt, by the kernel's style
    Check(KmodModulesArgs),
    /// Run a module's KUnit tests, and its test.sh if there is one, in a machine with the checked kernel
    ///
    /// The examples in its documentation are compiled. The module is built for that kernel and loaded, its KUnit suites run then. After them `sh test.sh` runs in the machine, and the module is
    /// unloaded. Whatever KASAN, lockdep or kmemleak report is a failure. Lines `# qemu: WORDS` in test.sh are arguments for QEMU.
    Test(KmodModulesArgs),
    /// Write a module's documentation as HTML and print the path of its first page
    Doc(KmodModulesArgs),
    /// Write rust-project.json beside a module's sources, by which rust-analyzer knows the kernel's crates
    Ide(KmodModulesArgs),
    /// Sign .ko files in place, by the hash that the kernel asks for
    Sign(KmodSignArgs),
    /// Make a Debian package with which DKMS builds a module on other machines, and print its path
    ///
    /// Installed on a Debian machine that has a kernel with Rust (trixie with the kernel of trixie-backports, say), the package makes the kernel's
    /// Rust metadata there, from Debian's linux-source; compares its symbols with those that the kernel exports; and builds and installs the module,
    /// for that kernel and for each that comes with an update. A kernel for which that cannot be done is refused with a reason.
    ///
    /// The module is built here first. The package has all files in its folder, and those elsewhere that its build has read; it is built once more
    /// from these alone. The same sources give the same package to the byte; set SOURCE_DATE_EPOCH for the same dates in it, too.
    ///
    /// Example: cargo exo kmod dkms hello --package-version 1.0 --maintainer "Ada Example <ada@example.org>"
    Dkms(KmodDkmsArgs),
}

/// The kernel that modules are for.
#[derive(Debug, Args)]
pub(crate) struct KmodKernelArgs {
    /// The kernel to build for, as its `uname -r` says; by default the newest of the series in lab/toolroot.toml
    #[arg(long, value_name = "RELEASE")]
    pub(crate) kernel_release: Option<String>,

    /// Look for a newer patch level than the one in the cache
    #[arg(long, conflicts_with = "kernel_release")]
    pub(crate) update: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KmodBuildArgs {
    #[command(flatten)]
    pub(crate) kernel: KmodKernelArgs,

    /// The folder of a module, with its Kbuild file; repeatable; by default this project's modules
    #[arg(long = "module", value_name = "DIR")]
    pub(crate) modules: Vec<PathBuf>,

    /// Build for the kernel tree DIR, which you have built; without DIR, print the path of the prepared one (KDIR) and stop
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    pub(crate) kdir: Option<Option<PathBuf>>,

    /// Also get the kernel's debug symbols, 350 MB, and print the path of its vmlinux last
    ///
    /// The modules have debug information of their own. gdb and drgn take both, see docs/kernel-modules.md.
    #[arg(long, conflicts_with = "kdir")]
    pub(crate) debug_info: bool,

    /// Build beside the sources, for modules that look there for sources that their Kbuild generates
    #[arg(long, requires = "modules")]
    pub(crate) in_place: bool,

    /// How errors and warnings are shown; with json the modules are compiled anew, so that none is left out
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) message_format: MessageFormat,

    /// Variables for make
    #[arg(last = true, value_name = "NAME=VALUE")]
    pub(crate) variables: Vec<String>,
}

/// A kind of module to start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KmodKind {
    /// A device file in /dev, by the kernel's misc device
    Misc,
    /// Several device files with their own minors, by this project's chardev
    Chardev,
    /// A driver of a PCI device: that of QEMU's `edu` to start with
    Pci,
    /// A driver of a platform device
    Platform,
}

#[derive(Debug, Args)]
pub(crate) struct KmodNewArgs {
    /// The folder to make; its last part is the module's name
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,

    /// What it is to start from
    #[arg(long, value_enum, default_value = "misc")]
    pub(crate) kind: KmodKind,
}

#[derive(Debug, Args)]
pub(crate) struct KmodModulesArgs {
    /// Folders of modules, each with its Kbuild file; by default this project's modules
    #[arg(value_name = "DIR")]
    pub(crate) modules: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) kernel: KmodKernelArgs,

    /// Variables for make
    #[arg(last = true, value_name = "NAME=VALUE")]
    pub(crate) variables: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct KmodSignArgs {
    /// The private key, as PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,

    /// Its certificate, as PEM or DER
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: PathBuf,

    /// The .ko files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) kernel: KmodKernelArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KmodDkmsArgs {
    /// The folder of the module, with its Kbuild file
    #[arg(value_name = "DIR")]
    pub(crate) module: PathBuf,

    /// Where the package goes
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) output: PathBuf,

    /// What DKMS calls it, and dpkg with -dkms at its end; by default the module's name, or the folder's if there are several modules
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Its version; by default the one that `modinfo` shows for the module
    #[arg(long, value_name = "VERSION")]
    pub(crate) package_version: Option<String>,

    /// Who vouches for the package; by default DEBFULLNAME and DEBEMAIL, else what git is configured with
    #[arg(long, value_name = "NAME <ADDRESS>")]
    pub(crate) maintainer: Option<String>,

    /// The oldest kernel to build it for, such as 7.2; by default the series of the one that it is built for here
    #[arg(long, value_name = "VERSION")]
    pub(crate) kernel_min: Option<String>,

    /// The package's copyright file, for licences that cannot be told from the sources' SPDX lines
    #[arg(long, value_name = "FILE")]
    pub(crate) copyright: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) kernel: KmodKernelArgs,

    /// Variables for make, here and on other machines
    #[arg(last = true, value_name = "NAME=VALUE")]
    pub(crate) variables: Vec<String>,
}
