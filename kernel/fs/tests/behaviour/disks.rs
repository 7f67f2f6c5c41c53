// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks as files, on a fake one that may be slow, have bad sectors, and go.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use exo_drivers::block::{
    BlockError, Cause, Completion, DeviceName, GenericBlockDevice, Geometry, Operation, Refused, Request,
    Requests, Tag,
};
use exo_fs::disk;
use exo_test_support::{call, programs::*};
use parking_lot::Mutex;

const SECTOR: usize = 512;
const SECTORS: u64 = 4096;

/// A disk whose content is no memory, so that requests are needed.
struct Fake {
    content: GenericBlockDevice,
    /// A sector that cannot be read or written; none if [`u64::MAX`].
    bad: AtomicU64,
    is_read_only: AtomicBool,
    /// What was asked of it: operation, first sector and how many.
    requests: Mutex<Vec<(Operation, u64, u32)>>,
}

impl Fake {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            content: GenericBlockDevice::new("fake0", SECTORS, SECTOR as u32, 1).unwrap(),
            bad: AtomicU64::new(u64::MAX),
            is_read_only: AtomicBool::new(false),
            requests: Mutex::default(),
        })
    }

    fn take_requests(&self) -> Vec<(Operation, u64, u32)> {
        std::mem::take(&mut *self.requests.lock())
    }
}

impl Requests for Fake {
    fn name(&self) -> DeviceName {
        self.content.name()
    }

    fn geometry(&self) -> Geometry {
        Geometry { read_only: self.is_read_only.load(Ordering::Relaxed), ..self.content.geometry() }
    }

    fn submit(&self, cpu: usize, request: Request) -> std::result::Result<Tag, Refused> {
        let Request { operation, sector, sectors, .. } = request;
        self.requests.lock().push((operation, sector, sectors));
        let bad = self.bad.load(Ordering::Relaxed);
        if (sector..sector + u64::from(sectors)).contains(&bad) {
            let Request { token, buffer, sink, .. } = request;
            let result = Err(self.error(Some(sector), Cause::Medium(5)));
            sink.complete(Completion { token, operation, buffer, result });
            return Ok(Tag(u32::MAX));
        }
        self.content.submit(cpu, request)
    }

    fn ring(&self, cpu: usize) {
        self.content.ring(cpu);
    }

    fn poll(&self, cpu: usize) -> usize {
        self.content.poll(cpu)
    }

    fn cancel(&self, cpu: usize, tag: Tag) -> bool {
        self.content.cancel(cpu, tag)
    }

    fn check_timeouts(&self, now_ns: u64) {
        self.content.check_timeouts(now_ns);
    }

    fn is_present(&self) -> bool {
        self.content.is_present()
    }

    fn error(&self, sector: Option<u64>, cause: Cause) -> BlockError {
        self.content.error(sector, cause)
    }
}

/// Runs `test` with a disk that has come, and takes it away again. The name of its file, which is not the same each time.
fn with_disk(test: impl FnOnce(String, Arc<Fake>) + Send + 'static) {
    machine(|| {
        let before = names("/dev");
        let fake = Fake::new();
        let device: Arc<dyn Requests> = fake.clone();
        disk::add(&device).unwrap();
        disk::wait_for_partitions();
        let name = names("/dev").into_iter().find(|name| !before.contains(name)).expect("a new file");
        fake.take_requests();
        test(format!("/dev/{name}"), fake);
        disk::remove(&device);
        assert_eq!(names("/dev"), before);
    });
}

fn put_at(fd: usize, offset: usize, bytes: &[u8]) -> Result {
    call!(abi::__NR_pwrite64, fd, put_bytes(bytes), bytes.len(), offset)
}

fn get_at(fd: usize, offset: usize, count: usize) -> Result<Vec<u8>> {
    let at = zeros(count);
    call!(abi::__NR_pread64, fd, at, count, offset).map(|count| get_bytes(at, count))
}

#[test]
fn bytes_are_where_they_were_written_wherever_sectors_begin() {
    with_disk(|path, _| {
        let fd = open(&path, abi::O_RDWR).unwrap();
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| (i % 253) as u8).collect();
        for (offset, count) in
            [(0, 512), (3, 10), (510, 4), (1000, 5000), (777, 70_000), (4096, 65_536), (1, 1)]
        {
            assert_eq!(put_at(fd, offset, &bytes[..count]), Ok(count));
            assert_eq!(get_at(fd, offset, count), Ok(bytes[..count].to_vec()), "{count} bytes at {offset}");
        }
    });
}

