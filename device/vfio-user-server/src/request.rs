// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests with every field checked against what the protocol allows. Nothing here depends on a device or changes
//! anything; whether a region or an interrupt exists is the session's business.

use rustix::io::Errno;
use thiserror::Error;
use vfio_bindings::bindings::vfio::{
    VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE, VFIO_DMA_UNMAP_FLAG_ALL, VFIO_IRQ_SET_ACTION_MASK,
    VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_ACTION_TYPE_MASK, VFIO_IRQ_SET_ACTION_UNMASK,
    VFIO_IRQ_SET_DATA_BOOL, VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_DATA_NONE, VFIO_IRQ_SET_DATA_TYPE_MASK,
};

use crate::reaper::PeerFd;
use crate::wire::{REGION_ACCESS_SIZE, Reader, command};

/// The granularity of DMA maps in bytes, as told to the client in `pgsizes`.
pub(crate) const DMA_PAGE_SIZE: u64 = 4096;

/// Size in bytes of the payload of `DEVICE_GET_INFO` and of its reply.
pub(crate) const DEVICE_INFO_SIZE: usize = 16;
/// Size in bytes of the payload of `DEVICE_GET_REGION_INFO` and of its reply: `struct vfio_region_info`.
pub(crate) const REGION_INFO_SIZE: usize = 32;
/// Size in bytes of the payload of `DEVICE_GET_IRQ_INFO` and of its reply: `struct vfio_irq_info`.
pub(crate) const IRQ_INFO_SIZE: usize = 16;
/// Size in bytes of the payload of `DMA_UNMAP` and of its reply.
pub(crate) const DMA_UNMAP_SIZE: usize = 24;

/// Flags of `DMA_MAP` that are vfio-user's own: the descriptor is to be mapped, or to be read and written.
const DMA_MAP_FLAG_MMAP: u32 = 1 << 2;
const DMA_MAP_FLAG_FILE_IO: u32 = 1 << 3;

const VERSION_SIZE: usize = 4;
const DMA_MAP_SIZE: usize = 32;
const SET_IRQS_SIZE: usize = 20;

/// A request that is well-formed.
#[derive(Debug)]
pub(crate) enum Request<'a> {
    Version { major: u16, minor: u16, data: &'a [u8] },
    DmaMap(DmaMap),
    DmaUnmap { range: UnmapRange, argsz: u32, flags: u32 },
    DeviceGetInfo,
    RegionInfo { index: u32 },
    IrqInfo { index: u32 },
    SetIrqs(SetIrqs<'a>),
    RegionRead { region: u32, offset: u64, count: u32 },
    RegionWrite { region: u32, offset: u64, data: &'a [u8] },
    Reset,
}

/// A map of guest memory.
#[derive(Debug)]
pub(crate) struct DmaMap {
    pub(crate) address: u64,
    /// At least one page; `address + size` is at most 2^64.
    pub(crate) size: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The file that holds the memory and the offset of the map in it; `None`: only messages reach it.
    pub(crate) file: Option<(PeerFd, u64)>,
}

/// Which maps to take away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnmapRange {
    All,
    Exact { address: u64, size: u64 },
}

/// A change of interrupts `start..start + count` of an index.
#[derive(Debug)]
pub(crate) struct SetIrqs<'a> {
    pub(crate) index: u32,
    pub(crate) start: u32,
    pub(crate) count: u32,
    pub(crate) change: IrqChange<'a>,
}

/// What happens to interrupts.
#[derive(Debug)]
pub(crate) enum IrqChange<'a> {
    /// All interrupts of the index lose their eventfd.
    DisableAll,
    /// Each interrupt gets its eventfd, one for each of `count`.
    Assign(Vec<PeerFd>),
    /// Each interrupt loses its eventfd.
    Deassign,
    /// The action happens to each interrupt whose byte is not 0, or to all where there are no bytes.
    Act(IrqAction, Option<&'a [u8]>),
}

/// What a client can do to an interrupt itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IrqAction {
    Trigger,
    Mask,
    Unmask,
}

/// Why a request is refused before anything is done. Each has the errno of its reply.
#[derive(Debug, Error)]
pub(crate) enum RequestError {
    #[error("command {0} is unknown; the last one is {last}", last = command::MIG_DATA_WRITE)]
    UnknownCommand(u16),
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    #[error("{0} is a request for a server to send, not a client")]
    WrongDirection(&'static str),
    #[error("{command} has a payload of {got} bytes, expected {expected}")]
    PayloadSize { command: &'static str, got: usize, expected: usize },
    #[error("{command} carries {got} file descriptors, expected {expected}")]
    Descriptors { command: &'static str, got: usize, expected: &'static str },
    #[error("{field} is {got:#x}, expected {expected}")]
    Field { field: &'static str, got: u64, expected: &'static str },
}

impl RequestError {
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::UnknownCommand(_) => Errno::NOSYS,
            Self::Unsupported(_) => Errno::OPNOTSUPP,
            _ => Errno::INVAL,
        }
    }
}

