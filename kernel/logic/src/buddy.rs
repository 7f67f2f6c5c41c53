// SPDX-License-Identifier: MIT OR Apache-2.0
//! The buddy allocator of physical memory. It keeps its lists in a table beside the memory, one [`Link`] for each page
//! frame, and never touches the memory itself. On a machine with several NUMA nodes it keeps lists for each, and no block
//! crosses from one to another.

/// The largest block is `2^MAX_ORDER` frames (4 MiB).
pub const MAX_ORDER: usize = 10;
/// The most NUMA nodes that are told apart. Memory of others counts as node 0's.
pub const MAX_NODES: usize = 8;
/// The most ranges of memory that nodes have.
const MAX_RANGES: usize = 32;
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
    heads: [[u32; MAX_ORDER + 1]; MAX_NODES],
    free: usize,
    /// Frames of nodes other than 0: first, one past the last, node.
    ranges: [(u32, u32, u8); MAX_RANGES],
    /// How many of them there are: none on most machines, which must not pay for the others.
    range_count: usize,
}

impl<'a> Buddy<'a> {
    /// An allocator in which every frame counts as used; `links` has one node a frame.
    pub fn new(links: &'a mut [Link]) -> Self {
        links.fill(Link::USED);
        Self {
            links,
            heads: [[NONE; MAX_ORDER + 1]; MAX_NODES],
            free: 0,
            ranges: [(0, 0, 0); MAX_RANGES],
            range_count: 0,
        }
    }

    /// Says which node the frames `start..end` belong to, for as many ranges as there are; the rest are node 0's. Free memory is sorted
    /// anew.
    pub fn set_nodes(&mut self, ranges: impl Iterator<Item = (u32, u32, u32)>) {
        // The free blocks move to a list of their own, since the rules of merging change.
        let mut list = NONE;
        for node in 0..MAX_NODES {
            for order in 0..=MAX_ORDER {
                while self.heads[node][order] != NONE {
                    let frame = self.heads[node][order];
                    self.unlink(frame, node, order);
                    if let Some(link) = self.link(frame) {
                        *link = Link { next: list, previous: order as u32, order: NOT_FREE };
                    }
                    list = frame;
                }
            }
        }
        self.free = 0;
        self.range_count = 0;
        let known = ranges.filter(|r| r.2 != 0 && (r.2 as usize) < MAX_NODES);
        for (to, (start, end, node)) in self.ranges.iter_mut().zip(known) {
            *to = (start, end, node as u8);
            self.range_count += 1;
        }
        while let Some(&Link { next, previous: order, .. }) = self.links.get(list as usize) {
            self.links[list as usize] = Link::USED;
            self.add(list, list + (1 << order));
            list = next;
        }
    }

    #[inline]
    fn ranges(&self) -> &[(u32, u32, u8)] {
        self.ranges.get(..self.range_count).unwrap_or_default()
    }

    /// The node that a frame belongs to.
    #[inline]
    pub fn node(&self, frame: u32) -> usize {
        let range = self.ranges().iter().find(|r| (r.0..r.1).contains(&frame));
        range.map_or(0, |r| usize::from(r.2))
    }

    /// Where the node of `frame` may change next, from there on.
    fn node_end(&self, frame: u32) -> u32 {
        let edges = self.ranges().iter().flat_map(|r| [r.0, r.1]);
        edges.filter(|edge| *edge > frame).min().unwrap_or(u32::MAX)
    }

    /// Free frames.
    pub fn free_frames(&self) -> usize {
        self.free
    }

    fn link(&mut self, frame: u32) -> Option<&mut Link> {
        self.links.get_mut(frame as usize)
    }

    fn push(&mut self, frame: u32, order: usize) {
        let node = self.node(frame);
        let head = self.heads[node][order];
        if let Some(node) = self.link(frame) {
            *node = Link { next: head, previous: NONE, order: order as u8 };
        }
        if let Some(old) = self.link(head) {
            old.previous = frame;
        }
        self.heads[node][order] = frame;
    }

    fn unlink(&mut self, frame: u32, node: usize, order: usize) {
        let Some(link) = self.link(frame) else { return };
        let Link { next, previous, .. } = core::mem::replace(link, Link::USED);
        match self.link(previous) {
            Some(before) => before.next = next,
            None => self.heads[node][order] = next,
        }
        if let Some(after) = self.link(next) {
            after.previous = previous;
        }
    }

