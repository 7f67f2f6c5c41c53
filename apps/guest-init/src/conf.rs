// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration: `/etc/exo/guest.conf`, one `key=value` a line, `#` comments and empty lines allowed.
//!
//! | key | value | without it |
//! | --- | --- | --- |
//! | `mode` | `command` or `shell` | `command` |
//! | `command` | path of a shell script; run as `/bin/sh PATH` | |
//! | `arguments` | path of a file of NUL-terminated words: program (found through PATH) and its arguments, run without a shell | |
//! | `shell` | the program of `mode=shell` | `/bin/sh` |
//! | `modules` | paths of `.ko` files, separated by blanks, in load order | none |
//! | `module` | path of one `.ko` file, then its parameters: `PATH [NAME=VALUE]…`; repeatable | none |
//! | `mount` | `TYPE SOURCE TARGET [OPTIONS]`, as `virtiofs host /host ro`; repeatable | none |
//! | `network` | `INTERFACE ADDRESS/BITS GATEWAY`, as `eth0 10.0.2.15/24 10.0.2.2`: what it gets before the command starts; `INTERFACE` alone: wait until the kernel has given it an address | `lo` alone |
//! | `hostname` | the machine's name | the kernel's |
//! | `directory` | where the command starts | `/root` |
//! | `env` | `NAME=VALUE` for the command; repeatable | |
//! | `term`, `rows`, `columns` | the person's terminal, for both modes | `linux`, unset, unset |
//! | `console` | the terminal of `mode=shell` | `/dev/ttyS0` |
//! | `channel` | `virtio`, `serial`, `console` or `auto`: see [`crate::channel`] | `auto` |
//! | `acknowledge` | `yes`: hand over byte counts and wait for the host before powering off: see [`crate::channel`] | `no` |
//! | `final_check` | `yes`: unload the modules at the end and ask the checked kernel's detectors: see [`crate::final_check`] | `no` |
//!
//! `mode=command` needs `command` or `arguments`, not both. `modules` and `module` keep their order in the file. A word
//! `exo.KEY=VALUE` on the kernel command line counts as a line after the file's end; of a key that is not repeatable the
//! last value counts. An unknown key is an error, so that a typing mistake is seen.

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;

use crate::failure::Failure;

/// Words `exo.KEY=VALUE` that are meant for Exo-Kernel itself.
const KERNEL_OPTIONS: [&str; 3] = ["crash", "net", "ram_disk"];

/// What `/etc/exo/guest.conf` and the kernel command line ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conf {
    pub(crate) mode: Mode,
    pub(crate) modules: Vec<Module>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) network: Option<Network>,
    pub(crate) hostname: Option<String>,
    pub(crate) directory: String,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) term: String,
    pub(crate) rows: Option<u16>,
    pub(crate) columns: Option<u16>,
    pub(crate) console: String,
    pub(crate) channel: ChannelKind,
    pub(crate) acknowledge: bool,
    pub(crate) final_check: bool,
}

/// What the machine runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One command; its status is the machine's.
    Command(CommandSource),
    /// An interactive shell (this program) on the console.
    Shell(String),
}

/// Where the command comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CommandSource {
    /// A shell script.
    Script(String),
    /// A file of NUL-terminated words.
    Arguments(String),
}

/// A module to load.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Module {
    pub(crate) path: String,
    /// As `insmod` would pass them on: `NAME=VALUE`, separated by blanks.
    pub(crate) parameters: String,
}

/// A file system to mount.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) options: Option<String>,
}

/// A network interface to have an address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) interface: String,
    /// What it gets; `None` where the kernel asks for its addresses itself.
    pub(crate) address: Option<Address>,
}

/// The machine's place in the Internet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// With the number of bits of its network: `10.0.2.15/24`.
    pub(crate) address: String,
    pub(crate) gateway: String,
}

/// How output and status reach the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChannelKind {
    /// The best that the machine has.
    Auto,
    Virtio,
    Serial,
    Console,
}

