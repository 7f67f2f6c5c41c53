// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the machine is called.

use exo_core::{
    credentials::Credentials,
    errno::Errno,
    names::{DOMAIN, HOST, NAME_MAX},
    thread,
};

use crate::support::machine;

#[test]
fn what_nobody_has_named_has_a_name_that_says_so() {
    // The other test names the host alone.
    machine(1, || assert_eq!(DOMAIN.get().unwrap(), b"(none)"));
}

#[test]
fn root_names_the_host_and_nobody_else_does() {
    machine(1, || {
        HOST.set(b"one").unwrap();
        assert_eq!(HOST.get().unwrap(), b"one");
        HOST.set(&[b'x'; NAME_MAX]).unwrap();
        assert_eq!(HOST.set(&[b'x'; NAME_MAX + 1]), Err(Errno::EINVAL));
        assert_eq!(HOST.get().unwrap(), [b'x'; NAME_MAX]);
        let mut ordinary = Credentials::root();
        ordinary.capabilities.effective = 0;
        thread::running().credentials.replace(std::sync::Arc::new(ordinary));
        assert_eq!(HOST.set(b"two"), Err(Errno::EPERM));
        assert_eq!(HOST.get().unwrap(), [b'x'; NAME_MAX]);
    });
}