#[test]
fn what_is_beside_a_piece_of_a_sector_stays() {
    with_disk(|path, _| {
        let fd = open(&path, abi::O_RDWR).unwrap();
        put_at(fd, 0, &[1; 3 * SECTOR]).unwrap();
        put_at(fd, 500, &[2; 600]).unwrap();
        let all = get_at(fd, 0, 3 * SECTOR).unwrap();
        assert!(all[..500].iter().all(|byte| *byte == 1));
        assert!(all[500..1100].iter().all(|byte| *byte == 2));
        assert!(all[1100..].iter().all(|byte| *byte == 1));
    });
}

#[test]
fn whole_sectors_need_one_request_and_pieces_are_read_first() {
    with_disk(|path, fake| {
        let fd = open(&path, abi::O_RDWR).unwrap();
        let at = map(16 * SECTOR).unwrap();
        assert_eq!(call!(abi::__NR_pwrite64, fd, at, 16 * SECTOR, 8 * SECTOR), Ok(16 * SECTOR));
        assert_eq!(fake.take_requests(), [(Operation::Write, 8, 16)]);
        assert_eq!(call!(abi::__NR_pwrite64, fd, at, 100, 8 * SECTOR), Ok(100));
        assert_eq!(fake.take_requests(), [(Operation::Read, 8, 1), (Operation::Write, 8, 1)]);
        call!(abi::__NR_fsync, fd).unwrap();
        assert_eq!(fake.take_requests().iter().map(|it| it.0).collect::<Vec<_>>(), [Operation::Flush]);
    });
}

#[test]
fn the_disk_has_an_end() {
    with_disk(|path, _| {
        let fd = open(&path, abi::O_RDWR).unwrap();
        let size = SECTORS as usize * SECTOR;
        assert_eq!(call!(abi::__NR_lseek, fd, 0, abi::SEEK_END), Ok(size));
        assert_eq!(get_at(fd, size - 10, 100).unwrap().len(), 10);
        assert_eq!(get_at(fd, size, 1), Ok(vec![]));
        assert_eq!(put_at(fd, size - 10, &[1; 100]), Ok(10));
        assert_eq!(put_at(fd, size, b"x"), Err(Errno::ENOSPC));
        let (sectors, bytes) = (put(&0_u64), put(&0_u64));
        call!(abi::__NR_ioctl, fd, 0x1260, sectors).unwrap();
        call!(abi::__NR_ioctl, fd, 0x8008_1272_u32, bytes).unwrap();
        assert_eq!((get::<u64>(sectors), get::<u64>(bytes)), (SECTORS, size as u64));
        call!(abi::__NR_ioctl, fd, 0x1268, sectors).unwrap();
        assert_eq!(get::<u32>(sectors), SECTOR as u32);
    });
}

#[test]
fn a_bad_sector_ends_a_transfer_before_it() {
    with_disk(|path, fake| {
        let fd = open(&path, abi::O_RDWR).unwrap();
        fake.bad.store(300, Ordering::Relaxed);
        assert_eq!(get_at(fd, 300 * SECTOR, SECTOR), Err(Errno::EIO));
        assert_eq!(put_at(fd, 300 * SECTOR, &[1; SECTOR]), Err(Errno::EIO));
        assert_eq!(put_at(fd, 300 * SECTOR + 5, b"x"), Err(Errno::EIO), "it cannot be read first");
        let good = get_at(fd, 0, 400 * SECTOR).unwrap().len();
        assert!(good % SECTOR == 0 && good <= 300 * SECTOR && good > 0, "{good} bytes");
        assert_eq!(get_at(fd, 301 * SECTOR, SECTOR).map(|bytes| bytes.len()), Ok(SECTOR));
    });
}

