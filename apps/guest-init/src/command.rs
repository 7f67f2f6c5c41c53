// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mode=command`: one command with the host's standard streams.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::channel::Channel;
use crate::conf::{CommandSource, Conf};
use crate::failure::Failure;
use crate::processes;

const STATUS_NOT_EXECUTABLE: u8 = 126;
const STATUS_NOT_FOUND: u8 = 127;

/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs the command and returns its status, once all its output is on its way to the host.
pub(crate) fn run(source: &CommandSource, conf: &Conf, channel: &mut Channel) -> Result<u8, Failure> {
    let words = words_of(source)?;
    let (program, arguments) =
        words.split_first().ok_or_else(|| Failure::new("the arguments file holds no program".to_owned()))?;
    let mut command = Command::new(find(program, PATH).ok_or_else(|| not_found(program))?);
    command.args(arguments);
    environment(&mut command, conf)?;
    let streams = channel.streams()?;
    command.stdin(streams.stdin).stdout(streams.stdout).stderr(streams.stderr);

    let child = command.spawn().map_err(|error| not_started(program, &error))?;
    // The command holds its ends of the pipes; ours must close, or their end would never come.
    drop(command);
    let status = processes::wait_for(child.id())?;
    processes::kill_the_rest();
    channel.collect();
    Ok(status)
}

/// Where the program is: a path stays as it is, a name is looked for.
///
/// The library would look as well, but not without forking and a pair of sockets, which a kernel need not have.
fn find(program: &OsStr, path: &str) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(program.into());
    }
    let is_executable = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let mut places = path.split(':').map(|folder| Path::new(folder).join(program));
    places.find(is_executable)
}

/// The environment and directory of whatever runs in the machine.
///
/// The directory becomes this process's own, which has no other use for one: a child that shall change its directory is
/// started by forking, with the pair of sockets.
pub(crate) fn environment(command: &mut Command, conf: &Conf) -> Result<(), Failure> {
    std::env::set_current_dir(&conf.directory).map_err(|error| {
        Failure::new(format!("cannot enter the directory to start in, {}: {error}", conf.directory))
    })?;
    command
        .env_clear()
        .envs([("PATH", PATH), ("HOME", "/root"), ("USER", "root"), ("SHELL", "/bin/sh")])
        .env("TERM", &conf.term);
    // Programs ask these where the output is no terminal of its own.
    command.envs(conf.rows.map(|rows| ("LINES", rows.to_string())));
    command.envs(conf.columns.map(|columns| ("COLUMNS", columns.to_string())));
    command.envs(conf.environment.iter().map(|(name, value)| (name, value)));
    Ok(())
}

fn words_of(source: &CommandSource) -> Result<Vec<OsString>, Failure> {
    match source {
        CommandSource::Script(path) => Ok(vec!["/bin/sh".into(), path.into()]),
        CommandSource::Arguments(path) => {
            let bytes =
                fs::read(path).map_err(|error| Failure::new(format!("cannot read {path}: {error}")))?;
            Ok(split(&bytes))
        }
    }
}

/// The words of a file in which each is ended by a NUL byte (the last need not be).
fn split(bytes: &[u8]) -> Vec<OsString> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    bytes.split(|&byte| byte == 0).map(|word| OsStr::from_bytes(word).to_owned()).collect()
}

fn not_found(program: &OsStr) -> Failure {
    let program = program.to_string_lossy();
    Failure::with_status(format!("{program}: not found in the machine (PATH={PATH})"), STATUS_NOT_FOUND)
}

fn not_started(name: &OsStr, error: &std::io::Error) -> Failure {
    let program = name.to_string_lossy();
    match error.kind() {
        ErrorKind::NotFound => not_found(name),
        _ => Failure::with_status(format!("{program}: cannot be executed: {error}"), STATUS_NOT_EXECUTABLE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_with_a_nul_byte() {
        assert_eq!(split(b"sh\0-c\0exit 7\0"), ["sh", "-c", "exit 7"]);
        assert_eq!(split(b"sh\0-c\0exit 7"), ["sh", "-c", "exit 7"]);
        assert_eq!(split(b"echo\0\0"), ["echo", ""]);
        assert!(split(b"").is_empty());
    }

    #[test]
    fn a_program_is_looked_for_along_the_path() {
        let sh = find("sh".as_ref(), "/no-such-folder:/etc:/bin:/usr/bin");
        assert_eq!(sh.as_deref(), Some(Path::new("/bin/sh")));
        // A folder, and a file that is not executable, are no programs.
        assert_eq!(find("opt".as_ref(), "/"), None);
        assert_eq!(find("passwd".as_ref(), "/etc"), None);
        assert_eq!(find("./sh".as_ref(), "/bin").as_deref(), Some(Path::new("./sh")));
    }
}
