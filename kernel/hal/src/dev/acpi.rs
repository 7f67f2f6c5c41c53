// SPDX-License-Identifier: MIT OR Apache-2.0
//! ACPI's tables: CPUs and interrupt controllers (MADT), PCI configuration space (MCFG), memory affinity (SRAT), and the
//! registers to switch off with (FADT).

use core::ptr::NonNull;

use acpi::{
    AcpiHandler, AcpiTable, AcpiTables, InterruptModel, PciConfigRegions, PhysicalMapping,
    fadt::Fadt,
    platform::interrupt::{Polarity, TriggerMode},
    sdt::{SdtHeader, Signature},
};
use alloc::{vec, vec::Vec};
use arrayvec::ArrayVec;

use crate::{
    DIRECT_MAP, MAX_CPUS,
    cpu::percpu,
    log,
    mm::{device_map, paging::kernel},
    once::Once,
};

#[derive(Clone)]
struct Mapper;

impl AcpiHandler for Mapper {
    unsafe fn map_physical_region<T>(&self, physical: usize, size: usize) -> PhysicalMapping<Self, T> {
        // Firmware puts its tables at the top of memory, which the direct map covers in most cases.
        let last = DIRECT_MAP + (physical + size.max(1) - 1) as u64;
        let address = if kernel::is_mapped(DIRECT_MAP + physical as u64) && kernel::is_mapped(last) {
            DIRECT_MAP + physical as u64
        } else {
            device_map::map_device(physical as u64, size) as u64
        };
        let pointer = NonNull::new(address as *mut T).expect("kernel addresses are not null");
        // SAFETY: `size` bytes at `physical` are mapped there, for ever.
        unsafe { PhysicalMapping::new(physical, pointer, size, size, self.clone()) }
    }

    fn unmap_physical_region<T>(_region: &PhysicalMapping<Self, T>) {}
}

/// An interrupt line as firmware describes it.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The ISA line.
    pub isa: u8,
    /// The global interrupt number that it is wired to.
    pub global: u32,
    /// Active low instead of high.
    pub low: bool,
    /// Level-triggered instead of edge.
    pub level: bool,
}

/// PCI configuration space of one segment.
#[derive(Clone, Copy, Debug)]
pub struct PciSegment {
    /// Physical address of bus 0.
    pub base: u64,
    /// First and last bus.
    pub buses: (u8, u8),
}

/// Memory of one NUMA node.
#[derive(Clone, Copy, Debug)]
pub struct NodeMemory {
    /// The node.
    pub node: u32,
    /// Physical address of its first byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

/// What the tables say.
#[derive(Debug, Default)]
pub struct Platform {
    /// APIC ids of the CPUs that may be used.
    pub cpus: Vec<u32>,
    /// Physical address of the local APICs' registers.
    pub local_apic: u64,
    /// IO-APICs: physical address and first global interrupt number.
    pub io_apics: Vec<(u64, u32)>,
    /// ISA lines that are not wired one to one.
    pub lines: Vec<Line>,
    /// PCI segments.
    pub pci: Vec<PciSegment>,
    /// Which node each APIC id belongs to.
    pub cpu_nodes: Vec<(u32, u32)>,
    /// Which memory each node has.
    pub node_memory: Vec<NodeMemory>,
    /// I/O port of the power-management timer, if there is one.
    pub pm_timer: Option<u16>,
    /// I/O port of the power-management control register, and SLP_TYP for S5.
    pub power: Option<(u16, u16)>,
}

static PLATFORM: Once<Platform> = Once::new();

/// What ACPI says about this machine.
pub fn platform() -> &'static Platform {
    PLATFORM.get().expect("read at boot")
}

pub(crate) fn cpus() -> &'static [u32] {
    &platform().cpus
}

/// Reads the tables.
pub(crate) fn init(rsdp: u64) -> &'static Platform {
    let mut platform = Platform::default();
    // SAFETY: the boot loader's root pointer, or a search in the BIOS area; the mapper maps what is asked for.
    let tables = unsafe {
        if rsdp != 0 {
            AcpiTables::from_rsdp(Mapper, rsdp as usize)
        } else {
            AcpiTables::search_for_rsdp_bios(Mapper)
        }
    };
    match tables {
        Ok(tables) => read(&tables, &mut platform),
        Err(error) => log!("ACPI: {error:?}; going on with one CPU"),
    }
    PLATFORM.set(platform)
}

