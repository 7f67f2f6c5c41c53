// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interfaces: `lo`, and `eth0` and so on for the devices. `exo.net=` on the command line says how those get their addresses (`dhcp`,
//! which is usual, `off`, or an address such as `10.0.2.15/24,10.0.2.2`). Programs find them in /proc/net, and
//! ask sockets about them (`requests`).

use core::{
    fmt::Write,
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use alloc::{format, string::String, sync::Arc, vec::Vec};

use exo_drivers::network::{
    Direction, FrameListener, NetworkDevice,
    interface::{Interface, Setup},
    loopback::Loopback,
};
use exo_hal::{PAGE_SIZE, boot, log, mm::frame, sync::SpinLock, time};
use exo_logic::boot_options;

use crate::{
    errno::{Errno, Result},
    random,
    sched::{
        timer::{self, Action},
        wait::{WaitQueue, wait_on},
    },
};

static INTERFACES: SpinLock<Vec<Entry>> = SpinLock::new(Vec::new());

/// An interface, and how busy it is.
struct Entry {
    interface: Arc<Interface>,
    /// Frames so far, in and out, when they were looked at last.
    seen: [u64; 2],
    /// Frames of the last second.
    per_second: [u64; 2],
}

/// Between two looks at how busy the interfaces are.
const SECOND_NS: u64 = 1_000_000_000;

fn look() {
    for entry in &mut *INTERFACES.lock() {
        let counters = entry.interface.device().counters();
        let now = [counters.of(Direction::In).frames, counters.of(Direction::Out).frames];
        for ((rate, seen), now) in entry.per_second.iter_mut().zip(&mut entry.seen).zip(now) {
            *rate = now.saturating_sub(*seen);
            *seen = now;
        }
    }
    timer::add(time::now_ns() + SECOND_NS, Action::Call(look));
}
/// When the interfaces are looked at next; [`NEVER`] if nothing is due.
static NEXT: AtomicU64 = AtomicU64::new(NEVER);
const NEVER: u64 = u64::MAX;

/// Lets an interface work when its device says that something has happened.
struct Worker(Arc<Interface>);

impl FrameListener for Worker {
    fn happened(&self) {
        if HAS_THREAD.load(Ordering::Relaxed) { call_thread() } else { work(&self.0) }
    }
}

/// All interfaces. Nothing is locked meanwhile: one that comes or goes may be left out.
pub(crate) fn all() -> impl Iterator<Item = Arc<Interface>> {
    (0..).map_while(|at| INTERFACES.lock().get(at).map(|entry| entry.interface.clone()))
}

/// Lets an interface work, and sees to it that it does again when the time has come.
pub(crate) fn work(interface: &Interface) {
    let now = time::now_ns();
    if let Some(next) = interface.poll(now) {
        if next <= now && HAS_THREAD.load(Ordering::Relaxed) {
            // It has not come to the end, and lets others work in between.
            call_thread();
            return;
        }
        // A timer for each time that moves forward; the later one then finds nothing to do.
        if next < NEXT.fetch_min(next, Ordering::Relaxed) {
            timer::add(next, Action::Call(work_all));
        }
    }
}

fn work_all() {
    // A timer that was overtaken: what it was for was done, and has a timer of its own again.
    if time::now_ns() < NEXT.load(Ordering::Relaxed) {
        return;
    }
    NEXT.store(NEVER, Ordering::Relaxed);
    if HAS_THREAD.load(Ordering::Relaxed) {
        call_thread();
    } else {
        work_on_all();
    }
}

/// Lets all interfaces work.
fn work_on_all() {
    all().for_each(|interface| work(&interface));
}

/// Whether a thread works for the interfaces: interrupts only call it then.
static HAS_THREAD: AtomicBool = AtomicBool::new(false);
static IS_CALLED: AtomicBool = AtomicBool::new(false);
static CALLED: WaitQueue = WaitQueue::new();

/// From now on the running thread works for the interfaces.
pub(crate) fn begin_thread() {
    HAS_THREAD.store(true, Ordering::Relaxed);
    call_thread();
}

/// There is something to do for it.
pub(crate) fn call_thread() {
    IS_CALLED.store(true, Ordering::SeqCst);
    CALLED.wake_all();
}

/// Waits until there is.
pub(crate) fn wait_for_work() {
    let is_called = || IS_CALLED.swap(false, Ordering::SeqCst).then_some(());
    // A thread of the kernel's is ended by nobody.
    let _ = wait_on(&[&CALLED], None, false, is_called);
}

/// The interfaces that lead to other machines.
pub(crate) fn to_others() -> impl Iterator<Item = Arc<Interface>> {
    all().filter(|interface| interface.device().hardware_address().is_some())
}

/// An interface's number, from 1.
pub(crate) fn number_of(interface: &Arc<Interface>) -> u32 {
    all().zip(1..).find(|(one, _)| Arc::ptr_eq(one, interface)).map_or(0, |(_, number)| number)
}

/// The interface by which an address is reached best, and that one's own.
pub(crate) fn way_to(target: Ipv4Addr) -> Option<(Arc<Interface>, Ipv4Addr)> {
    let interface = best_for(target)?;
    let (own, _) = interface.address()?;
    Some((interface, own))
}

/// The interface by which an address is reached best.
fn best_for(target: Ipv4Addr) -> Option<Arc<Interface>> {
    let ways = all().filter_map(|interface| Some((interface.reaches(target)?, interface)));
    ways.max_by_key(|(bits, _)| *bits).map(|(_, interface)| interface)
}

fn enter(name: &str, device: Arc<dyn NetworkDevice>, setup: Setup) {
    let mut seed = [0; 8];
    random::fill(&mut seed);
    let interface = Interface::new(name, device, setup, u64::from_le_bytes(seed), time::now_ns());
    // As about on Linux (tcp_mem), but for each interface.
    interface.limit_memory(frame::totals().0 * PAGE_SIZE / 8);
    let entry = Entry { interface: interface.clone(), seen: [0; 2], per_second: [0; 2] };
    INTERFACES.lock().push(entry);
    interface.listen(Arc::new(Worker(interface.clone())));
    work(&interface);
}

/// Makes `lo`.
pub fn start() {
    enter("lo", Loopback::new(), Setup::Fixed { address: Ipv4Addr::LOCALHOST, prefix: 8, gateway: None });
    look();
}

/// A device has come.
pub fn add(device: Arc<dyn NetworkDevice>) -> Result<()> {
    let name = (0..).map(|n| format!("eth{n}")).find(|name| all().all(|interface| interface.name() != name));
    let setup = match boot_options::value(boot::info().command_line, "exo.net") {
        None => Setup::Dhcp,
        Some(text) => Setup::parse(text).unwrap_or_else(|| {
            log!("exo.net={text:?} is none of dhcp, off, ADDRESS/BITS[,GATEWAY]: no addresses");
            Setup::Off
        }),
    };
    enter(&name.ok_or(Errno::ENOSPC)?, device, setup);
    Ok(())
}

/// Interfaces that have gone, whose connections have not heard of it.
static GONE: SpinLock<Vec<Arc<Interface>>> = SpinLock::new(Vec::new());

/// Those.
pub(crate) fn gone() -> Vec<Arc<Interface>> {
    core::mem::take(&mut *GONE.lock())
}

/// A device has gone.
pub fn remove(device: &Arc<dyn NetworkDevice>) {
    let gone: Vec<_> = {
        let mut interfaces = INTERFACES.lock();
        let (gone, left) = core::mem::take(&mut *interfaces)
            .into_iter()
            .partition(|entry| Arc::ptr_eq(entry.interface.device(), device));
        *interfaces = left;
        gone
    };
    // Not with the list locked: the last reference may be among them.
    for entry in gone {
        entry.interface.end();
        GONE.lock().push(entry.interface);
    }
    call_thread();
}

/// It is up (IFF_UP).
pub const UP: i16 = 1;
/// `IFF_BROADCAST`, `IFF_LOOPBACK`, `IFF_RUNNING`, `IFF_MULTICAST`.
const BROADCAST: i16 = 2;
const LOOPBACK: i16 = 8;
const RUNNING: i16 = 0x40;
const MULTICAST: i16 = 0x1000;

/// An interface as programs see it.
#[derive(Clone, Debug)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// Its number, from 1.
    pub index: i32,
    /// Its address, and how many bits of it are the network's.
    pub address: Option<(Ipv4Addr, u8)>,
    /// Where packets for others go.
    pub gateway: Option<Ipv4Addr>,
    /// Its hardware address.
    pub hardware: Option<[u8; 6]>,
    /// Whether something is at the other end of its cable.
    pub is_connected: bool,
}

