// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a device tells the server about itself and does when the client asks.

use vfio_bindings::bindings::vfio::{
    VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_BAR1_REGION_INDEX, VFIO_PCI_BAR2_REGION_INDEX,
    VFIO_PCI_BAR3_REGION_INDEX, VFIO_PCI_BAR4_REGION_INDEX, VFIO_PCI_BAR5_REGION_INDEX,
    VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_NUM_REGIONS, VFIO_PCI_ROM_REGION_INDEX, VFIO_PCI_VGA_REGION_INDEX,
};

use crate::dma::GuestMemory;
use crate::errno::Errno;
use crate::irq::{IRQ_INDEXES, Interrupts, IrqIndex};
use crate::wait::Awaited;

/// How many regions a PCI device has.
pub(crate) const REGION_COUNT: usize = VFIO_PCI_NUM_REGIONS as usize;

/// A device. All methods are called by the thread that runs the server, one at a time; none may wait for long, because
/// the client waits for the answer (QEMU for 5 seconds, and a virtual processor stands still meanwhile).
pub trait Device {
    /// The sizes of the regions. They must not change while a client is connected.
    fn regions(&self) -> Regions;

    /// How many interrupts there are of each kind. They must not change while a client is connected.
    fn irqs(&self) -> Irqs {
        Irqs::default()
    }

    /// Fills `data` from the region. `offset..offset + data.len()` is not empty and inside the region, which is readable;
    /// the length may be any up to [`Limits::max_data_xfer_size`](crate::Limits::max_data_xfer_size), and the offset is not
    /// necessarily aligned.
    ///
    /// # Errors
    /// The errno for the client. Not for what the guest does wrong: a guest cannot see it, and QEMU prints it.
    fn region_read(&mut self, region: Region, offset: u64, data: &mut [u8]) -> Result<(), Errno>;

    /// Writes `data` to the region, with the same promises as for [`Self::region_read`]. A client may post writes, and then
    /// learns nothing of an error.
    ///
    /// # Errors
    /// As for [`Self::region_read`].
    fn region_write(&mut self, region: Region, offset: u64, data: &[u8]) -> Result<(), Errno>;

    /// Puts the device into the state that it had at power-on. The client's maps and eventfds stay.
    fn reset(&mut self);

    /// A client was accepted and the versions agreed. A device with threads of its own keeps `client`.
    fn client_joined(&mut self, client: &Client) {
        let _ = client;
    }

    /// What the device waits for by itself, whether a client is connected or not: descriptors of its own, such as an eventfd
    /// by which its other threads call it, and moments. Asked before each wait, so that it can change from one to the next.
    fn awaited<'d>(&'d self, awaited: &mut Awaited<'d>) {
        let _ = awaited;
    }

    /// The descriptor that [`Self::awaited`] gave with `token` is ready. It is until the device has read it, or whatever it
    /// takes, and this is called again and again until then. Must not block, as another call may have changed that.
    fn ready(&mut self, token: u64) {
        let _ = token;
    }

    /// The moment that [`Self::awaited`] gave has come. Unless it gives a later one from now on, or none, this is called
    /// again at once.
    fn time_has_come(&mut self) {}

    /// The client has left. When this returns, the device uses nothing of [`Client`] any more; what it uses nevertheless
    /// fails. The next client may be another virtual machine: a device that keeps anything from it must say so.
    fn client_left(&mut self) {}
}

/// A device that is chosen while the program runs.
impl<D: Device + ?Sized> Device for Box<D> {
    fn regions(&self) -> Regions {
        (**self).regions()
    }

    fn irqs(&self) -> Irqs {
        (**self).irqs()
    }

    fn region_read(&mut self, region: Region, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        (**self).region_read(region, offset, data)
    }

    fn region_write(&mut self, region: Region, offset: u64, data: &[u8]) -> Result<(), Errno> {
        (**self).region_write(region, offset, data)
    }

    fn reset(&mut self) {
        (**self).reset();
    }

    fn client_joined(&mut self, client: &Client) {
        (**self).client_joined(client);
    }

