// SPDX-License-Identifier: MIT OR Apache-2.0
//! The initial RAM disk's format: cpio "newc" (also with checksums, which are not verified, as Linux does not either), not
//! compressed. Several archives may follow each other, with zero bytes in between.

/// One entry of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The path, without a leading slash or `./`.
    pub name: &'a str,
    /// Type and permission bits as in `st_mode`.
    pub mode: u32,
    /// Entries with the same number and more than one link are one file; the last has the content.
    pub inode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime: u32,
    /// Major and minor number of a device node.
    pub device: (u32, u32),
    /// Content of a file, or target of a symbolic link.
    pub data: &'a [u8],
}

/// Why an archive cannot be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No `070701` or `070702` where a header was expected.
    NoMagic,
    /// The archive ends within an entry.
    Cut,
    /// A header field is not hexadecimal.
    BadNumber,
    /// A name is not UTF-8.
    BadName,
}

const HEADER: usize = 110;
const TRAILER: &str = "TRAILER!!!";

/// The entries of an archive in memory.
#[derive(Clone, Debug)]
pub struct Archive<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Archive<'a> {
    /// Starts at the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn entry(&mut self) -> Result<Entry<'a>, Error> {
        let header = self.bytes.get(self.at..self.at + HEADER).ok_or(Error::Cut)?;
        if !header.starts_with(b"070701") && !header.starts_with(b"070702") {
            return Err(Error::NoMagic);
        }
        let field = |index: usize| {
            let digits = header.get(6 + index * 8..14 + index * 8).ok_or(Error::Cut)?;
            let text = core::str::from_utf8(digits).map_err(|_| Error::BadNumber)?;
            u32::from_str_radix(text, 16).map_err(|_| Error::BadNumber)
        };
        let (size, name_size) = (field(6)? as usize, field(11)? as usize);
        let name_start = self.at + HEADER;
        let name_end = name_start + name_size;
        let data_start = name_end.next_multiple_of(4);
        let data_end = data_start + size;
        let name = self.bytes.get(name_start..name_end).ok_or(Error::Cut)?;
        let name = name.strip_suffix(&[0]).unwrap_or(name);
        let name = core::str::from_utf8(name).map_err(|_| Error::BadName)?;
        let data = self.bytes.get(data_start..data_end).ok_or(Error::Cut)?;
        self.at = data_end.next_multiple_of(4);
        Ok(Entry {
            name: name.strip_prefix("./").unwrap_or(name).trim_start_matches('/'),
            mode: field(1)?,
            inode: field(0)?,
            uid: field(2)?,
            gid: field(3)?,
            mtime: field(5)?,
            device: (field(9)?, field(10)?),
            data,
        })
    }
}

impl<'a> Iterator for Archive<'a> {
    type Item = Result<Entry<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // Padding between archives, and after the last.
            while self.bytes.get(self.at) == Some(&0) {
                self.at += 1;
            }
            if self.at >= self.bytes.len() {
                return None;
            }
            match self.entry() {
                Ok(entry) if entry.name == TRAILER => {}
                Ok(entry) => return Some(Ok(entry)),
                Err(error) => {
                    self.at = self.bytes.len();
                    return Some(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(out: &mut Vec<u8>, name: &str, mode: u32, data: &[u8]) {
        let fields = [7, mode, 0, 0, 1, 99, data.len() as u32, 0, 0, 1, 3, name.len() as u32 + 1, 0];
        out.extend(b"070701");
        fields.iter().for_each(|f| out.extend(format!("{f:08X}").bytes()));
        out.extend(name.bytes().chain([0]));
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(data);
        out.resize(out.len().next_multiple_of(4), 0);
    }

    #[test]
    fn reads_what_was_written_also_from_two_archives() {
        let mut bytes = Vec::new();
        push(&mut bytes, "./init", 0o100755, b"hello");
        push(&mut bytes, TRAILER, 0, b"");
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        push(&mut bytes, "dev/null", 0o020666, b"");
        let entries: Vec<_> = Archive::new(&bytes).map(Result::unwrap).collect();
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].name, entries[0].data, entries[0].mode), ("init", &b"hello"[..], 0o100755));
        assert_eq!((entries[1].name, entries[1].device), ("dev/null", (1, 3)));
    }

    #[test]
    fn damage_is_an_error_and_ends() {
        let mut bytes = Vec::new();
        push(&mut bytes, "a", 0o100644, b"0123456789");
        let cut: Vec<_> = Archive::new(&bytes[..bytes.len() - 4]).collect();
        assert_eq!(cut, [Err(Error::Cut)]);
        assert_eq!(Archive::new(&[b'x'; 200]).collect::<Vec<_>>(), [Err(Error::NoMagic)]);
        bytes[7] = b'z';
        assert_eq!(Archive::new(&bytes).collect::<Vec<_>>(), [Err(Error::BadNumber)]);
    }
}
