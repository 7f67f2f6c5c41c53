// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `cargo exo kmod` does for a module besides building it: new ones, checks, tests, documentation, editors, signatures.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;

use super::Lab;
use super::vm::shell;
use crate::cli::KmodKind;
use crate::context::remove_folder;
use crate::kernel::Kernel;
use crate::kmod::{self, Options, check, doc, ide, new, sign, unit_tests};
use crate::machine::Config;
use crate::process::output;

/// A folder with a new module of each kind; their paths.
struct NewModules {
    _folder: tempfile::TempDir,
    paths: Vec<PathBuf>,
}

impl NewModules {
    fn make(lab: &Lab, kinds: &[KmodKind]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let mut paths = Vec::new();
        for kind in kinds {
            let name = kind.to_possible_value().context("a kind has no name")?.get_name().to_owned();
            paths.push(new::make(&lab.parts.context, &folder.path().join(format!("new_{name}")), *kind)?);
        }
        Ok(Self { _folder: folder, paths })
    }

    fn misc(lab: &Lab) -> anyhow::Result<(Self, PathBuf)> {
        let new = Self::make(lab, &[KmodKind::Misc])?;
        let path = new.paths.first().context("no module was made")?.clone();
        Ok((new, path))
    }
}

/// The folders in `linux/examples`.
fn examples(lab: &Lab) -> anyhow::Result<Vec<PathBuf>> {
    let folder = lab.parts.context.checkout.join("linux/examples");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).context("there are no examples")?.flatten() {
        if entry.path().join("Kbuild").is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    ensure!(found.len() >= 5, "only {} examples in {}", found.len(), folder.display());
    Ok(found)
}

/// Removes what was built of a module whose sources go.
pub(super) fn forget(lab: &Lab, module: &Path) -> anyhow::Result<()> {
    let kernel = &lab.parts.linux()?.kernel;
    remove_folder(&kmod::out_folder(&lab.parts.context, kernel, &module.canonicalize()?)?)
}

fn check_one(lab: &Lab, module: &Path) -> anyhow::Result<()> {
    let parts = &lab.parts;
    check::check(&parts.context, &parts.toolroot, &parts.linux()?.kernel, module, &[])
}

pub(super) fn new_modules_and_examples_are_clean(lab: &Lab) -> anyhow::Result<()> {
    let new = NewModules::make(lab, KmodKind::value_variants())?;
    for module in new.paths.iter().chain(&examples(lab)?) {
        check_one(lab, module)?;
    }
    // How lines are broken depends on the length of the name.
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    for (kind, length) in KmodKind::value_variants().iter().flat_map(|kind| [(kind, 1), (kind, 55)]) {
        let place = folder.path().join(format!("{kind:?}")).join("q".repeat(length));
        let module = new::make(&lab.parts.context, &place, *kind)?;
        check::check_format(&lab.parts.toolroot, &lab.parts.linux()?.kernel, &module)?;
    }
    Ok(())
}

/// Negative controls: a lint of the kernel's, and a line that rustfmt would write otherwise.
pub(super) fn what_is_not_clean_is_told(lab: &Lab) -> anyhow::Result<()> {
    for (from, to, expected) in [
        (
            "byte.to_ascii_uppercase()\n}",
            "return byte.to_ascii_uppercase();\n}",
            "clippy has something to say",
        ),
        ("const CAPACITY: usize = 4096;", "const CAPACITY:usize = 4096;", "not in the kernel's style"),
    ] {
        let (_new, module) = NewModules::misc(lab)?;
        let source = module.join("new_misc.rs");
        let text = std::fs::read_to_string(&source).context("the new module has no source")?;
        let changed = text.replacen(from, to, 1);
        ensure!(changed != text, "the template has no {from:?}");
        std::fs::write(&source, changed).context("cannot change the module")?;
        let error = check_one(lab, &module).err().with_context(|| format!("{to:?} was accepted"))?;
        ensure!(error.to_string().contains(expected), "the message was: {error:#}");
    }
    Ok(())
}

fn test_one(lab: &Lab, module: &Path) -> anyhow::Result<Vec<String>> {
    let config = Config { rng: 0, load_modules: false, ..lab.config() };
    let mut said = Vec::new();
    unit_tests::test(&lab.parts.context, &lab.parts, &config, module, &[], |line| {
        said.push(line.to_owned())
    })?;
    Ok(said)
}

