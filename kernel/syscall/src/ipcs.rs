// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls of the kernel's own messages; see `exo_abi::number` for what is in which register.

use exo_hal::trap::Regs;

use crate::{
    errno::{Errno, Result},
    fs::OpenFile,
    ipc::{self, Endpoint, Message},
    task::current,
};

pub(super) fn create() -> Result {
    let files = current().files.arc();
    files.add(ipc::create()?, false, 0)
}

fn with<R>(fd: u64, with: impl FnOnce(&Endpoint) -> Result<R>) -> Result<R> {
    let file: alloc::sync::Arc<OpenFile> = current().files.get(fd as i32)?;
    with(ipc::of(&file).ok_or(Errno::EINVAL)?)
}

fn words(regs: &Regs) -> [u64; ipc::WORDS] {
    [regs.rsi, regs.rdx, regs.r10]
}

/// Puts a message into the registers; its first word is the result.
fn answer(regs: &mut Regs, message: &Message) -> Result {
    [_, regs.rsi, regs.rdx] = message.words;
    regs.r10 = u64::from(message.caller);
    // A word may look like an error number: the program reads RDI for whether there was one.
    regs.rdi = message.words[0];
    Ok(0)
}

pub(super) fn send(regs: &mut Regs) -> Result {
    with(regs.rdi, |endpoint| endpoint.send(words(regs))).map(|()| 0)
}

pub(super) fn receive(regs: &mut Regs) -> Result {
    let message = with(regs.rdi, Endpoint::receive)?;
    answer(regs, &message)
}

pub(super) fn call(regs: &mut Regs) -> Result {
    let message = with(regs.rdi, |endpoint| endpoint.call(words(regs)))?;
    answer(regs, &message)
}

pub(super) fn reply_receive(regs: &mut Regs) -> Result {
    let token = u32::try_from(regs.r8).map_err(|_| Errno::EINVAL)?;
    let message = with(regs.rdi, |endpoint| {
        if token != 0 {
            // The caller may have been killed while it waited; the next message comes all the same.
            match endpoint.reply(token, words(regs)) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error),
            }
        }
        endpoint.receive()
    })?;
    answer(regs, &message)
}
