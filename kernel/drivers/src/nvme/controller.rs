// SPDX-License-Identifier: MIT OR Apache-2.0
//! The controller: start, recovery, removal, shutdown. Source: NVM Express Base Specification 2.0, sections 3.5 and 3.6.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use alloc::{sync::Arc, vec::Vec};

use exo_platform::{Dma, InterruptHandler, InterruptKind, Registers, SpinLock, cpu_count, node_of_cpu, pci};

use super::{
    admin::{Admin, AdminError},
    command::{Command, Identify},
    identify::{self, ControllerInfo, NamespaceInfo},
    queue::{Health, IoQueue, MAX_ENTRIES},
    registers::{Capabilities, Status, configuration, doorbells, offset},
    shadow::{Shadow, ShadowPages},
};
use crate::{
    DriverError,
    block::{Cause, DeviceName, queue_of},
    bus::{self, Access},
};

/// How long an admin command may take when the controller is started.
const START_LIMIT_NS: u64 = 2_000_000_000;
/// The same when it is recovered, where a CPU waits that others may need.
const RECOVERY_LIMIT_NS: u64 = 100_000_000;
/// How long to wait for commands under way, and then for the controller, at shutdown.
const SHUTDOWN_LIMIT_NS: u64 = 2_000_000_000;
/// Between two looks at a register.
const PAUSE_NS: u64 = 10_000;
/// Completion queue entries for each submission queue entry: the surplus lets completions be acknowledged late.
const COMPLETION_FACTOR: u16 = 2;
/// Resets without a command completed in between after which the controller is given up.
const MAX_RESETS: u32 = 3;
/// Namespaces that are made disks of, at most.
const MAX_NAMESPACES: usize = 64;

/// What the controller is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Commands are taken.
    Running,
    /// It was told to stop, and should have done so by then.
    Stopping { until_ns: u64 },
    /// It was told to start, and should have done so by then.
    Starting { until_ns: u64 },
    /// Over: given up, removed or shut down.
    Ended,
}

/// What changes as a controller runs, apart from its queues.
struct State {
    phase: Phase,
    /// Resets since a command last completed, and how many had completed then.
    resets: u32,
    completed: u64,
}

/// The queues, which the interrupt handler shares with the controller.
pub(super) struct Queues {
    admin: SpinLock<Admin>,
    io: Vec<IoQueue>,
    /// Interrupts come by a line, which stays up until everything is acknowledged.
    is_line: AtomicBool,
    vectors: AtomicUsize,
}

impl InterruptHandler for Queues {
    fn interrupt(&self, index: usize) {
        let vectors = self.vectors.load(Ordering::Relaxed).max(1);
        for queue in self.io.iter().skip(index).step_by(vectors) {
            queue.poll();
        }
        if self.is_line.load(Ordering::Relaxed) {
            // If the lock is taken, whoever has it is waiting for the answer and acknowledges it.
            if let Some(mut admin) = self.admin.try_lock() {
                admin.take(None);
            }
        }
    }
}

/// A controller, and the numbers and formats of its namespaces.
pub(super) type Started = (Arc<Controller>, Vec<(u32, NamespaceInfo)>);

/// A controller that was started.
pub(super) struct Controller {
    name: DeviceName,
    function: pci::Function,
    registers: Registers,
    capabilities: Capabilities,
    pub(super) info: ControllerInfo,
    queues: Arc<Queues>,
    /// Doorbells in memory, if the controller can have them there.
    shadows: Option<Arc<ShadowPages>>,
    interrupts: SpinLock<Option<pci::Interrupts>>,
    state: SpinLock<State>,
    is_present: AtomicBool,
}

impl From<AdminError> for DriverError {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::TimedOut => Self::TimedOut("the answer to an admin command"),
            AdminError::Gone => Self::Removed,
            AdminError::Status(_) => Self::Device("an admin command failed"),
        }
    }
}