pub(super) fn new_modules_pass_their_tests(lab: &Lab) -> anyhow::Result<()> {
    let new = NewModules::make(lab, KmodKind::value_variants())?;
    // Debian's own kernels have no KUnit, so the script alone is run there.
    let least = if lab.checked { 2 } else { 1 };
    for module in &new.paths {
        let said = test_one(lab, module)?;
        ensure!(
            said.len() >= least && said.iter().all(|line| line.ends_with("... ok")),
            "{} said {said:?}",
            module.display()
        );
        forget(lab, module)?;
    }
    Ok(())
}

pub(super) fn examples_pass_their_tests(lab: &Lab) -> anyhow::Result<()> {
    for module in examples(lab)? {
        let said = test_one(lab, &module).with_context(|| format!("in {}", module.display()))?;
        ensure!(!said.is_empty(), "{} has no test", module.display());
    }
    Ok(())
}

/// The examples in a module's documentation, in its root and in another file of it; one that is wrong is told with its place.
pub(super) fn examples_in_a_modules_documentation_are_compiled(lab: &Lab) -> anyhow::Result<()> {
    const PART: &str = "//! A part.\n//!\n//! ```\n//! use kernel::prelude::*;\n//! let list = KVec::<u8>::with_capacity(3, GFP_KERNEL)?;\n\
        //! # Ok::<(), Error>(())\n//! ```\n//!\n//! ```compile_fail\n//! let number: u32 = \"text\";\n//! ```\n";
    let (_new, module) = NewModules::misc(lab)?;
    let (source, part) = (module.join("new_misc.rs"), module.join("part.rs"));
    let text = std::fs::read_to_string(&source).context("the new module has no source")?;
    std::fs::write(
        &source,
        text.replace("/// The name in `/dev`.", "pub mod part;\n\n/// The name in `/dev`."),
    )
    .context("cannot change the module")?;
    std::fs::write(&part, PART).context("cannot write a part")?;
    let said = test_one(lab, &module)?;
    let compiled = |file: &str| said.iter().filter(|line| line.starts_with(&format!("test {file}:"))).count();
    ensure!(compiled("new_misc.rs") == 1 && compiled("part.rs") == 2, "it said {said:?}");

    let wrong = PART.replace("with_capacity(3", "with_capacity(missing()");
    std::fs::write(&part, wrong + "/// ```\n/// new_misc::upper_case(1, 2);\n/// ```\npub fn twice() {}\n")
        .context("cannot write a part")?;
    let error = test_one(lab, &module).err().context("an example that does not compile passed")?;
    let told = format!("{error:#}");
    for place in ["part.rs:5:", "part.rs:13:"].map(|place| format!("--> {}/{place}", module.display())) {
        ensure!(told.contains(&place), "it does not point at {place}: {told}");
    }
    ensure!(told.contains("cannot find function `missing`") && told.contains("E0061"), "it said {told}");
    forget(lab, &module)
}

/// Negative controls: an assertion that does not hold, a script that fails, and nothing that could fail.
pub(super) fn failed_tests_of_a_module_are_failures(lab: &Lab) -> anyhow::Result<()> {
    let (_new, module) = NewModules::misc(lab)?;
    let (source, script) = (module.join("new_misc.rs"), module.join("test.sh"));
    let right = std::fs::read_to_string(&source).context("the new module has no source")?;
    let try_with = |text: &str, line: Option<&str>| -> anyhow::Result<String> {
        std::fs::write(&source, text).context("cannot change the module")?;
        match line {
            Some(line) => std::fs::write(&script, line).context("cannot write the script")?,
            None => std::fs::remove_file(&script).context("cannot remove the script")?,
        }
        let error = test_one(lab, &module).err().context("a module that fails passed")?;
        Ok(format!("{error:#}"))
    };
    let wrong = right.replace("assert_eq!(upper_case(b'a'), b'A');", "assert_eq!(upper_case(b'a'), b'B');");
    ensure!(wrong != right, "the template has another test");
    let said = try_with(&wrong, Some("true\n"))?;
    ensure!(
        said.contains("KUnit tests of new_misc failed") && said.contains("letters_become"),
        "it said {said}"
    );
    let said = try_with(&right, Some("echo of no use >&2; exit 3\n"))?;
    ensure!(said.contains("ended with 3") && said.contains("of no use"), "it said {said}");
    let (untested, _) =
        right.split_once("/// `cargo exo kmod test` runs").context("the template has other tests")?;
    let said = try_with(untested, None)?;
    ensure!(said.contains("nothing was tested"), "it said {said}");
    forget(lab, &module)
}

