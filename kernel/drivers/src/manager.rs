// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver manager: which drivers there are, in which state, and what they offer.
//!
//! It holds no lock while it calls a driver, so that a driver may take its time and the manager can still be asked. Two calls that
//! change the same driver's state at once cannot both go on: the second finds it [`State::Changing`].

use alloc::{
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use exo_platform::SpinLock;

use crate::{
    Buses, Device, Driver, DriverError, DriverType,
    bus::{DriverInfo, Found},
};

/// Names a registered driver; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DriverId(pub u32);

/// What a driver is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Registered, and not started yet.
    Registered,
    /// Being started or stopped.
    Changing,
    /// Started.
    Running,
    /// Stopped; may be started again.
    Stopped,
    /// Could not be started, for this reason.
    Failed(DriverError),
}

/// What is known about a driver.
#[derive(Clone, Debug)]
pub struct Info {
    /// Its id.
    pub id: DriverId,
    /// Its name.
    pub name: String,
    /// Its type.
    pub driver_type: DriverType,
    /// What it is doing.
    pub state: State,
    /// How many devices it offers.
    pub devices: usize,
}

/// Who is told of devices that come and go.
pub trait Observer: Send + Sync {
    /// A driver offers a new device.
    fn added(&self, driver: DriverId, device: &Device);
    /// A device is not offered any more.
    fn removed(&self, driver: DriverId, device: &Device);
    /// A driver was pulled out, could not be started, or something else happened that people want to read of.
    fn note(&self, name: &str, error: &DriverError) {
        let _ = (name, error);
    }
}

struct Entry {
    id: DriverId,
    driver: Arc<dyn Driver>,
    found: Option<Found>,
    state: State,
    devices: Vec<Device>,
}

struct Inner {
    entries: Vec<Entry>,
    /// Drivers that run, in the order in which they were started.
    started: Vec<DriverId>,
    last: u32,
    observer: Option<Arc<dyn Observer>>,
}

/// The drivers of a machine.
pub struct DriverManager {
    inner: SpinLock<Inner>,
}

static MANAGER: DriverManager = DriverManager::new();

/// The kernel's manager.
pub fn manager() -> &'static DriverManager {
    &MANAGER
}

impl Default for DriverManager {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    fn entry(&mut self, id: DriverId) -> Result<&mut Entry, DriverError> {
        self.entries.iter_mut().find(|e| e.id == id).ok_or(DriverError::NotFound)
    }

    fn runs(&self, name: &str) -> bool {
        self.entries.iter().any(|e| e.driver.name() == name && e.state == State::Running)
    }
}

impl DriverManager {
    /// A manager without drivers.
    pub const fn new() -> Self {
        let inner = Inner { entries: Vec::new(), started: Vec::new(), last: 0, observer: None };
        Self { inner: SpinLock::new(inner) }
    }

