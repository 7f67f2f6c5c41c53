// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interfaces: how the command line sets them up, and what /proc/net says of them.

use std::sync::Arc;

use exo_drivers::network::{
    Counters, Direction, FrameListener, NetworkDevice, NetworkError, loopback::Loopback,
};
use exo_hal::boot;
use exo_net::interfaces;
use exo_test_support::programs::*;
use parking_lot::Mutex;

/// An Ethernet device whose cable a test holds.
#[derive(Default)]
struct Wire {
    sent: Mutex<Vec<Vec<u8>>>,
    listener: Mutex<Option<Arc<dyn FrameListener>>>,
    is_unplugged: bool,
    counters: Counters,
}

impl NetworkDevice for Wire {
    fn name(&self) -> &str {
        "wire"
    }

    fn hardware_address(&self) -> Option<[u8; 6]> {
        Some([2, 0, 0, 0xab, 0, 1])
    }

    fn mtu(&self) -> usize {
        1500
    }

    fn is_connected(&self) -> bool {
        !self.is_unplugged
    }

    fn receive(&self, _frame: &mut Vec<u8>) -> bool {
        false
    }

    fn transmit(&self, frame: &[u8]) -> Result<(), NetworkError> {
        self.counters.count(Direction::Out, frame.len());
        self.sent.lock().push(frame.to_vec());
        Ok(())
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn listen(&self, listener: Arc<dyn FrameListener>) {
        *self.listener.lock() = Some(listener);
    }
}

/// Runs `test` with devices that were set up by this option, and takes them away again.
fn with_devices(
    option: &'static str,
    devices: Vec<Arc<dyn NetworkDevice>>,
    test: impl FnOnce() + Send + 'static,
) {
    machine(move || {
        boot::set_command_line(option);
        for device in &devices {
            interfaces::add(device.clone()).unwrap();
        }
        test();
        for device in &devices {
            interfaces::remove(device);
        }
        assert_eq!(text("/proc/net/addresses"), "");
        boot::set_command_line("");
    });
}

#[test]
fn an_address_on_the_command_line_is_the_interfaces() {
    let devices: Vec<Arc<dyn NetworkDevice>> = vec![Arc::<Wire>::default()];
    with_devices("quiet exo.net=10.0.2.15/24,10.0.2.2 x", devices, || {
        assert_eq!(
            text("/proc/net/addresses"),
            "eth0 wire link 02:00:00:ab:00:01 address 10.0.2.15/24 gateway 10.0.2.2\n"
        );
    });
}

#[test]
fn without_one_it_asks_and_with_off_or_nonsense_it_has_none() {
    for (option, shown) in
        [("", " by dhcp"), ("exo.net=dhcp", " by dhcp"), ("exo.net=off", ""), ("exo.net=nonsense", "")]
    {
        let devices: Vec<Arc<dyn NetworkDevice>> = vec![Arc::<Wire>::default()];
        with_devices(option, devices, move || {
            assert_eq!(text("/proc/net/addresses"), format!("eth0 wire link 02:00:00:ab:00:01{shown}\n"));
        });
    }
}

#[test]
fn who_asks_for_an_address_asks_again() {
    let wire = Arc::<Wire>::default();
    let asked = wire.clone();
    with_devices("", vec![wire], move || {
        assert_eq!(asked.sent.lock().len(), 1);
        sleep(60_000 * MS);
        let frames = asked.sent.lock().clone();
        assert!((2..20).contains(&frames.len()), "{} frames in a minute", frames.len());
        for frame in frames {
            assert_eq!(&frame[..6], &[0xff; 6], "to all");
            assert_eq!(&frame[36..38], &67_u16.to_be_bytes(), "to the port of DHCP servers");
        }
    });
}

#[test]
fn interfaces_have_names_of_their_own() {
    let devices: Vec<Arc<dyn NetworkDevice>> =
        vec![Arc::<Wire>::default(), Arc::new(Wire { is_unplugged: true, ..Wire::default() })];
    let first = devices[0].clone();
    with_devices("exo.net=off", devices, move || {
        let names = |text: String| text.lines().map(|line| line[..4].to_string()).collect::<Vec<_>>();
        assert_eq!(names(text("/proc/net/addresses")), ["eth0", "eth1"]);
        assert!(text("/proc/net/addresses").ends_with(" down\n"), "that nothing is connected to");
        interfaces::remove(&first);
        assert_eq!(names(text("/proc/net/addresses")), ["eth1"]);
        interfaces::add(first.clone()).unwrap();
        assert_eq!(
            names(text("/proc/net/addresses")),
            ["eth1", "eth0"],
            "a name that is free is given again"
        );
    });
}

#[test]
fn a_ping_comes_back_and_is_counted() {
    with_devices("exo.net=127.0.0.1/8", vec![Loopback::new()], || {
        assert_eq!(text("/proc/net/ping"), "");
        assert_eq!(store("/proc/net/ping", b"127.1.2.3\n"), Ok(10));
        let_others_run();
        assert_eq!(store("/proc/net/ping", b"127.0.0.1\n"), Ok(10));
        sleep(10 * MS);
        let pings = text("/proc/net/ping");
        assert!(pings.starts_with("127.0.0.1 answered after ") && pings.ends_with(" us\n"), "{pings}");
        let table = text("/proc/net/dev");
        let line = table.lines().nth(2).unwrap();
        let columns: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(columns.len(), 17, "{line}");
        assert_eq!(columns[0], "eth0:");
        let number = |at: usize| columns[at].parse::<u64>().unwrap();
        // Packets in and out: questions and answers.
        assert!(number(2) >= 2 && number(10) >= 2, "{line}");
        assert!(number(1) >= 84 * 2 && number(9) >= 84 * 2, "bytes: {line}");
    });
}

#[test]
fn a_ping_to_where_nobody_is_is_not_answered_or_not_sent() {
    let wire = Arc::<Wire>::default();
    let sent = wire.clone();
    with_devices("exo.net=10.0.2.15/24", vec![wire], move || {
        assert_eq!(store("/proc/net/ping", b"10.9.9.9"), Err(Errno::ENETUNREACH), "without a gateway");
        assert_eq!(store("/proc/net/ping", b"10.0.2"), Err(Errno::EINVAL));
        assert_eq!(store("/proc/net/ping", b"10.0.2.77"), Ok(9));
        assert_eq!(text("/proc/net/ping"), "10.0.2.77 has not answered\n");
        let frames = sent.sent.lock().clone();
        let question = frames.last().unwrap();
        assert_eq!(&question[12..14], &0x0806_u16.to_be_bytes(), "it asks who that is (ARP)");
        assert_eq!(&question[38..42], &[10, 0, 2, 77]);
    });
}