impl Controller {
    /// Starts the controller behind `function`; gives it and its namespaces.
    pub(super) fn start(name: DeviceName, function: &pci::Function) -> Result<Started, DriverError> {
        let (mut admin, page, queues, shadows);
        // Declared after the memory that the controller is told of, so that on an early end it loses access before that is freed.
        let access = Access::grant(function);
        let registers = function.bar(0)?;
        let capabilities = Capabilities::read(&registers);
        check_capabilities(&registers, capabilities)?;
        let timeout = capabilities.ready_timeout_ns();
        registers.write32(offset::CONFIGURATION, 0);
        wait_until(&registers, timeout, "the controller to stop", |status| !status.is_ready())?;

        admin = Admin::new(&registers, capabilities.doorbell_stride())?;
        admin.announce();
        registers.write32(offset::CONFIGURATION, configuration::FORMAT | configuration::ENABLE);
        wait_until(&registers, timeout, "the controller to start", Status::is_ready)?;

        page = Dma::new(identify::BYTES, identify::BYTES, None)?;
        let identify_page = |admin: &mut Admin, what| -> Result<[u8; identify::BYTES], AdminError> {
            admin.execute(Command::identify(what, page.address()), START_LIMIT_NS)?;
            let mut bytes = [0; identify::BYTES];
            page.read_bytes(0, &mut bytes);
            Ok(bytes)
        };
        let info = ControllerInfo::parse(&identify_page(&mut admin, Identify::Controller)?);
        shadows = if info.has_shadow_doorbells { Some(ShadowPages::new()?) } else { None };
        let mut namespaces = Vec::new();
        let numbers = identify::namespace_list(&identify_page(&mut admin, Identify::NamespacesAbove(0))?);
        for number in numbers.into_iter().take(MAX_NAMESPACES) {
            // A namespace that is no disk is no reason to do without the others.
            if let Ok(namespace) =
                NamespaceInfo::parse(&identify_page(&mut admin, Identify::Namespace(number))?)
            {
                namespaces.push((number, namespace));
            }
        }

        let wanted = u16::try_from(cpu_count()).unwrap_or(u16::MAX).max(1);
        let count = agree_on_queues(&mut admin, wanted, START_LIMIT_NS)?;
        let io = make_queues(&registers, capabilities, name, count)?;
        queues = Arc::new(Queues {
            admin: SpinLock::new(admin),
            io,
            is_line: AtomicBool::new(false),
            vectors: AtomicUsize::new(1),
        });
        let interrupts = function.interrupts(usize::from(count), queues.clone())?;
        queues.vectors.store(interrupts.count(), Ordering::Relaxed);
        let is_line = interrupts.kind() == InterruptKind::Line;
        queues.is_line.store(is_line, Ordering::Relaxed);
        if !is_line {
            queues.io.iter().for_each(IoQueue::acknowledge_lazily);
        }
        let this = Self {
            name,
            function: function.clone(),
            registers,
            capabilities,
            info,
            // Clones: if this goes on an early end, it must not take the memory with it.
            queues: queues.clone(),
            shadows: shadows.clone(),
            interrupts: SpinLock::new(Some(interrupts)),
            state: SpinLock::new(State { phase: Phase::Running, resets: 0, completed: 0 }),
            is_present: AtomicBool::new(true),
        };
        this.create_queues(START_LIMIT_NS)?;
        access.keep();
        Ok((Arc::new(this), namespaces))
    }

    pub(super) fn name(&self) -> &DeviceName {
        &self.name
    }

    pub(super) fn is_present(&self) -> bool {
        self.is_present.load(Ordering::Acquire)
    }

    /// The queue of a CPU.
    #[inline]
    pub(super) fn queue(&self, cpu: usize) -> Option<&IoQueue> {
        queue_of(&self.queues.io, cpu)
    }

    pub(super) fn queue_count(&self) -> usize {
        self.queues.io.len()
    }

    /// Requests that one queue holds.
    pub(super) fn depth(&self) -> usize {
        self.queues.io.first().map_or(0, |queue| usize::from(queue.memory().1.0.saturating_sub(1)))
    }

    /// Makes the queue pairs known to the controller, which has none.
    fn create_queues(&self, limit_ns: u64) -> Result<(), AdminError> {
        let mut admin = self.queues.admin.lock();
        let vectors = self.queues.vectors.load(Ordering::Relaxed).max(1) as u16;
        for (index, queue) in (0_u16..).zip(&self.queues.io) {
            let ((submissions, completions), entries) = queue.memory();
            let vector = index % vectors;
            let command = Command::create_completion_queue(queue.number, entries.1, completions, vector);
            admin.execute(command, limit_ns)?;
            admin
                .execute(Command::create_submission_queue(queue.number, entries.0, submissions), limit_ns)?;
        }
        let has_shadows = match &self.shadows {
            Some(pages) => {
                pages.clear();
                // A controller that does not want them after all has its registers.
                admin.execute(Command::configure_doorbell_buffer(pages.addresses()), limit_ns).is_ok()
            }
            None => false,
        };
        drop(admin);
        for queue in &self.queues.io {
            let pages = self.shadows.as_ref().filter(|_| has_shadows);
            queue.set_shadows(pages.and_then(|pages| self.shadows_of(queue.number, pages)));
            queue.release();
        }
        Ok(())
    }

