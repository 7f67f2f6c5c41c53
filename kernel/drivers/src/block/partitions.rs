// SPDX-License-Identifier: MIT OR Apache-2.0
//! Partitions of a disk: the tables (GPT, and MBR with its logical partitions), and a part of a disk as a block device.
//! Source: UEFI Specification 2.10, chapter 5; for logical partitions, the layout that DOS has left behind.

use alloc::{sync::Arc, vec, vec::Vec};

use super::{
    BlockDevice, BlockError, Cause, DeviceName, Geometry, Operation, Refused, Request, Requests, Tag,
    device_name,
};

/// A partition as its table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1; logical ones start at 5.
    pub number: u32,
    /// Its first sector.
    pub start: u64,
    /// Its sectors.
    pub sectors: u64,
}

/// Most partitions that are looked at, of either kind.
const MOST: u32 = 128;
const GPT_SIGNATURE: &[u8] = b"EFI PART";
/// The MBR's type of a disk that has a GPT.
const PROTECTIVE: u8 = 0xee;
/// The MBR's types of a partition that holds a chain of logical ones.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// Reads the partition table of a disk; empty if it has none.
///
/// # Errors
/// The disk's, if it cannot be read.
pub fn read(disk: &dyn BlockDevice) -> Result<Vec<Partition>, BlockError> {
    let size = disk.sector_size();
    let mut sector = vec![0; size];
    if disk.size_in_sectors() == 0 {
        return Ok(Vec::new());
    }
    disk.read_sectors(0, &mut sector)?;
    if sector.get(510..512) != Some(&[0x55, 0xaa]) {
        return Ok(Vec::new());
    }
    if (0..4).filter_map(|index| entry(&sector, index)).any(|e| e.kind == PROTECTIVE) {
        return read_gpt(disk);
    }
    let mut found = Vec::new();
    for index in 0..4 {
        let Some(entry) = entry(&sector, index) else { continue };
        if EXTENDED.contains(&entry.kind) {
            read_logical(disk, entry, &mut found)?;
        } else {
            found.push(Partition { number: index as u32 + 1, start: entry.start, sectors: entry.sectors });
        }
    }
    found.sort_by_key(|p| p.number);
    let end = disk.size_in_sectors();
    found.retain(|p| p.start.checked_add(p.sectors).is_some_and(|e| e <= end));
    Ok(found)
}