#[test]
fn memory_that_is_not_there_is_an_error() {
    with_disk(|path, _| {
        let fd = open(&path, abi::O_RDWR).unwrap();
        assert_eq!(call!(abi::__NR_pread64, fd, 8, SECTOR, 0), Err(Errno::EFAULT));
        let at = map(4096).unwrap();
        call!(abi::__NR_munmap, at, 4096).unwrap();
        for address in [at, at + 1] {
            assert_eq!(call!(abi::__NR_pread64, fd, address, SECTOR, 0), Err(Errno::EFAULT));
            assert_eq!(call!(abi::__NR_pwrite64, fd, address, SECTOR, 0), Err(Errno::EFAULT));
        }
        assert_eq!(get_at(fd, 0, SECTOR), Ok(vec![0; SECTOR]), "nothing was written");
    });
}

#[test]
fn a_disk_that_goes_says_so_to_who_has_it_open() {
    with_disk(|path, fake| {
        let fd = open(&path, abi::O_RDWR).unwrap();
        fake.content.remove();
        assert_eq!(get_at(fd, 0, SECTOR), Err(Errno::ENXIO).or_else(|_: Errno| get_at(fd, 0, SECTOR)));
        assert!(get_at(fd, 0, SECTOR).is_err() && put_at(fd, 0, &[1; SECTOR]).is_err());
        assert_eq!(open(&path, abi::O_RDWR), Err(Errno::ENXIO));
    });
}

#[test]
fn a_disk_that_cannot_be_written_is_opened_to_be_read() {
    machine(|| {
        let fake = Fake::new();
        fake.is_read_only.store(true, Ordering::Relaxed);
        let device: Arc<dyn Requests> = fake.clone();
        let before = names("/dev");
        disk::add(&device).unwrap();
        disk::wait_for_partitions();
        let name = names("/dev").into_iter().find(|name| !before.contains(name)).unwrap();
        assert_eq!(open(&format!("/dev/{name}"), abi::O_RDWR), Err(Errno::EROFS));
        assert!(open(&format!("/dev/{name}"), abi::O_RDONLY).is_ok());
        disk::remove(&device);
    });
}

/// A partition table of the old kind with one partition.
fn master_boot_record(start: u32, sectors: u32) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR];
    bytes[446 + 4] = 0x83;
    bytes[446 + 8..446 + 12].copy_from_slice(&start.to_le_bytes());
    bytes[446 + 12..446 + 16].copy_from_slice(&sectors.to_le_bytes());
    bytes[510..].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

#[test]
fn partitions_are_files_of_their_own_when_the_table_is_read() {
    with_disk(|path, _| {
        let fd = open(&path, abi::O_RDWR).unwrap();
        let before = names("/dev");
        put_at(fd, 0, &master_boot_record(100, 50)).unwrap();
        call!(abi::__NR_ioctl, fd, 0x125f, 0).unwrap();
        disk::wait_for_partitions();
        let name = names("/dev").into_iter().find(|name| !before.contains(name)).expect("a partition");
        assert!(text("/proc/partitions").contains(&name));
        let part = open(&format!("/dev/{name}"), abi::O_RDWR).unwrap();
        assert_eq!(call!(abi::__NR_lseek, part, 0, abi::SEEK_END), Ok(50 * SECTOR));
        put_at(part, 3, b"inside").unwrap();
        assert_eq!(get_at(fd, 100 * SECTOR + 3, 6), Ok(b"inside".to_vec()));
        assert_eq!(put_at(part, 50 * SECTOR, b"x"), Err(Errno::ENOSPC), "nobody writes behind it");
        close(part).unwrap();
        put_at(fd, 0, &[0; SECTOR]).unwrap();
        call!(abi::__NR_ioctl, fd, 0x125f, 0).unwrap();
        disk::wait_for_partitions();
        assert!(!names("/dev").contains(&name));
    });
}

#[test]
fn what_is_not_needed_can_be_said_to_the_disk() {
    with_disk(|path, fake| {
        let fd = open(&path, abi::O_RDWR).unwrap();
        put_at(fd, 0, &[1; 8 * SECTOR]).unwrap();
        fake.take_requests();
        let range = put(&[2 * SECTOR as u64, 3 * SECTOR as u64]);
        call!(abi::__NR_ioctl, fd, 0x1277, range).unwrap();
        assert_eq!(fake.take_requests(), [(Operation::Discard, 2, 3)]);
        let odd = put(&[5_u64, SECTOR as u64]);
        assert_eq!(call!(abi::__NR_ioctl, fd, 0x1277, odd), Err(Errno::EINVAL));
        assert_eq!(call!(abi::__NR_ioctl, fd, 0x9999, 0), Err(Errno::ENOTTY));
    });
}
