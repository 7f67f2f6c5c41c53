// SPDX-License-Identifier: MIT OR Apache-2.0
//! A status for people to read.

use std::fmt::Write;

use super::protocol::{DeviceStatus, QueueStatus, Status};
use crate::shared::Personality;

/// The status as text.
pub fn render(status: &Status) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, status);
    text
}

fn write(text: &mut String, status: &Status) -> std::fmt::Result {
    let Status { version, pid, uptime_seconds, sandbox, log_lines_left_out, devices, .. } = status;
    let sandbox = if sandbox.is_empty() { "none".to_owned() } else { sandbox.join(", ") };
    writeln!(text, "my-rng-device {version}, process {pid}, up {uptime_seconds:.0} s, sandbox: {sandbox}")?;
    if *log_lines_left_out > 0 {
        writeln!(text, "{log_lines_left_out} log lines were left out")?;
    }
    devices.iter().try_for_each(|device| write_device(text, device))
}

fn write_device(text: &mut String, device: &DeviceStatus) -> std::fmt::Result {
    writeln!(text, "\ndevice {}", device.device)?;
    writeln!(text, "  socket     {}", device.socket)?;
    writeln!(text, "  client     {}", if device.client_connected { "connected" } else { "none" })?;
    if device.ending {
        writeln!(text, "  ENDING     it is being removed")?;
    }
    if device.failed {
        writeln!(text, "  FAILED     it is no longer served")?;
    }
    if device.stuck_workers > 0 {
        writeln!(text, "  STUCK      {} workers, for {} s", device.stuck_workers, device.stuck_seconds)?;
    }
    if device.unclosed_descriptors > 0 {
        writeln!(
            text,
            "  unclosed   {} descriptors that clients sent; one has been closing for {} s",
            device.unclosed_descriptors, device.closing_seconds
        )?;
    }
    match device.personality {
        Personality::Native => {
            let classic = if device.classic { ", classic registers only" } else { "" };
            writeln!(text, "  generator  {}{classic}", device.generator)?;
        }
        Personality::Virtio => writeln!(text, "  virtio     a virtio entropy device")?,
    }
    writeln!(text, "  limits     {}", device.limits)?;
    let counters = device.counters.each().chain(device.server.each());
    for (name, meaning, count) in counters {
        writeln!(text, "  {name:<22}{count:>20}  {meaning}")?;
    }
    if !device.queues.is_empty() {
        writeln!(
            text,
            "  {:>5} {:>9} {:>20} {:>16} {:>16} {:>8}",
            "queue", "state", "bytes", "buffers", "interrupts", "errors"
        )?;
    }
    device.queues.iter().try_for_each(|queue| write_queue(text, queue))
}

fn write_queue(text: &mut String, QueueStatus { queue, state, counters }: &QueueStatus) -> std::fmt::Result {
    let state = format!("{state:?}").to_lowercase();
    writeln!(
        text,
        "  {queue:>5} {state:>9} {:>20} {:>16} {:>16} {:>8}",
        counters.bytes, counters.buffers, counters.interrupts, counters.errors
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::prometheus::tests::status;

    #[test]
    fn every_count_and_queue_has_a_line() {
        let status = status();
        let text = render(&status);
        for (name, meaning, _) in status.devices[0].counters.each().chain(status.devices[0].server.each()) {
            assert!(
                text.lines().any(|line| line.contains(name) && line.ends_with(meaning)),
                "{name}:\n{text}"
            );
        }
        assert!(text.contains("      3   running                 4096"), "{text}");
        assert!(text.contains("  limits     bytes 1000:100 per second, operations unlimited\n"), "{text}");
    }
}
