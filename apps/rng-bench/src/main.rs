// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rng-bench`: how fast a program gets random numbers in this machine, by every way there is: those of a my_rng device
//! and, in the same run, those of its peers.
//!
//! ```text
//! rows ──▶ sources (one for each way, unsafe code only in mmio and null_ioctl)
//!      ──▶ hwrng, pci (the machine's set-up through sysfs)
//! measure ──▶ threads, a pinned one for each CPU
//! ```

mod arguments;
mod hwrng;
mod measure;
mod pci;
mod rows;
mod sources;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use arguments::{Action, Arguments};
use bench_report::{Environment, Report, Row, Table, decimal, grouped};
use measure::Sample;

/// What the shell sees for a wrong command line.
const STATUS_USAGE: u8 = 2;

/// The slices that the measurement of a row is cut into.
const SLICES: u32 = 4;

/// Anything that can go wrong on the way to a figure.
type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let result = match Arguments::parse(lexopt::Parser::from_env()) {
        Ok(Action::Run(arguments)) => run(&arguments),
        Ok(Action::Help) => print(arguments::HELP),
        Ok(Action::Version) => print(concat!("rng-bench ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(error) => {
            eprintln!("rng-bench: {error}; rng-bench --help shows the options");
            return ExitCode::from(STATUS_USAGE);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rng-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let wanted =
        |row: &&rows::Row| arguments.rows.is_empty() || arguments.rows.iter().any(|name| name == row.name);
    let mut measured = Vec::new();
    for row in rows::ALL.iter().filter(wanted) {
        match row.source(arguments) {
            Ok(source) => measured.push((row.views, source, Vec::new())),
            Err(error) => eprintln!("{} not measured: {error}", row.name),
        }
    }
    for run in 1..=arguments.runs {
        if arguments.progress {
            print(&format!("run {run} of {}\n", arguments.runs))?;
        }
        for (_, _, samples) in &mut measured {
            samples.push(Sample::default());
        }
        // In turns, and several times a run, so that a slow moment of the host does not fall on one row alone.
        for _ in 0..SLICES {
            for (_, source, samples) in &mut measured {
                let slice = measure::slice(source.as_ref(), arguments.threads, arguments.window / SLICES)?;
                samples.iter_mut().last().into_iter().for_each(|sample: &mut Sample| sample.add(slice));
            }
        }
    }
    let rows = measured
        .iter()
        .flat_map(|(views, _, samples)| report_rows(views, samples, arguments.threads))
        .collect();
    let report = Report { environment: Environment::of_this_machine(), rows };
    print(&if arguments.json { report.to_json()? } else { table(&report.rows) })
}

/// The rows of the report that one row's samples give.
fn report_rows<'a>(
    views: &'a [rows::View],
    samples: &'a [Sample],
    threads: usize,
) -> impl Iterator<Item = Row> + use<'a> {
    views.iter().filter_map(move |view| {
        let values: Vec<f64> = samples.iter().map(view.value).collect();
        let name = if threads == 1 { view.name.to_owned() } else { format!("{}.{threads}cpu", view.name) };
        Row::of(name, view.unit, &values)
    })
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new(&["row", "unit", "median", "min", "max"]);
    for row in rows {
        let show = if row.unit == "ns" { decimal } else { grouped };
        let mut cells = vec![row.name.clone(), row.unit.to_owned()];
        cells.extend([row.median, row.min, row.max].map(show));
        table.row(cells);
    }
    table.to_string()
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn rows_of_several_threads_say_so() {
        let second = Duration::from_secs(1);
        let sample = Sample::of_slice(&[(10, 80, second), (10, 80, second * 2)]);
        let rand64 = rows::ALL.iter().find(|row| row.name == "rng.ioctl_rand64").unwrap();
        let names = |threads| -> Vec<(String, f64)> {
            let rows = report_rows(rand64.views, std::slice::from_ref(&sample), threads);
            rows.map(|row| (row.name, row.median)).collect()
        };
        // 80 B/s and 40 B/s at once; 20 draws in 3 seconds of CPU time.
        let expected =
            [("rng.ioctl_rand64.2cpu".to_owned(), 120.0), ("rng.ioctl_rand64_ns.2cpu".to_owned(), 1.5e8)];
        assert_eq!(names(2), expected);
        assert!(names(1).iter().all(|(name, _)| !name.ends_with("cpu")));
    }
}
