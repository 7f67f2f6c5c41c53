// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Linux whose boot stands still is started again, once: under emulation that happens to Debian's own kernel in one of several
//! hundred starts with two processors, before anything of this project runs in it (docs/decisions.md).

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::System;
use super::channels::Channels;
use super::console::ConsoleLog;
use super::qmp::Qmp;
use crate::ui;

/// A kernel that boots says something every few seconds, even with its detectors and on a busy host.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks at one machine, from its start until it has come up.
#[derive(Debug)]
pub(super) struct BootWatch {
    patience: Duration,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Booting,
    BootingAgain,
    Over,
}

impl BootWatch {
    pub(super) fn of(system: &System, patience: Duration) -> Self {
        // When this project's own kernel stands still, nobody shall miss it.
        let stage = if matches!(system, System::Exo(_)) { Stage::Over } else { Stage::Booting };
        Self { patience, stage }
    }

    /// Starts the machine again if it is not up yet and its console has been silent for too long.
    pub(super) fn look(&mut self, channels: &Channels, console: &ConsoleLog, qmp: &Path) {
        let result = match self.stage {
            Stage::Booting | Stage::BootingAgain if channels.ready() => self.end(qmp),
            // Before a kernel has said anything there is only firmware, which a reset does not help.
            Stage::Booting if console.silence() >= self.patience && console.has_begun() => {
                self.start_again(console, qmp)
            }
            Stage::Booting | Stage::BootingAgain | Stage::Over => Ok(()),
        };
        if let Err(error) = result {
            // A machine that stands still for good ends with its time.
            ui::note(&format!("the machine cannot be started again: {error:#}"));
        }
    }

    fn start_again(&mut self, console: &ConsoleLog, qmp: &Path) -> anyhow::Result<()> {
        self.stage = Stage::BootingAgain;
        let (silence, said) = (ui::humane(console.silence()), console.so_far());
        let line = said.trim_end().lines().next_back().unwrap_or_default();
        ui::note(&format!(
            "the boot has stood still for {silence}, so the machine starts again; its last line: {line}"
        ));
        let mut qmp = Qmp::connect(qmp)?;
        // A reset by the guest ends a machine (`-no-reboot`), and firmware that finds itself reset does that itself once more.
        qmp.execute("set-action", &json!({ "reboot": "reset" }))?;
        qmp.execute("system_reset", &json!({}))?;
        // What had paused the machine is no reason any more.
        qmp.execute("cont", &json!({}))?;
        Ok(())
    }

    fn end(&mut self, qmp: &Path) -> anyhow::Result<()> {
        let before = std::mem::replace(&mut self.stage, Stage::Over);
        if before == Stage::BootingAgain {
            Qmp::connect(qmp)?.execute("set-action", &json!({ "reboot": "shutdown" }))?;
        }
        Ok(())
    }
}