    fn shadows_of(&self, queue: u16, pages: &Arc<ShadowPages>) -> Option<(Shadow, Shadow)> {
        let (submission, completion) = doorbells(queue, self.capabilities.doorbell_stride());
        let shadow = |register: usize| Shadow::new(pages, register - offset::DOORBELLS);
        Some((shadow(submission)?, shadow(completion)?))
    }

    /// Looks for what went wrong since the last call and goes on with what is being mended. Called a few times a second.
    pub(super) fn check(&self, now_ns: u64) {
        // Whoever has the lock is doing this very thing.
        let Some(mut state) = self.state.try_lock() else { return };
        if state.phase == Phase::Ended {
            return;
        }
        let status = Status::read(&self.registers);
        if status.is_gone() {
            return self.end(&mut state, Cause::Removed);
        }
        match state.phase {
            Phase::Running => self.check_running(&mut state, status, now_ns),
            Phase::Stopping { .. } if !status.is_ready() => self.restart(&mut state, now_ns),
            Phase::Starting { .. } if status.is_ready() => self.resume(&mut state, now_ns),
            Phase::Stopping { until_ns } | Phase::Starting { until_ns } => {
                if now_ns > until_ns {
                    self.end(&mut state, Cause::TimedOut);
                }
            }
            Phase::Ended => {}
        }
    }

    fn check_running(&self, state: &mut State, status: Status, now_ns: u64) {
        let mut is_stuck = status.is_fatal() || !status.is_ready();
        let mut completed = 0_u64;
        for queue in &self.queues.io {
            // An interrupt may have been lost.
            queue.poll();
            completed = completed.wrapping_add(queue.completed());
            match queue.check(now_ns) {
                Health::Good => {}
                Health::Abort(identifier) => {
                    self.queues.admin.lock().abort(queue.number, identifier);
                }
                Health::Stuck => is_stuck = true,
            }
        }
        if completed != state.completed {
            (state.completed, state.resets) = (completed, 0);
        }
        if is_stuck {
            self.reset(state, now_ns);
        }
    }

    /// Takes the controller out of service, to start it again.
    fn reset(&self, state: &mut State, now_ns: u64) {
        if state.resets >= MAX_RESETS {
            return self.end(state, Cause::TimedOut);
        }
        state.resets += 1;
        self.queues.io.iter().for_each(IoQueue::hold);
        self.registers.write32(offset::CONFIGURATION, 0);
        let until_ns = now_ns.saturating_add(self.capabilities.ready_timeout_ns());
        state.phase = Phase::Stopping { until_ns };
        if !Status::read(&self.registers).is_ready() {
            self.restart(state, now_ns);
        }
    }

    /// The controller has stopped and touches no memory: ends what is to blame and starts it again.
    fn restart(&self, state: &mut State, now_ns: u64) {
        self.queues.io.iter().for_each(IoQueue::forget);
        self.queues.admin.lock().announce();
        self.registers.write32(offset::CONFIGURATION, configuration::FORMAT | configuration::ENABLE);
        let until_ns = now_ns.saturating_add(self.capabilities.ready_timeout_ns());
        state.phase = Phase::Starting { until_ns };
        if Status::read(&self.registers).is_ready() {
            self.resume(state, now_ns);
        }
    }

    /// The controller is ready again: gives it its queues, and what waits in them.
    fn resume(&self, state: &mut State, now_ns: u64) {
        let count = u16::try_from(self.queues.io.len()).unwrap_or(u16::MAX);
        let agreed = agree_on_queues(&mut self.queues.admin.lock(), count, RECOVERY_LIMIT_NS);
        let is_enough = matches!(agreed, Ok(given) if given >= count);
        if is_enough && self.create_queues(RECOVERY_LIMIT_NS).is_ok() {
            state.phase = Phase::Running;
        } else {
            self.reset(state, now_ns);
        }
    }

