// SPDX-License-Identifier: MIT OR Apache-2.0
//! The limits of the program's devices: those of the command line, and what the configuration file changes of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::{info, warn};

use super::ProcessError;
use crate::cli::Options;
use crate::config::{Config, Reader};
use crate::limiter::{Limiter, Limits};
use crate::metrics::Counter;
use crate::workers::LimitSetter;

/// Where limits come from, and whose they are.
#[derive(Debug)]
pub(super) struct ConfiguredLimits {
    /// `None`: there is no file.
    reader: Option<Reader>,
    config: Config,
    /// Of each device and of all together, as the command line has them.
    of_options: (Limits, Limits),
    sockets: Vec<PathBuf>,
    total: Arc<Limiter>,
    failures: Arc<Counter>,
    /// In the order of the sockets.
    devices: Vec<LimitSetter>,
}

impl ConfiguredLimits {
    /// Starts the process that reads the file, if there is to be one, and has it read. To be called before the sandbox closes.
    pub(super) fn new(options: &Options, sockets: Vec<PathBuf>) -> Result<Self, ProcessError> {
        let mut new = Self {
            reader: None,
            config: Config::default(),
            of_options: (options.limits(), options.total_limits()),
            sockets,
            total: Arc::default(),
            failures: Arc::default(),
            devices: Vec::new(),
        };
        if let Some(path) = &options.config {
            let failed = |error: String| ProcessError::Config { path: path.clone(), error };
            let reader = Reader::start(path, options.sandbox).map_err(|error| failed(error.to_string()))?;
            new.reader = Some(reader);
            new.config = new.read().map_err(failed)?;
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

    /// Here is how to change those of the next device, in the order of the sockets.
    pub(super) fn add_device(&mut self, setter: LimitSetter) {
        self.devices.push(setter);
    }

    /// Reads the file anew. If something is wrong with it, nothing changes.
    pub(super) fn reload(&mut self) {
        let Some(name) = self.reader.as_ref().map(|reader| reader.path().display().to_string()) else {
            return;
        };
        match self.read() {
            Ok(config) => self.config = config,
            Err(error) => {
                self.failures.add_one();
                return warn!("{name}: the limits stay as they were: {error}");
            }
        }
        self.total.set(self.config.of_all(self.of_options.1));
        for (socket, device) in self.sockets.iter().zip(&self.devices) {
            device.set(self.of_device(socket));
        }
        info!("{name}: limits were read");
    }

    fn read(&mut self) -> Result<Config, String> {
        let Some(reader) = &mut self.reader else { return Ok(Config::default()) };
        let text = reader.read().map_err(|error| error.to_string())?;
        let sockets = self.sockets.iter().map(PathBuf::as_path);
        Config::parse(&text, sockets).map_err(|error| error.to_string())
    }
}
