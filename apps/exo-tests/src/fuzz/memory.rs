// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory: mappings of all sizes, advice, protection, moves, and calls that fill up to 2 GiB.

use super::shared::Caller;

pub(super) fn step(caller: &mut Caller<'_>) {
    let size = caller.size();
    let protection = caller.random.below(8);
    let flags = caller.one_of(&[0x22, 0x21, 0x122, 0x8022, 0x4022, 0x2_0022]);
    let at = caller.make(libc::SYS_mmap, [0, size, protection, flags, u64::MAX, 0]);
    if at < 0 {
        return;
    }
    let at = at.unsigned_abs();
    for _ in 0..caller.random.below(8) {
        let place = (at + caller.random.below(size.max(1))) & !4095;
        let part = caller.random.below((at + size).saturating_sub(place).max(1)) + 1;
        match caller.random.below(8) {
            0 => caller.make(libc::SYS_mprotect, [place, part, size % 8]),
            1 => {
                let advice = caller.one_of(&[0, 1, 2, 3, 4, 8, 9, 10, 11, 14, 18, 19, 20, 21, 22, 23, 99]);
                caller.make(libc::SYS_madvise, [place, part, advice])
            }
            2 => {
                let (to, flags) = (caller.size(), caller.random.below(8));
                caller.make(libc::SYS_mremap, [place, part, to, flags, at ^ 0x1000_0000])
            }
            3 => caller.make(libc::SYS_getrandom, [place, part, part % 4]),
            4 => {
                let vector = caller.memory();
                caller.make(libc::SYS_mincore, [place, part.min(128 << 20), vector])
            }
            5 => caller.make(libc::SYS_munmap, [place, part]),
            6 => caller.make(libc::SYS_mlock, [place, part]),
            _ => caller.make(libc::SYS_msync, [place, part, size % 4 + 1]),
        };
    }
    caller.make(libc::SYS_munmap, [at, size]);
}