    /// Gives the controller up: it reaches no memory any more, and all requests end with `cause`.
    fn end(&self, state: &mut State, cause: Cause) {
        state.phase = Phase::Ended;
        self.is_present.store(false, Ordering::Release);
        self.function.disable();
        self.queues.io.iter().for_each(|queue| queue.close(cause));
    }

    /// The device was pulled out.
    pub(super) fn remove(&self) {
        self.end_if_running(Cause::Removed);
        *self.interrupts.lock() = None;
    }

    fn end_if_running(&self, cause: Cause) {
        let mut state = self.state.lock();
        if state.phase != Phase::Ended {
            self.end(&mut state, cause);
        }
    }

    /// Finishes what is under way and switches the controller off in an orderly way.
    pub(super) fn shut_down(&self) -> Result<(), DriverError> {
        self.queues.io.iter().for_each(|queue| queue.refuse(Cause::NotReady));
        let mut result = Ok(());
        if self.is_present() && self.state.lock().phase == Phase::Running {
            // What is not done by then ends below.
            bus::wait_until(SHUTDOWN_LIMIT_NS, PAUSE_NS, || {
                self.queues.io.iter().map(IoQueue::drain).sum::<usize>() == 0
            });
            let stop = configuration::FORMAT | configuration::ENABLE | configuration::SHUTDOWN;
            self.registers.write32(offset::CONFIGURATION, stop);
            result =
                wait_until(&self.registers, SHUTDOWN_LIMIT_NS, "the controller to shut down", |status| {
                    status.is_shut_down()
                });
            self.registers.write32(offset::CONFIGURATION, 0);
        }
        self.end_if_running(Cause::NotReady);
        *self.interrupts.lock() = None;
        result
    }
}

/// Whether this driver can work with such a controller.
fn check_capabilities(registers: &Registers, capabilities: Capabilities) -> Result<(), DriverError> {
    if Status::read(registers).is_gone() {
        return Err(DriverError::Removed);
    }
    if !capabilities.has_nvm_commands() {
        return Err(DriverError::Declined("it has no NVM command set"));
    }
    if !capabilities.has_4k_pages() {
        return Err(DriverError::Declined("it has no pages of 4 KiB"));
    }
    if capabilities.max_queue_entries() < 2 {
        return Err(DriverError::Device("its queues have one entry"));
    }
    Ok(())
}

/// Asks for `wanted` queue pairs; how many there will be, at most that.
fn agree_on_queues(admin: &mut Admin, wanted: u16, limit_ns: u64) -> Result<u16, AdminError> {
    let granted = admin.execute(Command::set_number_of_queues(wanted), limit_ns)?;
    // Less one each: submission queues in the lower half, completion queues in the upper.
    let (submission, completion) = (granted as u16, (granted >> 16) as u16);
    Ok(submission.min(completion).saturating_add(1).min(wanted))
}

fn make_queues(
    registers: &Registers,
    capabilities: Capabilities,
    name: DeviceName,
    count: u16,
) -> Result<Vec<IoQueue>, DriverError> {
    let most = u16::try_from(capabilities.max_queue_entries()).unwrap_or(u16::MAX);
    let entries = most.min(MAX_ENTRIES);
    let completion_entries = most.min(entries.saturating_mul(COMPLETION_FACTOR));
    let stride = capabilities.doorbell_stride();
    (0..count)
        .map(|index| {
            let node = Some(node_of_cpu(usize::from(index)));
            let number = index + 1;
            let bells = doorbells(number, stride);
            let queue =
                IoQueue::new(number, name, registers.clone(), bells, (entries, completion_entries), node)?;
            Ok(queue)
        })
        .collect()
}

/// Waits until the status is as `wanted`, at most `limit_ns`.
fn wait_until(
    registers: &Registers,
    limit_ns: u64,
    what: &'static str,
    wanted: impl Fn(Status) -> bool,
) -> Result<(), DriverError> {
    let mut status = Status::read(registers);
    bus::wait_until(limit_ns, PAUSE_NS, || {
        status = Status::read(registers);
        status.is_gone() || status.is_fatal() || wanted(status)
    });
    if status.is_gone() {
        return Err(DriverError::Removed);
    }
    if wanted(status) {
        return Ok(());
    }
    Err(if status.is_fatal() {
        DriverError::Device("the controller reports a fatal error")
    } else {
        DriverError::TimedOut(what)
    })
}