impl Described {
    /// Whether it is `lo`.
    pub fn is_loopback(&self) -> bool {
        self.hardware.is_none()
    }

    /// Its `IFF_` bits.
    pub fn flags(&self) -> i16 {
        let running = if self.is_connected { RUNNING } else { 0 };
        UP | running | if self.is_loopback() { LOOPBACK } else { BROADCAST | MULTICAST }
    }

    /// Most bytes of a packet.
    pub fn mtu(&self) -> i32 {
        if self.is_loopback() { 65_536 } else { 1500 }
    }
}

/// All interfaces.
pub fn described() -> impl Iterator<Item = Described> {
    (1..).zip(all()).map(|(index, interface)| Described {
        name: interface.name().into(),
        index,
        address: interface.address(),
        gateway: interface.gateway(),
        hardware: interface.device().hardware_address(),
        is_connected: interface.device().is_connected(),
    })
}

/// /proc/net/if_inet6, as on Linux: ::1 is all there is of IPv6.
pub fn addresses_v6(out: &mut dyn Write) -> core::fmt::Result {
    for interface in described().filter(Described::is_loopback) {
        // Its bits, that it is for the machine alone, and that it stays.
        writeln!(out, "{:032x} {:02x} 80 10 80 {:>8}", 1, interface.index, interface.name)?;
    }
    Ok(())
}

