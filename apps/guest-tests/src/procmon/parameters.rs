// SPDX-License-Identifier: MIT OR Apache-2.0
//! The module's parameters, while it is loaded and when it is.

use std::ffi::CString;
use std::fs;

use rustix::io::Errno;

use super::machine::{BUFFER_SIZE, load, needs_the_module_file, parameter, try_load, unload};
use crate::harness::{Options, Stop, Test, modules};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("nonsense_in_a_parameter_gives_einval", nonsense_in_a_parameter_gives_einval),
        Test::new("nonsense_at_load_time_gives_einval", nonsense_at_load_time_gives_einval),
        Test::new("parameters_can_be_given_at_load_time", parameters_can_be_given_at_load_time),
    ]
}

const NONSENSE: [&str; 8] = ["", "0", "-1", "x", "1048577", "4294967297", "99999999999999999999", "12 34"];

fn nonsense_in_a_parameter_gives_einval(_: &Options) -> Result<(), Stop> {
    for name in ["buffer_size", "interval_ms"] {
        let before = fs::read_to_string(parameter(name))?;
        for nonsense in NONSENSE {
            let error = fs::write(parameter(name), format!("{nonsense}\n"))
                .err()
                .and_then(|error| error.raw_os_error());
            assert_eq!(error, Some(Errno::INVAL.raw_os_error()), "{name} = {nonsense:?}");
        }
        assert_eq!(fs::read_to_string(parameter(name))?, before, "a refused value of {name} was taken");
    }
    Ok(())
}

fn nonsense_at_load_time_gives_einval(options: &Options) -> Result<(), Stop> {
    needs_the_module_file(options)?;
    unload()?;
    for name in ["buffer_size", "interval_ms", "ring_events"] {
        for nonsense in ["0", "-1", "x", "3000000000", "99999999999999999999", ""] {
            let parameters = CString::new(format!("{name}={nonsense}"))?;
            assert_eq!(try_load(options, &parameters)?, Err(Errno::INVAL), "{parameters:?}");
            assert!(!modules::is_loaded(super::machine::MODULE));
        }
    }
    assert_eq!(try_load(options, c"ring_events=100")?, Err(Errno::INVAL), "no power of two");
    load(options, c"")
}

fn parameters_can_be_given_at_load_time(options: &Options) -> Result<(), Stop> {
    needs_the_module_file(options)?;
    unload()?;
    load(options, c"buffer_size=42 interval_ms=250 ring_events=128")?;
    for (name, value) in [("buffer_size", "42\n"), ("interval_ms", "250\n"), ("ring_events", "128\n")] {
        assert_eq!(fs::read_to_string(parameter(name))?, value, "{name}");
    }
    assert_eq!(fs::read_to_string(BUFFER_SIZE)?, "42\n");
    unload()?;
    load(options, c"")
}
