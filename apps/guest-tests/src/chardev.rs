// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the examples of `linux/chardev`, and of what all modules have from there.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::harness::{Group, Options, Stop, Test, beside_a_page_fault, fail, modules, skip};
use crate::raw::{Access, Memory, PAGE, Place, ioctl, read};

/// A scratchpad.
const PAD: &str = "chardev_example";
const CLEAR: u32 = 0x0000_7e00;
const GET_USED: u32 = 0x8004_7e01;

/// A value and a text for each open file.
const MISC: &str = "chardev_misc_example";
const HELLO: u32 = 0x0000_7c80;
const GET_VALUE: u32 = 0x8004_7c81;
const SET_VALUE: u32 = 0x4004_7c82;

/// Holds a reference to what is behind a node.
const HOLDER: &str = "hold_node";

/// The group.
pub(crate) fn group() -> Group {
    let tests = vec![
        Test::new("the_scratchpad_keeps_what_is_written", the_scratchpad_keeps_what_is_written),
        Test::new("an_attribute_that_fills_a_page_is_refused", an_attribute_that_fills_a_page_is_refused),
        Test::new("a_reader_whose_memory_is_missing_holds_up_nobody", a_stuck_reader_holds_up_nobody),
        Test::new("each_open_file_has_its_own_value", each_open_file_has_its_own_value),
        Test::new("a_module_does_not_go_before_its_nodes", a_module_does_not_go_before_its_nodes),
    ];
    Group { name: "chardev", prepare: |_| Ok(()), tests }
}

/// Loads a module of these tests, does `work`, unloads it.
fn with(
    options: &Options,
    module: &str,
    parameters: &str,
    work: impl FnOnce() -> Result<(), Stop>,
) -> Result<(), Stop> {
    let path = modules::file_of(&options.modules, module);
    if !path.exists() {
        return skip(format!("there is no {}", path.display()));
    }
    // As a test has left it that has failed.
    if modules::is_loaded(module) {
        modules::unload(module)?;
    }
    let parameters = CString::new(parameters).or_else(|error| fail(error.to_string()))?;
    modules::try_load(&options.modules, module, &parameters)??;
    let result = work();
    modules::unload(module)?;
    result
}

fn open(path: &str) -> Result<File, Stop> {
    Ok(File::options().read(true).write(true).open(path)?)
}

fn events(file: &File) -> Result<PollFlags, Stop> {
    let mut wanted = [PollFd::new(file, PollFlags::IN | PollFlags::OUT)];
    poll(&mut wanted, Some(&Timespec::default()))?;
    Ok(wanted[0].revents())
}

fn the_scratchpad_keeps_what_is_written(options: &Options) -> Result<(), Stop> {
    with(options, PAD, "", || {
        let attributes = Path::new("/sys/class/scratchpad/scratchpad");
        let used = || -> Result<String, Stop> { Ok(fs::read_to_string(attributes.join("used"))?) };
        let memory = Memory::new(Access::Full)?;
        let mut pad = open("/dev/scratchpad")?;
        assert_eq!(events(&pad)?, PollFlags::OUT, "of an empty pad");

        pad.write_all(b"hello")?;
        assert_eq!((used()?.as_str(), events(&pad)?), ("5\n", PollFlags::IN | PollFlags::OUT));
        assert_eq!(ioctl(&pad, GET_USED, Place::In(&memory, 0)), Ok(0));
        assert_eq!(memory.read_u32(0), Some(5));
        let information = fs::read_to_string(format!("/proc/self/fdinfo/{}", pad.as_raw_fd()))?;
        assert!(information.lines().any(|line| line == "used:\t5"), "{information}");

        // One pad for all, but each file has a place of its own.
        let mut text = String::new();
        open("/dev/scratchpad")?.read_to_string(&mut text)?;
        assert_eq!(text, "hello");
        fs::write(attributes.join("used"), "4")?;
        text.clear();
        pad.seek(SeekFrom::Start(1))?;
        pad.read_to_string(&mut text)?;
        assert_eq!(text, "ell");

        assert_eq!(ioctl(&pad, CLEAR, Place::Null), Ok(0));
        assert_eq!((used()?.as_str(), events(&pad)?), ("0\n", PollFlags::OUT));
        assert_eq!(fs::read_to_string(attributes.join("size"))?, "4096\n");

        // What is too much or does not exist.
        pad.seek(SeekFrom::Start(4096))?;
        let full = pad.write(b"x").err().and_then(|error| error.raw_os_error());
        assert_eq!(full, Some(Errno::NOSPC.raw_os_error()));
        for (name, text) in [("used", "4097"), ("used", "-1"), ("used", "many")] {
            let error = fs::write(attributes.join(name), text).err().and_then(|error| error.raw_os_error());
            assert_eq!(error, Some(Errno::INVAL.raw_os_error()), "{text} for {name}");
        }
        assert_eq!(ioctl(&pad, HELLO, Place::Null), Err(Errno::NOTTY));
        assert_eq!(ioctl(&pad, GET_USED, Place::Null), Err(Errno::FAULT));
        Ok(())
    })
}