impl Conf {
    /// Reads the file at `path` and the kernel command line.
    pub(crate) fn read(path: &str) -> Result<Self, Failure> {
        let file = match fs::read_to_string(path) {
            Ok(text) => text,
            // A kernel command line may say everything.
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Failure::new(format!("cannot read {path}: {error}"))),
        };
        // No /proc on a young kernel: then the file alone counts.
        let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
        Self::parse(&file, &command_line).map_err(|why| Failure::new(format!("{path}: {why}")))
    }

    fn parse(file: &str, command_line: &str) -> Result<Self, String> {
        let mut draft = Draft::default();
        for (index, line) in file.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = index.saturating_add(1);
            let pair = line.split_once('=');
            let (key, value) = pair.ok_or_else(|| format!("line {number}: {line:?} is not key=value"))?;
            draft.set(key.trim(), value.trim()).map_err(|why| format!("line {number}: {why}"))?;
        }
        for word in command_line.split_ascii_whitespace() {
            let Some((key, value)) = word.strip_prefix("exo.").and_then(|word| word.split_once('=')) else {
                continue;
            };
            if KERNEL_OPTIONS.contains(&key) {
                continue;
            }
            draft.set(key, value).map_err(|why| format!("kernel command line, {word:?}: {why}"))?;
        }
        draft.finish()
    }
}

/// The values as they come, before it is known whether they fit together.
#[derive(Default)]
struct Draft {
    shell_mode: bool,
    command: Option<String>,
    arguments: Option<String>,
    shell: Option<String>,
    modules: Vec<Module>,
    mounts: Vec<Mount>,
    network: Option<Network>,
    hostname: Option<String>,
    directory: Option<String>,
    environment: Vec<(String, String)>,
    term: Option<String>,
    rows: Option<u16>,
    columns: Option<u16>,
    console: Option<String>,
    channel: Option<ChannelKind>,
    acknowledge: bool,
    final_check: bool,
}

impl Draft {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "mode" => self.shell_mode = one_of(value, &[("command", false), ("shell", true)])?,
            "command" => self.command = Some(path(value)?),
            "arguments" => self.arguments = Some(path(value)?),
            "shell" => self.shell = Some(path(value)?),
            "modules" => {
                for word in value.split_ascii_whitespace() {
                    self.modules.push(Module { path: path(word)?, parameters: String::new() });
                }
            }
            "module" => {
                let (file, parameters) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
                self.modules.push(Module { path: path(file)?, parameters: parameters.trim().to_owned() });
            }
            "mount" => self.mounts.push(mount(value)?),
            "network" => self.network = Some(network(value)?),
            "hostname" => self.hostname = Some(value.to_owned()),
            "directory" => self.directory = Some(path(value)?),
            "env" => {
                let pair = value.split_once('=').filter(|(name, _)| !name.is_empty());
                let (name, value) = pair.ok_or_else(|| format!("env={value}: expected NAME=VALUE"))?;
                self.environment.push((name.to_owned(), value.to_owned()));
            }
            "term" => self.term = Some(value.to_owned()),
            "rows" => self.rows = Some(size(value)?),
            "columns" => self.columns = Some(size(value)?),
            "console" => self.console = Some(path(value)?),
            "channel" => {
                let kinds = [
                    ("auto", ChannelKind::Auto),
                    ("virtio", ChannelKind::Virtio),
                    ("serial", ChannelKind::Serial),
                    ("console", ChannelKind::Console),
                ];
                self.channel = Some(one_of(value, &kinds)?);
            }
            "acknowledge" => self.acknowledge = one_of(value, &[("no", false), ("yes", true)])?,
            "final_check" => self.final_check = one_of(value, &[("no", false), ("yes", true)])?,
            _ => return Err(format!("unknown key {key:?}")),
        }
        Ok(())
    }

    fn finish(self) -> Result<Conf, String> {
        let mode = match (self.shell_mode, self.command, self.arguments) {
            (true, _, _) => Mode::Shell(self.shell.unwrap_or_else(|| "/bin/sh".to_owned())),
            (false, Some(script), None) => Mode::Command(CommandSource::Script(script)),
            (false, None, Some(arguments)) => Mode::Command(CommandSource::Arguments(arguments)),
            (false, None, None) => return Err("mode=command needs command= or arguments=".to_owned()),
            (false, Some(_), Some(_)) => {
                return Err("command= and arguments= exclude each other".to_owned());
            }
        };
        Ok(Conf {
            mode,
            modules: self.modules,
            mounts: self.mounts,
            network: self.network,
            hostname: self.hostname,
            directory: self.directory.unwrap_or_else(|| "/root".to_owned()),
            environment: self.environment,
            term: self.term.unwrap_or_else(|| "linux".to_owned()),
            rows: self.rows,
            columns: self.columns,
            console: self.console.unwrap_or_else(|| "/dev/ttyS0".to_owned()),
            channel: self.channel.unwrap_or(ChannelKind::Auto),
            acknowledge: self.acknowledge,
            final_check: self.final_check,
        })
    }
}