impl<'a> Request<'a> {
    /// Checks one message. Descriptors that it may not carry go to the reaper, because they were passed by value.
    pub(crate) fn parse(number: u16, payload: &'a [u8], fds: Vec<PeerFd>) -> Result<Self, RequestError> {
        match number {
            command::VERSION => {
                no_fds("VERSION", &fds)?;
                parse_version(payload)
            }
            command::DMA_MAP => parse_dma_map(payload, fds),
            command::DMA_UNMAP => {
                no_fds("DMA_UNMAP", &fds)?;
                parse_dma_unmap(payload)
            }
            command::DEVICE_GET_INFO => {
                let mut reader = fixed("DEVICE_GET_INFO", payload, DEVICE_INFO_SIZE, &fds)?;
                argsz_at_least("argsz of DEVICE_GET_INFO", &mut reader, DEVICE_INFO_SIZE, "at least 16")?;
                Ok(Self::DeviceGetInfo)
            }
            command::DEVICE_GET_REGION_INFO => {
                let mut reader = fixed("DEVICE_GET_REGION_INFO", payload, REGION_INFO_SIZE, &fds)?;
                argsz_at_least(
                    "argsz of DEVICE_GET_REGION_INFO",
                    &mut reader,
                    REGION_INFO_SIZE,
                    "at least 32",
                )?;
                let _flags = reader.u32();
                Ok(Self::RegionInfo { index: reader.u32().unwrap_or_default() })
            }
            command::DEVICE_GET_IRQ_INFO => {
                let mut reader = fixed("DEVICE_GET_IRQ_INFO", payload, IRQ_INFO_SIZE, &fds)?;
                argsz_at_least("argsz of DEVICE_GET_IRQ_INFO", &mut reader, IRQ_INFO_SIZE, "at least 16")?;
                let _flags = reader.u32();
                Ok(Self::IrqInfo { index: reader.u32().unwrap_or_default() })
            }
            command::DEVICE_SET_IRQS => parse_set_irqs(payload, fds),
            command::REGION_READ => {
                let mut reader = fixed("REGION_READ", payload, REGION_ACCESS_SIZE, &fds)?;
                let (offset, region, count) = region_access(&mut reader);
                Ok(Self::RegionRead { region, offset, count })
            }
            command::REGION_WRITE => parse_region_write(payload, &fds),
            command::DEVICE_RESET => {
                fixed("DEVICE_RESET", payload, 0, &fds)?;
                Ok(Self::Reset)
            }
            command::DMA_READ => Err(RequestError::WrongDirection("DMA_READ")),
            command::DMA_WRITE => Err(RequestError::WrongDirection("DMA_WRITE")),
            command::DEVICE_GET_REGION_IO_FDS => Err(RequestError::Unsupported("DEVICE_GET_REGION_IO_FDS")),
            command::DIRTY_PAGES => Err(RequestError::Unsupported("DIRTY_PAGES")),
            command::REGION_WRITE_MULTI => Err(RequestError::Unsupported("REGION_WRITE_MULTI")),
            command::DEVICE_FEATURE => Err(RequestError::Unsupported("DEVICE_FEATURE")),
            command::MIG_DATA_READ => Err(RequestError::Unsupported("MIG_DATA_READ")),
            command::MIG_DATA_WRITE => Err(RequestError::Unsupported("MIG_DATA_WRITE")),
            unknown => Err(RequestError::UnknownCommand(unknown)),
        }
    }
}

fn parse_version(payload: &[u8]) -> Result<Request<'_>, RequestError> {
    let mut reader = Reader(payload);
    let (Some(major), Some(minor)) = (reader.u16(), reader.u16()) else {
        return Err(RequestError::PayloadSize {
            command: "VERSION",
            got: payload.len(),
            expected: VERSION_SIZE,
        });
    };
    Ok(Request::Version { major, minor, data: reader.rest() })
}

