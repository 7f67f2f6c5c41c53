// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sandbox: what a running program has given up, and that what is forbidden does not happen.
//!
//! Who confines himself stays confined, so a test does so in a process of its own: it starts this program once more with an
//! act in the environment. That is why this program has its own `main`, which runs either the tests or the act.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use common::client::{BAR0, CONFIG, Client, DMA_MAP, dma_map};
use common::program::{Owned, Program, sockets, text};
use libtest_mimic::{Arguments, Trial};
use my_rng_abi::registers;
use my_rng_device::sandbox::seccomp::Needs;
use my_rng_device::sandbox::{landlock, privileges, seccomp};
use rustix::process::{Pid, Signal, kill_process};

/// Tells this program what to do instead of the tests, and where.
const ACT: &str = "MY_RNG_SANDBOX_ACT";
const PLACE: &str = "MY_RNG_SANDBOX_PLACE";
/// Exit status of an act that panicked.
const STATUS_PANIC: u8 = 101;

/// `SIGSYS` on x86-64 and arm64.
const SIGSYS: i32 = 31;

/// The tests, by the names of their functions.
macro_rules! tests {
    ($($test:ident,)*) => {
        vec![$(Trial::test(stringify!($test), || {
            $test();
            Ok(())
        })),*]
    };
}

fn main() -> ExitCode {
    if let Ok(act) = std::env::var(ACT) {
        let place = PathBuf::from(std::env::var_os(PLACE).unwrap());
        // In a thread, since a device confines itself in threads too: what one gives up, the others keep.
        let done = std::thread::spawn(move || perform(&act, &place)).join();
        return done.map_or(STATUS_PANIC.into(), |()| ExitCode::SUCCESS);
    }
    let tests = tests![
        all_threads_of_a_running_program_are_confined,
        threads_of_a_device_that_is_added_are_confined_as_well,
        a_program_without_its_sandbox_says_so_and_is_not_confined,
        a_confined_program_serves_logs_and_ends_as_any_other,
        a_client_that_cuts_its_memory_short_gets_an_error_from_a_confined_program_too,
        calls_on_no_list_end_the_process,
        what_is_allowed_or_merely_refused_ends_nothing,
        where_parts_are_forbidden_it_goes_on_and_says_which,
        where_parts_are_forbidden_and_demanded_it_does_not_start,
        capabilities_are_dropped_for_good,
        landlock_leaves_nothing_but_the_removal_of_sockets,
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

/// The value of a line of each thread's status.
fn of_all_threads(program: &Program, name: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", program.child.id())).unwrap();
    let values = tasks.map(|task| {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    });
    values.collect()
}

fn all_threads_of_a_running_program_are_confined() {
    let (directory, a, b) = sockets();
    let control = directory.path().join("control");
    let arguments =
        ["--socket", text(&a), "--socket", text(&b), "--control", text(&control), "--workers", "3"];
    let program = Program::ready(&arguments);
    let threads = of_all_threads(&program, "NoNewPrivs").len();
    assert_eq!(
        threads,
        4 + 2 * (1 + 3 + 1) + 2,
        "main, log, signals, watchdog, devices with workers and reaper, control and what closes for it"
    );
    let everywhere = |name, value: &str| {
        let values = of_all_threads(&program, name);
        assert!(values.iter().all(|found| found == value), "{name}: {values:?}");
    };
    everywhere("NoNewPrivs", "1");
    everywhere("Seccomp", "2");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        everywhere(set, "0000000000000000");
    }
    if rustix::process::getuid().is_root() {
        everywhere("CapBnd", "0000000000000000");
    }
    // What it says about itself.
    let status = my_rng_device::control::client::status(&control).unwrap();
    for part in ["capabilities", "seccomp"] {
        assert!(status.sandbox.iter().any(|found| found == part), "{:?}", status.sandbox);
    }
}

fn threads_of_a_device_that_is_added_are_confined_as_well() {
    let (directory, a, b) = sockets();
    let control = directory.path().join("control");
    let program = Program::ready(&["--socket", text(&a), "--control", text(&control), "--max-devices", "2"]);
    let before = of_all_threads(&program, "Seccomp").len();
    my_rng_device::control::client::add(&control, &b).unwrap();
    let after = of_all_threads(&program, "Seccomp");
    assert!(after.len() > before + 1 && after.iter().all(|mode| mode == "2"), "{after:?}");
    for (name, value) in [("NoNewPrivs", "1"), ("CapEff", "0000000000000000")] {
        assert!(of_all_threads(&program, name).iter().all(|found| found == value), "{name}");
    }
}

fn a_program_without_its_sandbox_says_so_and_is_not_confined() {
    let (_directory, path, _) = sockets();
    let mut program = Program::ready(&["--socket", text(&path), "--sandbox", "off"]);
    assert!(of_all_threads(&program, "Seccomp").iter().all(|mode| mode == "0"));
    program.signal(Signal::TERM);
    let end = program.end();
    assert_eq!(end.code, Some(0));
    assert!(end.error.contains("THE SANDBOX IS OFF"), "{}", end.error);
}

fn a_confined_program_serves_logs_and_ends_as_any_other() {
    let (_directory, path, _) = sockets();
    let mut program = Program::ready(&["--socket", text(&path), "-vv"]);
    for _ in 0..3 {
        Client::connect(&path).read_register(registers::RAND32);
    }
    program.signal(Signal::TERM);
    let end = program.end();
    assert_eq!(end.code, Some(0), "{}", end.error);
    assert!(
        end.error.contains("a client connected") && end.error.contains("ending on signal"),
        "{}",
        end.error
    );
    assert!(!path.exists());
}

fn a_client_that_cuts_its_memory_short_gets_an_error_from_a_confined_program_too() {
    let (_directory, path, _) = sockets();
    let program = Program::ready(&["--socket", text(&path)]);
    let mut client = Client::connect(&path);
    let memory = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memory, 0x10000).unwrap();
    assert_eq!(client.request(DMA_MAP, &dma_map(0, 0, 0x10000), &[memory.as_fd()]).error, 0);
    client.write(CONFIG, 4, 6);
    let mut transfer = || {
        client.write(BAR0, registers::ONE_SHOT_DESTINATION, 0x1000);
        client.write(BAR0, registers::ONE_SHOT_COUNT, 4096);
        client.write(
            BAR0,
            registers::ONE_SHOT_COMMAND,
            registers::ONE_SHOT_START | registers::ONE_SHOT_TO_GUEST,
        );
        loop {
            let command = client.read_register(registers::ONE_SHOT_COMMAND);
            if command & registers::ONE_SHOT_START == 0 {
                break command & registers::ONE_SHOT_ERROR;
            }
        }
    };
    assert_eq!(transfer(), 0);
    rustix::fs::ftruncate(&memory, 0).unwrap();
    assert_eq!(transfer(), registers::ONE_SHOT_ERROR);
    drop(program);
}

