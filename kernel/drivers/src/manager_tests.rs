// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the manager, with drivers that only note what is done to them.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use exo_platform::{
    fake::{FakeDevice, Wires},
    pci,
};

use super::*;
use crate::{
    block::{GenericBlockDevice, Requests},
    bus::Match,
};

/// What happened, over all drivers of one test.
type Log = Arc<Mutex<Vec<String>>>;

struct Recorder {
    name: String,
    needs: Vec<&'static str>,
    log: Log,
    fails: AtomicBool,
    is_stopped: AtomicBool,
    /// The manager that loses its device while it starts.
    pulled_out_of: Mutex<Option<Arc<DriverManager>>>,
    disks: Mutex<Vec<Arc<dyn Requests>>>,
    /// It is a slot, and what is on these buses is wanted out.
    wanted_out: Mutex<Option<Buses>>,
}

impl Recorder {
    fn new(name: &str, needs: &[&'static str], log: &Log) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            needs: needs.to_vec(),
            log: log.clone(),
            fails: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            pulled_out_of: Mutex::default(),
            disks: Mutex::default(),
            wanted_out: Mutex::default(),
        })
    }

    fn write(&self, what: &str) {
        self.log.lock().unwrap().push(format!("{what} {}", self.name));
    }
}

impl Driver for Recorder {
    fn driver_type(&self) -> DriverType {
        DriverType::Block
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn init(&self) -> Result<(), DriverError> {
        self.is_stopped.store(false, Ordering::Relaxed);
        self.write("start");
        if let Some(manager) = self.pulled_out_of.lock().unwrap().take() {
            manager.remove(manager.find(&self.name).unwrap()).unwrap();
        }
        if self.fails.load(Ordering::Relaxed) { Err(DriverError::Device("broken")) } else { Ok(()) }
    }
    fn tick(&self, _now_ns: u64) {
        assert!(!self.is_stopped.load(Ordering::Relaxed), "{} does not run", self.name);
    }
    fn shutdown(&self) -> Result<(), DriverError> {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.write("stop");
        Ok(())
    }
    fn is_ready(&self) -> bool {
        true
    }
    fn depends_on(&self) -> &[&'static str] {
        &self.needs
    }
    fn devices(&self) -> Vec<Device> {
        self.disks.lock().unwrap().iter().map(|d| Device::Block(d.clone())).collect()
    }
    fn removed(&self) {
        self.write("pull out");
    }
    fn wanted_out(&self) -> Option<Buses> {
        self.wanted_out.lock().unwrap().take()
    }
    fn release(&self) {
        self.write("release");
    }
}

struct Watcher(Log);

impl Observer for Watcher {
    fn added(&self, _driver: DriverId, device: &Device) {
        self.0.lock().unwrap().push(format!("new {}", device.name()));
    }
    fn removed(&self, _driver: DriverId, device: &Device) {
        self.0.lock().unwrap().push(format!("gone {}", device.name()));
    }
    fn note(&self, name: &str, error: &DriverError) {
        self.0.lock().unwrap().push(format!("{name}: {error}"));
    }
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut log.lock().unwrap())
}

#[test]
fn drivers_start_after_what_they_need_and_stop_before_it() {
    let (manager, log) = (DriverManager::new(), Log::default());
    for (name, needs) in
        [("disk", &["port"][..]), ("port", &["bus", "clock"]), ("bus", &[]), ("clock", &["bus"])]
    {
        manager.register(Recorder::new(name, needs, &log), None).unwrap();
    }
    assert_eq!(manager.start_all(), 4);
    assert_eq!(taken(&log), ["start bus", "start clock", "start port", "start disk"]);
    let bus = manager.find("bus").unwrap();
    assert_eq!(manager.stop(bus), Err(DriverError::InUse));
    assert_eq!(taken(&log), [""; 0]);
    manager.stop_all();
    assert_eq!(taken(&log), ["stop disk", "stop port", "stop clock", "stop bus"]);
    manager.start(manager.find("clock").unwrap()).unwrap();
    assert_eq!(taken(&log), ["start bus", "start clock"], "stopped drivers start again");
}

#[test]
fn a_driver_whose_device_is_pulled_out_while_it_starts_is_stopped() {
    let (manager, log) = (Arc::new(DriverManager::new()), Log::default());
    let driver = Recorder::new("disk", &[], &log);
    *driver.pulled_out_of.lock().unwrap() = Some(manager.clone());
    let id = manager.register(driver, None).unwrap();
    assert_eq!(manager.start(id), Err(DriverError::Removed));
    assert_eq!(taken(&log), ["start disk", "pull out disk", "pull out disk", "stop disk"]);
    assert_eq!((manager.list(None).len(), manager.start_all()), (0, 0));
}

