// SPDX-License-Identifier: GPL-2.0

//! The nodes in `/dev`, and what a file keeps that a program has opened.
//!
//! | call | does | see |
//! | --- | --- | --- |
//! | `read(2)` | bytes of the entropy stream | [`read`](crate::read) |
//! | `ioctl(2)` | numbers of the seedable stream, and the rest | [`ioctl`](crate::ioctl) |
//! | `mmap(2)` | a queue of one's own | [`mapped_queue`](crate::mapped_queue) |
//! | `poll(2)` | waits for bytes; on a file that has mapped its queue, for that | below |

use crate::{
    chardev::{
        fops::may_wait,
        Device as NodeDevice,
        FileOperations,
        PollEvents, //
    },
    device::SharedDevice,
    interrupts::VectorWaitQueues,
    ioctl,
    mapped_queue::MappedQueue,
    read,
    registry,
    seedable_stream::SeedableStream, //
};
use kernel::{
    fs::{
        File,
        Kiocb, //
    },
    iov::IovIterDest,
    mm::virt::VmaNew,
    new_mutex,
    prelude::*,
    sync::{
        poll::PollTable,
        Arc,
        ArcBorrow,
        Mutex, //
    },
};

/// Permissions of the nodes: everybody may draw, as with `/dev/urandom`. Everybody may reseed, too:
/// the seedable stream is there to be reproduced, and nothing that must stay secret comes from it.
/// A udev rule can say otherwise.
pub(crate) const NODE_MODE: u16 = 0o666;

/// What a node stands for.
pub(crate) enum Node {
    /// `/dev/my_rngN`: this device.
    Device(Arc<SharedDevice>),
    /// `/dev/my_rng_driver`: the device that is the first when a program opens the node.
    First,
}

/// An open file. It is bound to the device, not to the node.
#[pin_data]
pub(crate) struct OpenFile {
    device: Arc<SharedDevice>,
    /// Kept because `poll(2)` leaves its callers in there; `None` if there are no queues.
    wait_queues: Option<VectorWaitQueues>,
    /// The numbers that are fetched before anybody asks; `None` if there are no queues.
    seedable: Option<Arc<SeedableStream>>,
    /// The queue that the program reads itself, once it has asked for it.
    #[pin]
    mapping: Mutex<Option<Arc<MappedQueue>>>,
}

impl OpenFile {
    /// The device.
    pub(crate) fn device(&self) -> &SharedDevice {
        &self.device
    }

    /// The numbers that are fetched before anybody asks; `None` if the device has no queues.
    #[inline]
    pub(crate) fn seedable(&self) -> Option<&SeedableStream> {
        self.seedable.as_deref()
    }

    /// The file's own queue; the first call asks the device for it, as does the first after the
    /// queue has become stale.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] when all queues are in use, [`EOPNOTSUPP`] when the device has none, [`ENODEV`].
    pub(crate) fn mapping(&self) -> Result<Arc<MappedQueue>> {
        let mut mapping = self.mapping.lock();
        if let Some(mapping) = &*mapping {
            if !mapping.is_stale() {
                return Ok(mapping.clone());
            }
            self.device.access(|device| {
                device.close_mapped_queue(mapping);
                Ok(())
            })?;
        }
        let new = self.device.access(|device| device.open_mapped_queue())?;
        *mapping = Some(new.clone());
        Ok(new)
    }

    /// Rings the doorbell of the file's own queue.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] when it has none, [`ENODEV`] when the device is gone.
    pub(crate) fn wake(&self) -> Result {
        let mapping = self.mapping_if_any().ok_or(EINVAL)?;
        self.device.access(|device| {
            device.wake_mapped_queue(&mapping);
            Ok(())
        })
    }

    fn mapping_if_any(&self) -> Option<Arc<MappedQueue>> {
        self.mapping.lock().clone()
    }
}

/// The file operations of both kinds of node.
pub(crate) struct Files;

#[vtable]
impl FileOperations for Files {
    type Device = Node;
    type OpenFile = Arc<OpenFile>;

    const SUPPORTS_NOWAIT: bool = true;

    fn open(node: &NodeDevice<Node>, _file: &File) -> Result<Self::OpenFile> {
        let device = match &**node {
            Node::Device(device) => device.clone(),
            Node::First => registry::first().ok_or(ENODEV)?,
        };

        // Opened while it was being removed: say so now (ENODEV) rather than at the first draw.
        let (wait_queues, seedable) =
            device.access(|device| Ok((device.wait_queues(), device.seedable())))?;
        Arc::pin_init(
            pin_init!(OpenFile {
                device,
                wait_queues,
                seedable,
                mapping <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    fn release(open_file: Self::OpenFile, _file: &File) {
        if let Some(mapping) = open_file.mapping_if_any() {
            // If the device is gone, so is the queue.
            let _ = open_file.device.access(|device| {
                device.close_mapped_queue(&mapping);
                Ok(())
            });
        }
    }

    fn read_iter(kiocb: Kiocb<'_, Self::OpenFile>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        read::read(&kiocb.file().device, iov, may_wait(&kiocb))
    }

    #[inline]
    fn ioctl(
        open_file: ArcBorrow<'_, OpenFile>,
        _file: &File,
        command: u32,
        argument: usize,
    ) -> Result<isize> {
        ioctl::dispatch(&open_file, command, argument)
    }

    fn mmap(open_file: ArcBorrow<'_, OpenFile>, _file: &File, vma: &VmaNew) -> Result {
        // A program that has not called MAP_INFO cannot know its size.
        open_file.mapping_if_any().ok_or(EINVAL)?.map(vma)
    }

    fn poll(
        open_file: ArcBorrow<'_, OpenFile>,
        file: &File,
        table: &PollTable<'_>,
    ) -> Result<PollEvents> {
        if let Some(mapping) = open_file.mapping_if_any() {
            return Ok(mapping.poll(file, table, || {
                open_file
                    .device
                    .access(|device| device.check_alive_ratelimited())
            }));
        }
        if open_file.wait_queues.is_none() {
            return Err(EOPNOTSUPP);
        }
        let is_ready = open_file.device.access(|device| {
            // One of the wait queues that the file keeps.
            device.poll(|wait_queue| table.register_wait(file, wait_queue.poll_queue()))
        })?;
        Ok(PollEvents::READABLE.when(is_ready))
    }
}
