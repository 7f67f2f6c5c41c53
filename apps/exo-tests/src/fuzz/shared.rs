// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the processes share with their parent, and how they make calls.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use exo_user::raw;

use super::Random;

/// Where the shared page is, if that is free.
const FAR: usize = 0x6000_0000_0000;
/// Processes at a time.
pub(crate) const SLOTS: usize = 256;

/// Words of the page that are locks of all processes.
pub(crate) const LOCKS: u64 = 8;
/// Where they begin, in half words.
const FIRST_LOCK: usize = 1000;

/// How many calls were made, and which each process makes just now.
pub(crate) struct Shared(*mut u64);

impl Shared {
    pub(crate) fn new() -> Result<Self, std::io::Error> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // Far from everything else: calls that write beyond a mapping must not write here.
        let place = std::ptr::without_provenance_mut(FAR);
        // SAFETY: a new mapping at a place that the kernel chooses, if this one is taken.
        let at = unsafe { libc::mmap(place, 4096, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED { Err(std::io::Error::last_os_error()) } else { Ok(Self(at.cast())) }
    }

    pub(crate) fn calls(&self) -> &AtomicU64 {
        // SAFETY: the page is never unmapped by the parent; a child that unmaps its own dies of it, as it may.
        unsafe { AtomicU64::from_ptr(self.0) }
    }

    /// A word that is a lock.
    fn lock(&self, index: u64) -> &AtomicU32 {
        let index = FIRST_LOCK + (index % LOCKS) as usize;
        // SAFETY: as above; the page has 1024 half words.
        unsafe { AtomicU32::from_ptr(self.0.cast::<u32>().add(index)) }
    }

    /// The number of the call that process `slot` makes, in the lower half, and how many it has made.
    pub(crate) fn current(&self, slot: usize) -> &AtomicU64 {
        // SAFETY: as above, and the page has room for all slots behind the counter.
        unsafe { AtomicU64::from_ptr(self.0.add(1 + slot.min(SLOTS - 1))) }
    }
}

/// Who makes calls in a process.
pub(crate) struct Caller<'a> {
    pub(crate) random: Random,
    shared: &'a Shared,
    slot: usize,
    made: u64,
    memory: Vec<u8>,
}

impl<'a> Caller<'a> {
    pub(crate) fn new(seed: u64, shared: &'a Shared, slot: usize) -> Self {
        let mut random = Random(seed);
        let mut memory = vec![0_u8; 64 << 10];
        for chunk in memory.chunks_mut(8) {
            // Small numbers more often than large ones: structures are made of them.
            let shift = random.below(64);
            let value = (random.next() >> shift).to_le_bytes();
            chunk.copy_from_slice(value.get(..chunk.len()).unwrap_or_default());
        }
        memory.get_mut(..6).unwrap_or_default().copy_from_slice(b"file\0\0");
        Self { random, shared, slot, made: 0, memory }
    }

    /// The address of memory that calls may read and write.
    pub(crate) fn memory(&mut self) -> u64 {
        self.memory.as_mut_ptr().expose_provenance() as u64
    }

    pub(crate) fn length(&self) -> u64 {
        self.memory.len() as u64
    }

    pub(crate) fn is_done(&self, calls: u64) -> bool {
        self.shared.calls().load(Ordering::Relaxed) >= calls
    }

    /// Makes a call; its result.
    pub(crate) fn call(&mut self, number: u64, arguments: [u64; 6]) -> i64 {
        self.shared.calls().fetch_add(1, Ordering::Relaxed);
        self.made += 1;
        self.shared.current(self.slot).store((self.made << 32) | (number & 0xffff_ffff), Ordering::Relaxed);
        // SAFETY: nothing that this process has is of use to anybody; it may die of it.
        unsafe { raw::call(number, arguments) }
    }

    /// Makes a call of Linux's with up to six arguments.
    pub(crate) fn make<const N: usize>(&mut self, number: libc::c_long, given: [u64; N]) -> i64 {
        let mut arguments = [0; 6];
        for (to, from) in arguments.iter_mut().zip(given) {
            *to = from;
        }
        self.call(number.unsigned_abs(), arguments)
    }

    fn lock_word(&self, index: u64) -> &AtomicU32 {
        self.shared.lock(index)
    }

    /// The address of a word that is a lock of all processes.
    pub(crate) fn lock(&self, index: u64) -> u64 {
        self.lock_word(index).as_ptr().expose_provenance() as u64
    }

    /// What such a word says.
    pub(crate) fn read_lock(&self, index: u64) -> u32 {
        self.lock_word(index).load(Ordering::Relaxed)
    }

    /// Makes it say something.
    pub(crate) fn write_lock(&self, index: u64, value: u32) {
        self.lock_word(index).store(value, Ordering::Relaxed);
    }

    /// Eight bytes of the memory that calls write to.
    pub(crate) fn word(&self, offset: usize) -> u64 {
        let bytes = self.memory.get(offset..offset + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    }

    /// One of two.
    pub(crate) fn either<T>(&mut self, first: T, second: T) -> T {
        if self.random.below(2) == 0 { first } else { second }
    }

    /// One of `values`.
    pub(crate) fn one_of(&mut self, values: &[u64]) -> u64 {
        let index = self.random.below(values.len() as u64) as usize;
        values.get(index).copied().unwrap_or(0)
    }

    /// One of the names that all processes use, as an address; deep and shallow, so that they meet.
    pub(crate) fn name(&mut self) -> u64 {
        const NAMES: [&std::ffi::CStr; 10] =
            [c"a", c"b", c"a/x", c"b/y", c"a/x/z", c"b/y/w", c"file", c"a/file", c"p", c"d"];
        let index = self.random.below(NAMES.len() as u64) as usize;
        NAMES.get(index).unwrap_or(&c"a").as_ptr().expose_provenance() as u64
    }

    /// Sees to it that `p` is a /proc.
    pub(crate) fn mount_proc(&mut self) {
        let address = |text: &std::ffi::CStr| text.as_ptr().expose_provenance() as u64;
        if self.make(libc::SYS_access, [address(c"p/self"), 0]) != 0 {
            self.make(libc::SYS_mkdir, [address(c"p"), 0o777]);
            self.make(libc::SYS_mount, [address(c"p"), address(c"p"), address(c"proc"), 0, 0]);
        }
    }

    /// A length: page sizes, odd ones, and now and then up to 2 GiB, which take their time.
    pub(crate) fn size(&mut self) -> u64 {
        let shifts = if self.random.below(40) == 0 { 32 } else { 19 };
        let shift = self.random.below(shifts);
        let size = 1_u64 << shift;
        match self.random.below(3) {
            0 => size,
            1 => size + self.random.below(4096),
            _ => size.saturating_sub(1 + self.random.below(4096)),
        }
    }
}
