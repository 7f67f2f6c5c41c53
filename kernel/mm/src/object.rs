// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be mapped: [`VmObject`], a row of pages that somebody provides.
//!
//! An address space knows of an object only what this trait says. It asks for a page when a program touches it
//! ([`get_page`](VmObject::get_page)), with the address space locked, so the object looks and does not wait: [`GetPage::Wait`] makes the
//! fault let go of its locks, sleep in [`await_page`](VmObject::await_page), and look everything up again, since the mapping may be
//! another by then. What an object takes back, it takes from the programs through its [`Mappings`], which the address spaces keep:
//!
//! | the object wants | it calls | before that |
//! | --- | --- | --- |
//! | pages to be gone, as they are cut off | [`Mappings::unmap`] | it takes them out |
//! | a page to be its own again, if nobody uses it | [`Mappings::unmap_page`] | it takes care that nobody gets it meanwhile |
//! | to see the next write to a page | [`Mappings::write_protect`] | it notes the page as clean |
//! | to know whether a page is used | [`Mappings::take_marks`] | |
//!
//! A fault that is under way at that time either saw the object as it was, and then its entry in the page table is there to be found, or
//! sees it as it is now: both look with the address space locked.
//!
//! Three kinds of memory are no different to a fault: [`Pages`](crate::Pages), which is its own source (tmpfs, memfd, shared anonymous
//! memory, frames of drivers), [`PageCache`](crate::page_cache::PageCache), whose pages come from a store such as a disk and go back to
//! it, and whatever else implements this. Private anonymous memory is no object: nobody else can show it, and its page tables are all
//! that is known of it.
//!
//! Lock order: an address space, then what the object has locked in `get_page`, `resident_pages` and `note_marks`, then its mappings. So
//! no lock of these may be held when [`Mappings`] is asked to change something, which locks address spaces.

use exo_hal::{PAGE_SIZE, mm::frame::Frame, mm::paging::Marks};

use super::mappings::Mappings;
use exo_core::{
    errno::{Errno, Result},
    sched::spans,
};

/// What is wanted of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// To read it, or to copy it.
    Read,
    /// To write to it, so that all who share it see that.
    Write,
}

/// What an object says of a page.
#[derive(Debug)]
pub enum GetPage {
    /// Here it is.
    Ready {
        /// Its frame.
        frame: Frame,
        /// Whether a shared mapping may write to it without asking again: always if [`Wanted::Write`] was.
        writable: bool,
    },
    /// It is not there yet. The frame it will have should be: a lack of memory is said by [`GetPage::NoMemory`], to which faults have an
    /// answer, rather than by [`VmObject::await_page`].
    Wait,
    /// The object ends before it, or may not have it: SIGBUS.
    BeyondEnd,
    /// Memory is used up.
    NoMemory,
}

/// A row of pages that can be mapped; see the [module's documentation](self). Pages are counted from 0.
pub trait VmObject: Send + Sync {
    /// Gives a page, or says what is with it. Called with an address space locked: it may take spin locks, and not sleep.
    fn get_page(&self, index: u64, wanted: Wanted) -> GetPage;

    /// Does what page `index` needs, or waits until somebody has. Called after [`GetPage::Wait`] with nothing locked that spins; it may
    /// return early, as it is asked again. For [`Wanted::Write`] this is where a store gets to know of a page before it is written
    /// (Linux's `page_mkwrite`).
    ///
    /// # Errors
    /// EINTR if the task is killed meanwhile (other signals do not end the wait), ENOMEM; any other is SIGBUS for who touched the page.
    fn await_page(&self, index: u64, wanted: Wanted) -> Result<()> {
        let _ = (index, wanted);
        Ok(())
    }

    /// Fills `out` with the pages from `first` on that are there and could be read at once, and nothing where there is none. As for
    /// [`get_page`](Self::get_page), it does not sleep.
    fn resident_pages(&self, first: u64, out: &mut [Option<Frame>]);

    /// Who shows its pages.
    fn mappings(&self) -> &Mappings;

    /// Reads as far as there are bytes; how many. It may sleep.
    fn read(&self, offset: u64, out: &mut [u8]) -> usize;

    /// Whether it is to be told what processors have noted of its pages.
    fn wants_marks(&self) -> bool {
        false
    }

    /// What the processor has noted of a page that is taken from a shared mapping, if it [`wants_marks`](Self::wants_marks). Called with an
    /// address space locked.
    fn note_marks(&self, index: u64, marks: Marks) {
        let _ = (index, marks);
    }

    /// The first page at or behind `from` that its store does not have as it is; none for memory that is its own store.
    fn next_dirty(&self, from: u64) -> Option<u64> {
        let _ = from;
        None
    }

    /// Brings a page to its store, if that has it not, and waits until it is there.
    ///
    /// # Errors
    /// What the store says; EINTR if the task is killed meanwhile.
    fn write_page(&self, index: u64) -> Result<()> {
        let _ = index;
        Ok(())
    }

    /// Lets go of clean pages of `first..end`, so that who touches one next finds what the store has then. Private copies stay. Memory that
    /// is its own store keeps all.
    ///
    /// # Errors
    /// EBUSY if one is dirty or in use by the kernel, and stays; EINTR.
    fn invalidate(&self, first: u64, end: u64) -> Result<()> {
        let _ = (first, end);
        Ok(())
    }

    /// Makes bytes `start..end` read as zeros and gives their memory back.
    ///
    /// # Errors
    /// EOPNOTSUPP if it has no holes.
    fn punch_hole(&self, start: u64, end: u64) -> Result<()> {
        let _ = (start, end);
        Err(Errno::EOPNOTSUPP)
    }

    /// What programs may do with mappings of it.
    fn sharing(&self) -> Sharing {
        Sharing::Free
    }

    /// Whether no mapping may become able to write to it.
    fn forbids_writing(&self) -> bool {
        false
    }
}

/// What programs may do with pages that they map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// What the mapping says.
    #[default]
    Free,
    /// Neither write nor execute them, now or later.
    ReadOnly,
    /// Keep them to themselves: a child does not inherit the mapping.
    OneProcess,
}

impl dyn VmObject + '_ {
    /// The frame of a page that is there.
    pub fn resident_page(&self, index: u64) -> Option<Frame> {
        let mut out = [None];
        self.resident_pages(index, &mut out);
        out.into_iter().next().flatten()
    }

    /// Brings the dirty pages of bytes `start..end` to the store, to the end also if one fails.
    ///
    /// # Errors
    /// The first; EINTR if the task is killed meanwhile.
    pub fn sync(&self, start: u64, end: u64) -> Result<()> {
        let end = end.div_ceil(PAGE_SIZE as u64);
        let mut result = Ok(());
        let mut from = start / PAGE_SIZE as u64;
        while let Some(index) = self.next_dirty(from).filter(|index| *index < end) {
            result = result.and(self.write_page(index));
            from = index + 1;
            if spans::point() {
                return Err(Errno::EINTR);
            }
        }
        result
    }
}
