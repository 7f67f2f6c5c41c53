// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files in sysfs, and the thread that keeps the rates.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use procmon::Monitor;

use super::machine::{BUFFER_SIZE, NODE, STATS, set_parameter, shell, stat};
use crate::harness::{Options, Stop, Test, fail, is_exo_kernel, skip};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("stats_are_lines_of_name_and_value", stats_are_lines_of_name_and_value),
        Test::new("stats_count_what_the_shell_does", stats_count_what_the_shell_does),
        Test::new("the_node_is_for_root_only", the_node_is_for_root_only),
        Test::new("buffer_size_is_one_value_in_two_places", buffer_size_is_one_value_in_two_places),
        Test::new("the_monitor_thread_counts_what_comes_and_goes", the_monitor_thread_counts),
        Test::new("the_monitor_thread_sleeps_interruptibly", the_monitor_thread_sleeps),
    ]
}

fn stats_are_lines_of_name_and_value(_: &Options) -> Result<(), Stop> {
    let text = fs::read_to_string(STATS)?;
    let names: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    assert_eq!(names.len(), text.lines().count(), "a line is no `name: value`:\n{text}");
    assert_eq!(names[..6], ["opens", "reads", "writes", "ioctls", "per_cpu_ops", "filter_pid"]);
    for seconds in ["1s", "10s", "60s"] {
        for rate in ["forks_per_second", "execs_per_second", "exits_per_second", "runnable"] {
            let value = stat(&format!("{rate}_{seconds}"))?;
            assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{rate}_{seconds} is {value}");
        }
    }
    Ok(())
}

fn stats_count_what_the_shell_does(_: &Options) -> Result<(), Stop> {
    Monitor::open()?.reset()?;
    let output = shell("echo Hello Kernel > /dev/procmon; cat /dev/procmon").output()?;
    assert_eq!(output.stdout, b"Hello Kernel\n");
    assert_eq!(
        (stat("opens")?.as_str(), stat("writes")?.as_str(), stat("ioctls")?.as_str()),
        ("2", "1", "0")
    );
    let number = |name: &str| -> Result<u64, Stop> { Ok(stat(name)?.parse()?) };
    assert!(number("reads")? >= 1);
    assert_eq!(
        number("per_cpu_ops")?,
        number("opens")? + number("reads")? + number("writes")? + number("ioctls")?
    );
    Ok(())
}

fn the_node_is_for_root_only(_: &Options) -> Result<(), Stop> {
    use std::os::unix::fs::PermissionsExt;
    for node in [NODE, super::machine::EVENTS] {
        let mode = fs::metadata(node)?.permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{node}");
    }
    if !is_exo_kernel() {
        let mode = fs::metadata(STATS)?.permissions().mode();
        assert_eq!(mode & 0o777, 0o400, "{STATS} tells what the node tells");
    }
    Ok(())
}

fn buffer_size_is_one_value_in_two_places(_: &Options) -> Result<(), Stop> {
    set_parameter("buffer_size", "77")?;
    assert_eq!(fs::read_to_string(BUFFER_SIZE)?, "77\n");
    fs::write(BUFFER_SIZE, "99\n")?;
    assert_eq!(fs::read_to_string(super::machine::parameter("buffer_size"))?, "99\n");
    for nonsense in ["", "x", "-1", "0", "1048577", "1 2", "99999999999999999999"] {
        let error =
            fs::write(BUFFER_SIZE, format!("{nonsense}\n")).err().and_then(|error| error.raw_os_error());
        assert_eq!(error, Some(rustix::io::Errno::INVAL.raw_os_error()), "{nonsense:?}");
    }
    assert_eq!(fs::read_to_string(BUFFER_SIZE)?, "99\n", "a refused value was taken");
    Ok(())
}

fn the_monitor_thread_counts(_: &Options) -> Result<(), Stop> {
    set_parameter("interval_ms", "100")?;
    // It looks at the interval when it wakes next.
    thread::sleep(Duration::from_millis(1100));
    let mut seen = 0.0_f64;
    for _ in 0..20 {
        for _ in 0..5 {
            Command::new("true").status()?;
        }
        thread::sleep(Duration::from_millis(100));
        seen = seen.max(stat("forks_per_second_1s")?.parse()?);
    }
    let rate = |name: &str| -> Result<f64, Stop> { Ok(stat(name)?.parse()?) };
    let (execs, exits) = (rate("execs_per_second_10s")?, rate("exits_per_second_10s")?);
    if seen < 1.0 || execs <= 0.0 || exits <= 0.0 {
        return fail(format!("forks {seen}/s, execs {execs}/s, exits {exits}/s while processes come and go"));
    }
    Ok(())
}

/// A thread that sleeps uninterruptibly counts as load.
fn the_monitor_thread_sleeps(_: &Options) -> Result<(), Stop> {
    if is_exo_kernel() {
        return skip("this kernel has no threads of its own");
    }
    let processes = Monitor::open()?.snapshot()?;
    let threads: Vec<_> = processes.iter().filter(|process| &process.comm == b"procmon_monitor\0").collect();
    let [thread] = threads[..] else { return fail(format!("{} threads are called so", threads.len())) };
    assert!(thread.state <= 1, "its state is {}", thread.state);
    assert_eq!((thread.ppid, thread.vsize), (2, 0), "it is no thread of the kernel");
    Ok(())
}
