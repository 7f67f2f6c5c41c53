// SPDX-License-Identifier: GPL-2.0

//! `/dev/procmon_events`: what happens at `open(2)`, `read(2)`, `poll(2)`, `mmap(2)` and
//! `ioctl(2)`.
//!
//! A file gives the events that are recorded after it was opened. The numbers in them are those of
//! the initial namespaces, so a program that lives in another PID namespace is not let in: it could
//! not make sense of them, and is not to know of processes outside.

use super::{
    reader::{
        Reader,
        FAULT_IN_RETRIES, //
    },
    Events,
    Node, //
};
use crate::{
    abi::{
        event::EVENT_SIZE,
        ioctl::{
            EVENTS_LOST,
            EVENTS_SKIP, //
        },
    },
    chardev::{
        fops::{
            may_wait,
            Wait, //
        },
        user::put,
        Device,
        FileOperations,
        PollEvents, //
    },
    mechanisms::{
        credentials::ProcessAccess,
        pid::in_initial_namespace,
        time_ns, //
    },
};
use kernel::{
    bindings,
    fs::{
        File,
        Kiocb, //
    },
    iov::IovIterDest,
    mm::virt::VmaNew,
    new_mutex,
    prelude::*,
    sync::{
        atomic::Relaxed,
        poll::PollTable,
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    uaccess::UserPtr, //
};

/// How long a reader that was woken goes on sleeping. Events come in bursts, and a reader that
/// wakes for each of them costs more than all the rest here.
const WAKE_BATCH_DELAY: Delta = Delta::from_millis(1);

/// The file operations of `/dev/procmon_events`.
pub(crate) struct Files;

/// An open file. Recording goes on while there is any.
#[pin_data(PinnedDrop)]
pub(crate) struct OpenFile {
    events: Arc<Events>,
    /// Whose processes the file may look into. Not in `reader`: that is locked while a program's
    /// memory is written to, which takes the lock of its address space, under which `mmap` is
    /// called.
    access: ProcessAccess,
    /// Two threads that read one file take turns.
    #[pin]
    reader: Mutex<Reader>,
}

impl OpenFile {
    fn new(events: Arc<Events>, access: ProcessAccess) -> Result<Pin<KBox<Self>>> {
        let reader = Reader::new(&events.rings, access)?;
        let file = KBox::pin_init(
            pin_init!(Self {
                // From here on events are recorded. `drop` takes this back.
                _: {
                    events.readers.add(1u32, Relaxed);
                },
                events,
                access,
                reader <- new_mutex!(reader),
            }),
            GFP_KERNEL,
        )?;
        Ok(file)
    }
}

#[pinned_drop]
impl PinnedDrop for OpenFile {
    fn drop(self: Pin<&mut Self>) {
        self.events.readers.fetch_sub(1u32, Relaxed);
    }
}

#[vtable]
impl FileOperations for Files {
    type Device = Node;
    type OpenFile = Pin<KBox<OpenFile>>;

    const SUPPORTS_NOWAIT: bool = true;

    fn open(node: &Device<Node>, file: &File) -> Result<Self::OpenFile> {
        if !in_initial_namespace() {
            return Err(EPERM);
        }
        OpenFile::new(node.0.clone(), ProcessAccess::of_opener(file))
    }

    /// Gives whole events, at least one; waits for it unless the file is non-blocking.
    fn read_iter(kiocb: Kiocb<'_, Self::OpenFile>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let file = kiocb.file();
        let (events, rings) = (&*file.events, &file.events.rings);

        if iov.len() < EVENT_SIZE {
            return Err(EINVAL);
        }
        let mut fault_ins = 0;
        loop {
            // Before looking: what is recorded after the look makes it another number.
            let recorded = rings.recorded();
            let (copied, readable) = {
                let mut reader = file.reader.lock();
                (reader.copy_events(rings, iov)?, reader.is_readable(rings))
            };
            if copied.bytes > 0 {
                return Ok(copied.bytes);
            }
            if copied.faulted {
                fault_ins += 1;
                if fault_ins > FAULT_IN_RETRIES {
                    return Err(EFAULT);
                }
                fault_in(iov)?;
                continue;
            }
            // Something has come just now, and it was too late for this look.
            if readable {
                continue;
            }
            if may_wait(&kiocb) != Wait::Data {
                return Err(EAGAIN);
            }
            events.wait_queue.wait(|| rings.recorded() != recorded)?;
            if iov.len() > EVENT_SIZE {
                fsleep(WAKE_BATCH_DELAY);
            }
        }
    }

    fn poll(file: Pin<&OpenFile>, raw: &File, table: &PollTable<'_>) -> Result<PollEvents> {
        file.events.wait_queue.register_poll(raw, table);

        let readable = file.reader.lock().is_readable(&file.events.rings);
        Ok(PollEvents::READABLE.when(readable))
    }

    fn ioctl(file: Pin<&OpenFile>, _raw: &File, command: u32, argument: usize) -> Result<isize> {
        match command {
            EVENTS_SKIP => file.reader.lock().skip(&file.events.rings),
            EVENTS_LOST => {
                let lost = file.reader.lock().lost();
                put(UserPtr::from_addr(argument), &lost)?;
            }
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }

    /// Maps all rings. They cannot hide anything, so only who may see everything may map them.
    fn mmap(file: Pin<&OpenFile>, _raw: &File, vma: &VmaNew) -> Result {
        match file.access {
            // Their times are those of the initial time namespace, too.
            ProcessAccess::All if time_ns::in_initial_namespace() => {
                file.events.rings.memory().map(vma)
            }
            _ => Err(EPERM),
        }
    }
}

/// Brings in the program's memory for one event. To be called without locks.
///
/// # Errors
///
/// [`EFAULT`] when there is none.
fn fault_in(iov: &mut IovIterDest<'_>) -> Result {
    // SAFETY: A valid destination by its type.
    match unsafe { bindings::fault_in_iov_iter_writeable(iov.as_raw(), EVENT_SIZE) } {
        0 => Ok(()),
        _ => Err(EFAULT),
    }
}
