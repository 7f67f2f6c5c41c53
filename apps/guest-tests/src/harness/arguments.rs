// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `guest-tests`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use super::controls::Control;
use super::slowness;
use crate::raw::Probe;

pub(crate) const HELP: &str = "\
Tests Exo's kernel modules. Runs as root in a machine that has their devices.

Usage: guest-tests [OPTIONS] [FILTER]...
       guest-tests --control NAME=REGEX...
       guest-tests --draw-until-error PATH
       guest-tests --across-suspend PATH

A test runs if its name contains one of the filters, or if there is none.

Options:
  --skip FILTER    leave out tests whose name contains this; repeatable
  --exact          filters are whole names
  --list           print the names and run nothing
  --no-skips       a test that this machine cannot show counts as failed
  --loops N        how often tests of coming and going repeat
                   [default: 20; 4 on the checked kernel]
  --timeout S      seconds for a test; long ones have five times that
                   [default: 60; 300 on the checked kernel]
  --modules PATH   where the .ko files are [default: /lib/modules/exo]
  --control NAME=REGEX
                   run no tests, but load and unload NAME.ko, upon which the
                   kernel must report something that matches; repeatable
  --last-control NAME
                   load NAME.ko, which must end the machine, after the others
  --draw-until-error PATH
                   draw from a my_rng device until it fails, as load for tests
                   from outside; 0 if it then said ENODEV or EIO
  --across-suspend PATH
                   use a my_rng device in every way, suspend the machine as a
                   line of input says, and see that all goes on
  --help           print this text

Ends with 0 if no test failed, 1 if one did, 2 if the command line was wrong.
";

/// Runs one test in this process; for the runner only.
pub(super) const RUN_ONE: &str = "run-one";

/// Tries something that may kill the process; for tests only.
pub(crate) const PROBE: &str = "probe";

/// Runs the test with a failure; for the tests only.
pub(super) const ARMED: &str = "armed";

/// Loads and unloads a module; for controls only.
pub(super) const LOAD_AND_UNLOAD: &str = "load-and-unload";

const DEFAULT_LOOPS: u32 = 20;
const DEFAULT_TIMEOUT: u32 = 60;
const DEFAULT_MODULES: &str = "/lib/modules/exo";

/// What to do.
#[derive(Debug)]
pub(super) enum Action {
    Run(Options),
    RunOne(Options),
    Controls(Vec<Control>, Options),
    LoadAndUnload(String, Options),
    Probe(Probe),
    List(Options),
    DrawUntilError(PathBuf),
    AcrossSuspend(PathBuf),
    Help,
}

/// The options of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(super) filters: Vec<String>,
    pub(super) skips: Vec<String>,
    pub(super) exact: bool,
    pub(super) no_skips: bool,
    timeout: Option<Duration>,
    /// The name of the test that this process runs; empty in the process that runs them all.
    pub(super) test: String,
    /// Which chance to fail, if the test is one of failures and this is the process under test.
    pub(super) armed: Option<u32>,
    /// How often tests of coming and going repeat.
    pub(crate) loops: u32,
    /// The folder of the `.ko` files.
    pub(crate) modules: PathBuf,
}

impl Action {
    pub(super) fn parse(mut parser: lexopt::Parser) -> Result<Self, lexopt::Error> {
        let mut options = Options {
            filters: Vec::new(),
            skips: Vec::new(),
            exact: false,
            no_skips: false,
            timeout: None,
            test: String::new(),
            armed: None,
            loops: DEFAULT_LOOPS / slowness(),
            modules: DEFAULT_MODULES.into(),
        };
        let (mut list, mut cycled) = (false, None);
        let (mut controls, mut last) = (Vec::new(), None);
        while let Some(argument) = parser.next()? {
            match argument {
                Value(filter) => options.filters.push(filter.string()?),
                Long("skip") => options.skips.push(parser.value()?.string()?),
                Long("exact") => options.exact = true,
                Long("list") => list = true,
                Long("no-skips") => options.no_skips = true,
                Long("loops") => options.loops = parser.value()?.parse()?,
                Long("timeout") => options.timeout = Some(seconds(parser.value()?.parse()?)),
                Long("modules") => options.modules = parser.value()?.into(),
                Long("control") => controls.push(parser.value()?.parse()?),
                Long("last-control") => last = Some(Control::last(parser.value()?.string()?)),
                Long(RUN_ONE) => options.test = parser.value()?.string()?,
                Long(ARMED) => options.armed = Some(parser.value()?.parse()?),
                Long(LOAD_AND_UNLOAD) => cycled = Some(parser.value()?.string()?),
                Long("across-suspend") => return Ok(Self::AcrossSuspend(parser.value()?.into())),
                Long("draw-until-error") => return Ok(Self::DrawUntilError(parser.value()?.into())),
                Long(PROBE) => return Ok(Self::Probe(parser.value()?.parse()?)),
                Long("help") | Short('h') => return Ok(Self::Help),
                other => return Err(other.unexpected()),
            }
        }
        controls.extend(last);
        Ok(match cycled {
            Some(name) => Self::LoadAndUnload(name, options),
            None if !controls.is_empty() => Self::Controls(controls, options),
            None if !options.test.is_empty() => Self::RunOne(options),
            None if list => Self::List(options),
            None => Self::Run(options),
        })
    }
}