#[test]
fn circles_and_missing_drivers_are_errors_and_the_rest_starts() {
    let (manager, log) = (DriverManager::new(), Log::default());
    for (name, needs) in [("a", &["b"][..]), ("b", &["a"]), ("c", &["nobody"]), ("d", &[])] {
        manager.register(Recorder::new(name, needs, &log), None).unwrap();
    }
    assert_eq!(manager.start_all(), 1);
    assert_eq!(taken(&log), ["start d"]);
    let states: Vec<State> = manager.list(None).into_iter().map(|i| i.state).collect();
    assert_eq!(states[0], State::Failed(DriverError::Circle));
    assert_eq!(states[2], State::Failed(DriverError::Dependency("nobody")));
    assert_eq!(states[3], State::Running);
}

#[test]
fn a_driver_that_cannot_start_keeps_those_that_need_it_from_starting() {
    let (manager, log) = (DriverManager::new(), Log::default());
    manager.observe(Arc::new(Watcher(log.clone())));
    let broken = Recorder::new("broken", &[], &log);
    broken.fails.store(true, Ordering::Relaxed);
    let id = manager.register(broken.clone(), None).unwrap();
    manager.register(Recorder::new("user", &["broken"], &log), None).unwrap();
    assert_eq!(manager.start_all(), 0);
    // Tried twice: for itself, and for the one that needs it.
    let one = ["start broken", "broken: the device is broken: broken"];
    assert_eq!(taken(&log), [&one[..], &one, &["user: needs broken, which does not run"]].concat());
    broken.fails.store(false, Ordering::Relaxed);
    assert_eq!(manager.start(id), Ok(()));
    assert_eq!(manager.start(id), Ok(()), "a driver that runs needs no start");
    assert_eq!(taken(&log), ["start broken"]);
}

#[test]
fn names_are_unique_and_ids_are_not_used_again() {
    let (manager, log) = (DriverManager::new(), Log::default());
    let first = manager.register(Recorder::new("x", &[], &log), None).unwrap();
    let again = manager.register(Recorder::new("x", &[], &log), None);
    assert_eq!(again, Err(DriverError::Exists));
    assert_eq!(manager.find("x"), Some(first));
    assert_eq!(manager.get(first).unwrap().name(), "x");
    manager.remove(first).unwrap();
    assert!(manager.get(first).is_none() && manager.find("x").is_none());
    assert_eq!(manager.remove(first), Err(DriverError::NotFound));
    assert_ne!(manager.register(Recorder::new("x", &[], &log), None).unwrap(), first);
    assert_eq!(manager.list(Some(DriverType::Network)).len(), 0);
    assert_eq!(manager.list(Some(DriverType::Block)).len(), 1);
}

#[test]
fn disks_that_come_and_go_are_announced() {
    let (manager, log) = (DriverManager::new(), Log::default());
    manager.observe(Arc::new(Watcher(log.clone())));
    let driver = Recorder::new("ctl", &[], &log);
    let disk =
        |name: &str| -> Arc<dyn Requests> { Arc::new(GenericBlockDevice::new(name, 8, 512, 1).unwrap()) };
    driver.disks.lock().unwrap().push(disk("d0"));
    let id = manager.register(driver.clone(), None).unwrap();
    manager.start(id).unwrap();
    driver.disks.lock().unwrap().push(disk("d1"));
    manager.tick(0);
    driver.disks.lock().unwrap().remove(0);
    manager.tick(1);
    manager.tick(2);
    assert_eq!(taken(&log), ["start ctl", "new d0", "new d1", "gone d0"]);
    assert_eq!(manager.devices().len(), 1);
    manager.stop(id).unwrap();
    assert_eq!(taken(&log), ["gone d1", "stop ctl"]);
}

#[derive(Default)]
struct Plug(AtomicBool);

