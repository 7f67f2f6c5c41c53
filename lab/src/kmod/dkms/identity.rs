// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a package is called, and who vouches for it: from the command line, from the module, from the environment.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::cli::KmodDkmsArgs;
use crate::process::output;

/// What `modinfo` tells of a module.
#[derive(Debug, Default)]
pub(super) struct ModuleInfo {
    pub(super) version: Option<String>,
    pub(super) authors: Vec<String>,
    pub(super) description: Option<String>,
    pub(super) license: Option<String>,
}

impl ModuleInfo {
    /// Reads its lines `name:   value`.
    pub(super) fn of(told: &str) -> Self {
        let all = |name: &str| -> Vec<String> {
            let lines = told.lines().filter_map(|line| line.split_once(':'));
            lines.filter(|(field, _)| *field == name).map(|(_, value)| value.trim().to_owned()).collect()
        };
        let one = |name: &str| all(name).into_iter().find(|value| !value.is_empty());
        Self {
            version: one("version"),
            authors: all("author"),
            description: one("description"),
            license: one("license"),
        }
    }
}

/// A package's names.
#[derive(Debug)]
pub(super) struct Identity {
    /// What DKMS calls it.
    pub(super) name: String,
    /// What dpkg calls it.
    pub(super) package: String,
    /// Its version, for both.
    pub(super) version: String,
    /// `Name <address>`.
    pub(super) maintainer: String,
    /// The oldest kernel that it is built for, `7.3`.
    pub(super) oldest: String,
}

impl Identity {
    /// What the command line leaves open comes from the module and the environment.
    pub(super) fn find(
        args: &KmodDkmsArgs,
        folder: &str,
        objects: &[PathBuf],
        info: &ModuleInfo,
        series: &str,
    ) -> anyhow::Result<Self> {
        let object = objects.first().filter(|_| objects.len() == 1);
        let name = match (&args.name, object) {
            (Some(name), _) => name.clone(),
            (None, Some(object)) => object.file_name().unwrap_or_default().to_string_lossy().to_lowercase(),
            (None, None) => folder.to_lowercase(),
        };
        check_name(&name).context("give the package another name with --name")?;
        let version = args.package_version.as_ref().or(info.version.as_ref());
        let version = version
            .context("the module tells no version (`modinfo` shows none): give one with --package-version")?;
        check_version(version).context("give another version with --package-version")?;
        Ok(Self {
            package: format!("{}-dkms", name.replace('_', "-")),
            name,
            version: version.clone(),
            maintainer: maintainer(args.maintainer.as_deref())?,
            oldest: args.kernel_min.clone().unwrap_or_else(|| series.to_owned()),
        })
    }
}

/// Checks what needs no build to be found wrong.
pub(super) fn check_arguments(args: &KmodDkmsArgs) -> anyhow::Result<()> {
    if let Some(name) = &args.name {
        check_name(name)?;
    }
    if let Some(version) = &args.package_version {
        check_version(version)?;
    }
    if let Some(series) = &args.kernel_min {
        check_series(series)?;
    }
    maintainer(args.maintainer.as_deref()).map(drop)
}

/// A name that is one for DKMS (a part of paths) and, with dashes for underscores, for dpkg.
fn check_name(name: &str) -> anyhow::Result<()> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_+-.".contains(c);
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ensure!(
        starts && name.chars().all(fine) && name.len() <= 80,
        "{name:?} cannot be a package's name: expected a lower-case letter or digit, then at most 79 more or _ + - ."
    );
    Ok(())
}

/// An upstream version as deb-version(7) has it, without the characters that would part it from others.
fn check_version(version: &str) -> anyhow::Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || ".+~".contains(c);
    ensure!(
        version.starts_with(|c: char| c.is_ascii_digit()) && version.chars().all(fine) && version.len() <= 80,
        "{version:?} cannot be a package's version: expected a digit, then letters, digits and . + ~, such as 1.0 or 1.2~rc1"
    );
    Ok(())
}

fn check_series(series: &str) -> anyhow::Result<()> {
    let numbers: Vec<&str> = series.split('.').collect();
    let is_number =
        |text: &&str| !text.is_empty() && text.len() < 5 && text.chars().all(|c| c.is_ascii_digit());
    ensure!(
        (2..=3).contains(&numbers.len()) && numbers.iter().all(is_number),
        "{series:?} is no kernel version; expected two or three numbers, such as 7.2"
    );
    Ok(())
}

/// Who vouches for the package: as Debian's own tools find it.
fn maintainer(given: Option<&str>) -> anyhow::Result<String> {
    if let Some(given) = given {
        check_maintainer(given)?;
        return Ok(given.to_owned());
    }
    let said = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let configured = |name: &str| {
        let value = output(Command::new("git").args(["config", "--get", name])).ok()?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    let name = said("DEBFULLNAME").or_else(|| configured("user.name"));
    let address = said("DEBEMAIL").or_else(|| configured("user.email"));
    let (Some(name), Some(address)) = (name, address) else {
        bail!(
            "a package needs a maintainer: give --maintainer \"Name <address>\", or set DEBFULLNAME and DEBEMAIL, or git's user.name \
             and user.email"
        );
    };
    let whole = format!("{name} <{address}>");
    check_maintainer(&whole)?;
    Ok(whole)
}

fn check_maintainer(text: &str) -> anyhow::Result<()> {
    let parts = text.strip_suffix('>').and_then(|text| text.split_once(" <"));
    let fine = parts.is_some_and(|(name, address)| {
        let mailbox =
            address.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
        !name.trim().is_empty()
            && mailbox
            && !text.contains(['\n', '\r', ','])
            && !address.contains(|c: char| c.is_whitespace() || "<>".contains(c))
    });
    ensure!(
        fine,
        "{text:?} is no maintainer; expected Name <address>, such as Ada Example <ada@example.org>"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_dkms_and_dpkg() {
        for fine in ["my_rng", "hello", "9p-rust", "a.b+c"] {
            assert!(check_name(fine).is_ok(), "{fine}");
        }
        for wrong in ["", "My", "_x", "a/b", "a b", "ä", "..", "a\n", "$(x)", &"a".repeat(81)] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn versions_are_those_of_packages() {
        for fine in ["0.1.0", "1.2~rc1", "2026.11+git1"] {
            assert!(check_version(fine).is_ok(), "{fine}");
        }
        for wrong in ["", "v1", "1-2", "1:2", "1 2", "1/2", "1\n"] {
            let error = check_version(wrong).unwrap_err().to_string();
            assert!(error.contains("such as 1.0"), "{error}");
        }
        assert!(check_series("7.2").is_ok() && check_series("7.2.1").is_ok());
        for wrong in ["7", "7.", "7.x", "7.2.1.0", "", "70000.1"] {
            assert!(check_series(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn maintainers_have_a_name_and_an_address() {
        assert!(check_maintainer("Ada Example <ada@example.org>").is_ok());
        for wrong in
            ["", "Ada", "ada@example.org", "<ada@example.org>", "Ada <ada>", "A\nB: c <a@b>", "A <a@b c>"]
        {
            assert!(check_maintainer(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn modinfo_is_read() {
        let told = "filename:       /x/hello.ko\nversion:        0.1.0\nauthor:         Ada\nauthor:         Bob\n\
                    description:    Says: hello\nlicense:        GPL\nsrcversion:     1\n";
        let info = ModuleInfo::of(told);
        assert_eq!(info.version.as_deref(), Some("0.1.0"));
        assert_eq!((info.authors.len(), info.description.as_deref()), (2, Some("Says: hello")));
        assert!(ModuleInfo::of("description:\n").description.is_none());
    }
}
