// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whose a row is: a kernel's, somebody else's or our own.

/// Whose a row is, which its name begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Series {
    prefix: &'static str,
    /// What the legend says; `None`: what the caller says.
    pub(crate) legend: Option<&'static str>,
    /// Red, green, blue.
    pub(crate) colour: (u8, u8, u8),
}

/// The first whose prefix fits; bars of the same subject stand in this order.
pub(crate) const SERIES: [Series; 5] = [
    Series { prefix: "exo.", legend: Some("Exo-Kernel"), colour: (0x1b, 0x5e, 0xa8) },
    Series { prefix: "linux.", legend: Some("Linux"), colour: (0xc2, 0x6a, 0x12) },
    Series { prefix: "linux-off.", legend: Some("Linux with mitigations=off"), colour: (0xe3, 0xb0, 0x4b) },
    Series { prefix: "peer.", legend: Some("others"), colour: (0x8a, 0x8a, 0x8a) },
    Series { prefix: "", legend: None, colour: (0x2a, 0x8a, 0x5a) },
];

/// Whose the row is, and its subject, which rows of several may share. A peer stays one by its name: it is not the same thing.
pub(crate) fn split(name: &str) -> (usize, &str) {
    let found = SERIES.iter().position(|series| name.starts_with(series.prefix));
    let index = found.unwrap_or(SERIES.len() - 1);
    let prefix = SERIES.get(index).map_or("", |series| series.prefix);
    (index, if prefix == "peer." { name } else { name.strip_prefix(prefix).unwrap_or(name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_share_a_subject_and_peers_have_their_own() {
        assert_eq!([split("exo.getpid"), split("linux.getpid")], [(0, "getpid"), (1, "getpid")]);
        assert_eq!(split("linux-off.getpid"), (2, "getpid"));
        assert_eq!([split("rng.read"), split("exo.rng.read")], [(4, "rng.read"), (0, "rng.read")]);
        assert_eq!(split("peer.getrandom"), (3, "peer.getrandom"));
        assert_eq!(split("exo.peer.getrandom"), (0, "peer.getrandom"));
    }
}