/// /proc/net/route, as on Linux.
pub fn routes(out: &mut dyn Write) -> core::fmt::Result {
    const WIDTH: usize = 127;
    let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
    writeln!(out, "{head:WIDTH$}")?;
    let hex = |address: Ipv4Addr| u32::from_le_bytes(address.octets());
    for interface in described().filter(|interface| !interface.is_loopback()) {
        let Some((address, bits)) = interface.address else { continue };
        let mask = Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0));
        let none = Ipv4Addr::UNSPECIFIED;
        // RTF_UP, and RTF_GATEWAY.
        let by_gateway = interface.gateway.map(|gateway| (none, gateway, 3, none));
        let own = (address & mask, none, 1, mask);
        for (to, gateway, flags, mask) in by_gateway.into_iter().chain([own]) {
            let (to, gateway, mask) = (hex(to), hex(gateway), hex(mask));
            let line = format!(
                "{}\t{to:08X}\t{gateway:08X}\t{flags:04X}\t0\t0\t0\t{mask:08X}\t0\t0\t0",
                interface.name
            );
            writeln!(out, "{line:WIDTH$}")?;
        }
    }
    Ok(())
}

/// Whether an address is an interface's.
pub fn is_own(address: Ipv4Addr) -> bool {
    INTERFACES.lock().iter().any(|entry| entry.interface.address().is_some_and(|(own, _)| own == address))
}

/// /proc/net/dev, as on Linux.
pub fn devices(out: &mut dyn Write) -> core::fmt::Result {
    writeln!(out, "Inter-|   Receive                                                |  Transmit")?;
    writeln!(
        out,
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed"
    )?;
    for interface in all() {
        let counters = interface.device().counters();
        let (i, o) = (counters.of(Direction::In), counters.of(Direction::Out));
        writeln!(
            out,
            "{:>6}: {:7} {:7} {:4} {:4}    0     0          0         0 {:8} {:7} {:4} {:4}    0     0       0          0",
            interface.name(),
            i.bytes,
            i.frames,
            i.errors,
            i.dropped,
            o.bytes,
            o.frames,
            o.errors,
            o.dropped
        )?;
    }
    Ok(())
}

/// /proc/net/addresses, of this kernel's own: name, driver, hardware address, network address, gateway, where they are from.
pub fn addresses(out: &mut dyn Write) -> core::fmt::Result {
    for interface in all() {
        write!(out, "{} {}", interface.name(), interface.device().name())?;
        if let Some([a, b, c, d, e, f]) = interface.device().hardware_address() {
            write!(out, " link {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")?;
        }
        if !interface.device().is_connected() {
            write!(out, " down")?;
        }
        if let Some((address, bits)) = interface.address() {
            write!(out, " address {address}/{bits}")?;
        }
        if let Some(gateway) = interface.gateway() {
            write!(out, " gateway {gateway}")?;
        }
        writeln!(out, "{}", if interface.asks() { " by dhcp" } else { "" })?;
    }
    Ok(())
}

/// /proc/net/rates, of this kernel's own: frames of the last second, in and out.
pub fn rates(out: &mut dyn Write) -> core::fmt::Result {
    INTERFACES.lock().iter().try_for_each(|entry| {
        let [input, output] = entry.per_second;
        writeln!(out, "{} in {input}/s out {output}/s", entry.interface.name())
    })
}

/// Sends a ping to an address, for who writes it to /proc/net/ping.
pub fn ping(value: &[u8]) -> Result<()> {
    let text = core::str::from_utf8(value).map_err(|_| Errno::EINVAL)?;
    let target: Ipv4Addr = text.trim().parse().map_err(|_| Errno::EINVAL)?;
    let interface = best_for(target).ok_or(Errno::ENETUNREACH)?;
    interface.ping(target, time::now_ns()).map_err(|_| Errno::EAGAIN)?;
    work(&interface);
    Ok(())
}

/// What became of the last pings, a line for each interface that sent any.
pub fn pings(out: &mut dyn Write) -> core::fmt::Result {
    for interface in all() {
        let Some(ping) = interface.last_ping() else { continue };
        match ping.answered {
            Some(at) => {
                let micros = at.saturating_sub(ping.sent) / 1000;
                writeln!(out, "{} answered after {micros} us", ping.target)?;
            }
            None => writeln!(out, "{} has not answered", ping.target)?,
        }
    }
    Ok(())
}
