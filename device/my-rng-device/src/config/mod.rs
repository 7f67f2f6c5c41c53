// SPDX-License-Identifier: MIT OR Apache-2.0
//! Limits in a file, which is read at the start and again when the program is told so:
//!
//! ```toml
//! [limits]                          # of each device
//! bytes_per_second = "100M:10M"
//!
//! [total]                           # of all devices together
//! bytes_per_second = "1G"
//!
//! [devices."vm1.sock"]              # of one device, by its socket's path or the last part of that
//! operations_per_second = "none"
//! ```
//!
//! What the file does not name is as the command line has it.

mod reader;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::control::protocol::parse_limit;
use crate::limiter::{Limits, Rate};
pub use reader::{Reader, serve};

/// The file's content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Of each device.
    limits: Section,
    /// Of all devices together.
    total: Section,
    /// Of one device, by its socket.
    devices: BTreeMap<String, Section>,
}

/// Limits to change; `None`: they are as they were before the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Section {
    #[serde(deserialize_with = "limit")]
    bytes_per_second: Option<Option<Rate>>,
    #[serde(deserialize_with = "limit")]
    operations_per_second: Option<Option<Rate>>,
}

/// What is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// It is not what it should be.
    #[error("{0}")]
    Syntax(String),
    /// It names a device that this program does not have.
    #[error("[devices.{0:?}]: no device has this socket")]
    NoDevice(String),
}

fn limit<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<Rate>>, D::Error> {
    let text = String::deserialize(from)?;
    parse_limit(&text).map(Some).map_err(serde::de::Error::custom)
}

impl Section {
    fn apply(self, limits: Limits) -> Limits {
        Limits {
            bytes: self.bytes_per_second.unwrap_or(limits.bytes),
            operations: self.operations_per_second.unwrap_or(limits.operations),
        }
    }
}

impl Config {
    /// Reads the text.
    ///
    /// # Errors
    /// It says something that is not known: a misspelt limit must not be taken for none.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))
    }

    /// Whether each device that is named is one of those with these sockets.
    ///
    /// # Errors
    /// Which is not.
    pub fn check<'p>(&self, sockets: impl Iterator<Item = &'p Path> + Clone) -> Result<(), ConfigError> {
        match self.devices.keys().find(|name| !sockets.clone().any(|socket| is_named(socket, name))) {
            Some(name) => Err(ConfigError::NoDevice(name.clone())),
            None => Ok(()),
        }
    }

    /// The limits of the device with that socket, if they were `limits` without this file.
    pub fn of_device(&self, socket: &Path, limits: Limits) -> Limits {
        let own = self.devices.iter().filter(|(name, _)| is_named(socket, name));
        own.fold(self.limits.apply(limits), |limits, (_, section)| section.apply(limits))
    }

    /// The limits of all devices together, if they were `limits` without this file.
    pub fn of_all(&self, limits: Limits) -> Limits {
        self.total.apply(limits)
    }
}

/// Whether `name` means the device with that socket: the path or the last part of it.
pub fn is_named(socket: &Path, name: &str) -> bool {
    socket == Path::new(name) || socket.file_name().is_some_and(|file| file == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [limits]
        bytes_per_second = "100M:10M"
        [total]
        operations_per_second = "1k"
        [devices."vm1.sock"]
        bytes_per_second = "none"
        [devices."/run/vm2.sock"]
        operations_per_second = "7:7"
    "#;

    fn sockets() -> impl Iterator<Item = &'static Path> + Clone {
        ["/run/vm1.sock", "/run/vm2.sock", "/run/vm3.sock"].into_iter().map(Path::new)
    }

    #[test]
    fn what_is_named_counts_and_the_rest_is_the_command_lines() {
        let config = Config::parse(TEXT).unwrap();
        config.check(sockets()).unwrap();
        let ten = Some(Rate { per_second: 10, burst: 1 });
        let line = Limits { bytes: ten, operations: ten };
        let bytes = Some(Rate { per_second: 100_000_000, burst: 10_000_000 });
        assert_eq!(
            config.of_device(Path::new("/run/vm1.sock"), line),
            Limits { bytes: None, operations: ten }
        );
        let own = Limits { bytes, operations: Some(Rate { per_second: 7, burst: 7 }) };
        assert_eq!(config.of_device(Path::new("/run/vm2.sock"), line), own);
        assert_eq!(config.of_device(Path::new("/run/vm3.sock"), line), Limits { bytes, operations: ten });
        assert_eq!(config.of_all(line), Limits { bytes: ten, operations: Some(Rate::new(1000)) });
        assert_eq!(Config::parse("").unwrap().of_device(Path::new("/run/vm1.sock"), line), line);
    }

    #[test]
    fn what_is_not_known_is_an_error_that_says_where() {
        for (text, says) in [
            ("[limits]\nbytes_per_secnd = \"1\"", "unknown field `bytes_per_secnd`"),
            ("[limits]\nbytes_per_second = \"much\"", "\"much\" is no limit, expected"),
            ("[limits]\nbytes_per_second = 5", "expected a string"),
            ("[limit]", "unknown field `limit`"),
            ("[limits", "line 1"),
            ("[devices.\"vm4.sock\"]", "[devices.\"vm4.sock\"]: no device has this socket"),
        ] {
            let error =
                Config::parse(text).and_then(|config| config.check(sockets())).unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }
}
