// SPDX-License-Identifier: MIT OR Apache-2.0
//! A status in Prometheus's text format (version 0.0.4), for a scraper or node_exporter's textfile collector.

use std::fmt::{Display, Write};

use super::protocol::{DeviceStatus, Status};
use crate::shared::RunState;

/// The status as metrics: each with its help and type, then one sample for each device, or queue of it.
pub fn render(status: &Status) -> String {
    let mut text = Metrics::default();
    let usage = &status.usage;
    text.family("my_rng_uptime_seconds", "gauge", "Seconds since the program started.");
    text.sample("my_rng_uptime_seconds", &[], status.uptime_seconds);
    for (name, kind, help, value) in [
        (
            "process_start_time_seconds",
            "gauge",
            "When the process started, since 1970.",
            status.start_time_seconds,
        ),
        ("process_cpu_seconds_total", "counter", "Processor time of the process.", status.cpu_seconds),
        ("process_max_fds", "gauge", "Most descriptors of the process.", status.max_descriptors as f64),
        ("process_open_fds", "gauge", "Descriptors of the process.", usage.descriptors as f64),
        ("process_threads", "gauge", "Threads of the process.", usage.threads as f64),
        (
            "process_virtual_memory_bytes",
            "gauge",
            "Addresses of the process, with guests' memory.",
            usage.virtual_bytes as f64,
        ),
        (
            "process_resident_memory_bytes",
            "gauge",
            "Memory of the process, with what it touched of guests' memory.",
            usage.resident_bytes as f64,
        ),
    ] {
        text.family(name, kind, help);
        text.sample(name, &[], value);
    }
    text.family(
        "my_rng_log_lines_left_out_total",
        "counter",
        "Log lines left out, because there were too many or nobody read them.",
    );
    text.sample("my_rng_log_lines_left_out_total", &[], status.log_lines_left_out);
    let name = "my_rng_config_failures_total";
    text.family(name, "counter", "Times that the configuration could not be used when it was read again.");
    text.sample(name, &[], status.config_failures);
    text.family("my_rng_max_devices", "gauge", "Most devices that the program may have.");
    text.sample("my_rng_max_devices", &[], status.max_devices);
    text.device_gauges(&status.devices);
    text.counters("my_rng_device", &status.devices, |device| device.counters.each());
    text.counters("my_rng_vfio_user", &status.devices, |device| device.server.each());
    text.queues(&status.devices);
    text.0
}

#[derive(Default)]
struct Metrics(String);

impl Metrics {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let pairs: Vec<_> =
            labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escape(text))).collect();
        let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    /// One sample for each device that has a value.
    fn per_device<T: Display>(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        devices: &[DeviceStatus],
        value: impl Fn(&DeviceStatus) -> Option<T>,
    ) {
        self.family(name, kind, help);
        for device in devices {
            if let Some(value) = value(device) {
                self.sample(
                    name,
                    &[("device", &device.device.to_string()), ("socket", &device.socket)],
                    value,
                );
            }
        }
    }

    fn device_gauges(&mut self, devices: &[DeviceStatus]) {
        let gauge = |name, help| (name, "gauge", help);
        let connected = gauge("my_rng_client_connected", "Whether a client has the device.");
        self.per_device(connected, devices, |device| Some(u8::from(device.client_connected)));
        let ending = gauge("my_rng_device_ending", "Whether the device is being removed.");
        self.per_device(ending, devices, |device| Some(u8::from(device.ending)));
        let failed = gauge("my_rng_device_failed", "Whether the device has failed and is no longer served.");
        self.per_device(failed, devices, |device| Some(u8::from(device.failed)));
        let stuck = gauge("my_rng_stuck_workers", "Workers that do not get on.");
        self.per_device(stuck, devices, |device| Some(device.stuck_workers));
        let stuck = gauge("my_rng_stuck_worker_seconds", "How long the longest stuck worker has been so.");
        self.per_device(stuck, devices, |device| Some(device.stuck_seconds));
        let unclosed = gauge("my_rng_unclosed_descriptors", "Descriptors of clients that wait to be closed.");
        self.per_device(unclosed, devices, |device| Some(device.unclosed_descriptors));
        let closing =
            gauge("my_rng_closing_seconds", "How long the closing of one of them has been under way.");
        self.per_device(closing, devices, |device| Some(device.closing_seconds));
        let bytes = gauge("my_rng_limit_bytes_per_second", "Limit of bytes; no sample: unlimited.");
        self.per_device(bytes, devices, |device| device.limits.bytes.map(|rate| rate.per_second));
        let operations =
            gauge("my_rng_limit_operations_per_second", "Limit of operations; no sample: unlimited.");
        self.per_device(operations, devices, |device| device.limits.operations.map(|rate| rate.per_second));
        let name = "my_rng_generator_info";
        self.family(name, "gauge", "The generator of the seedable stream.");
        for device in devices {
            let (number, generator) = (device.device.to_string(), &device.generator);
            self.sample(
                name,
                &[("device", &number), ("socket", &device.socket), ("generator", generator)],
                1,
            );
        }
    }

    fn counters<I: Iterator<Item = (&'static str, &'static str, u64)>>(
        &mut self,
        prefix: &str,
        devices: &[DeviceStatus],
        each: impl Fn(&DeviceStatus) -> I,
    ) {
        let Some(first) = devices.first() else { return };
        for (place, (name, help, _)) in each(first).enumerate() {
            let name = format!("{prefix}_{name}_total");
            let value = |device: &DeviceStatus| each(device).nth(place).map(|(_, _, count)| count);
            self.per_device((&name, "counter", help), devices, value);
        }
    }

    fn queues(&mut self, devices: &[DeviceStatus]) {
        let queues =
            || devices.iter().flat_map(|device| device.queues.iter().map(move |queue| (device, queue)));
        let labels = |device: &DeviceStatus, queue: usize| [device.device.to_string(), queue.to_string()];
        let name = "my_rng_queue_running";
        if let Some((_, first)) = queues().next() {
            self.family(name, "gauge", "Whether the queue is served.");
            for (device, queue) in queues() {
                let [number, place] = labels(device, queue.queue);
                let labels = [("device", &*number), ("socket", &device.socket), ("queue", &*place)];
                self.sample(name, &labels, u8::from(queue.state == RunState::Running));
            }
            for (place, (name, help, _)) in first.counters.each().enumerate() {
                let name = format!("my_rng_queue_{name}_total");
                self.family(&name, "counter", help);
                for (device, queue) in queues() {
                    let [number, queue_number] = labels(device, queue.queue);
                    let labels =
                        [("device", &*number), ("socket", &device.socket), ("queue", &*queue_number)];
                    let count = queue.counters.each().nth(place).map_or(0, |(_, _, count)| count);
                    self.sample(&name, &labels, count);
                }
            }
        }
    }
}