impl Options {
    /// Whether the test with this name is to run.
    pub(super) fn wants(&self, name: &str) -> bool {
        let fits = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        (self.filters.is_empty() || self.filters.iter().any(fits)) && !self.skips.iter().any(fits)
    }

    /// How long a test may take. Detectors slow the kernel down.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or_else(|| seconds(DEFAULT_TIMEOUT).saturating_mul(slowness()))
    }

    /// The options that a test's own process needs.
    pub(super) fn for_one(&self, name: &str) -> Vec<OsString> {
        let words = [&format!("--{RUN_ONE}"), name, "--loops", &self.loops.to_string(), "--modules"];
        words.iter().map(OsString::from).chain([self.modules.clone().into()]).collect()
    }
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Action, String> {
        Action::parse(lexopt::Parser::from_args(words)).map_err(|error| error.to_string())
    }

    fn options(words: &[&str]) -> Options {
        match parse(words) {
            Ok(Action::Run(options)) => options,
            other => panic!("{words:?} gave {other:?}"),
        }
    }

    #[test]
    fn without_filters_everything_runs_but_what_is_skipped() {
        assert!(options(&[]).wants("my_rng::a_test"));
        let options = options(&["--skip", "a_t", "--skip=x"]);
        assert!(!options.wants("my_rng::a_test") && !options.wants("x") && options.wants("my_rng::b"));
    }

    #[test]
    fn one_of_several_filters_is_enough() {
        let some = options(&["seed", "bind", "--skip", "unbind"]);
        assert!(some.wants("my_rng::seed_1") && some.wants("my_rng::bind"));
        assert!(!some.wants("my_rng::unbind") && !some.wants("my_rng::other"));
        let exact = options(&["--exact", "my_rng::bind"]);
        assert!(exact.wants("my_rng::bind") && !exact.wants("my_rng::bind_2"));
    }

    #[test]
    fn a_test_process_gets_what_it_needs() {
        let outer = options(&["--loops", "7", "--modules=/m", "filter"]);
        let words = outer.for_one("my_rng::x");
        let Ok(Action::RunOne(inner)) = Action::parse(lexopt::Parser::from_args(words)) else {
            panic!("this runs one test");
        };
        assert_eq!((inner.test.as_str(), inner.loops, inner.armed), ("my_rng::x", 7, None));
        assert_eq!(inner.modules, PathBuf::from("/m"));
    }

    #[test]
    fn the_rest_of_the_command_line_is_taken() {
        assert!(matches!(parse(&["--help"]), Ok(Action::Help)));
        assert!(matches!(parse(&["--list"]), Ok(Action::List(_))));
        assert!(options(&["--no-skips"]).no_skips);
        let drawing = parse(&["--draw-until-error", "/dev/my_rng1"]);
        assert!(matches!(drawing, Ok(Action::DrawUntilError(path)) if path.to_str() == Some("/dev/my_rng1")));
        assert_eq!(options(&["--timeout", "3"]).timeout(), Duration::from_secs(3));
        assert!(options(&[]).timeout() >= Duration::from_secs(60));
        assert!(options(&[]).loops >= 4);
        for words in
            [&["--loops", "x"][..], &["--loops"], &["--quick"], &["--probe", "x"], &["--control", "x"]]
        {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn the_control_that_ends_the_machine_comes_last() {
        let words = ["--last-control", "overflow", "--control", "leak=kmemleak: x", "--control=a=b"];
        let Ok(Action::Controls(controls, _)) = parse(&words) else { panic!("these are controls") };
        let names: Vec<&str> = controls.iter().map(|control| control.name.as_str()).collect();
        assert_eq!(names, ["leak", "a", "overflow"]);
    }

    #[test]
    fn the_help_fits_a_terminal() {
        assert!(HELP.lines().all(|line| line.chars().count() <= 80));
    }
}
