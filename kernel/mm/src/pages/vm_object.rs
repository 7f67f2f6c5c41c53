// SPDX-License-Identifier: MIT OR Apache-2.0
//! The content of files in memory as what is mapped: each page is there at once, or never.

use exo_hal::mm::frame::{self, Frame};

use super::{PAGE, Pages};
use crate::{
    mappings::Mappings,
    object::{GetPage, Sharing, VmObject, Wanted},
};
use exo_core::{errno::Result, io_buf::IoBuf};

impl VmObject for Pages {
    fn get_page(&self, index: u64, _wanted: Wanted) -> GetPage {
        if index >= self.size().div_ceil(PAGE) {
            return GetPage::BeyondEnd;
        }
        match self.frame(index as usize) {
            Some(frame) => GetPage::Ready { frame, writable: true },
            // What a file may not have is not there, however much memory is free.
            None if frame::available(frame::SPARE) => GetPage::BeyondEnd,
            None => GetPage::NoMemory,
        }
    }

    fn resident_pages(&self, first: u64, out: &mut [Option<Frame>]) {
        self.frames.lock().copy_to(first, out);
    }

    fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        Self::read(self, offset, &mut IoBuf::kernel(out)).unwrap_or(0)
    }

    fn punch_hole(&self, start: u64, end: u64) -> Result<()> {
        Self::punch_hole(self, start, end)
    }

    fn sharing(&self) -> Sharing {
        self.sharing
    }

    fn forbids_writing(&self) -> bool {
        self.seals.forbid_writing()
    }
}