fn parse_dma_map<'a>(payload: &[u8], fds: Vec<PeerFd>) -> Result<Request<'a>, RequestError> {
    let mut reader = exactly("DMA_MAP", payload, DMA_MAP_SIZE)?;
    argsz_at_least("argsz of DMA_MAP", &mut reader, DMA_MAP_SIZE, "at least 32")?;
    let flags = reader.u32().unwrap_or_default();
    let offset = reader.u64().unwrap_or_default();
    let address = reader.u64().unwrap_or_default();
    let size = reader.u64().unwrap_or_default();

    let access = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
    let ways = DMA_MAP_FLAG_MMAP | DMA_MAP_FLAG_FILE_IO;
    if flags & !(access | ways) != 0 || flags & access == 0 || flags & ways == ways {
        let expected = "1 (readable), 2 (writable) or 3, and perhaps 4 (to be mapped)";
        return Err(field("flags of DMA_MAP", flags.into(), expected));
    }
    if flags & ways != 0 && fds.is_empty() {
        return Err(field("flags of DMA_MAP without a descriptor", flags.into(), "1, 2 or 3"));
    }
    // To read or write a file of the client's can take as long as the client likes.
    if flags & DMA_MAP_FLAG_FILE_IO != 0 {
        return Err(RequestError::Unsupported("guest memory that is read and written by its descriptor"));
    }
    dma_range(address, size)?;
    let mut fds = fds.into_iter();
    let file = match (fds.next(), fds.len()) {
        (None, _) if offset == 0 => None,
        (None, _) => return Err(field("offset of DMA_MAP without a descriptor", offset, "0")),
        (Some(fd), 0) => Some((fd, offset)),
        (Some(_), more) => {
            return Err(RequestError::Descriptors {
                command: "DMA_MAP",
                got: more.saturating_add(1),
                expected: "none or one",
            });
        }
    };
    if offset.checked_add(size).is_none_or(|end| end > i64::MAX.unsigned_abs()) {
        return Err(field("offset of DMA_MAP", offset, "one with offset + size below 2^63"));
    }
    Ok(Request::DmaMap(DmaMap {
        address,
        size,
        readable: flags & VFIO_DMA_MAP_FLAG_READ != 0,
        writable: flags & VFIO_DMA_MAP_FLAG_WRITE != 0,
        file,
    }))
}

fn parse_dma_unmap<'a>(payload: &[u8]) -> Result<Request<'a>, RequestError> {
    let mut reader = exactly("DMA_UNMAP", payload, DMA_UNMAP_SIZE)?;
    let argsz = argsz_at_least("argsz of DMA_UNMAP", &mut reader, DMA_UNMAP_SIZE, "at least 24")?;
    let flags = reader.u32().unwrap_or_default();
    let address = reader.u64().unwrap_or_default();
    let size = reader.u64().unwrap_or_default();
    let range = match flags {
        0 => {
            dma_range(address, size)?;
            UnmapRange::Exact { address, size }
        }
        VFIO_DMA_UNMAP_FLAG_ALL if address == 0 && size == 0 => UnmapRange::All,
        VFIO_DMA_UNMAP_FLAG_ALL => {
            return Err(field("address or size of an unmap of everything", address | size, "0"));
        }
        _ => return Err(field("flags of DMA_UNMAP", flags.into(), "0 or 2 (everything)")),
    };
    Ok(Request::DmaUnmap { range, argsz, flags })
}

/// A range of guest addresses must be whole pages, not empty, and not run past the end of the address space.
fn dma_range(address: u64, size: u64) -> Result<(), RequestError> {
    if size == 0 || size % DMA_PAGE_SIZE != 0 {
        return Err(field("size of a DMA range", size, "a multiple of 4096, not 0"));
    }
    if address % DMA_PAGE_SIZE != 0 {
        return Err(field("address of a DMA range", address, "a multiple of 4096"));
    }
    if address.checked_add(size - 1).is_none() {
        return Err(field("size of a DMA range", size, "one that ends within 64 bits of address"));
    }
    Ok(())
}