/// This program once more, which will [`perform`] the act.
fn actor(act: &str, place: &Path) -> Command {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.env(ACT, act).env(PLACE, place).env("RUST_BACKTRACE", "0");
    program
}

/// Has an act performed in a process of its own.
fn act(act: &str, place: &Path) -> Output {
    actor(act, place).output().unwrap()
}

/// What the tests do in a process of its own.
fn perform(act: &str, place: &Path) {
    let (allowed, socket) = (place.join("allowed"), place.join("allowed/socket"));
    // Opened before, as a device's sockets are.
    let listener = UnixListener::bind(&socket).unwrap();
    if act == "landlock" {
        landlock::restrict([socket.as_path()].into_iter()).expect("this kernel has Landlock");
        assert!(fs::read(place.join("file")).is_err(), "reading");
        assert!(fs::write(allowed.join("new"), "x").is_err(), "making");
        assert!(fs::remove_file(place.join("file")).is_err(), "removing elsewhere");
        assert!(fs::read_dir(place).is_err(), "listing");
        assert!(Command::new("/bin/true").status().is_err(), "running");
        fs::remove_file(&socket).expect("the socket's removal is allowed");
        return;
    }
    if act.starts_with("container") {
        return run_in_container(&allowed, act.ends_with("strict"));
    }
    privileges::drop_all().unwrap();
    if act == "privileges" {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        assert!(!status.contains("CapEff:\t0000000000000000\n"), "only this thread has given up");
        let own = fs::read_to_string("/proc/thread-self/status").unwrap();
        assert!(own.contains("CapEff:\t0000000000000000\n") && own.contains("NoNewPrivs:\t1\n"));
        return;
    }
    let adds = act.strip_prefix("adding ");
    seccomp::restrict(if adds.is_some() { Needs::Threads } else { Needs::Nothing }).unwrap();
    match adds.unwrap_or(act) {
        // The controls: what is allowed works, so that the others fail for the right reason.
        "nothing" => {}
        "refused" => {
            let error = fs::read(place.join("file")).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(1), "EPERM");
        }
        "remove" => fs::remove_file(&socket).unwrap(),
        "accept" => {
            listener.set_nonblocking(true).ok(); // An ioctl, which is refused and harmless.
        }
        "connect" => drop(std::os::unix::net::UnixStream::connect(&socket)),
        "exec" => drop(Command::new("/bin/true").status()),
        "thread" => drop(std::thread::Builder::new().spawn(|| ()).map(|thread| thread.join().unwrap())),
        "fork" => fork(),
        "kill" => drop(rustix::process::kill_process(rustix::process::getpid(), Signal::WINCH)),
        "code" => map_code(),
        other => panic!("no such act: {other}"),
    }
    println!("still alive");
}

