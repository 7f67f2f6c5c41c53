// SPDX-License-Identifier: MIT OR Apache-2.0
//! `lab/toolroot.toml`: what the tool tree is made from.

use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The whole file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Definition {
    /// Debian suite of the tree.
    pub(crate) suite: String,
    /// Suite that newer packages may come from.
    pub(crate) backports: String,
    /// Packages, as apt patterns, that do come from there.
    pub(crate) from_backports: Vec<String>,
    /// Packages to install.
    pub(crate) packages: Vec<String>,
    /// The kernel to build modules for.
    pub(crate) kernel: KernelSeries,
    /// The tools of Debian's next release.
    pub(crate) newer: Newer,
}

/// What kernels of Debian's next release are built with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Newer {
    /// Debian suite of the tree and of the kernels.
    pub(crate) suite: String,
    /// Suite with release candidates of the kernel.
    pub(crate) candidates: String,
    /// Packages to install.
    packages: Vec<String>,
}

/// The kernel that machines run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KernelSeries {
    /// Major and minor version, `7.3`.
    pub(crate) series: String,
    /// Debian's flavour, `cloud-amd64`.
    pub(crate) flavour: String,
    /// Address of Debian's archive as it was when it had a kernel of this series.
    pub(crate) snapshot: String,
    /// Other series that are tested.
    #[serde(default)]
    pub(crate) also: Vec<String>,
}

impl Definition {
    /// Reads and checks the file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not a tool tree definition", path.display()))
    }

    /// The definition of the tree with the tools of Debian's next release.
    pub(super) fn of_newer(&self) -> Self {
        let Newer { suite, packages, .. } = self.newer.clone();
        Self { suite, packages, backports: String::new(), from_backports: Vec::new(), ..self.clone() }
    }

    /// Whether the tree is one that machines start from, and not one that kernels are built with alone.
    pub(super) fn has_machines(&self) -> bool {
        self.packages.iter().any(|package| package.starts_with("qemu-system"))
    }

    /// Names the tree: twelve hexadecimal digits of SHA-256 over all that shapes it. The kernel is not part of the tree.
    pub(crate) fn key(&self) -> String {
        let shape = (&self.suite, &self.backports, &self.from_backports, &self.packages);
        let hash = Sha256::digest(format!("{shape:?}"));
        hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The shell command that makes apt prefer backports for the packages named. A command and not a file: the user
    /// that mmdebstrap becomes may not read this user's files.
    pub(super) fn preferences_hook(&self) -> String {
        if self.from_backports.is_empty() {
            return "true".to_owned();
        }
        format!(
            "mkdir -p \"$1/etc/apt/preferences.d\" && \
             printf 'Package: %s\\nPin: release n=%s\\nPin-Priority: 900\\n' '{}' '{}' > \"$1/etc/apt/preferences.d/exo\"",
            self.from_backports.join(" "),
            self.backports
        )
    }

    /// apt source lines for the mirror at this address.
    pub(super) fn sources(&self, mirror: &str) -> Vec<String> {
        if self.backports.is_empty() {
            // A suite that is still in the making has neither updates nor backports. It lives from week to week, and a mirror that lags
            // behind is as good for us.
            return vec![format!("deb [check-valid-until=no] {mirror} {} main", self.suite)];
        }
        [self.suite.clone(), format!("{}-updates", self.suite), self.backports.clone()]
            .iter()
            .map(|suite| format!("deb {mirror} {suite} main"))
            .collect()
    }

    /// For a tree from mmdebstrap's default mirror: the shell command that adds backports from that same mirror.
    pub(super) fn backports_hook(&self) -> String {
        if self.backports.is_empty() {
            return "true".to_owned();
        }
        let (suite, backports) = (&self.suite, &self.backports);
        format!(
            "sed -n 's/ {suite} main$/ {backports} main/p' \"$1/etc/apt/sources.list\" > \"$1/etc/apt/sources.list.d/backports.list\""
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Definition {
        toml::from_str(include_str!("../../toolroot.toml")).unwrap()
    }

    #[test]
    fn the_key_follows_the_packages_and_not_the_kernel() {
        let original = definition();
        let mut more = original.clone();
        more.packages.push("hello".into());
        assert_ne!(original.key(), more.key());
        let mut other_kernel = original.clone();
        other_kernel.kernel.series = "7.4".into();
        assert_eq!(original.key(), other_kernel.key());
        assert_eq!(original.key().len(), 12);
    }

    #[test]
    fn the_newer_tools_are_a_tree_of_their_own() {
        let (original, newer) = (definition(), definition().of_newer());
        assert_ne!(original.key(), newer.key());
        assert_eq!(
            newer.sources("http://m/debian"),
            ["deb [check-valid-until=no] http://m/debian unstable main"]
        );
        assert!(!newer.preferences_hook().contains("Pin") && !newer.backports_hook().contains("sed"));
    }

    #[test]
    fn misspelt_settings_are_refused() {
        let text = include_str!("../../toolroot.toml").replacen("packages =", "pakages =", 1);
        assert!(toml::from_str::<Definition>(&text).unwrap_err().to_string().contains("pakages"));
    }

    #[test]
    fn sources_come_from_the_mirror_given() {
        let sources = definition().sources("http://mirror.example/debian");
        assert_eq!(sources[0], "deb http://mirror.example/debian trixie main");
        assert!(sources.contains(&"deb http://mirror.example/debian trixie-backports main".to_owned()));
    }
}