    /// Takes `2^order` frames, aligned to their number, from node `wanted` if it has them, else from any; the first frame's
    /// number.
    pub fn allocate(&mut self, order: usize, wanted: usize) -> Option<u32> {
        let nodes = (wanted..MAX_NODES).chain(0..wanted.min(MAX_NODES));
        let mut blocks = nodes.flat_map(|node| (order..=MAX_ORDER).map(move |o| (node, o)));
        let (node, mut found) = blocks.find(|&(node, o)| self.heads[node][o] != NONE)?;
        let frame = self.heads[node][found];
        self.unlink(frame, node, found);
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
        let node = self.node(frame);
        while order < MAX_ORDER {
            let buddy = frame ^ (1 << order);
            let free = self.links.get(buddy as usize).is_some_and(|link| link.order == order as u8);
            if !free || self.node(buddy) != node {
                break;
            }
            self.unlink(buddy, node, order);
            frame &= !(1 << order);
            order += 1;
        }
        self.push(frame, order);
    }

    /// Adds the frames `start..end`.
    pub fn add(&mut self, mut start: u32, end: u32) {
        while start < end {
            let align = (start.trailing_zeros() as usize).min(MAX_ORDER);
            let fit = (end.min(self.node_end(start)) - start).ilog2() as usize;
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
        while let Some(frame) = buddy.allocate(order % 4, 0) {
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
        assert_eq!((0..4).filter(|_| buddy.allocate(MAX_ORDER, 0).is_some()).count(), 3);
    }

    #[test]
    fn nothing_left_is_none() {
        let mut links = vec![Link::USED; 16];
        let mut buddy = Buddy::new(&mut links);
        assert_eq!(buddy.allocate(0, 0), None);
        buddy.add(0, 16);
        assert_eq!(buddy.allocate(5, 0), None);
        assert_eq!(buddy.allocate(4, 0), Some(0));
        assert_eq!(buddy.allocate(0, 0), None);
    }

    #[test]
    fn a_node_gives_its_own_memory_and_then_that_of_others() {
        let mut links = vec![Link::USED; 4096];
        let mut buddy = Buddy::new(&mut links);
        buddy.add(0, 4096);
        // The border lies in the middle of what is one block before.
        buddy.set_nodes([(0, 1000, 0), (1000, 4096, 1)].into_iter());
        assert_eq!(buddy.free_frames(), 4096);
        let mut own = 0;
        while let Some(frame) = buddy.allocate(0, 0) {
            if frame >= 1000 {
                buddy.free(frame, 0);
                break;
            }
            own += 1;
        }
        assert_eq!(own, 1000, "all of node 0 comes before any of node 1");
        assert_eq!(buddy.node(buddy.free_frames() as u32), 1);
        let block = buddy.allocate(MAX_ORDER, 1).unwrap();
        assert!(block >= 1024 && buddy.node(block) == 1);
        for frame in 0..1000 {
            buddy.free(frame, 0);
        }
        assert_eq!(buddy.free_frames(), 4096 - (1 << MAX_ORDER));
        let blocks: Vec<u32> = std::iter::from_fn(|| buddy.allocate(3, 0)).collect();
        assert!(blocks.iter().all(|b| buddy.node(*b) == buddy.node(b + 7)), "no block crosses the border");
        assert_eq!(buddy.allocate(0, 7), None, "a node without memory, and nobody has any");
    }

    #[test]
    fn memory_that_ends_anywhere_is_sorted_without_growing() {
        let mut links = vec![Link::USED; 131_031];
        let mut buddy = Buddy::new(&mut links);
        buddy.add(256, 300);
        buddy.add(1500, 131_031);
        buddy.set_nodes(std::iter::empty());
        assert_eq!(buddy.free_frames(), 44 + 129_531);
        let mut seen = vec![false; 131_031];
        for order in [3, 0, 5, 1, 0].into_iter().cycle() {
            let Some(frame) = buddy.allocate(order, 0) else { break };
            for f in frame..frame + (1 << order) {
                assert!(!std::mem::replace(&mut seen[f as usize], true), "frame {f} twice");
            }
        }
    }
}
