// SPDX-License-Identifier: MIT OR Apache-2.0
//! Error numbers, and what errors of the floors below are for a program.

use exo_core::errno::Errno;
use exo_drivers::{
    block::{BlockError, Cause, DeviceName},
    random::RandomError,
};
use exo_hal::mm::{paging::NoMemory, user::BadAddress};
use exo_logic::credentials::Denied;

#[test]
fn numbers_are_linux_ones() {
    let numbers = [
        (Errno::EPERM, 1),
        (Errno::EINTR, 4),
        (Errno::EAGAIN, 11),
        (Errno::EFAULT, 14),
        (Errno::EINVAL, 22),
        (Errno::EDEADLK, 35),
        (Errno::ELOOP, 40),
        (Errno::ETIMEDOUT, 110),
        (Errno::ECANCELED, 125),
    ];
    for (errno, number) in numbers {
        assert_eq!(errno, Errno(number));
        assert!(!errno.is_restart());
    }
}

#[test]
fn restarts_are_not_for_programs() {
    assert!(Errno::RESTART.is_restart());
    assert!(Errno::RESTART_ALWAYS.is_restart());
    assert!(Errno::RESTART_UNLESS_HANDLER.is_restart());
}

#[test]
fn errors_of_the_machine_and_of_privilege() {
    assert_eq!(Errno::from(BadAddress), Errno::EFAULT);
    assert_eq!(Errno::from(NoMemory), Errno::ENOMEM);
    assert_eq!(Errno::from(Denied), Errno::EPERM);
}

#[test]
fn errors_of_disks() {
    let cases = [
        (Cause::OutOfRange, Errno::ENOSPC),
        (Cause::ReadOnly, Errno::EROFS),
        (Cause::TimedOut, Errno::ETIMEDOUT),
        (Cause::Removed, Errno::ENODEV),
        (Cause::NotReady, Errno::ENODEV),
        (Cause::QueueFull, Errno::EAGAIN),
        (Cause::Cancelled, Errno::ECANCELED),
        (Cause::Unsupported, Errno::EOPNOTSUPP),
        (Cause::Misaligned, Errno::EINVAL),
        (Cause::NoMemory, Errno::ENOMEM),
        (Cause::Medium(3), Errno::EIO),
        (Cause::Protocol, Errno::EIO),
    ];
    for (cause, errno) in cases {
        let error = BlockError { device: DeviceName::from("disk").unwrap(), sector: Some(7), cause };
        assert_eq!(Errno::from(error), errno, "{cause:?}");
    }
}

#[test]
fn errors_of_random_number_devices() {
    let cases = [
        (RandomError::Gone, Errno::ENODEV),
        (RandomError::Busy, Errno::EBUSY),
        (RandomError::Unsupported, Errno::EOPNOTSUPP),
        (RandomError::NoMemory, Errno::ENOMEM),
        (RandomError::Failed, Errno::EIO),
    ];
    for (error, errno) in cases {
        assert_eq!(Errno::from(error), errno, "{error:?}");
    }
}
