// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names are made, removed and moved; each of these is one operation.

use crate::{
    buffers::Checked,
    device::BlockDevice,
    directory::LONGEST_NAME,
    directory_edit::{needed, write_entry},
    error::{Error, Result},
    extents::Extent,
    extents_edit::{self, Tree},
    features::{incompat, ro_compat},
    inode::{Inode, Time, flags, kind},
    layout::part_mut,
    volume::Ext4,
};

/// Links that an inode may have; with `dir_nlink`, a directory with more says 1.
const MOST_LINKS: u16 = 65_000;

/// What is to be made.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// What it is.
    pub what: What<'a>,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Now.
    pub time: Time,
}

/// The kinds of what is to be made.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// An empty file.
    File,
    /// An empty directory.
    Directory,
    /// A symbolic link, with its target: at most a block.
    Link(&'a [u8]),
    /// A character device, by major and minor number.
    Character(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A pipe.
    Fifo,
    /// A socket's name.
    Socket,
}

impl What<'_> {
    fn kind(&self) -> u16 {
        match self {
            Self::File => kind::REGULAR,
            Self::Directory => kind::DIRECTORY,
            Self::Link(_) => kind::LINK,
            Self::Character(..) => kind::CHARACTER,
            Self::Block(..) => kind::BLOCK,
            Self::Fifo => kind::FIFO,
            Self::Socket => kind::SOCKET,
        }
    }
}

/// What a rename does with a name that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rename {
    /// Replaces what has it.
    Replace,
    /// Fails.
    Keep,
    /// Exchanges the two.
    Exchange,
}

/// What an entry says of an inode's type.
fn entry_type(inode: &Inode) -> u8 {
    match inode.kind() {
        kind::REGULAR => 1,
        kind::DIRECTORY => 2,
        kind::CHARACTER => 3,
        kind::BLOCK => 4,
        kind::FIFO => 5,
        kind::SOCKET => 6,
        kind::LINK => 7,
        _ => 0,
    }
}

fn check_name(name: &[u8]) -> Result<()> {
    let reserved = matches!(name, b"" | b"." | b"..");
    if reserved || name.len() > LONGEST_NAME || name.contains(&b'/') || name.contains(&0) {
        return Err(Error::BadName);
    }
    Ok(())
}

impl<D: BlockDevice> Ext4<D> {
    /// Makes something with a name in a directory, and gives its inode.
    pub fn create(&mut self, parent: u32, name: &[u8], new: &New<'_>) -> Result<u32> {
        check_name(name)?;
        self.seconds = self.seconds.max(new.time.seconds);
        self.operation(|volume| {
            let mut directory = volume.directory_for_new(parent, name)?;
            let mode = new.what.kind() | new.mode & 0o7777;
            let mut inode = volume.new_inode(parent, mode, (new.uid, new.gid), new.time)?;
            match new.what {
                What::File => volume.start_blocks(&mut inode)?,
                What::Directory => {
                    volume.start_directory(&mut inode, parent)?;
                    volume.add_subdirectory(&mut directory)?;
                }
                What::Link(target) => volume.put_target(&mut inode, target)?,
                What::Character(major, minor) | What::Block(major, minor) => {
                    put_device(&mut inode, major, minor)?;
                }
                What::Fifo | What::Socket => {}
            }
            volume.store(&mut inode)?;
            volume.add_entry(&mut directory, name, inode.number(), entry_type(&inode))?;
            volume.touch_directory(&mut directory, new.time)?;
            Ok(inode.number())
        })
    }

    fn directory_for_new(&mut self, parent: u32, name: &[u8]) -> Result<Inode> {
        let directory = self.inode(parent)?;
        match self.lookup(&directory, name) {
            Err(Error::NotFound) => Ok(directory),
            Ok(_) => Err(Error::Exists),
            Err(error) => Err(error),
        }
    }

    fn start_blocks(&mut self, inode: &mut Inode) -> Result<()> {
        inode.set_flag(flags::EXTENTS);
        extents_edit::start(inode)
    }

