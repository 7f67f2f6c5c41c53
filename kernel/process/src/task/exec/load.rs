// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of a program and of the interpreter that it names (its dynamic linker): which they are, and where they are mapped.

use alloc::{sync::Arc, vec};

use exo_hal::{PAGE_SIZE, USER_END};
use exo_logic::{
    areas::Flags,
    elf::{self, InterpreterName, Plan},
};
use linux_raw_sys::general as abi;

use super::find_node;
use crate::{
    errno::{Errno, Result},
    fs::{
        inode::InodeContent,
        path::{Follow, Path},
        permission,
        writing::Executing,
    },
    io_buf::IoBuf,
    mm::{AddressSpace, Backing, MappedFile, Pages},
    random,
};

/// The lowest address of a movable program, as on Linux.
const MOVABLE_BASE: u64 = 0x5555_5555_4000;
/// How random the places of movable programs and of mappings are, in bits of a number of pages, as on Linux.
const RANDOM_BITS: u32 = 28;
/// Where the stack begins, downwards.
pub(super) const STACK_TOP: usize = USER_END - PAGE_SIZE;

/// The pages of a file that may be executed. While somebody has the first of the two, nobody writes to the file.
pub(super) fn open(file: &Path) -> Result<(Executing, &Arc<Pages>)> {
    let pages = match &file.content {
        InodeContent::File(pages) if !file.mount.has(abi::MS_NOEXEC) => pages,
        _ => return Err(Errno::EACCES),
    };
    permission::check(file, permission::EXECUTE)?;
    Ok((Executing::new(file)?, pages))
}

/// An ELF file that is executed.
pub(super) struct Image {
    executing: Executing,
    plan: Plan,
}

impl Image {
    /// Of a file whose first bytes are `head`.
    pub(super) fn new(executing: Executing, pages: &Pages, head: &[u8]) -> Result<Self> {
        let plan = elf::plan(head, pages.size(), USER_END as u64).map_err(|_| Errno::ENOEXEC)?;
        Ok(Self { executing, plan })
    }

    /// The interpreter that a program names in its file.
    fn interpreter(pages: &Pages, at: InterpreterName) -> Result<Self> {
        let mut name = vec![0; at.size];
        if pages.read(at.offset, &mut IoBuf::kernel(&mut name))? < at.size {
            return Err(Errno::EIO);
        }
        // No letter at all names the working directory here, as on Linux.
        let name = match elf::interpreter_name(&name).ok_or(Errno::ENOEXEC)? {
            b"" => b".",
            name => name,
        };
        let file = find_node(None, name, Follow::Yes)?;
        let (executing, pages) = open(&file)?;
        let mut head = [0; elf::HEAD];
        let count = pages.read(0, &mut IoBuf::kernel(&mut head))?;
        if count < elf::HEADER {
            return Err(Errno::EIO);
        }
        let image = Self::new(executing, pages, head.get(..count).unwrap_or_default());
        image.map_err(|_| Errno::ELIBBAD)
    }

    /// Maps it with its addresses moved by `base`: one past its last address.
    fn map(&self, memory: &AddressSpace, base: u64) -> Result<usize> {
        let path = self.executing.path();
        let InodeContent::File(pages) = &path.content else { return Err(Errno::EACCES) };
        let mut last = 0;
        for segment in &self.plan.segments {
            let at = |address: u64| {
                let address =
                    base.checked_add(address).filter(|a| *a < STACK_TOP as u64).ok_or(Errno::ENOEXEC)?;
                Ok::<usize, Errno>(address as usize)
            };
            let (start, file_end, end) = (at(segment.start)?, at(segment.file_end)?, at(segment.end)?);
            let file = Some(Arc::new(path.clone()) as Arc<dyn MappedFile>);
            let backing =
                Backing::File { object: pages.clone(), offset: segment.offset, shared: false, file };
            if file_end > start {
                memory.map_fixed(start, file_end, segment.flags, backing)?;
            }
            if end > file_end {
                memory.map_fixed(file_end, end, segment.flags, Backing::Anonymous)?;
            }
            // The rest of the last page from the file belongs to the zeros, if the program can write there at all.
            let zero_from = at(segment.zero_from)?;
            if segment.flags.contains(Flags::WRITE) && zero_from < file_end {
                memory.zero(zero_from, file_end - zero_from)?;
            }
            last = last.max(end);
        }
        Ok(last)
    }

    /// By what a movable interpreter's addresses are moved to lie below all other mappings.
    fn base_below_mappings(&self, memory: &AddressSpace) -> Result<u64> {
        let (start, end) = self.plan.span();
        let bytes = end.checked_sub(start).and_then(|bytes| bytes.checked_add(self.plan.alignment));
        let free = memory.find_free_range(bytes.ok_or(Errno::ELIBBAD)? as usize)? as u64;
        let aligned_start = start & !(self.plan.alignment - 1);
        free.next_multiple_of(self.plan.alignment).checked_sub(aligned_start).ok_or(Errno::ELIBBAD)
    }
}

/// A number of pages that nobody can guess.
fn random_pages() -> usize {
    let mut bytes = [0; 4];
    random::fill(&mut bytes);
    (u32::from_le_bytes(bytes) >> (u32::BITS - RANDOM_BITS)) as usize
}

/// A program with its interpreter, if it names one.
pub(super) struct Program {
    program: Image,
    interpreter: Option<Image>,
}

/// Where a program was mapped.
pub(super) struct Loaded {
    /// By what its addresses were moved.
    pub(super) base: u64,
    /// By what its interpreter's were, or zero.
    pub(super) interpreter_base: u64,
    /// Where it begins, in the interpreter if it has one.
    pub(super) start: u64,
}

impl Program {
    /// Finds the interpreter.
    pub(super) fn new(program: Image, pages: &Pages) -> Result<Self> {
        let interpreter = program.plan.interpreter.map(|name| Image::interpreter(pages, name)).transpose()?;
        Ok(Self { program, interpreter })
    }

    /// The program's file.
    pub(super) fn path(&self) -> &Path {
        self.program.executing.path()
    }

    /// What the program's file says of itself.
    pub(super) fn plan(&self) -> &Plan {
        &self.program.plan
    }

    /// The program's file; the interpreter's may be written to again.
    pub(super) fn into_executing(self) -> Executing {
        self.program.executing
    }

    /// Maps both into memory that nobody else uses yet. Addresses are random where the files leave a choice: a static program that
    /// cannot be moved runs the same way each time, which is what costs in instructions are measured with.
    pub(super) fn load(&self, memory: &AddressSpace, is_random: bool) -> Result<Loaded> {
        let Plan { movable, alignment, entry, .. } = self.program.plan;
        let is_random = is_random && (movable || self.interpreter.is_some());
        let random_pages = || if is_random { random_pages() } else { 0 };
        memory.lower_mappings(random_pages());
        let highest = MOVABLE_BASE + (random_pages() * PAGE_SIZE) as u64;
        let base = if movable { highest & !(alignment - 1) } else { 0 };
        memory.set_heap(self.program.map(memory, base)?);
        let mut loaded = Loaded { base, interpreter_base: 0, start: base.wrapping_add(entry) };
        if let Some(interpreter) = &self.interpreter {
            let base = if interpreter.plan.movable { interpreter.base_below_mappings(memory)? } else { 0 };
            interpreter.map(memory, base)?;
            loaded.interpreter_base = base;
            loaded.start = base.wrapping_add(interpreter.plan.entry);
        }
        Ok(loaded)
    }
}