    /// Sets who is told of devices from now on.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.inner.lock().observer = Some(observer);
    }

    /// Registers a driver, for the device `found` if there is one, which is then watched.
    ///
    /// # Errors
    /// [`DriverError::Exists`] if the name is taken.
    pub fn register(&self, driver: Arc<dyn Driver>, found: Option<Found>) -> Result<DriverId, DriverError> {
        let mut inner = self.inner.lock();
        if inner.entries.iter().any(|e| e.driver.name() == driver.name()) {
            return Err(DriverError::Exists);
        }
        inner.last += 1;
        let id = DriverId(inner.last);
        inner.entries.push(Entry { id, driver, found, state: State::Registered, devices: Vec::new() });
        Ok(id)
    }

    /// Offers a device to the drivers of `table` that match it, in order, until one takes it. That one is registered.
    ///
    /// # Errors
    /// What the last driver that matched said; [`DriverError::NotFound`] if none matched.
    pub fn probe(&self, found: &Found, table: &[&DriverInfo]) -> Result<DriverId, DriverError> {
        let mut last = DriverError::NotFound;
        let fitting = table.iter().filter(|info| info.matches.iter().any(|rule| found.fits(rule)));
        for info in fitting {
            match (info.probe)(found) {
                Ok(driver) => return self.register(driver, Some(found.clone())),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whether a registered driver has this device.
    pub fn is_taken(&self, found: &Found) -> bool {
        self.inner.lock().entries.iter().any(|e| e.found.as_ref().is_some_and(|f| f.is_same(found)))
    }

    /// The driver with an id.
    pub fn get(&self, id: DriverId) -> Option<Arc<dyn Driver>> {
        self.inner.lock().entry(id).ok().map(|e| e.driver.clone())
    }

    /// The id of the driver with a name.
    pub fn find(&self, name: &str) -> Option<DriverId> {
        self.inner.lock().entries.iter().find(|e| e.driver.name() == name).map(|e| e.id)
    }

    /// What is known about all drivers, or those of one type, in the order in which they were registered.
    pub fn list(&self, driver_type: Option<DriverType>) -> Vec<Info> {
        let inner = self.inner.lock();
        let wanted = inner.entries.iter().filter(|e| driver_type.is_none_or(|t| t == e.driver.driver_type()));
        wanted
            .map(|e| Info {
                id: e.id,
                name: e.driver.name().to_string(),
                driver_type: e.driver.driver_type(),
                state: e.state.clone(),
                devices: e.devices.len(),
            })
            .collect()
    }

    /// The devices that all running drivers offer.
    pub fn devices(&self) -> Vec<Device> {
        self.inner.lock().entries.iter().flat_map(|e| e.devices.iter().cloned()).collect()
    }

    /// Starts a driver, and before it those that it depends on.
    ///
    /// # Errors
    /// What its `init` said, or what is wrong with a driver that it depends on.
    pub fn start(&self, id: DriverId) -> Result<(), DriverError> {
        self.start_after(id, &mut Vec::new())
    }

    fn start_after(&self, id: DriverId, path: &mut Vec<DriverId>) -> Result<(), DriverError> {
        if path.contains(&id) {
            return Err(DriverError::Circle);
        }
        path.push(id);
        let driver = self.get(id).ok_or(DriverError::NotFound)?;
        for name in driver.depends_on() {
            if self.inner.lock().runs(name) {
                continue;
            }
            let needed = self.find(name).ok_or(DriverError::Dependency(name));
            let result = needed.and_then(|needed| self.start_after(needed, path));
            result.map_err(|error| match error {
                DriverError::Circle => error,
                _ => DriverError::Dependency(name),
            })?;
        }
        path.pop();
        {
            let mut inner = self.inner.lock();
            let entry = inner.entry(id)?;
            match entry.state {
                State::Running => return Ok(()),
                State::Changing => return Err(DriverError::InUse),
                State::Registered | State::Stopped | State::Failed(_) => entry.state = State::Changing,
            }
        }
        let result = driver.init();
        let is_kept = {
            let mut inner = self.inner.lock();
            match (inner.entry(id), &result) {
                (Ok(entry), Ok(())) => {
                    entry.state = State::Running;
                    inner.started.push(id);
                    true
                }
                (Ok(entry), Err(error)) => {
                    entry.state = State::Failed(error.clone());
                    true
                }
                (Err(_), _) => false,
            }
        };
        if !is_kept {
            // Its device was pulled out while it started: what it has started, nobody else would stop.
            if result.is_ok() {
                driver.removed();
                driver.shutdown()?;
            }
            return Err(DriverError::Removed);
        }
        match &result {
            Ok(()) => self.refresh(id),
            Err(error) => self.note(driver.name(), error),
        }
        result
    }

    /// Starts all drivers that were not started yet, each after what it depends on. A driver that cannot be started is noted, and left
    /// out; how many run.
    pub fn start_all(&self) -> usize {
        let waiting: Vec<DriverId> = {
            let inner = self.inner.lock();
            inner.entries.iter().filter(|e| e.state == State::Registered).map(|e| e.id).collect()
        };
        for id in waiting {
            if let Err(error) = self.start(id) {
                let mut inner = self.inner.lock();
                let Ok(entry) = inner.entry(id) else { continue };
                // One whose `init` failed is noted already.
                if entry.state == State::Registered {
                    entry.state = State::Failed(error.clone());
                    let name = entry.driver.name().to_string();
                    drop(inner);
                    self.note(&name, &error);
                }
            }
        }
        self.inner.lock().started.len()
    }

    /// Stops a driver.
    ///
    /// # Errors
    /// [`DriverError::InUse`] if one that runs depends on it, [`DriverError::NotReady`] if it does not run, or what its `shutdown`
    /// said; then it is stopped nevertheless.
    pub fn stop(&self, id: DriverId) -> Result<(), DriverError> {
        {
            let mut inner = self.inner.lock();
            let name = inner.entry(id)?.driver.name().to_string();
            let needs = |e: &Entry| e.state == State::Running && e.driver.depends_on().contains(&&*name);
            if inner.entries.iter().any(needs) {
                return Err(DriverError::InUse);
            }
        }
        self.stop_alone(id)
    }

    fn stop_alone(&self, id: DriverId) -> Result<(), DriverError> {
        let (driver, devices) = {
            let mut inner = self.inner.lock();
            let entry = inner.entry(id)?;
            if entry.state != State::Running {
                return Err(DriverError::NotReady);
            }
            entry.state = State::Changing;
            let out = (entry.driver.clone(), core::mem::take(&mut entry.devices));
            inner.started.retain(|s| *s != id);
            out
        };
        self.tell_removed(id, &devices);
        let result = driver.shutdown();
        if let Ok(entry) = self.inner.lock().entry(id) {
            entry.state = State::Stopped;
        }
        result
    }

    /// Stops all drivers, the last started first.
    pub fn stop_all(&self) {
        loop {
            let last = self.inner.lock().started.last().copied();
            let Some(id) = last else { return };
            if let Err(error) = self.stop_alone(id) {
                let name = self.get(id).map(|d| d.name().to_string()).unwrap_or_default();
                self.note(&name, &error);
                // Whatever went wrong: it must not be tried for ever.
                self.inner.lock().started.retain(|s| *s != id);
            }
        }
    }

    /// A driver's device was pulled out: everything under way ends, its devices go, and so does the driver. Those that depend on it
    /// are stopped.
    ///
    /// # Errors
    /// [`DriverError::NotFound`].
    pub fn remove(&self, id: DriverId) -> Result<(), DriverError> {
        let driver = self.get(id).ok_or(DriverError::NotFound)?;
        driver.removed();
        self.take_out(id, &*driver);
        Ok(())
    }

    /// Somebody wants a driver's device out, which still answers: what is under way is finished, as in [`stop`](Self::stop), and the
    /// driver goes with its devices. Those that depend on it are stopped.
    ///
    /// # Errors
    /// [`DriverError::NotFound`].
    pub fn eject(&self, id: DriverId) -> Result<(), DriverError> {
        let driver = self.get(id).ok_or(DriverError::NotFound)?;
        self.take_out(id, &*driver);
        Ok(())
    }

    fn take_out(&self, id: DriverId, driver: &dyn Driver) {
        let dependents: Vec<DriverId> = {
            let inner = self.inner.lock();
            let needs =
                |e: &&Entry| e.state == State::Running && e.driver.depends_on().contains(&driver.name());
            inner.entries.iter().filter(needs).map(|e| e.id).collect()
        };
        for dependent in dependents {
            // What it could not stop in order is of no interest now.
            let _ = self.stop_alone(dependent);
        }
        // A driver that did not run has nothing to stop.
        let _ = self.stop_alone(id);
        let gone = {
            let mut inner = self.inner.lock();
            let at = inner.entries.iter().position(|e| e.id == id);
            at.map(|at| inner.entries.remove(at))
        };
        // Two may have taken it out at once.
        if gone.is_some() {
            self.note(driver.name(), &DriverError::Removed);
        }
    }

    /// Ejects what is behind a driver's slot, the last that was found first.
    fn empty(&self, slot: &dyn Driver, buses: &Buses) {
        let mut behind: Vec<DriverId> = {
            let inner = self.inner.lock();
            let is_behind = |e: &&Entry| e.found.as_ref().is_some_and(|found| buses.contain(found));
            inner.entries.iter().filter(is_behind).map(|e| e.id).collect()
        };
        while let Some(id) = behind.pop() {
            // One that was pulled out meanwhile is out.
            let _ = self.eject(id);
        }
        slot.release();
    }

    fn is_running(&self, id: DriverId) -> bool {
        self.inner.lock().entry(id).is_ok_and(|e| e.state == State::Running)
    }

    /// What a timer calls a few times a second: looks for devices that were pulled out or that somebody wants out, for disks that came or
    /// went, and for requests that take too long.
    pub fn tick(&self, now_ns: u64) {
        let running: Vec<(DriverId, Arc<dyn Driver>, bool)> = {
            let inner = self.inner.lock();
            let running = inner.entries.iter().filter(|e| e.state == State::Running);
            running
                .map(|e| (e.id, e.driver.clone(), e.found.as_ref().is_none_or(Found::is_present)))
                .collect()
        };
        for (id, driver, is_present) in running {
            if !is_present {
                // Somebody else may have removed it already.
                let _ = self.remove(id);
                continue;
            }
            // One before it may have taken it along: it depends on that one, or was in its slot.
            if !self.is_running(id) {
                continue;
            }
            driver.tick(now_ns);
            if let Some(buses) = driver.wanted_out() {
                self.empty(&*driver, &buses);
            }
            for device in driver.devices() {
                if let Device::Block(block) = device {
                    block.check_timeouts(now_ns);
                }
            }
            self.refresh(id);
        }
    }

    /// Asks a driver what it offers, and tells the observer what has changed.
    fn refresh(&self, id: DriverId) {
        let Some(driver) = self.get(id) else { return };
        let now = driver.devices();
        let before = {
            let mut inner = self.inner.lock();
            let Ok(entry) = inner.entry(id) else { return };
            if entry.state != State::Running {
                return;
            }
            core::mem::replace(&mut entry.devices, now.clone())
        };
        let gone: Vec<Device> =
            before.iter().filter(|d| !now.iter().any(|n| n.is_same(d))).cloned().collect();
        self.tell_removed(id, &gone);
        let observer = self.inner.lock().observer.clone();
        if let Some(observer) = observer {
            for device in now.iter().filter(|d| !before.iter().any(|b| b.is_same(d))) {
                observer.added(id, device);
            }
        }
    }

    fn tell_removed(&self, id: DriverId, devices: &[Device]) {
        let observer = self.inner.lock().observer.clone();
        if let Some(observer) = observer {
            devices.iter().for_each(|device| observer.removed(id, device));
        }
    }

    fn note(&self, name: &str, error: &DriverError) {
        let observer = self.inner.lock().observer.clone();
        if let Some(observer) = observer {
            observer.note(name, error);
        }
    }
}

#[cfg(test)]
#[path = "manager_tests.rs"]
mod tests;