    fn start_directory(&mut self, inode: &mut Inode, parent: u32) -> Result<()> {
        self.start_blocks(inode)?;
        inode.set_links(2);
        let (number, block) = self.append_block(inode)?;
        let file_type = if self.geometry.incompat & incompat::FILETYPE == 0 { 0 } else { 2 };
        let end = self.geometry.entries_end();
        let own = inode.number();
        let bytes = self.buffers.modify(block)?;
        let first = needed(b".");
        write_entry(bytes, 0, first, own, b".", file_type)?;
        write_entry(bytes, first, end - first, parent, b"..", file_type)?;
        self.seal_directory_block(inode, number, block)
    }

    fn put_target(&mut self, inode: &mut Inode, target: &[u8]) -> Result<()> {
        if target.is_empty() || target.contains(&0) {
            return Err(Error::Invalid);
        }
        // A zero follows it, as Linux has it.
        if target.len() >= self.geometry.block_bytes() {
            return Err(Error::BadName);
        }
        inode.set_size(target.len() as u64);
        if target.len() < inode.block_field().len() {
            return part_mut(inode.block_field_mut(), 0, target.len()).map(|to| to.copy_from_slice(target));
        }
        self.start_blocks(inode)?;
        let goal = self.goal_for(inode)?;
        let (block, _) = self.allocate_blocks(goal, 1)?;
        part_mut(self.buffers.create(block, Checked::Not)?, 0, target.len())?.copy_from_slice(target);
        self.add_blocks(inode, 1)?;
        Tree { volume: self, inode }.insert(&Extent { block: 0, len: 1, start: block, written: true })
    }

    fn add_subdirectory(&mut self, directory: &mut Inode) -> Result<()> {
        let large = self.geometry.ro_compat & ro_compat::DIR_NLINK != 0;
        let links = match directory.links() {
            // It has more than can be counted.
            1 if large => 1,
            links if links < MOST_LINKS => links + 1,
            _ if large => 1,
            _ => return Err(Error::TooManyLinks),
        };
        directory.set_links(links);
        Ok(())
    }

    fn remove_subdirectory(&mut self, directory: &mut Inode) {
        let links = directory.links();
        directory.set_links(if links > 2 { links - 1 } else { links });
    }

    fn touch_directory(&mut self, directory: &mut Inode, time: Time) -> Result<()> {
        directory.set_modified(time);
        directory.set_changed(time);
        self.store(directory)
    }

    /// Gives an inode another name.
    pub fn link(&mut self, inode: u32, parent: u32, name: &[u8], time: Time) -> Result<()> {
        check_name(name)?;
        self.operation(|volume| {
            let mut directory = volume.directory_for_new(parent, name)?;
            let mut inode = volume.inode(inode)?;
            if inode.is_directory() {
                return Err(Error::IsADirectory);
            }
            if inode.links() >= MOST_LINKS {
                return Err(Error::TooManyLinks);
            }
            inode.set_links(inode.links() + 1);
            inode.set_changed(time);
            volume.store(&mut inode)?;
            volume.add_entry(&mut directory, name, inode.number(), entry_type(&inode))?;
            volume.touch_directory(&mut directory, time)
        })
    }

    /// Removes a name, of a directory if `directory` says so, which must be empty. Gives the inode: when it has no other name it stays until
    /// [`Ext4::release`].
    pub fn unlink(&mut self, parent: u32, name: &[u8], directory: bool, time: Time) -> Result<u32> {
        check_name(name)?;
        self.operation(|volume| {
            let mut from = volume.inode(parent)?;
            let number = volume.lookup(&from, name)?;
            let inode = volume.inode(number)?;
            match (directory, inode.is_directory()) {
                (true, false) => return Err(Error::NotADirectory),
                (false, true) => return Err(Error::IsADirectory),
                _ => {}
            }
            let place =
                volume.find(&from, name)?.ok_or(Error::Unsupported("changes of a directory in its inode"))?;
            volume.remove_entry(&from, place)?;
            volume.drop_name(inode, &mut from, time)?;
            volume.touch_directory(&mut from, time)?;
            Ok(number)
        })
    }

