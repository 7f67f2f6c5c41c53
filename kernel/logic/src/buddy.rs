// SPDX-License-Identifier: MIT OR Apache-2.0
//! The buddy allocator of physical memory. It keeps its lists in a table beside the memory, one [`Link`] for each page
//! frame, and never touches the memory itself.

/// The largest block is `2^MAX_ORDER` frames (4 MiB).
pub const MAX_ORDER: usize = 10;
const NONE: u32 = u32::MAX;
/// Marks a frame that is not the first of a free block.
const NOT_FREE: u8 = 0xff;

/// List node of one frame.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Link {
    next: u32,
    previous: u32,
    order: u8,
}

impl Link {
    /// The node of a frame that is in use.
    pub const USED: Self = Self { next: NONE, previous: NONE, order: NOT_FREE };
}

/// Free memory in blocks of powers of two frames. Frames are named by number.
pub struct Buddy<'a> {
    links: &'a mut [Link],
    heads: [u32; MAX_ORDER + 1],
    free: usize,
}

impl<'a> Buddy<'a> {
    /// An allocator in which every frame counts as used; `links` has one node a frame.
    pub fn new(links: &'a mut [Link]) -> Self {
        links.fill(Link::USED);
        Self { links, heads: [NONE; MAX_ORDER + 1], free: 0 }
    }

    /// Free frames.
    pub fn free_frames(&self) -> usize {
        self.free
    }

    fn link(&mut self, frame: u32) -> Option<&mut Link> {
        self.links.get_mut(frame as usize)
    }

    fn push(&mut self, frame: u32, order: usize) {
        let head = self.heads[order];
        if let Some(node) = self.link(frame) {
            *node = Link { next: head, previous: NONE, order: order as u8 };
        }
        if let Some(old) = self.link(head) {
            old.previous = frame;
        }
        self.heads[order] = frame;
    }

    fn remove(&mut self, frame: u32, order: usize) {
        let Some(node) = self.link(frame) else { return };
        let Link { next, previous, .. } = core::mem::replace(node, Link::USED);
        match self.link(previous) {
            Some(before) => before.next = next,
            None => self.heads[order] = next,
        }
        if let Some(after) = self.link(next) {
            after.previous = previous;
        }
    }

    /// Takes `2^order` frames, aligned to their number; the first frame's number.
    pub fn allocate(&mut self, order: usize) -> Option<u32> {
        let mut found = (order..=MAX_ORDER).find(|&o| self.heads[o] != NONE)?;
        let frame = self.heads[found];
        self.remove(frame, found);
        while found > order {
            found -= 1;
            self.push(frame + (1 << found), found);
        }
        self.free -= 1 << order;
        Some(frame)
    }

    /// Gives back what [`allocate`](Self::allocate) gave, or adds new memory.
    pub fn free(&mut self, mut frame: u32, mut order: usize) {
        self.free += 1 << order;
        while order < MAX_ORDER {
            let buddy = frame ^ (1 << order);
            if self.links.get(buddy as usize).is_none_or(|node| node.order != order as u8) {
                break;
            }
            self.remove(buddy, order);
            frame &= !(1 << order);
            order += 1;
        }
        self.push(frame, order);
    }

    /// Adds the frames `start..end`.
    pub fn add(&mut self, mut start: u32, end: u32) {
        while start < end {
            let align = (start.trailing_zeros() as usize).min(MAX_ORDER);
            let fit = (end - start).ilog2() as usize;
            let order = align.min(fit);
            self.free(start, order);
            start += 1 << order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_whole() {
        let mut links = vec![Link::USED; 5000];
        let mut buddy = Buddy::new(&mut links);
        buddy.add(3, 4999);
        assert_eq!(buddy.free_frames(), 4996);
        let mut taken = Vec::new();
        let mut order = 0;
        while let Some(frame) = buddy.allocate(order % 4) {
            assert_eq!(frame % (1 << (order % 4)), 0);
            taken.push((frame, order % 4));
            order += 1;
        }
        let mut seen = vec![false; 5000];
        for &(frame, order) in &taken {
            for f in frame..frame + (1 << order) {
                assert!(
                    (3..4999).contains(&f) && !std::mem::replace(&mut seen[f as usize], true),
                    "frame {f} twice"
                );
            }
        }
        for (frame, order) in taken {
            buddy.free(frame, order);
        }
        assert_eq!(buddy.free_frames(), 4996);
        assert_eq!((0..4).filter(|_| buddy.allocate(MAX_ORDER).is_some()).count(), 3);
    }

    #[test]
    fn nothing_left_is_none() {
        let mut links = vec![Link::USED; 16];
        let mut buddy = Buddy::new(&mut links);
        assert_eq!(buddy.allocate(0), None);
        buddy.add(0, 16);
        assert_eq!(buddy.allocate(5), None);
        assert_eq!(buddy.allocate(4), Some(0));
        assert_eq!(buddy.allocate(0), None);
    }
}