fn one_of<T: Copy>(value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice);
    found.ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        format!("{value:?} is not one of {}", names.join(", "))
    })
}

/// A path must be absolute: the first process's directory is nobody's choice.
fn path(value: &str) -> Result<String, String> {
    if value.starts_with('/') {
        Ok(value.to_owned())
    } else {
        Err(format!("{value:?} is not an absolute path"))
    }
}

fn size(value: &str) -> Result<u16, String> {
    value
        .parse()
        .ok()
        .filter(|&size| size > 0)
        .ok_or_else(|| format!("{value:?} is not a number from 1 to {}", u16::MAX))
}

fn mount(value: &str) -> Result<Mount, String> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let (kind, source, target, options) = match words[..] {
        [kind, source, target] => (kind, source, target, None),
        [kind, source, target, options] => (kind, source, target, Some(options.to_owned())),
        _ => return Err(format!("mount={value}: expected TYPE SOURCE TARGET [OPTIONS]")),
    };
    Ok(Mount { kind: kind.to_owned(), source: source.to_owned(), target: path(target)?, options })
}

fn network(value: &str) -> Result<Network, String> {
    let expected = || format!("network={value}: expected INTERFACE or INTERFACE ADDRESS/BITS GATEWAY");
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let (interface, address) = match words[..] {
        [interface] => (interface, None),
        [interface, address, gateway] => {
            let (host, bits) = address.split_once('/').ok_or_else(expected)?;
            let is_address = [host, gateway].iter().all(|text| text.parse::<Ipv4Addr>().is_ok());
            if !is_address || !bits.parse::<u8>().is_ok_and(|bits| bits <= 32) {
                return Err(expected());
            }
            (interface, Some(Address { address: address.to_owned(), gateway: gateway.to_owned() }))
        }
        _ => return Err(expected()),
    };
    Ok(Network { interface: interface.to_owned(), address })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(file: &str) -> String {
        Conf::parse(file, "").expect_err("this configuration is wrong")
    }

    #[test]
    fn the_smallest_configuration_has_the_documented_defaults() {
        let conf = Conf::parse("command=/etc/exo/command\n", "console=ttyS0 quiet").unwrap();
        assert_eq!(conf.mode, Mode::Command(CommandSource::Script("/etc/exo/command".into())));
        assert!(conf.network.is_none());
        assert!(conf.modules.is_empty() && conf.mounts.is_empty() && conf.environment.is_empty());
        assert_eq!((conf.directory.as_str(), conf.console.as_str()), ("/root", "/dev/ttyS0"));
        assert_eq!((conf.term.as_str(), conf.rows, conf.columns), ("linux", None, None));
        assert_eq!((conf.channel, conf.acknowledge), (ChannelKind::Auto, false));
        assert!(!conf.final_check);
    }

    #[test]
    fn every_key_is_taken() {
        let conf = Conf::parse(
            "# what the lab writes\n\n mode = shell \nshell=/bin/busybox\nmodules=/m/a.ko /m/b.ko\n\
             module=/m/c.ko depth=8 name=x\nmount=virtiofs host /host ro\nmount=tmpfs none /t\nhostname=exo\n\
             directory=/host\nenv=A=b=c\nterm=xterm\nrows=24\ncolumns=80\nconsole=/dev/ttyS1\nchannel=serial\n\
             acknowledge=yes\nfinal_check=yes\n",
            "",
        )
        .unwrap();
        assert_eq!(conf.mode, Mode::Shell("/bin/busybox".into()));
        let modules: Vec<_> = conf.modules.iter().map(|m| (m.path.as_str(), m.parameters.as_str())).collect();
        assert_eq!(modules, [("/m/a.ko", ""), ("/m/b.ko", ""), ("/m/c.ko", "depth=8 name=x")]);
        assert_eq!(conf.mounts[0].options.as_deref(), Some("ro"));
        assert_eq!((conf.mounts[1].kind.as_str(), conf.mounts[1].target.as_str()), ("tmpfs", "/t"));
        assert_eq!(conf.environment, [("A".to_owned(), "b=c".to_owned())]);
        assert_eq!((conf.rows, conf.columns), (Some(24), Some(80)));
        assert_eq!((conf.channel, conf.acknowledge), (ChannelKind::Serial, true));
        assert!(conf.final_check);
        assert_eq!((conf.directory.as_str(), conf.console.as_str()), ("/host", "/dev/ttyS1"));
        assert_eq!((conf.hostname.as_deref(), conf.term.as_str()), (Some("exo"), "xterm"));
    }

    #[test]
    fn the_kernel_command_line_wins() {
        let conf =
            Conf::parse("command=/a\nhostname=a\n", "quiet exo.hostname=b exo.mode=shell exo").unwrap();
        assert_eq!(conf.hostname.as_deref(), Some("b"));
        assert_eq!(conf.mode, Mode::Shell("/bin/sh".into()));
        // What is the kernel's own business is not looked at.
        assert!(Conf::parse("command=/a", "exo.ram_disk=64 exo.crash=none exo.net=dhcp").is_ok());
    }

    #[test]
    fn empty_modules_mean_none() {
        assert!(Conf::parse("modules=\ncommand=/a", "").unwrap().modules.is_empty());
    }

    #[test]
    fn an_interface_gets_an_address_or_is_waited_for() {
        let network =
            |value: &str| Conf::parse("command=/a", &format!("x exo.network={value}")).map(|c| c.network);
        let waited = Network { interface: "eth0".into(), address: None };
        assert_eq!(network("eth0"), Ok(Some(waited)));
        let conf = Conf::parse("command=/a\nnetwork=eth0 10.0.2.15/24 10.0.2.2\n", "").unwrap();
        let address = Address { address: "10.0.2.15/24".into(), gateway: "10.0.2.2".into() };
        assert_eq!(conf.network, Some(Network { interface: "eth0".into(), address: Some(address) }));
        for wrong in [
            "",
            "eth0 10.0.2.15/24",
            "eth0 10.0.2.15 10.0.2.2",
            "eth0 10.0.2.15/33 10.0.2.2",
            "eth0 a/24 10.0.2.2",
        ] {
            let error = error_of(&format!("command=/a\nnetwork={wrong}"));
            assert!(error.starts_with("line 2: network=") && error.contains("expected INTERFACE"), "{error}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        assert_eq!(error_of("\ncomand=/a"), "line 2: unknown key \"comand\"");
        assert_eq!(error_of("command"), "line 1: \"command\" is not key=value");
        assert_eq!(error_of("command=a"), "line 1: \"a\" is not an absolute path");
        assert_eq!(error_of("mode=both"), "line 1: \"both\" is not one of command, shell");
        assert_eq!(error_of("rows=0"), "line 1: \"0\" is not a number from 1 to 65535");
        assert_eq!(error_of("columns=70000"), "line 1: \"70000\" is not a number from 1 to 65535");
        assert_eq!(
            error_of("mount=tmpfs /t"),
            "line 1: mount=tmpfs /t: expected TYPE SOURCE TARGET [OPTIONS]"
        );
        assert_eq!(error_of("env==x"), "line 1: env==x: expected NAME=VALUE");
        assert_eq!(error_of(""), "mode=command needs command= or arguments=");
        assert_eq!(error_of("command=/a\narguments=/b"), "command= and arguments= exclude each other");
        let error = Conf::parse("command=/a", "exo.mode=x").unwrap_err();
        assert_eq!(error, "kernel command line, \"exo.mode=x\": \"x\" is not one of command, shell");
    }
}