    fn awaited<'d>(&'d self, awaited: &mut Awaited<'d>) {
        (**self).awaited(awaited);
    }

    fn ready(&mut self, token: u64) {
        (**self).ready(token);
    }

    fn time_has_come(&mut self) {
        (**self).time_has_come();
    }

    fn client_left(&mut self) {
        (**self).client_left();
    }
}

/// What a device can use of the client that is connected.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Client {
    /// The guest memory that the client shares.
    pub memory: GuestMemory,
    /// The interrupts that the client receives.
    pub interrupts: Interrupts,
}

#[cfg(any(test, feature = "testing"))]
impl Client {
    /// A client of a device's own tests and measurements.
    pub fn new(memory: GuestMemory, interrupts: Interrupts) -> Self {
        Self { memory, interrupts }
    }
}

/// A region of a PCI device, by VFIO's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the base address registers have no more to them than their numbers")]
pub enum Region {
    Bar0 = VFIO_PCI_BAR0_REGION_INDEX,
    Bar1 = VFIO_PCI_BAR1_REGION_INDEX,
    Bar2 = VFIO_PCI_BAR2_REGION_INDEX,
    Bar3 = VFIO_PCI_BAR3_REGION_INDEX,
    Bar4 = VFIO_PCI_BAR4_REGION_INDEX,
    Bar5 = VFIO_PCI_BAR5_REGION_INDEX,
    /// The expansion ROM.
    Rom = VFIO_PCI_ROM_REGION_INDEX,
    /// PCI configuration space.
    Config = VFIO_PCI_CONFIG_REGION_INDEX,
    /// The legacy VGA ranges.
    Vga = VFIO_PCI_VGA_REGION_INDEX,
}

impl Region {
    const ALL: [Self; REGION_COUNT] = [
        Self::Bar0,
        Self::Bar1,
        Self::Bar2,
        Self::Bar3,
        Self::Bar4,
        Self::Bar5,
        Self::Rom,
        Self::Config,
        Self::Vga,
    ];

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|&region| region as u32 == number)
    }
}

/// Size and access of a region. The default is a region that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RegionInfo {
    /// Bytes.
    pub size: u64,
    /// Whether the client may read it.
    pub readable: bool,
    /// Whether the client may write it.
    pub writable: bool,
}

impl RegionInfo {
    /// A region of `size` bytes that can be read and written.
    pub const fn read_write(size: u64) -> Self {
        Self { size, readable: true, writable: true }
    }

    /// A region of `size` bytes that can only be read.
    pub const fn read_only(size: u64) -> Self {
        Self { size, readable: true, writable: false }
    }

    /// A region of `size` bytes that can only be written.
    pub const fn write_only(size: u64) -> Self {
        Self { size, readable: false, writable: true }
    }
}

/// The regions of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Regions([RegionInfo; REGION_COUNT]);

impl Regions {
    /// These regions, with one of them changed.
    #[must_use]
    pub fn with(mut self, region: Region, info: RegionInfo) -> Self {
        if let Some(place) = self.0.get_mut(region as usize) {
            *place = info;
        }
        self
    }

    /// One region.
    pub fn get(&self, region: Region) -> RegionInfo {
        self.0.get(region as usize).copied().unwrap_or_default()
    }
}

/// How many interrupts a device has of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct IrqInfo {
    /// 0: it has none.
    pub count: u16,
}

/// The interrupts of a device. [`IrqIndex::Err`] is best left at none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Irqs([IrqInfo; IRQ_INDEXES]);

impl Irqs {
    /// These interrupts, with the count of one kind changed.
    #[must_use]
    pub fn with(mut self, index: IrqIndex, count: u16) -> Self {
        if let Some(place) = self.0.get_mut(index as usize) {
            *place = IrqInfo { count };
        }
        self
    }

    /// One kind.
    pub fn get(&self, index: IrqIndex) -> IrqInfo {
        self.0.get(index as usize).copied().unwrap_or_default()
    }

    pub(crate) fn map<T>(&self, each: impl FnMut(IrqInfo) -> T) -> [T; IRQ_INDEXES] {
        self.0.map(each)
    }
}