fn parse_set_irqs(payload: &[u8], fds: Vec<PeerFd>) -> Result<Request<'_>, RequestError> {
    let mut reader = Reader(payload);
    let (Some(argsz), Some(flags), Some(index), Some(start), Some(count)) =
        (reader.u32(), reader.u32(), reader.u32(), reader.u32(), reader.u32())
    else {
        return Err(RequestError::PayloadSize {
            command: "DEVICE_SET_IRQS",
            got: payload.len(),
            expected: SET_IRQS_SIZE,
        });
    };
    if u64::from(argsz) < SET_IRQS_SIZE as u64 {
        return Err(field("argsz of DEVICE_SET_IRQS", argsz.into(), "at least 20"));
    }
    if flags & !(VFIO_IRQ_SET_DATA_TYPE_MASK | VFIO_IRQ_SET_ACTION_TYPE_MASK) != 0 {
        return Err(field("flags of DEVICE_SET_IRQS", flags.into(), "bits 0 to 5 only"));
    }
    let action = match flags & VFIO_IRQ_SET_ACTION_TYPE_MASK {
        VFIO_IRQ_SET_ACTION_TRIGGER => IrqAction::Trigger,
        VFIO_IRQ_SET_ACTION_MASK => IrqAction::Mask,
        VFIO_IRQ_SET_ACTION_UNMASK => IrqAction::Unmask,
        _ => {
            return Err(field("action flags of DEVICE_SET_IRQS", flags.into(), "exactly one of bits 3 to 5"));
        }
    };
    let data = flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
    if data != VFIO_IRQ_SET_DATA_EVENTFD {
        no_fds("DEVICE_SET_IRQS without eventfds", &fds)?;
    }
    let bools = reader.rest();
    let bools_expected = if data == VFIO_IRQ_SET_DATA_BOOL { count } else { 0 };
    if u64::try_from(bools.len()) != Ok(bools_expected.into()) {
        return Err(RequestError::PayloadSize {
            command: "DEVICE_SET_IRQS",
            got: payload.len(),
            expected: SET_IRQS_SIZE.saturating_add(usize::try_from(bools_expected).unwrap_or(usize::MAX)),
        });
    }
    let disables_all = data == VFIO_IRQ_SET_DATA_NONE && action == IrqAction::Trigger && start == 0;
    if count == 0 && !disables_all {
        return Err(field("count of DEVICE_SET_IRQS", 0, "at least 1, as this is no request to disable all"));
    }
    let change = match data {
        VFIO_IRQ_SET_DATA_NONE if count == 0 => IrqChange::DisableAll,
        VFIO_IRQ_SET_DATA_NONE => IrqChange::Act(action, None),
        VFIO_IRQ_SET_DATA_BOOL => IrqChange::Act(action, Some(bools)),
        VFIO_IRQ_SET_DATA_EVENTFD if action != IrqAction::Trigger => {
            return Err(RequestError::Unsupported("an eventfd that masks or unmasks"));
        }
        VFIO_IRQ_SET_DATA_EVENTFD if fds.is_empty() => IrqChange::Deassign,
        VFIO_IRQ_SET_DATA_EVENTFD if u64::try_from(fds.len()) == Ok(count.into()) => IrqChange::Assign(fds),
        VFIO_IRQ_SET_DATA_EVENTFD => {
            return Err(RequestError::Descriptors {
                command: "DEVICE_SET_IRQS",
                got: fds.len(),
                expected: "none, or as many as its count",
            });
        }
        _ => return Err(field("data flags of DEVICE_SET_IRQS", flags.into(), "exactly one of bits 0 to 2")),
    };
    Ok(Request::SetIrqs(SetIrqs { index, start, count, change }))
}

fn parse_region_write<'a>(payload: &'a [u8], fds: &[PeerFd]) -> Result<Request<'a>, RequestError> {
    no_fds("REGION_WRITE", fds)?;
    let (Some(head), Some(data)) = (payload.get(..REGION_ACCESS_SIZE), payload.get(REGION_ACCESS_SIZE..))
    else {
        return Err(RequestError::PayloadSize {
            command: "REGION_WRITE",
            got: payload.len(),
            expected: REGION_ACCESS_SIZE,
        });
    };
    let (offset, region, count) = region_access(&mut Reader(head));
    if u64::try_from(data.len()) != Ok(count.into()) {
        return Err(field("count of REGION_WRITE", count.into(), "the size of the data that follows it"));
    }
    Ok(Request::RegionWrite { region, offset, data })
}

fn region_access(reader: &mut Reader<'_>) -> (u64, u32, u32) {
    let offset = reader.u64().unwrap_or_default();
    let region = reader.u32().unwrap_or_default();
    (offset, region, reader.u32().unwrap_or_default())
}

/// A request of one fixed size and without descriptors.
fn fixed<'a>(
    command: &'static str,
    payload: &'a [u8],
    expected: usize,
    fds: &[PeerFd],
) -> Result<Reader<'a>, RequestError> {
    no_fds(command, fds)?;
    exactly(command, payload, expected)
}

fn exactly<'a>(
    command: &'static str,
    payload: &'a [u8],
    expected: usize,
) -> Result<Reader<'a>, RequestError> {
    match payload.len() {
        got if got == expected => Ok(Reader(payload)),
        got => Err(RequestError::PayloadSize { command, got, expected }),
    }
}

fn no_fds(command: &'static str, fds: &[PeerFd]) -> Result<(), RequestError> {
    match fds.len() {
        0 => Ok(()),
        got => Err(RequestError::Descriptors { command, got, expected: "none" }),
    }
}

/// `argsz` is the first field of many requests: how much the client has room for, or its payload's size.
fn argsz_at_least(
    name: &'static str,
    reader: &mut Reader<'_>,
    least: usize,
    expected: &'static str,
) -> Result<u32, RequestError> {
    let argsz = reader.u32().unwrap_or_default();
    if u64::from(argsz) < least as u64 {
        return Err(field(name, argsz.into(), expected));
    }
    Ok(argsz)
}

fn field(field: &'static str, got: u64, expected: &'static str) -> RequestError {
    RequestError::Field { field, got, expected }
}
