// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rng-bench`: how fast a program gets random numbers in this machine, by every way there is: those of a my_rng device
//! and, in the same run, those of its peers.
//!
//! ```text
//! rows ──▶ sources (one for each way, unsafe code only in mmio, null_ioctl and program)
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
use std::io::{self, Write as _};
use std::process::ExitCode;

use arguments::Arguments;
use bench_report::{Report, Row};
use clap::Parser as _;
use measure::Sample;

/// The slices that the measurement of a row is cut into.
const SLICES: u32 = 4;

/// Anything that can go wrong on the way to a figure.
type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    bench_report::exit_code("rng-bench", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (options, threads) = (arguments.options, arguments.threads.get());
    let wanted =
        |row: &&rows::Row| arguments.rows.is_empty() || arguments.rows.iter().any(|name| name == row.name);
    let mut measured = Vec::new();
    for row in rows::ALL.iter().filter(wanted) {
        match row.source(arguments) {
            Ok(source) => measured.push((row.views, source, Vec::new())),
            Err(error) => eprintln!("{} not measured: {error}", row.name),
        }
    }
    for run in 1..=options.runs {
        if arguments.progress {
            writeln!(io::stdout(), "run {run} of {}", options.runs)?;
        }
        for (_, _, samples) in &mut measured {
            samples.push(Sample::default());
        }
        // In turns, and several times a run, so that a slow moment of the host does not fall on one row alone.
        for _ in 0..SLICES {
            for (_, source, samples) in &mut measured {
                let slice = measure::slice(source.as_ref(), threads, options.window / SLICES)?;
                samples.iter_mut().last().into_iter().for_each(|sample: &mut Sample| sample.add(slice));
            }
        }
    }
    let rows = measured.iter().flat_map(|(views, _, samples)| report_rows(views, samples, threads)).collect();
    Ok(Report::new(rows).print(options.json)?)
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
