// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which blocks of the kernel heap's pages are free. A slab is one page frame, cut into blocks of one size. As with the buddy allocator,
//! the lists are in a table beside the memory, one [`Slab`] for each frame, and the memory itself is never touched.

/// Sizes of blocks: multiples of this, so that a block is aligned to it.
pub const STEP: usize = 64;
/// Block sizes, by class: 64, 128, … 1024, and then what fits thrice and twice in a page.
pub const CLASSES: usize = SMALL + 2;
/// Classes that are a step apart.
const SMALL: usize = 16;
const PAGE: usize = 4096;
const NONE: u32 = u32::MAX;

/// The size of a class's blocks.
pub const fn block_size(class: usize) -> usize {
    match class {
        0..SMALL => (class + 1) * STEP,
        SMALL => 1344,
        _ => 2048,
    }
}

/// [`class_of`] for the sizes that nearly all blocks have, at the cost of one comparison.
#[inline]
pub const fn small_class_of(size: usize) -> Option<usize> {
    let last = size.wrapping_sub(1);
    if last < SMALL * STEP { Some(last / STEP) } else { None }
}

/// The class whose blocks are the smallest for `size` bytes; none if there is none or `size` is 0.
#[inline]
pub const fn class_of(size: usize) -> Option<usize> {
    match size {
        1025..=1344 => Some(SMALL),
        1345..=2048 => Some(SMALL + 1),
        _ => small_class_of(size),
    }
}

/// What the table has about one frame.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Slab {
    /// Free blocks, a bit each.
    free: u64,
    next: u32,
    previous: u32,
    class: u8,
}

impl Slab {
    /// A frame that is no slab.
    pub const OTHER: Self = Self { free: 0, next: NONE, previous: NONE, class: u8::MAX };
}

/// All slabs. Those that have free blocks are in lists, one for each class.
pub struct Slabs<'a> {
    slabs: &'a mut [Slab],
    heads: [u32; CLASSES],
}

/// Blocks of one frame that were taken.
#[derive(Clone, Debug)]
pub struct Taken {
    frame: u32,
    blocks: u64,
}

impl Iterator for Taken {
    type Item = Block;

    /// The last one first: who puts them on a list hands out the first one first, and neighbours after each other.
    fn next(&mut self) -> Option<Block> {
        let index = self.blocks.checked_ilog2()?;
        self.blocks &= !(1 << index);
        Some(Block { frame: self.frame, index: index as usize })
    }
}

/// A block: the frame that it is in, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The frame's number.
    pub frame: u32,
    /// The block's number in it.
    pub index: usize,
}

const fn all_free(class: usize) -> u64 {
    let blocks = PAGE / block_size(class);
    if blocks == 64 { u64::MAX } else { (1 << blocks) - 1 }
}

impl<'a> Slabs<'a> {
    /// No slabs yet; `slabs` has one entry for each frame.
    pub fn new(slabs: &'a mut [Slab]) -> Self {
        slabs.fill(Slab::OTHER);
        Self { slabs, heads: [NONE; CLASSES] }
    }

    fn push(&mut self, frame: u32, class: usize) {
        let head = core::mem::replace(&mut self.heads[class], frame);
        if let Some(slab) = self.slabs.get_mut(frame as usize) {
            (slab.next, slab.previous) = (head, NONE);
        }
        if let Some(old) = self.slabs.get_mut(head as usize) {
            old.previous = frame;
        }
    }

    fn unlink(&mut self, frame: u32, class: usize) {
        let Some(&Slab { next, previous, .. }) = self.slabs.get(frame as usize) else { return };
        match self.slabs.get_mut(previous as usize) {
            Some(before) => before.next = next,
            None => self.heads[class] = next,
        }
        if let Some(after) = self.slabs.get_mut(next as usize) {
            after.previous = previous;
        }
    }

    /// Makes `frame` a slab of blocks of class `class`.
    pub fn add(&mut self, frame: u32, class: usize) {
        if let Some(slab) = self.slabs.get_mut(frame as usize) {
            *slab = Slab { free: all_free(class), next: NONE, previous: NONE, class: class as u8 };
            self.push(frame, class);
        }
    }

