// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's control socket (the QEMU Machine Protocol): enough to plug, unplug and reset.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// QEMU answers at once, or is stuck.
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// A connection in command mode.
#[derive(Debug)]
pub(crate) struct Qmp {
    reader: BufReader<UnixStream>,
    events: Vec<Value>,
}

impl Qmp {
    /// Connects and negotiates.
    pub(crate) fn connect(path: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(path).context("cannot connect to QEMU's control socket")?;
        stream.set_read_timeout(Some(ANSWER_TIME)).context("cannot set a timeout")?;
        let mut qmp = Self { reader: BufReader::new(stream), events: Vec::new() };
        qmp.read().context("QEMU sent no greeting")?;
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and returns its result.
    pub(crate) fn execute(&mut self, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.reader.get_mut(), "{request}")
            .with_context(|| format!("cannot send {command} to QEMU"))?;
        loop {
            let mut answer = self.read().with_context(|| format!("QEMU did not answer {command}"))?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {command}: {error}");
            }
            match answer.get_mut("return") {
                Some(result) => return Ok(result.take()),
                None => self.events.push(answer),
            }
        }
    }

    /// Waits for an event, which may have come already; returns its data.
    pub(crate) fn wait_for(&mut self, event: &str) -> anyhow::Result<Value> {
        loop {
            if let Some(at) = self.events.iter().position(|found| found["event"] == event) {
                return Ok(self.events.remove(at)["data"].take());
            }
            let next = self.read().with_context(|| format!("QEMU did not report {event}"))?;
            self.events.push(next);
        }
    }

    fn read(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).context("cannot read from QEMU")? == 0 {
            bail!("QEMU has closed its control socket");
        }
        serde_json::from_str(&line).context("QEMU sent no JSON")
    }
}
