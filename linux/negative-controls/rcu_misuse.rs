// SPDX-License-Identifier: GPL-2.0

//! Negative control: follows an RCU-protected pointer outside of an RCU read-side section.
//!
//! The task it looks up is init, which never goes away, so nothing breaks: only PROVE_RCU can tell.
//!
//! expect: WARNING: suspicious RCU usage

use core::hint::black_box;
use kernel::{
    bindings,
    prelude::*,
    sync::rcu, //
};

module! {
    type: RcuMisuse,
    name: "rcu_misuse",
    authors: ["The Exo developers"],
    description: "Negative control for PROVE_RCU: a read without the read lock",
    license: "GPL",
}

/// Process number of init.
const INIT: core::ffi::c_int = 1;

struct RcuMisuse;

impl kernel::Module for RcuMisuse {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let pid = {
            let _guard = rcu::read_lock();
            // SAFETY: The RCU read lock is held, which is all that `find_vpid` asks for.
            unsafe { bindings::find_vpid(INIT) }
        };
        // SAFETY: None, this is the bug: `pid_task` must be called, and its result used, under the
        // RCU read lock.
        let task = unsafe { bindings::pid_task(pid, bindings::pid_type_PIDTYPE_TGID) };
        pr_info!("found a task: {}\n", !black_box(task).is_null());
        Ok(Self)
    }
}