#[derive(Clone, Copy)]
struct Entry {
    kind: u8,
    start: u64,
    sectors: u64,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    number(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    number(bytes, at).map(u64::from_le_bytes)
}

/// Entry `index` of an MBR, if it is used.
fn entry(sector: &[u8], index: usize) -> Option<Entry> {
    let at = 446 + 16 * index;
    let kind = *sector.get(at + 4)?;
    let (start, sectors) = (u32_at(sector, at + 8)?.into(), u32_at(sector, at + 12)?.into());
    (kind != 0 && start != 0 && sectors != 0).then_some(Entry { kind, start, sectors })
}

/// The chain of logical partitions: each link has one and names the next, relative to the whole.
fn read_logical(
    disk: &dyn BlockDevice,
    extended: Entry,
    found: &mut Vec<Partition>,
) -> Result<(), BlockError> {
    let mut sector = vec![0; disk.sector_size()];
    let mut at = extended.start;
    // A chain that is longer goes in circles.
    for number in 5..5 + MOST {
        if at >= disk.size_in_sectors() {
            return Ok(());
        }
        disk.read_sectors(at, &mut sector)?;
        if sector.get(510..512) != Some(&[0x55, 0xaa]) {
            return Ok(());
        }
        if let Some(own) = entry(&sector, 0) {
            found.push(Partition { number, start: at.saturating_add(own.start), sectors: own.sectors });
        }
        match entry(&sector, 1) {
            Some(next) if EXTENDED.contains(&next.kind) => at = extended.start.saturating_add(next.start),
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// The table that sector 1 names, or the copy at the disk's end if the first is damaged.
fn read_gpt(disk: &dyn BlockDevice) -> Result<Vec<Partition>, BlockError> {
    for header in [1, disk.size_in_sectors().saturating_sub(1)] {
        if let Some(found) = read_gpt_at(disk, header)? {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// Bytes of a GPT header that its checksum covers at least.
const HEADER: usize = 92;

/// Bytes of the entries that are read at once, of all usual ones: a multiple of every size of sectors and of entries.
const PIECE: usize = 16 << 10;

/// None if the header or its entries are damaged.
fn read_gpt_at(disk: &dyn BlockDevice, at: u64) -> Result<Option<Vec<Partition>>, BlockError> {
    let size = disk.sector_size();
    if at >= disk.size_in_sectors() {
        return Ok(None);
    }
    let mut sector = vec![0; size];
    disk.read_sectors(at, &mut sector)?;
    let Some(header) = Header::parse(&sector, at) else { return Ok(None) };
    let (end, entry_size) = (disk.size_in_sectors(), header.entry_size as usize);
    let mut left = header.count as usize * entry_size;
    let sectors = left.div_ceil(size) as u64;
    if header.entries.checked_add(sectors).is_none_or(|after| after > end) {
        return Ok(None);
    }
    let partition = |(entry, number): (&[u8], u32)| {
        let (kind, first, last) = (entry.get(..16)?, u64_at(entry, 32)?, u64_at(entry, 40)?);
        let is_used = kind.iter().any(|b| *b != 0) && first > 0 && first <= last && last < end;
        is_used.then(|| Partition { number, start: first, sectors: last - first + 1 })
    };
    // The disk says how many entries there are: they are read a piece after the other. No entry is in two of them.
    let mut piece = vec![0; PIECE.max(size)];
    let (mut at, mut numbers, mut crc, mut found) = (header.entries, 1.., CRC_START, Vec::new());
    while left > 0 {
        let wanted = left.min(piece.len());
        let covering = piece.get_mut(..wanted.next_multiple_of(size)).unwrap_or_default();
        disk.read_sectors(at, covering)?;
        let entries = covering.get(..wanted).unwrap_or_default();
        crc = crc32_of(crc, entries);
        found.extend(entries.chunks(entry_size).zip(numbers.by_ref()).filter_map(partition));
        at += (covering.len() / size) as u64;
        left -= wanted;
    }
    Ok((!crc == header.entries_checksum).then_some(found))
}

struct Header {
    entries: u64,
    count: u32,
    entry_size: u32,
    entries_checksum: u32,
}

impl Header {
    /// A header that is whole and stands at sector `at`.
    fn parse(sector: &[u8], at: u64) -> Option<Self> {
        let length = u32_at(sector, 12)? as usize;
        if sector.get(..8)? != GPT_SIGNATURE || length < HEADER || u64_at(sector, 24)? != at {
            return None;
        }
        let mut covered = sector.get(..length)?.to_vec();
        covered.get_mut(16..20)?.fill(0);
        if crc32(&covered) != u32_at(sector, 16)? {
            return None;
        }
        let (count, entry_size) = (u32_at(sector, 80)?, u32_at(sector, 84)?);
        let fits = count <= MOST && (128..=4096).contains(&entry_size) && entry_size.is_power_of_two();
        fits.then_some(Self {
            entries: u64_at(sector, 72)?,
            count,
            entry_size,
            entries_checksum: u32_at(sector, 88)?,
        })
    }
}

/// CRC-32 as in Ethernet, which GPT uses.
fn crc32(bytes: &[u8]) -> u32 {
    !crc32_of(CRC_START, bytes)
}

const CRC_START: u32 = u32::MAX;

/// The register's content after more bytes; its complement is the checksum.
fn crc32_of(register: u32, bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 != 0 { (c >> 1) ^ 0xedb8_8320 } else { c >> 1 })
    };
    bytes.iter().fold(register, step)
}

/// A part of a disk.
pub struct PartitionDevice {
    disk: Arc<dyn Requests>,
    name: DeviceName,
    start: u64,
    geometry: Geometry,
}

impl PartitionDevice {
    /// A partition of `disk`. What is beyond the disk's end is left out.
    pub fn new(disk: Arc<dyn Requests>, name: &str, partition: Partition) -> Self {
        let whole = disk.geometry();
        let sectors = partition.sectors.min(whole.sectors.saturating_sub(partition.start));
        let geometry = Geometry { sectors, ..whole };
        Self { disk, name: device_name(format_args!("{name}")), start: partition.start, geometry }
    }
}

impl Requests for PartitionDevice {
    fn name(&self) -> DeviceName {
        self.name
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn submit(&self, cpu: usize, mut request: Request) -> Result<Tag, Refused> {
        if let Err(cause) = self.geometry.check(&request) {
            return Err(self.refuse(request, cause));
        }
        if request.operation != Operation::Flush {
            // In range, as was just checked, and the partition lies in the disk.
            request.sector = request.sector.saturating_add(self.start);
        }
        let start = self.start;
        self.disk.submit(cpu, request).map_err(|mut refused| {
            if refused.request.operation != Operation::Flush {
                refused.request.sector = refused.request.sector.saturating_sub(start);
            }
            refused
        })
    }

    fn ring(&self, cpu: usize) {
        self.disk.ring(cpu);
    }

    fn is_polled(&self) -> bool {
        self.disk.is_polled()
    }

    fn poll(&self, cpu: usize) -> usize {
        self.disk.poll(cpu)
    }

    fn cancel(&self, cpu: usize, tag: Tag) -> bool {
        self.disk.cancel(cpu, tag)
    }

    fn check_timeouts(&self, now_ns: u64) {
        self.disk.check_timeouts(now_ns);
    }

    fn with_memory(
        &self,
        offset: u64,
        length: usize,
        each: &mut dyn FnMut(usize, &mut [u8]) -> bool,
    ) -> Option<Result<(), BlockError>> {
        let size = u64::from(self.geometry.sector_size);
        if !self.geometry.holds(offset, length) {
            return Some(Err(self.error(Some(offset / size), Cause::OutOfRange)));
        }
        let start = self.start.saturating_mul(size).saturating_add(offset);
        self.disk.with_memory(start, length, each)
    }

    fn is_present(&self) -> bool {
        self.disk.is_present()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::GenericBlockDevice;

    fn disk() -> GenericBlockDevice {
        GenericBlockDevice::new("d", 4096, 512, 1).unwrap()
    }

    fn mbr(entries: &[(u8, u32, u32)]) -> Vec<u8> {
        let mut sector = vec![0; 512];
        for (index, (kind, start, sectors)) in entries.iter().enumerate() {
            let at = 446 + 16 * index;
            sector[at + 4] = *kind;
            sector[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
            sector[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
        }
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    /// A header for the entries at `entries`, standing at `at`.
    fn gpt_header(at: u64, entries: u64, table: &[u8]) -> Vec<u8> {
        let entry_size = u32::try_from(table.len() / 128).unwrap();
        let mut sector = vec![0; 512];
        sector[..8].copy_from_slice(GPT_SIGNATURE);
        sector[8..12].copy_from_slice(&0x0001_0000u32.to_le_bytes());
        sector[12..16].copy_from_slice(&92u32.to_le_bytes());
        sector[24..32].copy_from_slice(&at.to_le_bytes());
        sector[72..80].copy_from_slice(&entries.to_le_bytes());
        sector[80..84].copy_from_slice(&128u32.to_le_bytes());
        sector[84..88].copy_from_slice(&entry_size.to_le_bytes());
        sector[88..92].copy_from_slice(&crc32(table).to_le_bytes());
        let sum = crc32(&sector[..92]);
        sector[16..20].copy_from_slice(&sum.to_le_bytes());
        sector
    }

    fn with_gpt() -> GenericBlockDevice {
        let disk = disk();
        disk.write_sectors(0, &mbr(&[(PROTECTIVE, 1, 4095)])).unwrap();
        let mut table = vec![0; 128 * 128];
        for (index, first, last) in [(0usize, 40u64, 99u64), (2, 100, 4000), (3, 50, 9999)] {
            table[index * 128..index * 128 + 16].fill(7);
            table[index * 128 + 32..index * 128 + 40].copy_from_slice(&first.to_le_bytes());
            table[index * 128 + 40..index * 128 + 48].copy_from_slice(&last.to_le_bytes());
        }
        disk.write_sectors(2, &table).unwrap();
        disk.write_sectors(1, &gpt_header(1, 2, &table)).unwrap();
        disk.write_sectors(4063, &table).unwrap();
        disk.write_sectors(4095, &gpt_header(4095, 4063, &table)).unwrap();
        disk
    }

    const GPT: [Partition; 2] =
        [Partition { number: 1, start: 40, sectors: 60 }, Partition { number: 3, start: 100, sectors: 3901 }];

    #[test]
    fn the_checksum_is_ethernets() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_gpt_is_read_and_entries_beyond_the_end_are_left_out() {
        assert_eq!(read(&with_gpt()).unwrap(), GPT);
    }

    #[test]
    fn a_gpt_with_large_entries_is_read_in_pieces() {
        let disk = disk();
        disk.write_sectors(0, &mbr(&[(PROTECTIVE, 1, 4095)])).unwrap();
        let mut table = vec![0; 128 * 4096];
        // In the first piece, in the second and in the last.
        for (index, first) in [(1_usize, 2000_u64), (5, 2100), (127, 2200)] {
            let entry = &mut table[index * 4096..][..48];
            entry[..16].fill(7);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..].copy_from_slice(&(first + 9).to_le_bytes());
        }
        disk.write_sectors(2, &table).unwrap();
        disk.write_sectors(1, &gpt_header(1, 2, &table)).unwrap();
        let expected = [(2, 2000), (6, 2100), (128, 2200)];
        assert_eq!(
            read(&disk).unwrap(),
            expected.map(|(number, start)| Partition { number, start, sectors: 10 })
        );
        disk.write_sectors(1000, &[1; 512]).unwrap();
        assert_eq!(read(&disk).unwrap(), [], "damage in the last piece counts as well");
    }

    #[test]
    fn a_damaged_gpt_is_replaced_by_its_copy() {
        let disk = with_gpt();
        disk.write_sectors(1, &[0xff; 512]).unwrap();
        assert_eq!(read(&disk).unwrap(), GPT);
        let disk = with_gpt();
        disk.write_sectors(5, &[0xff; 512]).unwrap();
        assert_eq!(read(&disk).unwrap(), GPT, "damaged entries count as well");
        disk.write_sectors(4095, &[0; 512]).unwrap();
        assert_eq!(read(&disk).unwrap(), [], "and with both gone there is nothing");
    }

    #[test]
    fn an_mbr_with_logical_partitions_is_read() {
        let disk = disk();
        disk.write_sectors(0, &mbr(&[(0x83, 8, 100), (0, 0, 0), (0x05, 1000, 1000), (0x83, 4000, 97)]))
            .unwrap();
        disk.write_sectors(1000, &mbr(&[(0x83, 2, 50), (0x05, 100, 200)])).unwrap();
        disk.write_sectors(1100, &mbr(&[(0x83, 2, 60)])).unwrap();
        let found: Vec<_> = read(&disk).unwrap().iter().map(|p| (p.number, p.start, p.sectors)).collect();
        // The fourth is one sector too long for the disk.
        assert_eq!(found, [(1, 8, 100), (5, 1002, 50), (6, 1102, 60)]);
    }

    #[test]
    fn a_chain_that_goes_in_circles_ends() {
        let disk = disk();
        disk.write_sectors(0, &mbr(&[(0x0f, 1000, 1000)])).unwrap();
        disk.write_sectors(1000, &mbr(&[(0x83, 2, 50), (0x05, 0, 200)])).unwrap();
        assert!(read(&disk).unwrap().len() <= MOST as usize);
        disk.write_sectors(1000, &mbr(&[(0x83, 2, 50), (0x05, 0xffff_ffff, 200)])).unwrap();
        assert_eq!(read(&disk).unwrap().len(), 1);
    }

    #[test]
    fn a_disk_without_a_table_has_no_partitions() {
        assert_eq!(read(&disk()).unwrap(), []);
        let mut sector = vec![0xa5; 512];
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        let disk = disk();
        disk.write_sectors(0, &sector).unwrap();
        assert_eq!(read(&disk).unwrap(), [], "garbage reaches beyond the end");
    }

    #[test]
    fn a_partition_reaches_its_own_sectors_and_no_others() {
        use crate::block::Polled;
        let disk = Arc::new(disk());
        let part = Partition { number: 1, start: 100, sectors: 10 };
        let device: Arc<dyn Requests> = Arc::new(PartitionDevice::new(disk.clone(), "dp1", part));
        let front = Polled::new(device.clone());
        assert_eq!((front.size_in_sectors(), device.name().as_str()), (10, "dp1"));
        front.write_sectors(9, &[3; 512]).unwrap();
        let mut out = [0; 512];
        disk.read_sectors(109, &mut out).unwrap();
        assert_eq!(out, [3; 512]);
        assert_eq!(front.write_sectors(10, &[3; 512]).unwrap_err().cause, Cause::OutOfRange);
        assert_eq!(front.read_sectors(9, &mut [0; 1024]).unwrap_err().cause, Cause::OutOfRange);
        front.flush().unwrap();
    }
}
