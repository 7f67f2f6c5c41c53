// SPDX-License-Identifier: MIT OR Apache-2.0
//! The block devices of the machine, by number and name: `disk0`, `disk1`, …, and their partitions as `disk0p1`.

use alloc::{sync::Arc, vec::Vec};

use exo_platform::SpinLock;

use super::{
    BlockError, Cause, DeviceName, Requests, device_name,
    partitions::{Partition, PartitionDevice},
};

/// A registered block device.
#[derive(Clone)]
pub struct Registered {
    /// Its name: `disk0`, or `disk0p1` for a partition.
    pub name: DeviceName,
    /// The number of the disk.
    pub disk: u32,
    /// The number of the partition; 0 for the whole disk.
    pub partition: u32,
    /// The device.
    pub device: Arc<dyn Requests>,
}

/// A set of block devices.
pub struct Registry(SpinLock<Vec<Registered>>);

static REGISTRY: Registry = Registry::new();

/// The kernel's block devices.
pub fn registry() -> &'static Registry {
    &REGISTRY
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// An empty one.
    pub const fn new() -> Self {
        Self(SpinLock::new(Vec::new()))
    }

    /// Gives a disk the lowest free number.
    pub fn register(&self, device: Arc<dyn Requests>) -> Registered {
        let mut all = self.0.lock();
        let disk = (0..).find(|n| !all.iter().any(|r| r.disk == *n)).unwrap_or(u32::MAX);
        let new = Registered { name: device_name(format_args!("disk{disk}")), disk, partition: 0, device };
        all.push(new.clone());
        new
    }

    /// Registers the partitions that a disk's table has; those of before are dropped. What is new, and what is gone.
    ///
    /// # Errors
    /// [`Cause::Removed`] if the disk was taken away while its table was read; nothing is registered then.
    pub fn set_partitions(
        &self,
        whole: &Registered,
        table: Vec<Partition>,
    ) -> Result<(Vec<Registered>, Vec<Registered>), BlockError> {
        let new: Vec<Registered> = table
            .into_iter()
            .map(|partition| {
                let name = device_name(format_args!("{}p{}", whole.name, partition.number));
                let device: Arc<dyn Requests> =
                    Arc::new(PartitionDevice::new(whole.device.clone(), &name, partition));
                Registered { name, disk: whole.disk, partition: partition.number, device }
            })
            .collect();
        let mut all = self.0.lock();
        if !all.iter().any(|r| Arc::ptr_eq(&r.device, &whole.device)) {
            return Err(whole.device.error(None, Cause::Removed));
        }
        let mut gone = Vec::new();
        all.retain(|r| {
            let is_old = r.disk == whole.disk && r.partition != 0;
            if is_old {
                gone.push(r.clone());
            }
            !is_old
        });
        all.extend(new.iter().cloned());
        Ok((new, gone))
    }

    /// Takes a disk away, with its partitions: what was registered.
    pub fn unregister(&self, device: &Arc<dyn Requests>) -> Vec<Registered> {
        let mut all = self.0.lock();
        let Some(disk) = all.iter().find(|r| Arc::ptr_eq(&r.device, device)).map(|r| r.disk) else {
            return Vec::new();
        };
        let (gone, left) = core::mem::take(&mut *all).into_iter().partition(|r| r.disk == disk);
        *all = left;
        gone
    }

    /// The device with a name.
    pub fn by_name(&self, name: &str) -> Option<Registered> {
        self.0.lock().iter().find(|r| r.name.as_str() == name).cloned()
    }

    /// The whole disk with a number.
    pub fn by_number(&self, disk: u32) -> Option<Registered> {
        self.0.lock().iter().find(|r| r.disk == disk && r.partition == 0).cloned()
    }

    /// All devices, disks before their partitions.
    pub fn list(&self) -> Vec<Registered> {
        let mut all = self.0.lock().clone();
        all.sort_by_key(|r| (r.disk, r.partition));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BlockDevice, GenericBlockDevice, Polled, partitions};

    fn disk() -> Arc<GenericBlockDevice> {
        Arc::new(GenericBlockDevice::new("ram", 64, 512, 1).unwrap())
    }

    fn names(of: &[Registered]) -> Vec<&str> {
        of.iter().map(|r| r.name.as_str()).collect()
    }

    /// Gives a disk a table with one partition of 16 sectors.
    fn write_table(disk: &GenericBlockDevice) {
        let mut table = [0; 512];
        table[450] = 0x83;
        table[454] = 8;
        table[458] = 16;
        table[510..].copy_from_slice(&[0x55, 0xaa]);
        disk.write_sectors(0, &table).unwrap();
    }

    /// Reads a disk's table and registers what it has.
    fn read(
        registry: &Registry,
        whole: &Registered,
    ) -> Result<(Vec<Registered>, Vec<Registered>), BlockError> {
        let table = partitions::read(&Polled::new(whole.device.clone()))?;
        registry.set_partitions(whole, table)
    }

    #[test]
    fn disks_get_the_lowest_free_number() {
        let registry = Registry::new();
        let disks = [disk(), disk(), disk()];
        for disk in &disks {
            registry.register(disk.clone());
        }
        let second: Arc<dyn Requests> = disks[1].clone();
        assert_eq!(names(&registry.unregister(&second)), ["disk1"]);
        assert!(registry.by_name("disk1").is_none() && registry.by_number(2).is_some());
        assert_eq!(registry.register(second.clone()).name.as_str(), "disk1");
        assert_eq!(names(&registry.list()), ["disk0", "disk1", "disk2"]);
    }

    #[test]
    fn partitions_come_and_go_with_their_table_and_their_disk() {
        let registry = Registry::new();
        let disk = disk();
        let whole = registry.register(disk.clone());
        write_table(&disk);
        let (new, gone) = read(&registry, &whole).unwrap();
        assert_eq!((names(&new), gone.len()), (vec!["disk0p1"], 0));
        assert_eq!(registry.by_name("disk0p1").unwrap().device.geometry().sectors, 16);
        let (new, gone) = read(&registry, &whole).unwrap();
        assert_eq!((new.len(), gone.len()), (1, 1));
        let gone = registry.unregister(&whole.device);
        assert_eq!(names(&gone), ["disk0", "disk0p1"]);
        assert!(registry.list().is_empty());
    }

    #[test]
    fn a_disk_that_cannot_be_read_keeps_the_partitions_that_it_had() {
        let registry = Registry::new();
        let disk = disk();
        let whole = registry.register(disk.clone());
        write_table(&disk);
        read(&registry, &whole).unwrap();
        disk.remove();
        assert!(read(&registry, &whole).is_err());
        assert_eq!(names(&registry.list()), ["disk0", "disk0p1"]);
    }

    #[test]
    fn a_disk_that_goes_while_its_table_is_read_leaves_no_partitions_behind() {
        let registry = Registry::new();
        let disk = disk();
        let whole = registry.register(disk.clone());
        write_table(&disk);
        let table = partitions::read(&*disk).unwrap();
        registry.unregister(&whole.device);
        // Another one has its number by now.
        registry.register(self::disk());
        let error = registry.set_partitions(&whole, table).map(|_| ()).unwrap_err();
        assert_eq!((error.cause, names(&registry.list())), (Cause::Removed, vec!["disk0"]));
    }
}