/// Becomes the program, where Landlock and seccomp are forbidden, as some containers do.
fn run_in_container(place: &Path, strict: bool) {
    use seccompiler::{SeccompAction, SeccompFilter, apply_filter};
    let forbidden = [libc::SYS_landlock_create_ruleset, libc::SYS_seccomp].map(|call| (call, Vec::new()));
    let filter = SeccompFilter::new(
        forbidden.into_iter().collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let filter: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&filter).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_my-rng-device"));
    program
        .arg("--socket")
        .arg(place.join("device"))
        .args(["--sandbox", if strict { "strict" } else { "on" }]);
    panic!("{}", program.exec());
}

/// Asks for a process, by the call that is allowed for threads.
fn fork() {
    // SAFETY: a child would have a copy of everything; it would end at once.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    if child == 0 {
        std::process::abort();
    }
}

/// Asks for memory that is writable and executable.
fn map_code() {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    let protection = ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC;
    // SAFETY: a new mapping at an address of the kernel's choice, which nobody uses.
    let _ = unsafe { mmap_anonymous(std::ptr::null_mut(), 4096, protection, MapFlags::PRIVATE) };
}

fn place() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("allowed")).unwrap();
    fs::write(directory.path().join("file"), "x").unwrap();
    directory
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn calls_on_no_list_end_the_process() {
    for forbidden in [
        "connect",
        "exec",
        "thread",
        "fork",
        "kill",
        "code",
        "adding connect",
        "adding exec",
        "adding fork",
        "adding kill",
        "adding code",
    ] {
        let output = act(forbidden, place().path());
        assert_eq!(output.status.signal(), Some(SIGSYS), "{forbidden}: {}", words(&output));
        assert!(!words(&output).contains("still alive"), "{forbidden}");
    }
}

fn what_is_allowed_or_merely_refused_ends_nothing() {
    for allowed in ["nothing", "refused", "remove", "accept", "adding nothing", "adding thread"] {
        let output = act(allowed, place().path());
        assert!(
            output.status.success() && words(&output).contains("still alive"),
            "{allowed}: {}",
            words(&output)
        );
    }
}

fn where_parts_are_forbidden_it_goes_on_and_says_which() {
    let place = place();
    let mut command = actor("container", place.path());
    let mut program = Owned(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("ready")), "it serves");
    Client::connect(&place.path().join("allowed/device")).read_register(registers::RAND32);
    kill_process(Pid::from_child(&program), Signal::TERM).unwrap();
    let words = std::io::read_to_string(program.stderr.take().unwrap()).unwrap();
    assert_eq!(program.wait().unwrap().code(), Some(0), "{words}");
    for part in ["no Landlock: ", "no seccomp: "] {
        assert!(words.contains(part), "{words}");
    }
}

fn where_parts_are_forbidden_and_demanded_it_does_not_start() {
    let place = place();
    let output = act("container strict", place.path());
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains("my-rng-device: sandbox: no Landlock: "), "{}", words(&output));
    assert!(!place.path().join("allowed/device").exists(), "its socket is removed");
}

fn capabilities_are_dropped_for_good() {
    if !rustix::process::getuid().is_root() {
        return; // An ordinary user has none to drop; the running program's are looked at above.
    }
    let output = act("privileges", place().path());
    assert!(output.status.success(), "{}", words(&output));
}

fn landlock_leaves_nothing_but_the_removal_of_sockets() {
    let output = act("landlock", place().path());
    if words(&output).contains("LandlockError") || words(&output).contains("Missing") {
        eprintln!("this kernel has no Landlock: nothing to test");
        return;
    }
    assert!(output.status.success(), "{}", words(&output));
}
