// SPDX-License-Identifier: MIT OR Apache-2.0
//! About the system: uname, sysinfo, random numbers, switching off.

use core::sync::atomic::Ordering;

use exo_core::names::{DOMAIN, HOST, NAME_MAX, Name, RELEASE, VERSION};
use exo_hal::{PAGE_SIZE, cpu::percpu, mm::frame, time};
use exo_logic::credentials::capability;
use zerocopy::{Immutable, IntoBytes};

use crate::{
    errno::{Errno, Result},
    io_buf::IoBuf,
    power, random,
    task::{credentials::capable, table},
    user,
};

pub(super) fn uname(to: usize) -> Result {
    const FIELD: usize = 65;
    let (host, domain) = (HOST.get()?, DOMAIN.get()?);
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

pub(super) fn sethostname(name: usize, length: i32) -> Result {
    set_name(&HOST, name, length)
}

pub(super) fn setdomainname(name: usize, length: i32) -> Result {
    set_name(&DOMAIN, name, length)
}

fn set_name(of: &Name, name: usize, length: i32) -> Result {
    if !capable(capability::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let length = usize::try_from(length).ok().filter(|length| *length <= NAME_MAX).ok_or(Errno::EINVAL)?;
    let mut bytes = [0; NAME_MAX];
    let bytes = bytes.get_mut(..length).unwrap_or_default();
    user::copy_in(bytes, name)?;
    of.set(bytes).map(|()| 0)
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
    random::fill_all(&mut IoBuf::user(to, length.min(user::MAX_IO)))
}

pub(super) fn getcpu(cpu: usize, node: usize) -> Result {
    user::write_optional(cpu, &(percpu::cpu_index() as u32))?;
    user::write_optional(node, &0u32)?;
    Ok(0)
}

/// All files are in memory.
pub(super) fn sync() -> Result {
    crate::disk::flush_all();
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
        POWER_OFF | HALT => power::switch_off(),
        RESTART => power::restart(),
        CAD_ON | CAD_OFF => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}