/// The text of a label, as the format wants it.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::control::protocol::QueueStatus;
    use crate::limiter::{Limits, Rate};
    use crate::metrics::{CountersSnapshot, QueueCountersSnapshot};
    use crate::shared::Personality;
    use crate::usage::UsageSnapshot;
    use std::collections::HashSet;

    fn server_counters() -> vfio_user_server::CountersSnapshot {
        let mut counters = vfio_user_server::CountersSnapshot::default();
        counters.requests = 9;
        counters
    }

    pub(in crate::control) fn status() -> Status {
        let queue = QueueStatus {
            queue: 3,
            state: RunState::Running,
            counters: QueueCountersSnapshot { bytes: 4096, buffers: 1, ..Default::default() },
        };
        let device = DeviceStatus {
            device: 0,
            socket: "/run/a \"b\"\\\n.sock".to_owned(),
            client_connected: true,
            ending: false,
            failed: false,
            stuck_workers: 1,
            stuck_seconds: 9,
            unclosed_descriptors: 2,
            closing_seconds: 3,
            generator: "glibc".to_owned(),
            personality: Personality::Native,
            classic: false,
            limits: Limits { bytes: Some(Rate::new(1000)), operations: None },
            counters: CountersSnapshot { doorbells: 7, ..Default::default() },
            server: server_counters(),
            queues: vec![queue],
        };
        let other = DeviceStatus { device: 1, socket: "/b".to_owned(), queues: Vec::new(), ..device.clone() };
        Status {
            version: "1".to_owned(),
            pid: 1,
            uptime_seconds: 1.5,
            sandbox: Vec::new(),
            start_time_seconds: 1e9,
            cpu_seconds: 0.5,
            max_descriptors: 4096,
            log_lines_left_out: 5,
            config_failures: 2,
            max_devices: 7,
            usage: UsageSnapshot {
                descriptors: 12,
                threads: 9,
                virtual_bytes: 1 << 30,
                resident_bytes: 4096,
            },
            devices: vec![device, other],
        }
    }

    #[test]
    fn the_samples_are_those_of_the_status() {
        let text = render(&status());
        let label = r#"device="0",socket="/run/a \"b\"\\\n.sock""#;
        for line in [
            "my_rng_uptime_seconds 1.5".to_owned(),
            "my_rng_config_failures_total 2".to_owned(),
            "my_rng_max_devices 7".to_owned(),
            "process_open_fds 12".to_owned(),
            "process_threads 9".to_owned(),
            "process_resident_memory_bytes 4096".to_owned(),
            format!("my_rng_client_connected{{{label}}} 1"),
            format!("my_rng_device_doorbells_total{{{label}}} 7"),
            "my_rng_device_doorbells_total{device=\"1\",socket=\"/b\"} 7".to_owned(),
            format!("my_rng_vfio_user_requests_total{{{label}}} 9"),
            format!("my_rng_limit_bytes_per_second{{{label}}} 1000"),
            format!("my_rng_generator_info{{{label},generator=\"glibc\"}} 1"),
            format!("my_rng_queue_bytes_total{{{label},queue=\"3\"}} 4096"),
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in:\n{text}");
        }
        assert!(!text.contains("my_rng_limit_operations_per_second{"), "there is no such limit");
    }

    /// The rules of the format: help and type once and before the samples of a name, the samples of a name together, a
    /// counter's name ends with `_total`, no sample twice.
    #[test]
    fn the_text_keeps_the_rules_of_the_format() {
        let text = render(&status());
        let (mut families, mut samples) = (HashSet::new(), HashSet::new());
        let mut current = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, meaning) = help.split_once(' ').unwrap();
                assert!(!meaning.is_empty() && families.insert(name.to_owned()), "{line}");
                let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).unwrap();
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(["counter", "gauge"].contains(&kind));
                current = name.to_owned();
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                assert_eq!(series.split('{').next(), Some(current.as_str()), "{line}");
                assert!(value.parse::<f64>().is_ok() && samples.insert(series.to_owned()), "{line}");
                let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
                assert!(current.bytes().all(valid), "{line}");
            }
        }
        assert!(samples.len() > 80 && text.ends_with('\n'));
    }
}