fn read(tables: &AcpiTables<Mapper>, platform: &mut Platform) {
    if let Ok(info) = tables.platform_info() {
        if let InterruptModel::Apic(apic) = &info.interrupt_model {
            platform.local_apic = apic.local_apic_address;
            platform.io_apics = apic
                .io_apics
                .iter()
                .map(|a| (u64::from(a.address), a.global_system_interrupt_base))
                .collect();
            platform.lines = apic
                .interrupt_source_overrides
                .iter()
                .map(|o| Line {
                    isa: o.isa_source,
                    global: o.global_system_interrupt,
                    low: o.polarity == Polarity::ActiveLow,
                    level: o.trigger_mode == TriggerMode::Level,
                })
                .collect();
        }
        if let Some(processors) = &info.processor_info {
            platform.cpus = vec![processors.boot_processor.local_apic_id];
            platform.cpus.extend(
                processors
                    .application_processors
                    .iter()
                    .filter(|p| p.state != acpi::platform::ProcessorState::Disabled)
                    .map(|p| p.local_apic_id),
            );
        }
        platform.pm_timer = info
            .pm_timer
            .and_then(|t| {
                (t.base.address_space == acpi::address::AddressSpace::SystemIo).then_some(t.base.address)
            })
            .and_then(|port| u16::try_from(port).ok());
    }
    if let Ok(regions) = PciConfigRegions::new(tables) {
        platform.pci = regions
            .iter()
            .map(|r| PciSegment {
                base: r.physical_address as u64,
                buses: (*r.bus_range.start(), *r.bus_range.end()),
            })
            .collect();
    }
    read_affinity(tables, platform);
    if let Ok(fadt) = tables.find_table::<Fadt>() {
        let port = fadt.pm1a_control_block().ok().and_then(|b| u16::try_from(b.address).ok());
        if let (Some(port), Ok(dsdt)) = (port, tables.dsdt()) {
            let aml = table_bytes(dsdt.address, dsdt.length as usize);
            platform.power = find_s5(aml).map(|sleep_type| (port, sleep_type));
        }
    }
}

fn table_bytes(physical: usize, length: usize) -> &'static [u8] {
    // SAFETY: a table that ACPI names; the mapping stays for ever and nothing writes there.
    unsafe {
        let mapping = Mapper.map_physical_region::<u8>(physical, length);
        core::slice::from_raw_parts(mapping.virtual_start().as_ptr(), length)
    }
}

/// The first value of the `_S5_` package in the AML code: NameOp "_S5_" PackageOp length count value. Reading this one
/// constant needs no interpreter. Source: ACPI 6.5, 20.2.
fn find_s5(aml: &[u8]) -> Option<u16> {
    let at = aml.windows(5).position(|w| w == b"_S5_\x12")? + 5;
    // The package length's first byte says in its top bits how many bytes follow.
    let rest = aml.get(at + 1 + usize::from(aml.get(at)? >> 6)..)?;
    match rest.get(1..3)? {
        [0x0a, value] => Some(u16::from(*value)),
        [value @ 0..=7, _] => Some(u16::from(*value)),
        _ => None,
    }
}

/// SRAT, which the `acpi` crate does not read: header (36 bytes), 12 reserved, then entries of (type, length, …). Source: ACPI
/// 6.5, 5.2.16.
fn read_affinity(tables: &AcpiTables<Mapper>, platform: &mut Platform) {
    let Ok(table) = tables.find_table::<Srat>() else { return };
    let length = table.0.length as usize;
    let bytes = table_bytes(table.physical_start(), length);
    let u32_at = |entry: &[u8], at: usize| {
        entry.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
    };
    let u64_at =
        |entry: &[u8], at: usize| u64::from(u32_at(entry, at)) | (u64::from(u32_at(entry, at + 4)) << 32);
    let mut rest = bytes.get(48..).unwrap_or(&[]);
    while let [kind, length, ..] = *rest {
        let Some((entry, after)) = rest.split_at_checked(usize::from(length.max(2))) else { return };
        match kind {
            0 if entry.len() >= 8 && u32_at(entry, 4) & 1 != 0 => {
                platform.cpu_nodes.push((u32::from(entry[3]), u32::from(entry[2])));
            }
            1 if u32_at(entry, 28) & 1 != 0 => platform.node_memory.push(NodeMemory {
                node: u32_at(entry, 2),
                start: u64_at(entry, 8),
                size: u64_at(entry, 16),
            }),
            2 if u32_at(entry, 12) & 1 != 0 => platform.cpu_nodes.push((u32_at(entry, 8), u32_at(entry, 4))),
            _ => {}
        }
        rest = after;
    }
}

/// The affinity table's header.
#[repr(C)]
struct Srat(SdtHeader);

// SAFETY: a table begins with its header, which is all that this type reads.
unsafe impl AcpiTable for Srat {
    const SIGNATURE: Signature = Signature::SRAT;

    fn header(&self) -> &SdtHeader {
        &self.0
    }
}

/// The NUMA nodes' numbers, at least node 0.
pub fn nodes() -> ArrayVec<u32, MAX_CPUS> {
    let mut nodes = ArrayVec::new();
    for node in platform().cpu_nodes.iter().map(|c| c.1).chain(platform().node_memory.iter().map(|m| m.node))
    {
        if !nodes.contains(&node) && !nodes.is_full() {
            nodes.push(node);
        }
    }
    if nodes.is_empty() {
        nodes.push(0);
    }
    nodes
}

/// The NUMA node of a CPU, by its number; 0 if the tables do not say.
pub fn node_of_cpu(cpu: usize) -> u32 {
    node_of_apic(percpu::apic_id_of(cpu))
}

pub(crate) fn node_of_apic(apic_id: u32) -> u32 {
    platform().cpu_nodes.iter().find(|c| c.0 == apic_id).map_or(0, |c| c.1)
}
