// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc/net/unix, as on Linux.

use core::{fmt::Write, sync::atomic::Ordering};

use super::{
    name::Name,
    socket::{Phase, UnixSocket},
};
use crate::sched::spans;

/// Flag of what listens (`__SO_ACCEPTCON`).
const ACCEPTS: u32 = 1 << 16;

/// Writes a line for each Unix socket. Its address in the kernel is nobody's business.
pub fn sockets(out: &mut dyn Write) -> core::fmt::Result {
    writeln!(out, "Num       RefCount Protocol Flags    Type St Inode Path")?;
    let mut last = 0;
    while let Some((number, socket)) = UnixSocket::next_after(last) {
        last = number;
        if let Some(socket) = socket.upgrade() {
            // Not this reference.
            line(&socket, alloc::sync::Arc::strong_count(&socket) - 1, out)?;
        }
        let _ = spans::point();
    }
    Ok(())
}

fn line(socket: &UnixSocket, references: usize, out: &mut dyn Write) -> core::fmt::Result {
    let (phase, name) = {
        let state = socket.state();
        (state.phase, state.name.clone())
    };
    let flags = if phase == Phase::Listening { ACCEPTS } else { 0 };
    let inode = socket.common.inode.load(Ordering::Relaxed);
    // SS_ values; what has no file is not accepted yet, or closed.
    let state = match (inode > 0, phase == Phase::Connected) {
        (true, true) => 3,
        (true, false) => 1,
        (false, true) => 2,
        (false, false) => 4,
    };
    let kind = socket.kind.number();
    write!(out, "{:016x}: {references:08X} {:08X} {flags:08X} {kind:04X} {state:02X} {inode:5}", 0, 0)?;
    if let Some(name) = &name {
        let (sign, bytes) = match &**name {
            Name::Path(path) => ("", path),
            Name::Abstract(bytes) => ("@", bytes),
        };
        write!(out, " {sign}")?;
        for byte in bytes {
            out.write_char(if *byte == 0 { '@' } else { char::from(*byte) })?;
        }
    }
    writeln!(out)
}
