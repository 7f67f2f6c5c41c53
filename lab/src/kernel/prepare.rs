// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making Debian's kernel tree complete again, so that Rust modules can be built against it.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::jobs;
use crate::process::{self, output};
use crate::toolroot::Toolroot;
use crate::ui::Step;

/// Regenerates headers, tools and Rust metadata in `place/build`, from `place/source` and Debian's configuration.
/// Returns the variables that every later `make` must be given.
pub(super) fn prepare(
    toolroot: &Toolroot,
    release: &str,
    place: &Path,
    step: &Step,
) -> anyhow::Result<Vec<String>> {
    let headers = place.join("packages/usr/src").join(format!("linux-headers-{release}"));
    let build = place.join("build");
    std::fs::create_dir_all(&build).context("cannot create the build folder")?;
    let config = std::fs::read_to_string(headers.join(".config"))
        .with_context(|| format!("linux-headers-{release} has no configuration"))?;
    check_rust(toolroot, &config)?;
    let variables = make_variables(&config, release)?;
    std::fs::write(build.join(".config"), &config).context("cannot write the configuration")?;

    let source = place.join("source");
    let make = |targets: &[&str]| -> anyhow::Result<()> {
        let mut command = toolroot.command("make", &source)?;
        command
            .arg(format!("O={}", build.display()))
            .args(&variables)
            .arg(format!("-j{}", jobs()))
            .args(targets);
        process::run(&mut command, step)
    };
    make(&["olddefconfig"])?;
    let kept = std::fs::read_to_string(build.join(".config")).context("cannot read the configuration")?;
    check_kept(&config, &kept)?;
    make(&["prepare", "modules_prepare"])?;

    std::fs::copy(headers.join("Module.symvers"), build.join("Module.symvers"))
        .with_context(|| format!("linux-headers-{release} has no Module.symvers"))?;
    Ok(variables)
}

/// The value of a configuration option, without quotes.
pub(super) fn option<'a>(config: &'a str, name: &str) -> Option<&'a str> {
    config
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .map(|value| value.trim_matches('"'))
}

fn make_variables(config: &str, release: &str) -> anyhow::Result<Vec<String>> {
    let compiler = option(config, "CONFIG_CC_VERSION_TEXT")
        .and_then(|text| text.split(' ').next())
        .context("the kernel's configuration does not say which compiler built it")?;
    Ok(vec![format!("CC={compiler}"), format!("HOSTCC={compiler}"), format!("KERNELRELEASE={release}")])
}

/// The kernel's rustc must be ours: metadata of another version has other symbol names.
pub(super) fn check_rust(toolroot: &Toolroot, config: &str) -> anyhow::Result<()> {
    if option(config, "CONFIG_RUST") != Some("y") {
        bail!("this kernel was built without Rust (CONFIG_RUST is not set), so it cannot load Rust modules");
    }
    let wanted = option(config, "CONFIG_RUSTC_VERSION_TEXT")
        .context("the kernel's configuration does not name its rustc")?;
    let ours = output(toolroot.command("rustc", Path::new("/"))?.arg("--version"))?;
    if ours.trim() != wanted {
        bail!(
            "the kernel was built with `{wanted}`, but the tool tree has `{}`: its Rust symbols would differ",
            ours.trim()
        );
    }
    Ok(())
}

/// Compares the configuration before and after `olddefconfig`: what changed would give another kernel.
fn check_kept(before: &str, after: &str) -> anyhow::Result<()> {
    let options = |text: &str| -> Vec<String> {
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| line.contains("CONFIG_") && !is_tool_version(line))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    let (before, after) = (options(before), options(after));
    let lost: Vec<&String> = before.iter().filter(|line| after.binary_search(line).is_err()).collect();
    if let Some(first) = lost.first() {
        bail!(
            "{} options of the kernel's configuration do not hold with these tools, the first is `{first}`",
            lost.len()
        );
    }
    Ok(())
}

/// Point releases of the C tools may differ; whether that matters, the comparison of symbols decides.
fn is_tool_version(line: &str) -> bool {
    let name = line.trim_start_matches("# ").split(['=', ' ']).next().unwrap_or_default();
    name.ends_with("_VERSION") || name.ends_with("_VERSION_TEXT")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "CONFIG_CC_VERSION_TEXT=\"x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0\"\nCONFIG_RUST=y\n# CONFIG_KASAN is not set\n";

    #[test]
    fn the_compiler_is_the_one_that_the_configuration_names() {
        let variables = make_variables(CONFIG, "7.3.4+deb13-cloud-amd64").unwrap();
        assert!(variables.contains(&"CC=x86_64-linux-gnu-gcc-14".to_owned()));
        assert!(make_variables("CONFIG_RUST=y\n", "7.3.4").is_err());
    }

    #[test]
    fn a_lost_option_is_refused_and_a_tool_version_is_not() {
        assert!(check_kept(CONFIG, CONFIG).is_ok());
        assert!(check_kept(CONFIG, &CONFIG.replace("14.2.0-19", "14.2.0-20")).is_ok());
        let error =
            check_kept(CONFIG, &CONFIG.replace("CONFIG_RUST=y", "# CONFIG_RUST is not set")).unwrap_err();
        assert!(error.to_string().contains("CONFIG_RUST=y"), "{error}");
    }
}
