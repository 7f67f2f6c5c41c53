// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which Debian mirror and which proxy to use: those of the host's apt, or `EXO_MIRROR`.

use std::process::Command;

use crate::process::output;

/// The mirror's address; `None` where neither the setting nor the host's apt names one.
pub(super) fn find() -> Option<String> {
    if let Ok(setting) = std::env::var("EXO_MIRROR") {
        if !setting.trim().is_empty() {
            return Some(setting.trim().trim_end_matches('/').to_owned());
        }
    }
    let targets =
        output(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI) $(RELEASE)"])).ok()?;
    choose(&targets)
}

/// The first archive that serves a Debian release itself (not its security updates, not somebody else's packages).
fn choose(targets: &str) -> Option<String> {
    const RELEASES: [&str; 9] =
        ["bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable", "oldstable"];
    targets.lines().find_map(|line| {
        let (address, release) = line.split_once(' ')?;
        let address = address.trim_end_matches('/');
        (RELEASES.contains(&release) && address.ends_with("/debian")).then(|| address.to_owned())
    })
}

/// The host's apt settings that say how to reach a mirror, as lines of an apt configuration.
pub(super) fn apt_proxy_options() -> Vec<String> {
    let Ok(settings) = output(Command::new("apt-config").arg("dump").arg("--format").arg("%F \"%v\";%n"))
    else {
        return Vec::new();
    };
    let wanted = |line: &&str| {
        let name = line.split(' ').next().unwrap_or_default().to_ascii_lowercase();
        let named = name.starts_with("acquire::http::proxy") || name.starts_with("acquire::https::proxy");
        named && !line.contains("\"\"")
    };
    settings.lines().filter(wanted).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn the_mirror_is_the_one_that_serves_a_release() {
        let targets = "https://packages.example/apt/ bookworm\n\
                       http://mirror.example/debian-security/ bookworm-security\n\
                       http://mirror.example/debian/ bookworm-updates\n\
                       http://mirror.example/debian/ bookworm\n";
        assert_eq!(choose(targets).as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(choose("http://archive.example/ubuntu/ noble\n"), None);
    }
}