/// What the page about modules shows first, by its own words: each command ends well, and its last line is shown.
pub(super) fn the_documented_commands_work(lab: &Lab) -> anyhow::Result<()> {
    let page = lab.parts.context.checkout.join("docs/kernel-modules.md");
    let text = std::fs::read_to_string(&page).context("docs/kernel-modules.md is missing")?;
    let block = text.split("```").nth(1).context("the page shows nothing")?;
    let (script, shown) = block.lines().fold((String::new(), Vec::new()), |(script, mut shown), line| {
        match line.strip_prefix("$ ") {
            Some(command) => (format!("{script}{command}\n"), shown),
            None => {
                shown.extend((!line.is_empty()).then(|| line.to_owned()));
                (script, shown)
            }
        }
    });
    ensure!(script.matches("cargo exo").count() >= 4, "the page shows other commands: {script}");
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    // This program stands for what cargo would build, even if a build has replaced its file meanwhile.
    let cargo = format!("cargo() {{ shift; /proc/{}/exe \"$@\"; }}\nset -e\n", std::process::id());
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(cargo + &script).current_dir(folder.path());
    shell.env("CARGO_TARGET_DIR", &lab.parts.context.target);
    let said = output(&mut shell)?;
    for line in shown {
        // Folders, numbers and times differ; the last word does not.
        let last = line.rsplit(' ').next().unwrap_or_default().trim_start_matches('…');
        let expected = if line.starts_with("test ") { &line } else { last };
        ensure!(said.contains(expected), "the page shows {line:?}, but it said:\n{said}");
    }
    Ok(())
}

fn build_one(lab: &Lab, module: &Path, options: Options<'_>) -> anyhow::Result<PathBuf> {
    let parts = &lab.parts;
    let built = kmod::build(&parts.context, &parts.toolroot, &parts.linux()?.kernel, module, options)?;
    built.first().cloned().context("nothing was built")
}

pub(super) fn a_module_can_be_signed(lab: &Lab) -> anyhow::Result<()> {
    let (_new, module) = NewModules::misc(lab)?;
    let (parts, kernel) = (&lab.parts, &lab.parts.linux()?.kernel);
    let built = build_one(lab, &module, Options::default())?;
    let (key, cert) = (module.join("key.pem"), module.join("cert.pem"));
    let mut openssl = parts.toolroot.command_with("openssl", &module, std::slice::from_ref(&module))?;
    openssl.args([
        "req",
        "-new",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=Somebody",
    ]);
    output(openssl.arg("-keyout").arg(&key).arg("-out").arg(&cert))?;
    let sign = |file: &Path| sign::sign(&parts.toolroot, kernel, &key, &cert, &[file.to_path_buf()]);
    sign(&built)?;
    let told = kmod::info(&parts.toolroot, &built)?;
    ensure!(told.contains("Somebody"), "modinfo names no signer:\n{told}");
    let again = sign(&built).err().context("a signed module was signed again")?;
    ensure!(again.to_string().contains("signed already"), "it said {again:#}");
    let other = sign(&cert).err().context("a certificate was signed as a module")?;
    ensure!(other.to_string().contains("not an ELF file"), "it said {other:#}");
    forget(lab, &module)
}

pub(super) fn an_editor_knows_the_kernels_crates(lab: &Lab) -> anyhow::Result<()> {
    let (_new, module) = NewModules::misc(lab)?;
    let parts = &lab.parts;
    let path = ide::project(&parts.context, &parts.toolroot, &parts.linux()?.kernel, &module)?;
    let text = std::fs::read(&path).context("nothing was written")?;
    let project: serde_json::Value = serde_json::from_slice(&text).context("it is no JSON")?;
    let crates = project["crates"].as_array().context("it lists no crates")?;
    let named = |name: &str| crates.iter().find(|krate| krate["display_name"] == name);
    let own = named("new_misc").context("it has no crate for the module")?;
    ensure!(
        own["deps"].to_string().contains("\"kernel\""),
        "the module does not depend on the kernel: {own}"
    );
    let macros = named("macros").context("it has no crate for the kernel's macros")?;
    let library = macros["proc_macro_dylib_path"].as_str().unwrap_or_default();
    ensure!(Path::new(library).is_file(), "the macros' library {library:?} is not there");
    ensure!(
        project["sysroot"].as_str().is_some_and(|path| Path::new(path).join("lib/rustlib").is_dir()),
        "the sysroot is not where an editor could find it: {}",
        project["sysroot"]
    );
    forget(lab, &module)
}

