// SPDX-License-Identifier: MIT OR Apache-2.0
//! KVM or emulation? A `/dev/kvm` that opens can still be unable to run a guest, so a probe machine decides.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::context::{Context, write_whole};
use crate::lock::Lock;
use crate::ui;

/// How QEMU runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Accel {
    /// The processor runs them.
    Kvm,
    /// QEMU translates them.
    Tcg,
    /// QEMU translates them one processor at a time, and the machine's clock counts them: a nanosecond each. The same build then
    /// takes the same time to the digit, however busy the host is.
    Icount,
}

impl Accel {
    /// QEMU's name for it, with its options.
    pub(super) fn qemu_argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
            Self::Icount => "tcg,thread=single",
        }
    }

    /// The processor that the machine has, and how its clock runs.
    pub(super) fn more_qemu_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm | Self::Tcg => &["-cpu", "max"],
            // With x2APIC, QEMU 11.1 ends with "Bad icount read". A processor that waits does so for no time at all.
            Self::Icount => &["-cpu", "max,-x2apic", "-icount", "shift=0,sleep=off"],
        }
    }
}

impl std::fmt::Display for Accel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG (emulation)",
            Self::Icount => "TCG with a clock that counts instructions",
        })
    }
}

/// A machine that gets no further than this in this time will not run at all: under KVM a kernel is up in half a second.
pub(crate) const PROBE_TIME: Duration = Duration::from_secs(10);

/// What the last probe found, and on which host.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    host: String,
    accel: Accel,
}

/// The best that works here. `probe` starts a machine with KVM and says whether it ran; it is asked once per boot of the
/// host.
pub(super) fn best(context: &Context, probe: impl FnOnce() -> anyhow::Result<bool>) -> anyhow::Result<Accel> {
    if std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(Accel::Tcg);
    }
    let host = host_identity();
    let path = context.cache.join("acceleration.json");
    let read = || -> Option<Accel> {
        let remembered: Remembered = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        (remembered.host == host).then_some(remembered.accel)
    };
    if let Some(accel) = read() {
        return Ok(accel);
    }
    let _lock = Lock::take(&context.cache_lock("acceleration"), "tries whether KVM works here")?;
    if let Some(accel) = read() {
        return Ok(accel);
    }
    let accel = if probe().context("cannot try whether KVM works here")? { Accel::Kvm } else { Accel::Tcg };
    if accel == Accel::Tcg {
        ui::note("/dev/kvm opens, but a probe machine did not run with it: machines are emulated (TCG)");
    }
    write_whole(&path, &serde_json::to_vec_pretty(&Remembered { host, accel })?)?;
    Ok(accel)
}

/// Changes when the host is another or was started anew.
fn host_identity() -> String {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default().trim().to_owned();
    format!("{} {}", read("/proc/sys/kernel/osrelease"), read("/proc/sys/kernel/random/boot_id"))
}