/// sysfs has a page for it, and complains of one that is full.
fn an_attribute_that_fills_a_page_is_refused(options: &Options) -> Result<(), Stop> {
    with(options, PAD, "", || {
        let text = "/sys/class/scratchpad/scratchpad/text";
        let mut pad = open("/dev/scratchpad")?;
        pad.write_all(&[b'x'; PAGE - 1])?;
        assert_eq!(fs::read_to_string(text)?.len(), PAGE - 1);
        pad.write_all(b"x")?;
        let refused = fs::read_to_string(text).err().and_then(|error| error.raw_os_error());
        assert_eq!(refused, Some(Errno::NOSPC.raw_os_error()));
        Ok(())
    })
}

fn a_stuck_reader_holds_up_nobody(options: &Options) -> Result<(), Stop> {
    with(options, PAD, "", || {
        let mut pad = open("/dev/scratchpad")?;
        pad.write_all(b"hello")?;
        pad.seek(SeekFrom::Start(0))?;
        let stuck = |memory: &Memory| read(&pad, Place::In(memory, 0), PAGE);
        let (count, ()) = beside_a_page_fault(stuck, || {
            assert_eq!(events(&pad)?, PollFlags::IN | PollFlags::OUT);
            let mut other = open("/dev/scratchpad")?;
            other.write_all(b"others")?;
            Ok(())
        })?;
        assert_eq!(count, Ok(5), "the text as it was when the read began");
        Ok(())
    })
}

fn each_open_file_has_its_own_value(options: &Options) -> Result<(), Stop> {
    with(options, MISC, "", || {
        let memory = Memory::new(Access::Full)?;
        let mut files = [open("/dev/chardev_misc_example")?, open("/dev/chardev_misc_example")?];
        for (number, file) in (7..).zip(&mut files) {
            memory.write_u32(0, number);
            assert_eq!(ioctl(&*file, SET_VALUE, Place::In(&memory, 0)), Ok(0));
            // As a whole: each write is a new text.
            file.write_all(format!("text {number}").as_bytes())?;
        }
        for (number, file) in (7..).zip(&mut files) {
            assert_eq!(ioctl(&*file, GET_VALUE, Place::In(&memory, 0)), Ok(0));
            assert_eq!(memory.read_u32(0), Some(number));
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            assert_eq!(text, format!("text {number}"));
        }
        let [file, _] = &mut files;
        assert_eq!(ioctl(&*file, HELLO, Place::Null), Ok(0));
        assert_eq!(ioctl(&*file, SET_VALUE, Place::Null), Err(Errno::FAULT));
        let too_long = file.write(&vec![0; (1 << 16) + 1]).err().and_then(|error| error.raw_os_error());
        assert_eq!(too_long, Some(Errno::MSGSIZE.raw_os_error()));
        Ok(())
    })
}

/// The function that releases a device is the module's: while somebody has a reference, unloading waits.
fn a_module_does_not_go_before_its_nodes(options: &Options) -> Result<(), Stop> {
    for (module, node) in
        [(PAD, "/dev/scratchpad"), ("procmon", "/dev/procmon_events"), ("my_rng", "/dev/my_rng_driver")]
    {
        let path = modules::file_of(&options.modules, module);
        if !path.exists() {
            return skip(format!("there is no {}", path.display()));
        }
        if !modules::is_loaded(module) {
            modules::load(&options.modules, module)?;
        }
        let mut unloading = None;
        with(options, HOLDER, &format!("node={node}"), || {
            let mut child = Command::new("rmmod").arg(module).spawn()?;
            // The node goes at once.
            while Path::new(node).exists() && child.try_wait()?.is_none() {
                thread::sleep(Duration::from_millis(10));
            }
            thread::sleep(Duration::from_millis(500));
            let ended = child.try_wait()?;
            unloading = Some(child);
            assert!(ended.is_none() && !Path::new(node).exists(), "{module} did not wait: {ended:?}");
            Ok(())
        })?;
        let ended = unloading.map(|mut child| child.wait()).transpose()?;
        assert!(ended.is_some_and(|status| status.success()) && !modules::is_loaded(module), "{ended:?}");
    }
    Ok(())
}
