// SPDX-License-Identifier: MIT OR Apache-2.0
//! /sys: trees of texts and settings that drivers make and take away.

use std::sync::Arc;

use exo_fs::sysfs;
use exo_test_support::programs::*;
use parking_lot::Mutex;

#[test]
fn a_text_is_made_when_it_is_read() {
    machine(|| {
        let value = Arc::new(Mutex::new(1));
        let shown = value.clone();
        sysfs::add_text("class/test/one/value", move || format!("{}\n", shown.lock()));
        sysfs::add_text("class/test/two/value", || "two\n".to_string());
        assert_eq!(text("/sys/class/test/one/value"), "1\n");
        *value.lock() = 2;
        assert_eq!(text("/sys/class/test/one/value"), "2\n");
        let mut listed = names("/sys/class/test");
        listed.sort();
        assert_eq!(listed, ["one", "two"]);
        assert_eq!(store("/sys/class/test/one/value", b"3"), Err(Errno::EACCES));
        sysfs::remove("class/test/one");
        assert_eq!(names("/sys/class/test"), ["two"]);
        assert_eq!(open("/sys/class/test/one/value", 0), Err(Errno::ENOENT));
        sysfs::remove("class/test");
        assert!(!names("/sys/class").contains(&"test".to_string()));
    });
}

#[test]
fn a_setting_takes_what_it_likes() {
    machine(|| {
        let value = Arc::new(Mutex::new(String::from("first")));
        let (shown, stored) = (value.clone(), value.clone());
        let take = move |text: &str| {
            if text == "bad" {
                return Err(exo_test_support::programs::Errno::EINVAL);
            }
            *stored.lock() = text.to_string();
            Ok(())
        };
        sysfs::add_setting("class/test/setting", move || shown.lock().clone(), take);
        assert_eq!(text("/sys/class/test/setting"), "first");
        assert_eq!(store("/sys/class/test/setting", b"second\n"), Ok(7));
        assert_eq!(text("/sys/class/test/setting"), "second");
        assert_eq!(store("/sys/class/test/setting", b"bad"), Err(Errno::EINVAL));
        assert_eq!(*value.lock(), "second");
        sysfs::remove("class/test");
    });
}

#[test]
fn cpus_are_listed() {
    machine(|| {
        exo_fs::sysfs_cpus::init();
        let cpus = "/sys/devices/system/cpu";
        assert_eq!(text(&format!("{cpus}/online")), "0\n");
        assert!(names(cpus).contains(&"cpu0".to_string()));
        assert!(!names(cpus).contains(&"cpu1".to_string()));
        sysfs::remove("devices/system/cpu");
    });
}
