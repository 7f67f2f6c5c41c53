// SPDX-License-Identifier: MIT OR Apache-2.0
//! About the system: uname, sysinfo, random numbers, switching off.

use core::{fmt, sync::atomic::Ordering};

use alloc::{string::String, vec::Vec};

use exo_hal::{
    PAGE_SIZE,
    cpu::percpu,
    mm::frame,
    power::{self, Exit},
    sync::SpinLock,
    time,
};
use exo_logic::credentials::capability;
use zerocopy::{Immutable, IntoBytes};

use crate::{
    drivers,
    errno::{Errno, Result},
    random,
    task::{credentials::capable, table},
    user,
};

/// The release as uname gives it. Programs (the C library among them) compare it with Linux versions: it says which Linux the calls
/// are modelled on.
pub const RELEASE: &str = "6.12.0-exo";

/// The version as uname gives it: which kernel it is.
pub const VERSION: &str = "Exo-Kernel";

static HOST_NAME: SpinLock<Vec<u8>> = SpinLock::new(Vec::new());
static DOMAIN_NAME: SpinLock<Vec<u8>> = SpinLock::new(Vec::new());

/// Longest name (`__NEW_UTS_LEN`).
const NAME_MAX: usize = 64;

/// What nobody has named is called.
const NO_NAME: &[u8] = b"(none)";

pub(super) fn uname(to: usize) -> Result {
    const FIELD: usize = 65;
    let (host, domain) = (HOST_NAME.lock().clone(), DOMAIN_NAME.lock().clone());
    let named = |name: &'_ [u8]| if name.is_empty() { NO_NAME.to_vec() } else { name.to_vec() };
    let (host, domain) = (named(&host), named(&domain));
    let mut out = [0u8; 6 * FIELD];
    let fields: [&[u8]; 6] = [b"Linux", &host, RELEASE.as_bytes(), VERSION.as_bytes(), b"x86_64", &domain];
    for (field, text) in out.chunks_exact_mut(FIELD).zip(fields) {
        for (to, from) in field.iter_mut().zip(text.iter().take(FIELD - 1)) {
            *to = *from;
        }
    }
    user::copy_out(to, &out)?;
    Ok(0)
}

fn set_name(of: &SpinLock<Vec<u8>>, name: usize, length: i32) -> Result {
    if !capable(capability::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let length = usize::try_from(length).ok().filter(|length| *length <= NAME_MAX).ok_or(Errno::EINVAL)?;
    let mut bytes = alloc::vec![0; length];
    user::copy_in(&mut bytes, name)?;
    *of.lock() = bytes;
    Ok(0)
}

fn show_name(of: &SpinLock<Vec<u8>>, out: &mut dyn fmt::Write) -> fmt::Result {
    let name = of.lock().clone();
    let name = if name.is_empty() { NO_NAME } else { &*name };
    writeln!(out, "{}", String::from_utf8_lossy(name))
}

fn store_name(of: &SpinLock<Vec<u8>>, value: &[u8]) -> Result<()> {
    if !capable(capability::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let name = value.split(|b| matches!(b, b'\n' | 0)).next().unwrap_or_default();
    let name = name.get(..name.len().min(NAME_MAX)).unwrap_or_default().to_vec();
    *of.lock() = name;
    Ok(())
}

/// For /proc/sys/kernel/hostname.
pub fn show_host_name(out: &mut dyn fmt::Write) -> fmt::Result {
    show_name(&HOST_NAME, out)
}

/// The same, when it is written.
pub fn store_host_name(value: &[u8]) -> Result<()> {
    store_name(&HOST_NAME, value)
}

/// For /proc/sys/kernel/domainname.
pub fn show_domain_name(out: &mut dyn fmt::Write) -> fmt::Result {
    show_name(&DOMAIN_NAME, out)
}

/// The same, when it is written.
pub fn store_domain_name(value: &[u8]) -> Result<()> {
    store_name(&DOMAIN_NAME, value)
}

pub(super) fn sethostname(name: usize, length: i32) -> Result {
    set_name(&HOST_NAME, name, length)
}

pub(super) fn setdomainname(name: usize, length: i32) -> Result {
    set_name(&DOMAIN_NAME, name, length)
}

/// `struct sysinfo`.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
struct SysInfo {
    uptime: i64,
    loads: [u64; 3],
    total: u64,
    free: u64,
    shared: u64,
    buffers: u64,
    swap_total: u64,
    swap_free: u64,
    processes: u16,
    pad: [u16; 3],
    high_total: u64,
    high_free: u64,
    unit: u32,
    pad2: u32,
}

pub(super) fn sysinfo(to: usize) -> Result {
    let (total, free) = frame::totals();
    let info = SysInfo {
        uptime: (time::now_ns() / 1_000_000_000) as i64,
        total: (total * PAGE_SIZE) as u64,
        free: (free * PAGE_SIZE) as u64,
        processes: u16::try_from(table::TASKS.load(Ordering::Relaxed)).unwrap_or(u16::MAX),
        unit: 1,
        ..SysInfo::default()
    };
    user::write(to, &info).map(|()| 0)
}

pub(super) fn getrandom(to: usize, length: usize, flags: u32) -> Result {
    if flags & !7 != 0 {
        return Err(Errno::EINVAL);
    }
    random::fill_user(to, length.min(user::MAX_IO))
}

pub(super) fn getcpu(cpu: usize, node: usize) -> Result {
    user::write_optional(cpu, &(percpu::cpu_index() as u32))?;
    user::write_optional(node, &0u32)?;
    Ok(0)
}

/// All files are in memory.
pub(super) fn sync() -> Result {
    crate::drivers::disk::flush_all();
    Ok(0)
}

pub(super) fn reboot(magic: u32, magic2: u32, command: u32) -> Result {
    const MAGIC: u32 = 0xfee1_dead;
    const MAGIC2: [u32; 4] = [672_274_793, 85_072_278, 369_367_448, 537_993_216];
    const CAD_OFF: u32 = 0;
    const CAD_ON: u32 = 0x89ab_cdef;
    const RESTART: u32 = 0x0123_4567;
    const HALT: u32 = 0xcdef_0123;
    const POWER_OFF: u32 = 0x4321_fedc;
    if !capable(capability::SYS_BOOT) {
        return Err(Errno::EPERM);
    }
    if magic != MAGIC || !MAGIC2.contains(&magic2) {
        return Err(Errno::EINVAL);
    }
    match command {
        POWER_OFF | HALT => {
            drivers::stop();
            power::power_off(Exit::PowerOff)
        }
        RESTART => {
            drivers::stop();
            power::reset()
        }
        CAD_ON | CAD_OFF => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}
