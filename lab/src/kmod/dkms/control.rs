// SPDX-License-Identifier: MIT OR Apache-2.0
//! What dpkg and DKMS read of a package.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::BUILDER_FOLDER;
use super::identity::{Identity, ModuleInfo};

/// What the script needs that makes the kernel's Rust metadata. The C compiler is named by the headers.
const BUILD_TOOLS: [&str; 14] = [
    "rustc",
    "rust-src",
    "bindgen",
    "make",
    "bison",
    "flex",
    "bc",
    "dwarves",
    "libc6-dev",
    "libelf-dev",
    "libssl-dev",
    "perl:any",
    "python3:any",
    "xz-utils",
];
/// What brings the headers of each kernel that comes. Recommended, as DKMS packages do: whoever updates kernels by hand has headers
/// without these.
const HEADERS: [&str; 3] = ["linux-headers-amd64", "linux-headers-cloud-amd64", "linux-headers-rt-amd64"];

/// `DEBIAN/control`; `size` is in KiB.
pub(super) fn control(identity: &Identity, info: &ModuleInfo, size: u64) -> String {
    let oldest = &identity.oldest;
    let mut depends = vec!["dkms (>= 3.0.11)".to_owned()];
    depends.push(format!("linux-source (>= {oldest}~)"));
    depends.extend(BUILD_TOOLS.map(str::to_owned));
    let said = info.description.as_deref().unwrap_or("Kernel module");
    let headers = HEADERS.map(|name| format!("{name} (>= {oldest}~)")).join(" | ");
    // A synopsis is one line, and short.
    let synopsis: String = said.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(65).collect();
    format!(
        "Package: {package}\n\
         Version: {version}\n\
         Architecture: all\n\
         Maintainer: {maintainer}\n\
         Installed-Size: {size}\n\
         Depends: {depends}\n\
         Recommends: {headers}\n\
         Section: kernel\n\
         Priority: optional\n\
         Description: {synopsis} (DKMS)\n \
         The source of the kernel module {name}, which is written in Rust.\n \
         DKMS builds it for each installed kernel that has Rust, {oldest} or newer.\n \
         .\n \
         Debian's linux-headers packages lack the metadata of the kernel's Rust\n \
         crates. It is made again from linux-source, which takes minutes for each\n \
         kernel, and is only used if its symbols are those that the kernel exports.\n",
        package = identity.package,
        version = identity.version,
        maintainer = identity.maintainer,
        depends = depends.join(", "),
        name = identity.name,
    )
}

/// `dkms.conf` for the modules `names`, which are built in the folders `places` below the package's source folder, by
/// Kbuild in its folder `module`.
pub(super) fn dkms_conf(
    identity: &Identity,
    names: &[String],
    places: &[PathBuf],
    module: &Path,
    variables: &[String],
) -> String {
    let here =
        |path: &Path| if path.as_os_str().is_empty() { ".".to_owned() } else { path.display().to_string() };
    let mut text = format!("PACKAGE_NAME=\"{}\"\nPACKAGE_VERSION=\"{}\"\n", identity.name, identity.version);
    for (index, (name, place)) in names.iter().zip(places).enumerate() {
        let place = here(place);
        let _ = write!(
            text,
            "BUILT_MODULE_NAME[{index}]=\"{name}\"\nBUILT_MODULE_LOCATION[{index}]=\"{place}\"\n\
             DEST_MODULE_LOCATION[{index}]=\"/updates/dkms\"\n"
        );
    }
    let mut words = vec![format!("./{BUILDER_FOLDER}/build-rust-module"), "build".into()];
    words.extend(["$kernelver".into(), "$kernel_source_dir".into(), here(module)]);
    // DKMS evaluates the line twice: here, and when it runs it.
    let more: Vec<String> =
        variables.iter().map(|variable| shell_words::quote(variable).into_owned()).collect();
    words.extend(more.iter().map(|word| escaped(word)));
    let _ = write!(
        text,
        "MAKE[0]=\"{}\"\n\
         AUTOINSTALL=\"yes\"\n\
         BUILD_EXCLUSIVE_ARCH=\"^x86_64$\"\n\
         BUILD_EXCLUSIVE_CONFIG=\"CONFIG_RUST\"\n\
         BUILD_EXCLUSIVE_KERNEL_MIN=\"{}\"\n\
         # A kernel that is older than the installed linux-source has lost its source, and is left out.\n\
         if [ -n \"$kernelver\" ] && [ -d \"$kernel_source_dir\" ] &&\n\
         \t! \"/usr/src/$PACKAGE_NAME-$PACKAGE_VERSION/{BUILDER_FOLDER}/build-rust-module\" possible \"$kernelver\" \"$kernel_source_dir\"; then\n\
         \tBUILD_EXCLUSIVE_KERNEL=\"^$\"\n\
         fi\n",
        words.join(" "),
        identity.oldest,
    );
    text
}

