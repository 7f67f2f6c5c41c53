// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loading kernel modules, with errors that say what to do.

use std::ffi::CString;
use std::fs::File;

use rustix::io::Errno;

use crate::conf::Module;
use crate::failure::Failure;
use crate::kernel_log::Mark;

/// Loads one module and waits until it has started.
pub(crate) fn load(module: &Module) -> Result<(), Failure> {
    let Module { path, parameters } = module;
    let file = File::open(path).map_err(|error| {
        Failure::new(format!("cannot open module {path}: {error} (is it in the initramfs?)"))
    })?;
    let parameters = CString::new(parameters.as_str())
        .map_err(|_| Failure::new(format!("the parameters of module {path} hold a NUL byte")))?;
    let mark = Mark::here();
    rustix::system::finit_module(&file, &parameters, 0).map_err(|errno| {
        let mut message = format!("cannot load module {path}: {errno}{}", hint(errno));
        for line in mark.lines_since() {
            message.push_str("\n  kernel: ");
            message.push_str(&line);
        }
        Failure::new(message)
    })
}

fn hint(errno: Errno) -> String {
    match errno {
        Errno::NOEXEC => {
            format!(
                " (was it built for this kernel, {}?)",
                rustix::system::uname().release().to_string_lossy()
            )
        }
        Errno::NOENT => " (it needs a symbol that no loaded module has: check the load order)".to_owned(),
        Errno::EXIST => " (it is loaded already)".to_owned(),
        Errno::INVAL => " (one of its parameters was refused, or it was built for another kernel)".to_owned(),
        Errno::NOSYS => " (this kernel loads no modules)".to_owned(),
        Errno::KEYREJECTED | Errno::PERM => " (the kernel takes signed modules only)".to_owned(),
        _ => String::new(),
    }
}