impl FakeDevice for Plug {
    fn bar_size(&self, _bar: u8) -> usize {
        0
    }
    fn read(&self, _bar: u8, _offset: usize, _size: u8) -> u64 {
        0
    }
    fn write(&self, _bar: u8, _offset: usize, _size: u8, _value: u64) {}
    fn is_present(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

fn function(plug: &Arc<Plug>) -> Found {
    function_at(plug, 0)
}

fn function_at(plug: &Arc<Plug>, bus: u8) -> Found {
    let identity =
        pci::Identity { vendor: 0x1234, device: 0xcafe, class: 0, subclass: 0xff, ..Default::default() };
    let address = pci::Address { bus, ..Default::default() };
    Found::Pci(pci::Function::fake(address, identity, plug.clone(), Wires::new()))
}

#[test]
fn what_somebody_wants_out_of_a_slot_is_stopped_before_the_slot_lets_it_go() {
    let (manager, log) = (DriverManager::new(), Log::default());
    manager.observe(Arc::new(Watcher(log.clone())));
    let (slot, plug) = (Recorder::new("slot", &[], &log), Arc::default());
    manager.register(slot.clone(), Some(function_at(&plug, 0))).unwrap();
    for (name, bus) in [("a", 3), ("b", 4), ("other", 5)] {
        let driver = Recorder::new(name, &[], &log);
        let disk = GenericBlockDevice::new(&format!("{name}0"), 8, 512, 1).unwrap();
        driver.disks.lock().unwrap().push(Arc::new(disk));
        manager.register(driver, Some(function_at(&plug, bus))).unwrap();
    }
    manager.register(Recorder::new("user", &["a"], &log), None).unwrap();
    manager.start_all();
    manager.tick(0);
    taken(&log);
    *slot.wanted_out.lock().unwrap() = Some(Buses { segment: 0, numbers: 3..=4 });
    manager.tick(1);
    let happened = taken(&log);
    let order = [
        "gone b0",
        "stop b",
        "b: the device was removed",
        "stop user",
        "gone a0",
        "stop a",
        "a: the device was removed",
        "release slot",
    ];
    assert_eq!(happened, order);
    manager.tick(2);
    assert_eq!(taken(&log), [""; 0]);
    assert!(manager.find("a").is_none() && manager.find("other").is_some());
}

#[test]
fn a_device_that_is_pulled_out_takes_its_driver_and_its_users_along() {
    let (manager, log) = (DriverManager::new(), Log::default());
    manager.observe(Arc::new(Watcher(log.clone())));
    let plug = Arc::new(Plug::default());
    let driver = Recorder::new("ctl", &[], &log);
    driver.disks.lock().unwrap().push(Arc::new(GenericBlockDevice::new("d0", 8, 512, 1).unwrap()));
    manager.register(driver, Some(function(&plug))).unwrap();
    manager.register(Recorder::new("user", &["ctl"], &log), None).unwrap();
    manager.start_all();
    assert!(manager.is_taken(&function(&plug)));
    manager.tick(0);
    taken(&log);
    plug.0.store(true, Ordering::Relaxed);
    manager.tick(1);
    let happened = taken(&log);
    assert_eq!(happened, ["pull out ctl", "stop user", "gone d0", "stop ctl", "ctl: the device was removed"]);
    assert!(manager.find("ctl").is_none() && !manager.is_taken(&function(&plug)));
}

#[test]
fn a_declined_device_goes_to_the_next_driver_that_matches() {
    fn declines(_: &Found) -> Result<Arc<dyn Driver>, DriverError> {
        Err(DriverError::Declined("wrong mood"))
    }
    fn takes(_: &Found) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(Recorder::new("taker", &[], &Log::default()))
    }
    fn never(_: &Found) -> Result<Arc<dyn Driver>, DriverError> {
        panic!("this driver does not match")
    }
    const OWN: Match = Match::PciIdentity { vendor: 0x1234, device: 0xcafe };
    const DISKS: Match = Match::PciClass { class: 1, subclass: 6, interface: Some(1) };
    const ANY: Match = Match::PciClass { class: 0, subclass: 0xff, interface: None };
    let other = DriverInfo { name: "other", matches: &[DISKS, Match::Name("PNP0501")], probe: never };
    let moody = DriverInfo { name: "moody", matches: &[OWN], probe: declines };
    let taker = DriverInfo { name: "taker", matches: &[DISKS, ANY], probe: takes };
    let (manager, found) = (DriverManager::new(), function(&Arc::default()));
    assert_eq!(manager.probe(&found, &[&other]), Err(DriverError::NotFound));
    assert_eq!(manager.probe(&found, &[&other, &moody]), Err(DriverError::Declined("wrong mood")));
    let id = manager.probe(&found, &[&other, &moody, &taker]).unwrap();
    assert_eq!(manager.get(id).unwrap().name(), "taker");
}