/// A word for between double quotes.
fn escaped(word: &str) -> String {
    word.chars().flat_map(|c| [Some('\\').filter(|_| "\\\"$`".contains(c)), Some(c)]).flatten().collect()
}

/// `changelog`, as dpkg-parsechangelog(1) reads it.
pub(super) fn changelog(identity: &Identity, date: &str) -> String {
    format!(
        "{} ({}) UNRELEASED; urgency=medium\n\n  * Packaged for DKMS by cargo exo kmod dkms.\n\n -- {}  {date}\n",
        identity.package, identity.version, identity.maintainer
    )
}

/// The maintainer's scripts, by name. They do what dh_dkms would write.
pub(super) fn scripts(identity: &Identity) -> [(&'static str, String); 3] {
    let (name, version, package) = (&identity.name, &identity.version, &identity.package);
    [
        (
            "postinst",
            format!(
                "#!/bin/sh\nset -e\ncase \"$1\" in\nconfigure)\n\
                 \t/usr/lib/dkms/common.postinst {name} {version} /usr/share/{package} \"\" \"$2\"\n\
                 \t;;\nesac\n"
            ),
        ),
        (
            "prerm",
            format!(
                "#!/bin/sh\nset -e\ncase \"$1\" in\nremove | upgrade | deconfigure)\n\
                 \tif [ -n \"$(dkms status -m {name} -v {version})\" ]; then\n\
                 \t\tdkms remove -m {name} -v {version} --all\n\tfi\n\t;;\nesac\n"
            ),
        ),
        (
            "postrm",
            format!(
                "#!/bin/sh\nset -e\ncase \"$1\" in\nremove | purge)\n\
                 \t# The kernels' trees go with the last package that uses them.\n\
                 \tif ! ls /usr/src/*/{BUILDER_FOLDER}/build-rust-module >/dev/null 2>&1; then\n\
                 \t\trm -rf /var/cache/rust-module-trees\n\tfi\n\t;;\nesac\n"
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            name: "my_rng".into(),
            package: "my-rng-dkms".into(),
            version: "0.1.0".into(),
            maintainer: "Ada Example <ada@example.org>".into(),
            oldest: "7.3".into(),
        }
    }

    /// What bash makes of the file, as DKMS has bash read it.
    fn evaluated(conf: &str, question: &str) -> String {
        let script = format!("kernelver=7.3.4 kernel_source_dir=/no/folder\n{conf}\n{question}");
        let output = std::process::Command::new("bash").args(["-uc", &script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn dkms_reads_what_was_meant() {
        let variables = ["EXTRA=a \"b\" $c `d` \\e 'f'".to_owned()];
        let conf = dkms_conf(
            &identity(),
            &["one".into(), "two".into()],
            &["linux/pair".into(), "linux/pair/sub".into()],
            Path::new("linux/pair"),
            &variables,
        );
        assert_eq!(
            evaluated(&conf, "echo ${BUILT_MODULE_LOCATION[@]} ${BUILT_MODULE_NAME[1]}"),
            "linux/pair linux/pair/sub two\n"
        );
        let words = evaluated(&conf, "eval \"set -- ${MAKE[0]}\"; printf '%s\\n' \"$@\"");
        let expected = [
            "./dkms/build-rust-module",
            "build",
            "7.3.4",
            "/no/folder",
            "linux/pair",
            "EXTRA=a \"b\" $c `d` \\e 'f'",
        ];
        assert_eq!(words.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_package_depends_on_what_builds_it() {
        let info =
            ModuleInfo { description: Some(format!("long {}", "word ".repeat(40))), ..ModuleInfo::default() };
        let text = control(&identity(), &info, 7);
        for part in [
            "dkms (>= 3.0.11), ",
            "Recommends: linux-headers-amd64 (>= 7.3~) | ",
            "linux-source (>= 7.3~)",
            "rust-src",
            "bindgen",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let synopsis = text.lines().find(|line| line.starts_with("Description: ")).unwrap();
        assert!(synopsis.len() <= "Description: ".len() + 80, "{synopsis}");
        assert!(
            text.lines()
                .skip_while(|line| !line.starts_with("Description"))
                .skip(1)
                .all(|line| line.starts_with(' '))
        );
    }

    #[test]
    fn scripts_are_shell() {
        for (name, text) in scripts(&identity()) {
            let status = std::process::Command::new("sh").args(["-nc", &text]).status().unwrap();
            assert!(status.success(), "{name}");
        }
    }
}
