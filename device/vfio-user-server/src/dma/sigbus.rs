// SPDX-License-Identifier: MIT OR Apache-2.0
//! Survives a client that truncates a file whose pages this process has mapped.
//!
//! The kernel answers an access to such a page with `SIGBUS`, at once and on the accessing thread. [`guarded`] notes in
//! a thread-local which mapping the thread is about to touch; the handler, when the fault lies in it, replaces the page by
//! a private one of zeros and marks the mapping dead. The access then completes and its caller reports the error. Any other
//! `SIGBUS` goes on to whatever handler was there before.
//!
//! One page, not the mapping: a host that does not overcommit memory (`vm.overcommit_memory=2`) charges for each private
//! page that can be written, and would refuse terabytes of them, which would end the process.

use std::cell::Cell;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence};

/// The mapping that a thread is touching.
#[derive(Clone, Copy)]
struct Watched {
    base: *mut libc::c_void,
    length: usize,
    /// Bytes of a page of it, a power of two; larger than the processor's for a file of huge pages.
    page: usize,
    dead: *const AtomicBool,
}

const NOTHING: Watched = Watched { base: ptr::null_mut(), length: 0, page: 1, dead: ptr::null() };

thread_local! {
    /// Constant and without a destructor, so that the signal handler can read it.
    static WATCHED: Cell<Watched> = const { Cell::new(NOTHING) };
}

/// What handled `SIGBUS` before.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Runs `touch`. If a page of the mapping fails meanwhile, it becomes zeros and `dead` is set.
///
/// # Safety
/// `base` and `length` must be a whole mapping of this process (as `mmap` gave it out), of pages of `page` bytes, that stays
/// while `touch` runs and that nothing but guarded accesses uses.
pub(super) unsafe fn guarded<R>(
    base: *mut libc::c_void,
    length: usize,
    page: usize,
    dead: &AtomicBool,
    touch: impl FnOnce() -> R,
) -> R {
    /// Puts back what was watched before, also when `touch` panics.
    struct Restore(Watched);
    impl Drop for Restore {
        fn drop(&mut self) {
            compiler_fence(Ordering::SeqCst);
            WATCHED.set(self.0);
        }
    }
    let _restore = Restore(WATCHED.replace(Watched { base, length, page, dead }));
    compiler_fence(Ordering::SeqCst);
    touch()
}

/// Installs the handler, once for the process.
pub(super) fn install() {
    PREVIOUS.get_or_init(|| {
        let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: a zeroed `sigaction` is a valid one; both pointers are good for the calls. The handler does only what
        // is allowed in a handler. `PREVIOUS` is set a moment later: a fault in between ends the process, as it would
        // have without us.
        unsafe {
            let new = action.as_mut_ptr();
            (*new).sa_sigaction = on_sigbus as *const () as usize;
            (*new).sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut (*new).sa_mask);
            // Cannot fail: the signal is valid and the pointers are good.
            libc::sigaction(libc::SIGBUS, new, previous.as_mut_ptr());
            previous.assume_init()
        }
    });
}

extern "C" fn on_sigbus(signal: c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let watched = WATCHED.get();
    // SAFETY: the kernel passes a valid `siginfo_t`, as the handler was installed with SA_SIGINFO.
    let (address, code) = unsafe { ((*info).si_addr() as usize, (*info).si_code) };
    // Positive codes come from the kernel; for a signal that a process sent, `si_addr` means nothing.
    let offset = address.wrapping_sub(watched.base as usize);
    if code > 0 && offset < watched.length {
        let offset = offset & !watched.page.wrapping_sub(1);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: errno is the thread's own. The range is a page of a mapping that only guarded accesses use, as `guarded`
        // demands, and they cope with any content. `dead` outlives the access, which is still under way.
        unsafe {
            let errno = *libc::__errno_location();
            let replaced = libc::mmap(watched.base.byte_add(offset), watched.page, protection, flags, -1, 0);
            *libc::__errno_location() = errno;
            if replaced != libc::MAP_FAILED {
                (*watched.dead).store(true, Ordering::SeqCst);
                return;
            }
        }
    }
    pass_on(signal, info, context);
}

/// Does what would have happened without this module.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let previous = PREVIOUS.get();
    match previous.map_or(libc::SIG_DFL, |previous| previous.sa_sigaction) {
        // SAFETY: with the default action back in place, returning repeats the access, which ends the process.
        libc::SIG_DFL | libc::SIG_IGN => unsafe {
            libc::signal(signal, libc::SIG_DFL);
        },
        handler if previous.is_some_and(|previous| previous.sa_flags & libc::SA_SIGINFO != 0) => {
            // SAFETY: whoever installed it with SA_SIGINFO gave a function of this type.
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: whoever installed it without SA_SIGINFO gave a function of this type.
            let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}