pub(super) fn a_modules_documentation_is_written(lab: &Lab) -> anyhow::Result<()> {
    // chardev has bounds over all lifetimes, of which rustdoc died (rust-lang/rust#160734).
    let kinds = [
        (KmodKind::Misc, "gives back what was written to it"),
        (KmodKind::Chardev, "each read gives the next number"),
    ];
    let new = NewModules::make(lab, &kinds.map(|(kind, _)| kind))?;
    let parts = &lab.parts;
    for (module, (_, said)) in new.paths.iter().zip(kinds) {
        let pages = doc::document(&parts.context, &parts.toolroot, &parts.linux()?.kernel, module, &[])?;
        let page = pages.first().context("no page was written")?;
        let text = std::fs::read_to_string(page).context("the page is not there")?;
        ensure!(text.contains(said), "{} has other text", page.display());
        forget(lab, module)?;
    }
    // Its source needs a variable that its Kbuild file exports.
    let module = parts.context.checkout.join("linux/examples/generated_source");
    doc::document(&parts.context, &parts.toolroot, &parts.linux()?.kernel, &module, &[]).map(drop)
}

/// The prepared tree stands for one that somebody has built.
pub(super) fn a_tree_of_ones_own_is_taken(lab: &Lab) -> anyhow::Result<()> {
    let (_new, module) = NewModules::misc(lab)?;
    let (parts, stock) = (&lab.parts, &lab.parts.linux()?.kernel);
    let kernel = Kernel::of_tree(&parts.toolroot, &stock.build)?;
    ensure!(
        kernel.release == stock.release,
        "the tree's release is {}, not {}",
        kernel.release,
        stock.release
    );
    let built = kmod::build(&parts.context, &parts.toolroot, &kernel, &module, Options::default())?;
    ensure!(built.len() == 1, "built were {built:?}");
    forget(lab, &module)
}

const MADE_IN_PLACE: &str = "obj-m := $(if $(filter y,$(WITH_IT)),in_place.o)\n\
    $(obj)/in_place.o: $(src)/generated.rs\n\
    $(src)/generated.rs:\n\techo 'pub(super) const TEXT: &str = \"generated beside it\";' > $@\n";

/// A module that is only there with a variable, and whose Kbuild writes a source beside the others.
pub(super) fn variables_and_generated_sources_work(lab: &Lab) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let module = folder.path().join("in_place");
    std::fs::create_dir(&module).context("cannot make a folder")?;
    std::fs::write(module.join("Kbuild"), MADE_IN_PLACE).context("cannot write the Kbuild file")?;
    let source = super::kmod::FOREIGN
        .replace("foreign\",", "in_place\",")
        .replace("struct Foreign;", "mod generated;\n\nstruct Foreign;")
        .replace("pr_info!(\"greetings from a foreign module\\n\")", "pr_info!(\"{}\\n\", generated::TEXT)");
    std::fs::write(module.join("in_place.rs"), source).context("cannot write the module")?;
    let variables = ["WITH_IT=y".to_owned()];
    let without = build_one(lab, &module, Options { in_place: true, ..Options::default() });
    ensure!(without.is_err(), "a module was built without its variable");
    let built =
        build_one(lab, &module, Options { in_place: true, variables: &variables, ..Options::default() })?;
    ensure!(built.parent() == Some(&module.canonicalize()?), "it was built at {}", built.display());
    Ok(())
}

/// The kernel takes a module's type information only if it is told in terms of its own.
pub(super) fn type_information_reaches_the_kernel(lab: &Lab) -> anyhow::Result<()> {
    let line = "head -c 2 /sys/kernel/btf/my_rng | od -An -tx1; dmesg | grep -c 'failed to validate module'";
    let (_, captured) = shell(lab, &Config { rng: 0, ..lab.config() }, line)?;
    // The magic number of BTF, 0xeb9f (Documentation/bpf/btf.rst).
    ensure!(captured.stdout == " 9f eb\n0\n", "{:?} {:?}", captured.stdout, captured.stderr);
    Ok(())
}
