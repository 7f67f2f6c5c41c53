// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who has which name. A path leads to an inode, and that to the socket which is bound to it, by whatever path it is found; abstract names are
//! in a table, one for each kind of sockets.

use alloc::{
    collections::{BTreeMap, btree_map},
    sync::{Arc, Weak},
    vec::Vec,
};

use exo_hal::sync::SpinLock;
use exo_vfs::{
    context,
    inode::directory::What,
    path::{self, Follow, Path},
    permission,
};

use super::{
    name::{Name, is_nameless},
    socket::{Kind, UnixSocket},
};
use crate::{
    address::Address,
    errno::{Errno, Result},
    random,
    sched::spans,
};

/// By the address of the inode, which the socket keeps.
static BY_INODE: SpinLock<BTreeMap<usize, Weak<UnixSocket>>> = SpinLock::new(BTreeMap::new());
static STREAMS: SpinLock<AbstractNames> = SpinLock::new(BTreeMap::new());
static DATAGRAMS: SpinLock<AbstractNames> = SpinLock::new(BTreeMap::new());
static PACKETS: SpinLock<AbstractNames> = SpinLock::new(BTreeMap::new());

type AbstractNames = BTreeMap<Vec<u8>, Weak<UnixSocket>>;

fn abstract_names(kind: Kind) -> &'static SpinLock<AbstractNames> {
    match kind {
        Kind::Stream => &STREAMS,
        Kind::Datagram => &DATAGRAMS,
        Kind::Packets => &PACKETS,
    }
}

fn key(bound_path: &Path) -> usize {
    Arc::as_ptr(&bound_path.dentry.inode).addr()
}

/// Binds a socket; a path's inode gets the permission bits `mode` as far as the umask allows.
///
/// # Errors
/// EINVAL for a bad address, or if the socket has a name; EADDRINUSE; those of making a file.
pub(super) fn bind(socket: &Arc<UnixSocket>, address: &Address, mode: u32) -> Result<()> {
    if is_nameless(address) {
        return find_name(socket);
    }
    match Name::of(address)? {
        Name::Path(path) => bind_to_path(socket, path, mode),
        name => enter(socket, name),
    }
}

/// Notes that a socket has a name; EINVAL if it has one.
fn settle(socket: &UnixSocket, name: Name, bound_path: Option<&Path>) -> Result<()> {
    let name = crate::fallible::arc(name)?;
    let mut state = socket.state();
    if state.name.is_some() {
        return Err(Errno::EINVAL);
    }
    state.name = Some(name);
    state.bound_path = bound_path.cloned();
    Ok(())
}

fn bind_to_path(socket: &Arc<UnixSocket>, path: Vec<u8>, mode: u32) -> Result<()> {
    let taken = |error| if error == Errno::EEXIST { Errno::EADDRINUSE } else { error };
    let (parent, last) = path::resolve_new(None, &path, false).map_err(taken)?;
    let last = last.into_owned();
    if socket.state().name.is_some() {
        return Err(Errno::EINVAL);
    }
    let permissions = mode & 0o7777 & !context::current().umask();
    let bound_path = parent.create(&last, What::Socket, permissions).map_err(taken)?;
    if let Err(error) = settle(socket, Name::Path(path), Some(&bound_path)) {
        // Another thread was faster.
        let _ = parent.take_back(&last, &bound_path);
        return Err(error);
    }
    BY_INODE.lock().insert(key(&bound_path), Arc::downgrade(socket));
    Ok(())
}

/// Binds to an abstract name.
fn enter(socket: &Arc<UnixSocket>, name: Name) -> Result<()> {
    let Name::Abstract(bytes) = &name else { return Err(Errno::EINVAL) };
    if socket.state().name.is_some() {
        return Err(Errno::EINVAL);
    }
    let (names, key) = (abstract_names(socket.kind), bytes.clone());
    let entered = key.clone();
    match names.lock().entry(entered) {
        btree_map::Entry::Occupied(_) => return Err(Errno::EADDRINUSE),
        btree_map::Entry::Vacant(free) => free.insert(Arc::downgrade(socket)),
    };
    settle(socket, name, None).inspect_err(|_| {
        names.lock().remove(&key);
    })
}

/// Binds to an abstract name of five digits that nobody has, unless the socket has a name.
///
/// # Errors
/// ENOSPC if all of them are taken.
pub(super) fn find_name(socket: &Arc<UnixSocket>) -> Result<()> {
    const NAMES: u32 = 1 << 20;
    let mut first = [0; 4];
    random::fill(&mut first);
    let first = u32::from_ne_bytes(first);
    for number in 0..NAMES {
        if socket.state().name.is_some() {
            return Ok(());
        }
        let number = first.wrapping_add(number) % NAMES;
        match enter(socket, Name::Abstract(alloc::format!("{number:05x}").into_bytes())) {
            Err(Errno::EADDRINUSE) => {}
            // Another thread was faster.
            Err(Errno::EINVAL) => return Ok(()),
            result => return result,
        }
        if spans::point() {
            return Err(Errno::EINTR);
        }
    }
    Err(Errno::ENOSPC)
}

/// The socket of kind `kind` with a name.
///
/// # Errors
/// ECONNREFUSED if there is none, EPROTOTYPE if it is of another kind, EACCES if its inode may not be written; those of finding a file.
pub(super) fn find(name: &Name, kind: Kind) -> Result<Arc<UnixSocket>> {
    let found = match name {
        Name::Abstract(bytes) => abstract_names(kind).lock().get(bytes).and_then(Weak::upgrade),
        Name::Path(path) => {
            let bound_path = path::resolve(None, path, Follow::Yes)?;
            permission::check(&bound_path, permission::WRITE)?;
            BY_INODE.lock().get(&key(&bound_path)).and_then(Weak::upgrade)
        }
    };
    let socket = found.ok_or(Errno::ECONNREFUSED)?;
    if socket.kind == kind { Ok(socket) } else { Err(Errno::EPROTOTYPE) }
}

/// A socket that is closed gives up its name; its address stays what it was for what it has sent.
pub(super) fn forget(socket: &Arc<UnixSocket>) {
    let (name, bound_path) = {
        let mut state = socket.state();
        (state.name.clone(), state.bound_path.take())
    };
    let is_own = |entry: &Weak<UnixSocket>| core::ptr::eq(entry.as_ptr(), Arc::as_ptr(socket));
    if let Some(bound_path) = &bound_path {
        let mut by_inode = BY_INODE.lock();
        if by_inode.get(&key(bound_path)).is_some_and(is_own) {
            by_inode.remove(&key(bound_path));
        }
    }
    if let Some(Name::Abstract(bytes)) = name.as_deref() {
        let mut names = abstract_names(socket.kind).lock();
        if names.get(bytes).is_some_and(is_own) {
            names.remove(bytes);
        }
    }
}
