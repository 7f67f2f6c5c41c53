// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drawing without end: the load under which the host unplugs a device or ends its process.

use std::path::Path;
use std::process::ExitCode;

use my_rng_client::Device;
use rustix::io::Errno;

/// Prints `drawing` once the device works, draws until it fails, and prints the error's name. The status is 0 if the
/// error is one that a program must expect of a device that goes: ENODEV or EIO.
pub(crate) fn until_error(path: &Path) -> ExitCode {
    let device = match Device::open(path) {
        Ok(device) => device,
        Err(error) => {
            eprintln!("guest-tests: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut announced = false;
    loop {
        match device.rand64().and_then(|_| device.rand32()) {
            Ok(_) if announced => {}
            Ok(_) => {
                println!("drawing");
                announced = true;
            }
            Err(error) => {
                let (name, status) = match Errno::from_raw_os_error(error.errno()) {
                    Errno::NODEV => ("ENODEV", ExitCode::SUCCESS),
                    Errno::IO => ("EIO", ExitCode::SUCCESS),
                    _ => ("an unexpected error", ExitCode::FAILURE),
                };
                println!("{name}: {error}");
                return status;
            }
        }
    }
}
