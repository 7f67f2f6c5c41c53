// SPDX-License-Identifier: GPL-2.0

//! What the kernel's own sample of a misc device does, with `chardev`: each open file has a value
//! and a text of its own.

use kernel::{
    fs::{
        File,
        Kiocb, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

#[path = "../mod.rs"]
pub mod chardev;

use chardev::{
    ioctl::{
        Command,
        Dispatch,
        Plain,
        Read,
        Write, //
    },
    position,
    Device,
    FileOperations,
    Options,
    Registration,
    SingleNode, //
};

const HELLO: Command<Plain> = Command::io(b'|', 0x80);
const GET_VALUE: Command<Read<i32>> = Command::ior(b'|', 0x81);
const SET_VALUE: Command<Write<i32>> = Command::iow(b'|', 0x82);

/// Longest text in bytes.
const TEXT_MAX: usize = 1 << 16;

struct Example {
    _node: SingleNode<()>,
}

impl kernel::Module for Example {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let name = c"chardev_misc_example";
        // SAFETY: Dropped with the module.
        let node = unsafe { Registration::single::<Files>(name, Options::DEFAULT, Ok(())) }?;
        Ok(Self { _node: node })
    }
}

module! {
    type: Example,
    name: "chardev_misc_example",
    authors: ["The Exo authors"],
    description: "A character device whose open files have a value and a text each",
    license: "GPL",
}

struct State {
    value: i32,
    text: KVVec<u8>,
}

struct Files;

#[vtable]
impl FileOperations for Files {
    type Device = ();
    type OpenFile = Pin<KBox<Mutex<State>>>;

    fn open(_device: &Device<()>, _file: &File) -> Result<Self::OpenFile> {
        let state = State {
            value: 0,
            text: KVVec::new(),
        };
        KBox::pin_init(new_mutex!(state), GFP_KERNEL)
    }

    fn read_iter(mut kiocb: Kiocb<'_, Self::OpenFile>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let mut text = KVVec::new();
        text.extend_from_slice(&kiocb.file().lock().text, GFP_KERNEL)?;
        position::read(iov, kiocb.ki_pos_mut(), &text)
    }

    fn write_iter(
        mut kiocb: Kiocb<'_, Self::OpenFile>,
        iov: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        if iov.len() > TEXT_MAX {
            return Err(EMSGSIZE);
        }
        let mut text = KVVec::new();
        let length = iov.copy_from_iter_vec(&mut text, GFP_KERNEL)?;
        kiocb.file().lock().text = text;
        // The next read sees the new text from its start.
        *kiocb.ki_pos_mut() = 0;
        Ok(length)
    }

    fn llseek(_state: Pin<&Mutex<State>>, file: &File, offset: i64, whence: c_int) -> Result<i64> {
        position::seek(file, offset, whence, i64::try_from(TEXT_MAX)?)
    }

    fn ioctl(
        state: Pin<&Mutex<State>>,
        _file: &File,
        command: u32,
        argument: usize,
    ) -> Result<isize> {
        Dispatch::new(command, argument)
            .plain(HELLO, || {
                pr_info!("Hello from ioctl\n");
                Ok(())
            })
            .read(GET_VALUE, || Ok(state.lock().value))
            .write(SET_VALUE, |value| {
                state.lock().value = value;
                Ok(())
            })
            .finish()
    }
}
