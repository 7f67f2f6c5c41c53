// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tells a service manager what goes on, as sd_notify(3) does: a datagram to the socket that `NOTIFY_SOCKET` names.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// The service manager, if there is one that wants to know.
#[derive(Debug, Default)]
pub struct Manager(Option<UnixDatagram>);

impl Manager {
    /// The one that the environment names. To be called before the sandbox closes.
    ///
    /// # Errors
    /// It names one that cannot be reached.
    pub fn from_environment() -> io::Result<Self> {
        std::env::var_os("NOTIFY_SOCKET").map_or_else(|| Ok(Self::default()), |name| Self::at(&name))
    }

    fn at(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(Path::new(name))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A manager that does not read is no reason to wait.
        socket.set_nonblocking(true)?;
        Ok(Self(Some(socket)))
    }

    /// All sockets can be connected to.
    pub fn ready(&self) {
        self.send(format!("READY=1\nMAINPID={}\nSTATUS=serving", std::process::id()).as_bytes());
    }

    /// The configuration is being read anew; [`Self::ready`] says when that is done.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now = std::time::Duration::try_from(now).unwrap_or_default().as_micros();
        self.send(format!("RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reading the configuration").as_bytes());
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.send(b"STOPPING=1\nSTATUS=ending");
    }

    fn send(&self, message: &[u8]) {
        if let Some(socket) = &self.0 {
            let _ = socket.send(message); // If it cannot be told, it will see.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_manager_is_told_by_path_and_by_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("my-rng-device-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let sockets = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}").into()),
        ];
        for (socket, name) in sockets {
            let manager = Manager::at(&name).unwrap();
            manager.ready();
            assert!(hear(&socket).starts_with("READY=1\n"));
            manager.reloading();
            assert!(hear(&socket).starts_with("RELOADING=1\nMONOTONIC_USEC="));
            manager.stopping();
            assert!(hear(&socket).starts_with("STOPPING=1\n"));
        }
    }

    #[test]
    fn without_a_manager_nobody_is_told_and_one_that_is_not_there_is_an_error() {
        Manager::default().ready();
        assert!(Manager::at(OsStr::new("/nowhere/notify")).is_err());
    }
}
