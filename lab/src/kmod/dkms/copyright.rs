// SPDX-License-Identifier: MIT OR Apache-2.0
//! `debian/copyright` in its machine-readable form, from the SPDX lines of the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::identity::{Identity, ModuleInfo};
use super::{BUILDER_FOLDER, sources::Sources};

/// A licence: its SPDX name, Debian's, and what is written below the latter.
struct License {
    spdx: &'static [&'static str],
    debian: &'static str,
    text: &'static str,
}

const EXPAT: &str = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the \"Software\"), to deal in the Software without restriction, including without limitation
the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to
permit persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.";

const LICENSES: [License; 4] = [
    License {
        spdx: &["GPL-2.0", "GPL-2.0-only"],
        debian: "GPL-2",
        text: "On Debian systems, the text of version 2 of the GNU General Public License, the only version that applies, is in\n\
               /usr/share/common-licenses/GPL-2.",
    },
    License {
        spdx: &["GPL-2.0+", "GPL-2.0-or-later"],
        debian: "GPL-2+",
        text: "Version 2 of the GNU General Public License or, at your choice, any later one. On Debian systems, the text of\n\
               version 2 is in /usr/share/common-licenses/GPL-2.",
    },
    License { spdx: &["MIT"], debian: "Expat", text: EXPAT },
    License {
        spdx: &["Apache-2.0"],
        debian: "Apache-2.0",
        text: "On Debian systems, the text of the Apache License, version 2.0, is in /usr/share/common-licenses/Apache-2.0.",
    },
];

/// The licence of the script that this project adds.
const BUILDER_LICENSE: &str = "MIT OR Apache-2.0";
/// What the kernel's licence strings (`include/linux/module.h`) stand for.
const OF_MODULES: [(&str, &str); 4] = [
    ("GPL", "GPL-2.0"),
    ("GPL v2", "GPL-2.0"),
    ("Dual MIT/GPL", "MIT OR GPL-2.0"),
    ("GPL and additional rights", "GPL-2.0"),
];

/// The file's text; `year` is that of the newest source.
pub(super) fn write(
    sources: &Sources,
    info: &ModuleInfo,
    identity: &Identity,
    year: &str,
) -> anyhow::Result<String> {
    const ADVICE: &str = "write the package's copyright file by hand and give it with --copyright";
    let told = info.license.as_deref().unwrap_or_default();
    let own = OF_MODULES.iter().find(|(name, _)| *name == told).map(|(_, spdx)| *spdx);
    let own =
        own.with_context(|| format!("the module's licence is {told:?}, which has no entry here: {ADVICE}"))?;
    let mut others: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in &sources.files {
        let content =
            std::fs::read(&file.path).with_context(|| format!("cannot read {}", file.path.display()))?;
        // Who wrote none has the module's own licence.
        let Some(expression) = spdx_line(&String::from_utf8_lossy(&content)) else { continue };
        if debian_name(&expression) != debian_name(own) {
            others.entry(expression).or_default().push(file.inside.display().to_string());
        }
    }
    let authors =
        if info.authors.is_empty() { vec![identity.maintainer.clone()] } else { info.authors.clone() };
    let holders = authors.join(&format!("\n           {year} "));
    let mut text = format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: {}\n",
        identity.name
    );
    let mut used = BTreeSet::new();
    let mut stanza = |files: &str, holders: &str, expression: &str| -> anyhow::Result<()> {
        let Some(name) = debian_name(expression) else {
            bail!("the licence of {} is {expression}, which has no entry here: {ADVICE}", files.trim());
        };
        used.extend(parts(expression).filter_map(find).map(|license| license.debian));
        write!(text, "\nFiles: {files}\nCopyright: {year} {holders}\nLicense: {name}\n")?;
        Ok(())
    };
    stanza("*", &holders, own)?;
    for (expression, files) in &others {
        stanza(&files.join("\n       "), &holders, expression)?;
    }
    let builder = Path::new(BUILDER_FOLDER).join("build-rust-module");
    stanza(&builder.display().to_string(), "The Exo authors", BUILDER_LICENSE)?;
    for license in LICENSES.iter().filter(|license| used.contains(license.debian)) {
        write!(text, "\nLicense: {}\n", license.debian)?;
        for line in license.text.lines() {
            writeln!(text, " {}", if line.is_empty() { "." } else { line })?;
        }
    }
    Ok(text)
}

/// The expression in a source's first lines.
fn spdx_line(text: &str) -> Option<String> {
    let line = text.lines().take(10).find_map(|line| line.split_once("SPDX-License-Identifier:"))?.1;
    let line = line.trim().trim_end_matches("*/").trim_end_matches("-->").trim();
    Some(line.to_owned())
}

fn parts(expression: &str) -> impl Iterator<Item = &str> {
    expression.split(" OR ").map(|part| part.trim().trim_matches(['(', ')']))
}

fn find(spdx: &str) -> Option<&'static License> {
    LICENSES.iter().find(|license| license.spdx.contains(&spdx))
}

/// `MIT OR Apache-2.0` as `Expat or Apache-2.0`; none where a part is not known.
fn debian_name(expression: &str) -> Option<String> {
    let names: Option<Vec<&str>> =
        parts(expression).map(|part| find(part).map(|license| license.debian)).collect();
    names.map(|names| names.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmod::dkms::sources::Source;

    fn write_for(license: &str, files: &[(&str, &str)]) -> anyhow::Result<String> {
        let folder = tempfile::tempdir().unwrap();
        let mut sources = Sources { files: Vec::new(), module: "".into() };
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            sources.files.push(Source { path, inside: name.into(), executable: false });
        }
        let info = ModuleInfo {
            license: Some(license.to_owned()),
            authors: vec!["Ada".into(), "Bob".into()],
            ..ModuleInfo::default()
        };
        let identity = Identity {
            name: "hello".into(),
            package: "hello-dkms".into(),
            version: "1.0".into(),
            maintainer: "Ada <ada@example.org>".into(),
            oldest: "7.3".into(),
        };
        write(&sources, &info, &identity, "2026")
    }

    #[test]
    fn each_licence_has_its_files_and_its_text() {
        let text = write_for(
            "GPL",
            &[
                ("hello.rs", "// SPDX-License-Identifier: GPL-2.0\n"),
                ("abi.rs", "// SPDX-License-Identifier: MIT OR Apache-2.0\n"),
                ("shim.h", "/* SPDX-License-Identifier: GPL-2.0 */\n"),
                ("data", "no licence line\n"),
            ],
        )
        .unwrap();
        for part in [
            "Files: *\nCopyright: 2026 Ada\n           2026 Bob\nLicense: GPL-2\n",
            "Files: abi.rs\nCopyright: 2026 Ada\n           2026 Bob\nLicense: Expat or Apache-2.0\n",
            "Files: dkms/build-rust-module\n",
            "\nLicense: GPL-2\n On Debian",
            "\nLicense: Expat\n Permission",
            "\n .\n THE SOFTWARE",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        assert!(!text.contains("GPL-2+"), "{text}");
    }

    #[test]
    fn unknown_licences_are_told_and_not_guessed() {
        let error = write_for("Proprietary", &[("a.rs", "")]).unwrap_err().to_string();
        assert!(error.contains("\"Proprietary\"") && error.contains("--copyright"), "{error}");
        let error =
            write_for("GPL", &[("a.rs", "// SPDX-License-Identifier: ISC\n")]).unwrap_err().to_string();
        assert!(error.contains("a.rs is ISC"), "{error}");
    }
}