    /// Takes up to `most` blocks, at least one; none if every slab of the class is full.
    pub fn take(&mut self, class: usize, most: usize) -> Option<Taken> {
        let frame = self.heads[class];
        let slab = self.slabs.get_mut(frame as usize)?;
        let all = slab.free;
        slab.free &= slab.free - 1;
        for _ in 1..most {
            slab.free &= slab.free.saturating_sub(1);
        }
        let taken = Taken { frame, blocks: all & !slab.free };
        if slab.free == 0 {
            self.unlink(frame, class);
        }
        Some(taken)
    }

    /// Takes a block back. The frame, if none of its blocks is in use any more and the class has others: it is no slab from then on.
    ///
    /// # Panics
    /// When the block is free or none: memory is given back twice, or as another size.
    pub fn give(&mut self, block: Block, class: usize) -> Option<u32> {
        let slab = &mut self.slabs[block.frame as usize];
        let bit = 1u64 << block.index;
        assert!(
            usize::from(slab.class) == class && all_free(class) & bit != 0 && slab.free & bit == 0,
            "a block of the heap is freed that is not in use"
        );
        let was_full = slab.free == 0;
        slab.free |= bit;
        let is_empty = slab.free == all_free(class);
        if was_full {
            self.push(block.frame, class);
        }
        // One free slab of each class stays, so that a block that comes and goes does not cost a page each time.
        let slab = &self.slabs[block.frame as usize];
        if !is_empty || slab.next == NONE && slab.previous == NONE {
            return None;
        }
        self.unlink(block.frame, class);
        self.slabs[block.frame as usize] = Slab::OTHER;
        Some(block.frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_their_sizes() {
        for size in 1..=2048 {
            let class = class_of(size).unwrap();
            assert!(block_size(class) >= size && block_size(class) % STEP == 0);
            assert!(class == 0 || block_size(class - 1) < size);
        }
        assert_eq!((class_of(0), class_of(2049)), (None, None));
        assert_eq!((all_free(0), all_free(15), all_free(16), all_free(17)), (u64::MAX, 0xf, 0x7, 0x3));
    }

    #[test]
    fn a_spike_is_given_back() {
        let mut table = vec![Slab::OTHER; 100];
        let mut slabs = Slabs::new(&mut table);
        for class in 0..CLASSES {
            let (mut blocks, mut frame) = (Vec::new(), 0);
            while frame < 100 {
                match slabs.take(class, 5) {
                    Some(taken) => blocks.extend(taken),
                    None => {
                        slabs.add(frame, class);
                        frame += 1;
                    }
                }
            }
            // Every other one first, so that all slabs are in the list before any is empty.
            let (even, odd): (Vec<_>, Vec<_>) = blocks.into_iter().enumerate().partition(|(i, _)| i % 2 == 0);
            let mut freed: Vec<_> =
                even.into_iter().chain(odd).filter_map(|(_, block)| slabs.give(block, class)).collect();
            freed.sort_unstable();
            freed.dedup();
            assert_eq!(freed.len(), 99, "class {class}");
        }
    }

    #[test]
    fn blocks_are_handed_out_once() {
        let mut table = vec![Slab::OTHER; 8];
        let mut slabs = Slabs::new(&mut table);
        let (mut next, mut random) = (0, 12345u32);
        let mut held: Vec<Block> = Vec::new();
        for _ in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if random >> 31 == 0 && !held.is_empty() {
                let block = held.swap_remove((random >> 8) as usize % held.len());
                if let Some(frame) = slabs.give(block, 5) {
                    assert!(held.iter().all(|b| b.frame != frame));
                    next = next.min(frame);
                }
            } else if let Some(taken) = slabs.take(5, 3) {
                assert!(taken.clone().count() <= 3 && held.iter().all(|b| taken.clone().all(|t| t != *b)));
                held.extend(taken);
            } else if let Some(free) = (0..8).find(|f| held.iter().all(|b| b.frame != *f)) {
                slabs.add(free, 5);
            }
        }
    }

    #[test]
    #[should_panic(expected = "not in use")]
    fn freeing_twice_is_found() {
        let mut table = vec![Slab::OTHER; 2];
        let mut slabs = Slabs::new(&mut table);
        slabs.add(0, 3);
        slabs.add(1, 3);
        let block = slabs.take(3, 1).unwrap().next().unwrap();
        slabs.give(block, 3);
        slabs.give(block, 3);
    }
}
