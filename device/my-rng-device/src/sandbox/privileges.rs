// SPDX-License-Identifier: MIT OR Apache-2.0
//! No capabilities, and no way to get any.

use log::debug;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// Drops all capabilities of this thread, and with `no_new_privs` its way to new ones.
///
/// The bounding set is emptied where that is allowed, which takes a capability itself; for an ordinary user it stays,
/// and has no meaning under `no_new_privs`.
///
/// # Errors
/// The kernel refuses, which it has no reason to.
pub fn drop_all() -> Result<(), Errno> {
    // No core file, with whatever keys and guest memory are in it, and no debugger of this user's.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_no_new_privs(true)?;
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // EINVAL: a capability that this kernel does not have.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(errno) => {
                debug!("the bounding set of capabilities stays: {errno}");
                break;
            }
        }
    }
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}
