// SPDX-License-Identifier: MIT OR Apache-2.0
//! prctl and personality: what a thread says about itself. An option that has no effect here is refused, or takes only the value that
//! is in force.

use core::sync::atomic::Ordering;

use linux_raw_sys::prctl as options;

use super::credentials as capabilities;
use crate::{
    errno::{Errno, Result},
    signal,
    task::{Credentials, Current, Name, credentials, current},
    user,
};

/// PR_TSC_ENABLE, PR_TIMING_STATISTICAL, PR_MCE_KILL_DEFAULT: what is always so.
const TSC_ENABLE: u32 = 1;
const MCE_KILL_DEFAULT: usize = 2;
/// How far a sleep may be late in nanoseconds. Here it never is on purpose; what Linux has unless it is told otherwise.
const TIMER_SLACK: usize = 50_000;
/// PR_CAP_AMBIENT_IS_SET and PR_CAP_AMBIENT_CLEAR_ALL.
const AMBIENT_IS_SET: usize = 1;
const AMBIENT_CLEAR_ALL: usize = 4;

fn set_name(task: &Current, from: usize) -> Result {
    let mut name = [0; 16];
    for (index, byte) in name.iter_mut().enumerate().take(15) {
        *byte = user::read(from.wrapping_add(index))?;
        if *byte == 0 {
            break;
        }
    }
    task.rename(Name(name));
    Ok(0)
}

fn only(is_so: bool) -> Result {
    if is_so { Ok(0) } else { Err(Errno::EINVAL) }
}

fn set_keep_capabilities(task: &Current, value: usize) -> Result {
    if value > 1 {
        return Err(Errno::EINVAL);
    }
    let old = task.credentials.get();
    credentials::commit(task, Credentials { keeps_capabilities: value == 1, ..(*old).clone() });
    Ok(0)
}

fn ambient(task: &Current, what: usize, capability: usize, rest: [usize; 2]) -> Result {
    let set = task.credentials.get().capabilities.ambient;
    match what {
        AMBIENT_CLEAR_ALL if capability == 0 && rest == [0; 2] => {
            let old = task.credentials.get();
            let mut new = (*old).clone();
            new.capabilities.ambient = 0;
            credentials::commit(task, new);
            Ok(0)
        }
        AMBIENT_IS_SET if rest == [0; 2] && capability < 64 => Ok(((set >> capability) & 1) as usize),
        _ => Err(Errno::EINVAL),
    }
}

pub(super) fn prctl(option: u32, second: usize, third: usize, fourth: usize, fifth: usize) -> Result {
    let task = current();
    let rest = [third, fourth, fifth];
    let process = &task.process;
    match option {
        options::PR_SET_NAME => set_name(&task, second),
        options::PR_GET_NAME => {
            let name = task.name.lock().0;
            user::copy_out(second, &name)?;
            Ok(0)
        }
        options::PR_SET_PDEATHSIG => {
            if second != 0 && !u32::try_from(second).is_ok_and(signal::is_valid) {
                return Err(Errno::EINVAL);
            }
            task.death_signal.store(second as u32, Ordering::Relaxed);
            Ok(0)
        }
        options::PR_GET_PDEATHSIG => {
            user::write(second, &task.death_signal.load(Ordering::Relaxed)).map(|()| 0)
        }
        options::PR_SET_CHILD_SUBREAPER => {
            process.is_subreaper.store(second != 0, Ordering::Relaxed);
            Ok(0)
        }
        options::PR_GET_CHILD_SUBREAPER => {
            user::write(second, &u32::from(process.is_subreaper.load(Ordering::Relaxed))).map(|()| 0)
        }
        options::PR_SET_DUMPABLE => {
            only(second <= 1)?;
            process.dumpable.store(second as u32, Ordering::Relaxed);
            Ok(0)
        }
        options::PR_GET_DUMPABLE => Ok(process.dumpable.load(Ordering::Relaxed) as usize),
        options::PR_SET_KEEPCAPS => set_keep_capabilities(&task, second),
        options::PR_GET_KEEPCAPS => Ok(usize::from(task.credentials.get().keeps_capabilities)),
        options::PR_SET_NO_NEW_PRIVS => {
            only(second == 1 && rest == [0; 3])?;
            task.no_new_privileges.store(true, Ordering::Relaxed);
            Ok(0)
        }
        options::PR_GET_NO_NEW_PRIVS => {
            only(second == 0 && rest == [0; 3])?;
            Ok(usize::from(task.no_new_privileges.load(Ordering::Relaxed)))
        }
        options::PR_CAPBSET_READ => capabilities::bounds(second),
        options::PR_CAPBSET_DROP => capabilities::drop_bound(second),
        options::PR_CAP_AMBIENT => ambient(&task, second, third, [fourth, fifth]),
        options::PR_GET_SECUREBITS => {
            // SECBIT_KEEP_CAPS.
            Ok(usize::from(task.credentials.get().keeps_capabilities) << 4)
        }
        options::PR_GET_TIMERSLACK => Ok(TIMER_SLACK),
        options::PR_SET_TIMERSLACK => only(second == 0 || second == TIMER_SLACK),
        options::PR_GET_TIMING => Ok(0),
        options::PR_SET_TIMING => only(second == 0),
        options::PR_GET_TSC => user::write(second, &TSC_ENABLE).map(|()| 0),
        options::PR_SET_TSC => only(second == TSC_ENABLE as usize),
        options::PR_GET_SECCOMP => Ok(0),
        options::PR_GET_THP_DISABLE => {
            only(second == 0 && rest == [0; 3])?;
            Ok(0)
        }
        options::PR_SET_THP_DISABLE => only(second == 0 && rest == [0; 3]),
        options::PR_GET_MDWE => {
            only(second == 0 && rest == [0; 3])?;
            Ok(0)
        }
        options::PR_MCE_KILL_GET => {
            only(second == 0 && rest == [0; 3])?;
            Ok(MCE_KILL_DEFAULT)
        }
        options::PR_GET_TID_ADDRESS => {
            user::write(second, &task.clear_tid.load(Ordering::Relaxed)).map(|()| 0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// Personalities that are honoured: the plain one. The bits beyond it ask for other layouts of memory or other answers.
pub(super) fn personality(value: u32) -> Result {
    /// Asks for the value.
    const QUERY: u32 = u32::MAX;
    /// ADDR_NO_RANDOMIZE, which exec looks at. UNAME26, STICKY_TIMEOUTS and the like would change something.
    const HONOURED: u32 = 0x0004_0000;
    let task = current();
    let old = task.personality.load(Ordering::Relaxed);
    if value != QUERY {
        if value & !HONOURED != 0 {
            return Err(Errno::EINVAL);
        }
        task.personality.store(value, Ordering::Relaxed);
    }
    Ok(old as usize)
}
