// SPDX-License-Identifier: MIT OR Apache-2.0
//! The version exchange: which version both sides speak, and what the client can take.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::Limits;
use crate::request::DMA_PAGE_SIZE;
use crate::wire::{VERSION_MAJOR, VERSION_MINOR, Writer};

/// Most bytes of JSON that a client may send. QEMU's has about 200.
const MAX_JSON: usize = 4096;

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agreement {
    pub(crate) minor: u16,
    /// Most bytes of data in one DMA message to the client.
    pub(crate) max_data_xfer_size: u32,
}

/// Why no agreement was reached.
#[derive(Debug, Error)]
pub(crate) enum VersionError {
    #[error("the client speaks protocol version {0}, expected {VERSION_MAJOR}")]
    Major(u16),
    #[error("the version data has {0} bytes, expected at most {MAX_JSON}")]
    TooLong(usize),
    #[error("the version data does not end in NUL")]
    NoNul,
    #[error("the version data is not the JSON that was expected: {0}")]
    Json(#[from] serde_json::Error),
    #[error("max_data_xfer_size is 0, expected at least 1")]
    NoTransfers,
}

impl VersionError {
    pub(crate) fn errno(&self) -> Errno {
        Errno::INVAL
    }
}

/// What a client says. Unknown names are newer capabilities and left alone; numbers beyond 64 bits, negative ones and
/// values of another type are refused.
#[derive(Debug, Default, Deserialize)]
struct ClientData {
    #[serde(default)]
    capabilities: ClientCapabilities,
}

#[derive(Debug, Default, Deserialize)]
struct ClientCapabilities {
    /// How many descriptors the client can receive. This server sends none, so that only the type is checked.
    #[serde(rename = "max_msg_fds")]
    _max_msg_fds: Option<u64>,
    max_data_xfer_size: Option<u64>,
}

#[derive(Debug, Serialize)]
struct ServerData {
    capabilities: ServerCapabilities,
}

#[derive(Debug, Serialize)]
struct ServerCapabilities {
    max_msg_fds: u32,
    max_data_xfer_size: u32,
    max_dma_maps: u32,
    pgsizes: u64,
}

/// Judges a client's version, minor version and data. No data at all is legal and means the protocol's defaults.
pub(crate) fn negotiate(
    major: u16,
    minor: u16,
    data: &[u8],
    limits: &Limits,
) -> Result<Agreement, VersionError> {
    if major != VERSION_MAJOR {
        return Err(VersionError::Major(major));
    }
    if data.len() > MAX_JSON {
        return Err(VersionError::TooLong(data.len()));
    }
    let client: ClientData = match data.split_last() {
        None => ClientData::default(),
        Some((0, json)) => serde_json::from_slice(json)?,
        Some(_) => return Err(VersionError::NoNul),
    };
    let theirs = client.capabilities.max_data_xfer_size.unwrap_or(1 << 20); // The specification's default.
    if theirs == 0 {
        return Err(VersionError::NoTransfers);
    }
    Ok(Agreement {
        minor: minor.min(VERSION_MINOR),
        max_data_xfer_size: u32::try_from(theirs).unwrap_or(u32::MAX).min(limits.max_data_xfer_size),
    })
}

/// The payload of the answer: version and this server's limits.
pub(crate) fn reply(agreement: &Agreement, limits: &Limits) -> Vec<u8> {
    let data = ServerData {
        capabilities: ServerCapabilities {
            max_msg_fds: limits.max_msg_fds,
            max_data_xfer_size: limits.max_data_xfer_size,
            max_dma_maps: limits.max_dma_maps,
            pgsizes: DMA_PAGE_SIZE,
        },
    };
    let mut payload = vec![0; 4];
    let mut writer = Writer::new(&mut payload);
    writer.u16(VERSION_MAJOR);
    writer.u16(agreement.minor);
    // Numbers under fixed names always become JSON; were it otherwise, a reply without data is a legal one.
    payload.extend(serde_json::to_vec(&data).unwrap_or_default());
    payload.push(0);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(data: &[u8]) -> Result<Agreement, VersionError> {
        negotiate(0, 1, data, &Limits::default())
    }

    #[test]
    fn qemus_own_words_are_understood() {
        let data = br#"{"capabilities": {"max_msg_fds": 8, "max_data_xfer_size": 65536, "max_dma_maps": 65535,
            "pgsizes": 4096, "write_multiple": true, "migration": {"pgsize": 4096, "max_bitmap_size": 268435456}}}"#;
        let agreement = judge(&[data.as_slice(), b"\0"].concat()).unwrap();
        assert_eq!(agreement.max_data_xfer_size, 65536);
    }

    #[test]
    fn no_data_means_the_defaults() {
        assert_eq!(judge(b"").unwrap(), Agreement { minor: 1, max_data_xfer_size: 1 << 20 });
        assert_eq!(judge(b"{}\0").unwrap().max_data_xfer_size, 1 << 20);
    }

    #[test]
    fn a_client_cannot_raise_our_own_limit() {
        let agreement = judge(b"{\"capabilities\":{\"max_data_xfer_size\":18446744073709551615}}\0").unwrap();
        assert_eq!(agreement.max_data_xfer_size, 1 << 20);
    }

    #[test]
    fn the_older_minor_version_wins() {
        assert_eq!(negotiate(0, 0, b"", &Limits::default()).unwrap().minor, 0);
        assert_eq!(negotiate(0, 9, b"", &Limits::default()).unwrap().minor, VERSION_MINOR);
    }

    #[test]
    fn senseless_data_is_refused() {
        for bad in [
            &b"{}"[..],
            b"{",
            b"{\0",
            b"\0",
            b"[]\0\0",
            b"{\"capabilities\":3}\0",
            b"{\"capabilities\":{\"max_msg_fds\":-1}}\0",
            b"{\"capabilities\":{\"max_msg_fds\":\"many\"}}\0",
            b"{\"capabilities\":{\"max_data_xfer_size\":0}}\0",
            b"{\"capabilities\":{\"max_data_xfer_size\":1e400}}\0",
            b"\xff\xfe\0",
        ] {
            assert!(judge(bad).is_err(), "accepted {:?}", String::from_utf8_lossy(bad));
        }
        let deep = [vec![b'['; 2000], vec![b']'; 2000], vec![0]].concat();
        assert!(judge(&deep).is_err(), "deep nesting is refused, not followed");
        assert!(judge(&vec![b' '; MAX_JSON + 1]).is_err());
        assert!(negotiate(1, 0, b"", &Limits::default()).is_err());
    }
}
