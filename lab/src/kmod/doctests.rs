// SPDX-License-Identifier: MIT OR Apache-2.0
//! Do the examples in a module's documentation compile? rustdoc finds them and puts them together; each is a crate that uses the module's own.
//!
//! They are not run: a module is no library that another could call, and none of this is in the kernel.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::compilations::Compilation;
use super::kbuild::Place;
use crate::context::Context;
use crate::process;
use crate::ui::Step;

/// What rustdoc calls in place of rustc. It asks for programs, which need `std`; libraries of which only metadata is made need nothing but what
/// the module itself has.
const COMPILER: &str = "#!/bin/sh
for word; do
\tshift
\tcase $word in
\tbin) word=lib ;;
\t--crate-type=bin) word=--crate-type=lib ;;
\t--emit=*) continue ;;
\tesac
\tset -- \"$@\" \"$word\"
done
exec rustc --emit=metadata \"$@\"
";

/// Examples know the module's crate from the command line. If rustdoc named it in them, it would tell the lines of errors wrongly.
const NO_EXTERN_CRATE: &str = "#![doc(test(no_crate_inject))] ";
/// What rustdoc calls its stdin, and what rustc calls an example from there.
const STDIN: [&str; 2] = ["<anon>", "doctest.rs"];

/// Compiles the examples of a module that was built; `say` gets a line for each. One that does not compile is an error,
/// with what the compiler says of it.
pub(super) fn compile(context: &Context, place: Place<'_>, mut say: impl FnMut(&str)) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(&context.target).context("cannot make a folder")?;
    let compiler = folder.path().join("compiler");
    std::fs::write(&compiler, COMPILER).context("cannot write a script")?;
    std::fs::set_permissions(&compiler, std::fs::Permissions::from_mode(0o755))
        .context("cannot make a script executable")?;
    let mut failed = String::new();
    for compilation in Compilation::all_in(place)? {
        let name = compilation.crate_name();
        let step = Step::new(&format!("Compiling the examples in the documentation of {name}"), None);
        let metadata = folder.path().join(format!("lib{name}.rmeta"));
        let mut rustc = compilation.command("rustc", place.out, place)?;
        rustc.arg(format!("--emit=metadata={}", metadata.display())).arg(&compilation.source);
        process::run(&mut rustc, &step)?;

        // rustdoc, as it looks for examples, takes no attributes from its command line, so the source comes with them, in its first line.
        let source = &compilation.source;
        let text =
            std::fs::read_to_string(source).with_context(|| format!("cannot read {}", source.display()))?;
        let root = folder.path().join("root");
        std::fs::write(&root, compilation.attributes() + NO_EXTERN_CRATE + &text)
            .context("cannot write a source")?;
        let beside = source.parent().context("a source is in no folder")?;
        let mut rustdoc = compilation.command("rustdoc", beside, place)?;
        rustdoc.args(["--test", "--no-run", "-Zunstable-options", "--test-builder"]).arg(&compiler);
        rustdoc.arg("--extern").arg(format!("{name}={}", metadata.display()));
        rustdoc.args(["--crate-name", &name, "-"]);
        let input = std::fs::File::open(&root).context("cannot read a source")?;
        let (mut said, mut errors) = (String::new(), String::new());
        let named = |line: &str| format!("{}\n", with_path(line, source));
        let status = process::run_apart_from(
            &mut rustdoc,
            input.into(),
            |line| said += &named(line),
            |line| errors += &named(line),
        )?;
        let results = results(&said, place.module);
        if !status.success() && !results.iter().any(|result| result.contains("FAILED")) {
            bail!("rustdoc cannot look for examples in {name}:\n{errors}{said}");
        }
        step.done();
        results.iter().for_each(|result| say(result));
        if !status.success() {
            failed += failures(&said);
        }
    }
    if !failed.is_empty() {
        bail!("examples in the documentation do not compile:\n{failed}");
    }
    Ok(())
}

/// A line with the whole path of the source that it points at: `source` for what came by stdin, or one in a folder beside it.
fn with_path(line: &str, source: &Path) -> String {
    const ARROW: &str = "--> ";
    let [anonymous, example] = STDIN;
    let line = line.replace(anonymous, &source.display().to_string());
    let Some((margin, place)) = line.split_once(ARROW).filter(|(margin, _)| margin.trim().is_empty()) else {
        return line;
    };
    let path = match place.strip_prefix(example).filter(|rest| rest.starts_with(':')) {
        Some(rest) => format!("{}{rest}", source.display()),
        None => source.with_file_name(place).display().to_string(),
    };
    format!("{margin}{ARROW}{path}")
}

/// rustdoc's `test FILE - ITEM (line N) - compile ... ok` as `test FILE:N ITEM ... ok`, the file as seen from the module's folder.
fn results(said: &str, module: &Path) -> Vec<String> {
    let result = |line: &str| -> Option<String> {
        let (name, end) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
        // Of what the module's author has rustdoc leave out there is nothing to tell.
        if end == "ignored" {
            return None;
        }
        let (file, item) = name.split_once(" - ")?;
        let (item, number) = item.split_once("(line ")?;
        let (number, _) = number.split_once(')')?;
        let file = Path::new(file).strip_prefix(module).unwrap_or(Path::new(file));
        let item = if item.is_empty() { String::new() } else { format!(" {}", item.trim_end()) };
        Some(format!("test {}:{number}{item} ... {end}", file.display()))
    };
    said.lines().filter_map(result).collect()
}

/// What was said of those that failed.
fn failures(said: &str) -> &str {
    const TITLE: &str = "\nfailures:\n";
    let rest = said.split_once(TITLE).map_or(said, |(_, rest)| rest);
    rest.split_once(TITLE).map_or(rest, |(failures, _)| failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\nrunning 3 tests\n\
        test /m/hello.rs - (line 5) - compile ... ok\n\
        test /m/parts/part.rs - part::take (line 12) - compile ... FAILED\n\
        test /m/hello.rs - upper_case (line 90) ... ignored\n\
        \nfailures:\n\n---- /m/parts/part.rs - part::take (line 12) stdout ----\nerror[E0425]: no\n --> /m/parts/part.rs:13:1\n\
        \nfailures:\n    /m/parts/part.rs - part::take (line 12)\n\ntest result: FAILED. 1 passed; 1 failed; 1 ignored\n";

    #[test]
    fn each_example_has_its_place() {
        let expected = ["test hello.rs:5 ... ok", "test parts/part.rs:12 part::take ... FAILED"];
        assert_eq!(results(SAID, Path::new("/m")), expected);
    }

    #[test]
    fn the_compiler_points_at_files() {
        let source = Path::new("/m/hello.rs");
        for (line, expected) in [
            ("  --> doctest.rs:101:37", "  --> /m/hello.rs:101:37"),
            (" --> parts/part.rs:4:14", " --> /m/parts/part.rs:4:14"),
            (" --> /k/lib.rs:4:14", " --> /k/lib.rs:4:14"),
            ("1 | x --> y", "1 | x --> y"),
            ("test <anon> - f (line 3) - compile ... ok", "test /m/hello.rs - f (line 3) - compile ... ok"),
        ] {
            assert_eq!(with_path(line, source), expected);
        }
    }

    #[test]
    fn what_the_compiler_says_is_shown_once() {
        let shown = failures(SAID);
        assert!(shown.contains("error[E0425]") && shown.contains("/m/parts/part.rs:13:1"), "{shown}");
        assert!(!shown.contains("running") && shown.matches("stdout ----").count() == 1, "{shown}");
        assert_eq!(failures("nothing"), "nothing");
    }
}
