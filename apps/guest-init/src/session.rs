// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mode=shell`: an interactive shell with job control on the console.
//!
//! A shell can stop and continue jobs only when it leads a session whose controlling terminal is the one it reads. The
//! first process must not lead it (it would be hung up with it), so this program starts itself once more: that second
//! process makes the session and then becomes the shell.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcdrain, tcgetattr, tcsetattr, tcsetwinsize};

use crate::command::environment;
use crate::conf::Conf;
use crate::failure::Failure;
use crate::processes;

/// The first argument of the second process; the program to become follows.
pub(crate) const FLAG: &str = "--session";

/// Starts the shell, waits for its end and returns its status.
pub(crate) fn start(program: &str, conf: &Conf) -> Result<u8, Failure> {
    let console = open(&conf.console)?;
    let own = |error| Failure::new(format!("cannot use the console {}: {error}", conf.console));
    set_up_terminal(&console, conf).map_err(|errno| own(errno.into()))?;

    let itself = std::env::current_exe().unwrap_or_else(|_| "/init".into());
    let mut command = Command::new(itself);
    command.arg(FLAG).arg(program).arg("-l");
    environment(&mut command, conf)?;
    command.env("PS1", "\\h:\\w# ");
    command.stdin(console.try_clone().map_err(own)?).stdout(console.try_clone().map_err(own)?);
    command.stderr(console.try_clone().map_err(own)?);
    let child = command.spawn().map_err(|error| Failure::new(format!("cannot start the shell: {error}")))?;
    let status = processes::wait_for(child.id())?;
    processes::kill_the_rest();
    // What the shell printed last may still be in the serial port's buffer; an error would change nothing now.
    let _ = tcdrain(&console);
    Ok(status)
}

/// The second process: leads a new session on its standard input and becomes the program. Returns only on failure.
pub(crate) fn run(words: &[OsString]) -> u8 {
    let Some((program, arguments)) = words.split_first() else {
        eprintln!("guest-init: {FLAG}: no program given");
        return crate::STATUS_NOT_PREPARED;
    };
    let session = rustix::process::setsid().and_then(|_| rustix::process::ioctl_tiocsctty(std::io::stdin()));
    if let Err(errno) = session {
        // The shell says itself that it goes on without job control.
        eprintln!("guest-init: the console cannot control a session: {errno}");
    }
    let error = Command::new(program).args(arguments).exec();
    eprintln!("guest-init: cannot run {}: {error}", Path::new(program).display());
    crate::STATUS_NOT_PREPARED
}

fn open(path: &str) -> Result<File, Failure> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = |path: &str| rustix::fs::open(path, flags, Mode::empty()).map(File::from);
    // The kernel's own console always exists, but can control no session.
    open(path)
        .or_else(|_| open("/dev/console"))
        .map_err(|error| Failure::new(format!("cannot open the console {path}: {error}")))
}

fn set_up_terminal(console: &File, conf: &Conf) -> rustix::io::Result<()> {
    let mut modes = tcgetattr(console)?;
    modes.local_modes |= LocalModes::ISIG | LocalModes::ICANON | LocalModes::ECHO | LocalModes::ECHOE;
    tcsetattr(console, OptionalActions::Now, &modes)?;
    if let (Some(rows), Some(columns)) = (conf.rows, conf.columns) {
        tcsetwinsize(console, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    }
    Ok(())
}
