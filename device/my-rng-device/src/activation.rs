// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets that a service manager made, as sd_listen_fds(3) hands them over: so that they are there before this program, and
//! stay while it is restarted.

use std::io;

use listenfd::ListenFd;
use vfio_user_server::Listener;

/// The name (`FileDescriptorName=`) of the control socket; all others are devices.
const CONTROL: &str = "control";

/// Takes the sockets that the manager made: those of devices in their order, and the control socket.
///
/// # Errors
/// One of them is no UNIX socket with a path, or there is none for a device.
pub fn take() -> io::Result<(Vec<Listener>, Option<Listener>)> {
    // Before the crate takes the variables away.
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut sockets = ListenFd::from_env();
    let (mut devices, mut control) = (Vec::new(), None);
    let mut names = names.split(':');
    for place in 0..sockets.len() {
        let name = names.next();
        let Some(socket) = sockets.take_unix_listener(place)? else { continue };
        let listener = Listener::from_socket(socket)?;
        match name {
            Some(CONTROL) => control = Some(listener),
            _ => devices.push(listener),
        }
    }
    if devices.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the service manager gave no socket for a device",
        ));
    }
    Ok((devices, control))
}
