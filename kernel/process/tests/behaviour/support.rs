// SPDX-License-Identifier: MIT OR Apache-2.0
//! What several tests use.

use std::sync::Arc;

use exo_test_support::{call, programs::*};
use parking_lot::Mutex;

/// What has happened, in order, whichever program did it.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.0.lock().push(what.into());
    }

    /// What was noted since it was asked.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// A futex operation.
pub(crate) fn futex(
    operation: u32,
    address: usize,
    value: u32,
    timeout: u64,
    second: usize,
    third: u32,
) -> Result {
    call!(abi::__NR_futex, address, operation, value, timeout, second, third)
}

/// Waits while a word has a value.
pub(crate) fn wait_while(address: usize, value: u32) -> Result {
    futex(abi::FUTEX_WAIT, address, value, 0, 0, 0)
}

/// Wakes up to `count` that wait for a word.
pub(crate) fn wake(address: usize, count: u32) -> Result {
    futex(abi::FUTEX_WAKE, address, count, 0, 0, 0)
}

/// Changes a word of the program.
pub(crate) fn set_word(address: usize, value: u32) {
    memory::write(address, &value.to_ne_bytes());
}

/// Queues a signal with a value (rt_sigqueueinfo).
pub(crate) fn queue(pid: usize, signal: u32, value: u64) -> Result {
    let mut info = [0_u32; 32];
    (info[0], info[2]) = (signal, SI_QUEUE as u32);
    (info[4], info[5]) = (call!(abi::__NR_getpid).unwrap() as u32, call!(abi::__NR_getuid).unwrap() as u32);
    (info[6], info[7]) = (value as u32, (value >> 32) as u32);
    call!(abi::__NR_rt_sigqueueinfo, pid, signal, put(&info))
}

/// si_code of [`queue`].
pub(crate) const SI_QUEUE: i32 = -1;

/// What a signal came with: `siginfo_t`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Info(pub(crate) [u32; 32]);

impl Info {
    pub(crate) fn at(address: usize) -> Self {
        Self(get(address))
    }

    pub(crate) fn signal(&self) -> u32 {
        self.0[0]
    }

    pub(crate) fn code(&self) -> i32 {
        self.0[2] as i32
    }

    /// si_pid, or the low half of an address.
    pub(crate) fn pid(&self) -> u32 {
        self.0[4]
    }

    /// si_status of SIGCHLD, the low half of the value of a queued signal.
    pub(crate) fn value(&self) -> u32 {
        self.0[6]
    }
}

/// Takes a pending signal of a set; waits up to `ms` milliseconds for one.
pub(crate) fn take_signal(set: u64, ms: u64) -> Result<Info> {
    let (info, timeout) = (zeros(128), put(&[ms / 1000, ms % 1000 * MS]));
    let signal = call!(abi::__NR_rt_sigtimedwait, put(&set), info, timeout, 8)?;
    let info = Info::at(info);
    assert_eq!(info.signal() as usize, signal);
    Ok(info)
}

/// Sets the soft limit of a resource.
pub(crate) fn set_limit(resource: u32, soft: u64) {
    let old = reserve(16);
    call!(abi::__NR_prlimit64, 0, resource, 0, old).unwrap();
    let [_, hard] = get::<[u64; 2]>(old);
    call!(abi::__NR_prlimit64, 0, resource, put(&[soft, hard]), 0).unwrap();
}

/// The process group of a process.
pub(crate) fn group_of(pid: usize) -> Result {
    call!(abi::__NR_getpgid, pid)
}

/// The fields of /proc/PID/stat behind the name; the first is the state.
pub(crate) fn stat(pid: usize) -> Vec<String> {
    let text = text(&format!("/proc/{pid}/stat"));
    text[text.rfind(')').unwrap() + 2..].split_whitespace().map(str::to_string).collect()
}
