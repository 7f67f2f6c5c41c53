// SPDX-License-Identifier: MIT OR Apache-2.0
//! The limits of the program's devices: those of the command line, and what the configuration file changes of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::{info, warn};

use super::ProcessError;
use crate::cli::Options;
use crate::config::{Config, Reader};
use crate::control::Registry;
use crate::limiter::{Limiter, Limits};
use crate::metrics::Counter;

/// Where limits come from, and whose they are.
#[derive(Debug)]
pub(super) struct ConfiguredLimits {
    /// `None`: there is no file.
    reader: Option<Reader>,
    config: Config,
    /// Of each device and of all together, as the command line has them.
    of_options: (Limits, Limits),
    /// Whether devices can be added: the file may name one that is not there yet.
    may_add: bool,
    total: Arc<Limiter>,
    failures: Arc<Counter>,
}

impl ConfiguredLimits {
    /// Starts the process that reads the file, if there is to be one, and has it read. To be called before the sandbox closes.
    pub(super) fn new<'p>(
        options: &Options,
        sockets: impl Iterator<Item = &'p Path> + Clone,
    ) -> Result<Self, ProcessError> {
        let mut new = Self {
            reader: None,
            config: Config::default(),
            of_options: (options.limits(), options.total_limits()),
            may_add: options.max_devices.is_some(),
            total: Arc::default(),
            failures: Arc::default(),
        };
        if let Some(path) = &options.config {
            let failed = |error: String| ProcessError::Config { path: path.clone(), error };
            let mut reader =
                Reader::start(path, options.sandbox).map_err(|error| failed(error.to_string()))?;
            new.config = new.read(&mut reader, sockets).map_err(failed)?;
            new.reader = Some(reader);
        }
        new.total.set(new.config.of_all(options.total_limits()));
        Ok(new)
    }

    /// Those of all devices together.
    pub(super) fn total(&self) -> Arc<Limiter> {
        self.total.clone()
    }

    /// Those of the device with that socket.
    pub(super) fn of_device(&self, socket: &Path) -> Limits {
        self.config.of_device(socket, self.of_options.0)
    }

    /// How often the file could not be used.
    pub(super) fn failures(&self) -> Arc<Counter> {
        self.failures.clone()
    }

    /// Reads the file anew, for these devices. If something is wrong with it, nothing changes.
    pub(super) fn reload(&mut self, devices: &Registry) {
        let Some(mut reader) = self.reader.take() else { return };
        let name = reader.path().display().to_string();
        let sockets: Vec<_> = devices.all().values().map(|device| device.socket.clone()).collect();
        let config = self.read(&mut reader, sockets.iter().map(PathBuf::as_path));
        self.reader = Some(reader);
        match config {
            Ok(config) => self.config = config,
            Err(error) => {
                self.failures.add_one();
                return warn!("{name}: the limits stay as they were: {error}");
            }
        }
        self.total.set(self.config.of_all(self.of_options.1));
        for device in devices.all().values() {
            device.limits.set(self.of_device(&device.socket));
        }
        info!("{name}: limits were read");
    }

    fn read<'p>(
        &self,
        reader: &mut Reader,
        sockets: impl Iterator<Item = &'p Path> + Clone,
    ) -> Result<Config, String> {
        let text = reader.read().map_err(|error| error.to_string())?;
        let config = Config::parse(&text).map_err(|error| error.to_string())?;
        match config.check(sockets) {
            Err(error) if self.may_add => warn!("{}: {error}, now", reader.path().display()),
            Err(error) => return Err(error.to_string()),
            Ok(()) => {}
        }
        Ok(config)
    }
}