    /// One name less for an inode, which was in `parent`.
    fn drop_name(&mut self, mut inode: Inode, parent: &mut Inode, time: Time) -> Result<()> {
        if inode.is_directory() {
            if !self.is_empty(&inode)? {
                return Err(Error::NotEmpty);
            }
            inode.set_links(0);
            self.remove_subdirectory(parent);
        } else {
            inode.set_links(inode.links().saturating_sub(1));
        }
        inode.set_changed(time);
        if inode.links() == 0 {
            self.add_orphan(&mut inode)?;
        }
        self.store(&mut inode)
    }

    /// Moves a name. Gives the inode that has lost one by it, if any; see [`Ext4::unlink`]. That no directory comes below itself is for the
    /// caller to see to, who knows the tree.
    pub fn rename(
        &mut self,
        (from, name): (u32, &[u8]),
        (to, new_name): (u32, &[u8]),
        how: Rename,
        time: Time,
    ) -> Result<Option<u32>> {
        check_name(name)?;
        check_name(new_name)?;
        self.operation(|volume| {
            let old = volume.inode(from)?;
            let moved = volume.lookup(&old, name)?;
            let target = volume.inode(to)?;
            let other = match volume.lookup(&target, new_name) {
                Ok(other) => Some(other),
                Err(Error::NotFound) => None,
                Err(error) => return Err(error),
            };
            match (how, other) {
                (Rename::Keep, Some(_)) => Err(Error::Exists),
                (Rename::Exchange, None) => Err(Error::NotFound),
                (_, Some(other)) if other == moved => Ok(None),
                (Rename::Exchange, Some(other)) => {
                    volume.put_name(from, name, other, to, time)?;
                    volume.put_name(to, new_name, moved, from, time)?;
                    Ok(None)
                }
                (_, other) => {
                    if let Some(other) = other {
                        volume.replace(to, other, moved, time)?;
                    }
                    volume.put_name(to, new_name, moved, from, time)?;
                    let mut old = volume.inode(from)?;
                    let place = volume.find(&old, name)?.ok_or(Error::Corrupt("a name that is gone"))?;
                    volume.remove_entry(&old, place)?;
                    volume.touch_directory(&mut old, time)?;
                    Ok(other)
                }
            }
        })
    }

    /// Takes the name away from what is replaced.
    fn replace(&mut self, parent: u32, other: u32, moved: u32, time: Time) -> Result<()> {
        let (other, moved) = (self.inode(other)?, self.inode(moved)?);
        match (moved.is_directory(), other.is_directory()) {
            (true, false) => return Err(Error::NotADirectory),
            (false, true) => return Err(Error::IsADirectory),
            _ => {}
        }
        let mut directory = self.inode(parent)?;
        self.drop_name(other, &mut directory, time)?;
        self.store(&mut directory)
    }

    /// Has a name, new or not, stand for an inode that came from another directory.
    fn put_name(&mut self, parent: u32, name: &[u8], number: u32, from: u32, time: Time) -> Result<()> {
        let mut directory = self.inode(parent)?;
        let mut inode = self.inode(number)?;
        let file_type = entry_type(&inode);
        match self.find(&directory, name)? {
            Some(place) => self.change_entry(&directory, place, number, file_type)?,
            None => self.add_entry(&mut directory, name, number, file_type)?,
        }
        if inode.is_directory() && parent != from {
            self.add_subdirectory(&mut directory)?;
            let mut old = self.inode(from)?;
            self.remove_subdirectory(&mut old);
            self.store(&mut old)?;
            let up =
                self.find(&inode, b"..")?.ok_or(Error::Unsupported("changes of a directory in its inode"))?;
            self.change_entry(&inode, up, parent, 2)?;
        }
        self.touch_directory(&mut directory, time)?;
        inode.set_changed(time);
        self.store(&mut inode)
    }
}

/// Writes a device's number: in the older encoding where it fits.
fn put_device(inode: &mut Inode, major: u32, minor: u32) -> Result<()> {
    if major >= 1 << 12 || minor >= 1 << 20 {
        return Err(Error::Invalid);
    }
    let (at, value) = if major < 256 && minor < 256 && (major, minor) != (0, 0) {
        (0, (major << 8) | minor)
    } else {
        (4, (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
    };
    part_mut(inode.block_field_mut(), at, 4)?.copy_from_slice(&value.to_le_bytes());
    Ok(())
}
