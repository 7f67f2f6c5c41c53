// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes that insert into one SQLite database at a time, in both journal modes: no row may be lost.
//!
//! SQLite's promises rest on locks of ranges that exclude, on files that are renamed, cut and synchronised in order, and for WAL on memory
//! that processes share by mapping a file: a program that many depend on, and a judge of all these.
//!
//! `sqlite-writers [ROUNDS]` runs the rounds (20) in a new folder below the temporary one and prints a line for each mode.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rusqlite::Connection;

const PROCESSES: usize = 4;
const INSERTS: usize = 10;
const ROUNDS: usize = 20;
/// How long a process waits for the others: longer than all rounds take on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["insert", database, process] => insert(Path::new(database), process),
        [] => all_modes(ROUNDS),
        [rounds] => match rounds.parse() {
            Ok(rounds) if rounds > 0 => all_modes(rounds),
            _ => Err(anyhow::anyhow!("{rounds} is no number of rounds: 1 or more was expected")),
        },
        _ => Err(anyhow::anyhow!("usage: sqlite-writers [ROUNDS]")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sqlite-writers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn all_modes(rounds: usize) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("sqlite-writers.{}", std::process::id()));
    std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let result = ["delete", "wal"].into_iter().try_for_each(|mode| {
        for round in 1..=rounds {
            let database = folder.join(format!("{mode}{round}.db"));
            one_round(&database, mode).with_context(|| format!("journal mode {mode}, round {round}"))?;
        }
        println!("{mode}: {rounds} times {} rows", PROCESSES * INSERTS);
        Ok(())
    });
    // What was found is more telling than a folder that stays.
    let _ = std::fs::remove_dir_all(&folder);
    result
}

fn open(database: &Path) -> anyhow::Result<Connection> {
    let connection = Connection::open(database)?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

fn one_round(database: &PathBuf, mode: &str) -> anyhow::Result<()> {
    let connection = open(database)?;
    let now: String = connection.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| row.get(0))?;
    ensure!(now == mode, "the journal mode is {now}");
    connection.execute("CREATE TABLE rows (process TEXT, number INTEGER, UNIQUE (process, number))", [])?;
    drop(connection);
    let own = std::env::current_exe().context("cannot find this program")?;
    let children: Vec<Child> = (0..PROCESSES)
        .map(|process| Command::new(&own).arg("insert").arg(database).arg(process.to_string()).spawn())
        .collect::<Result<_, _>>()
        .context("cannot start a process")?;
    for mut child in children {
        let status = child.wait()?;
        if !status.success() {
            bail!("a process that inserts failed: {status}");
        }
    }
    let connection = open(database)?;
    let rows: usize = connection.query_row("SELECT count(*) FROM rows", [], |row| row.get(0))?;
    ensure!(rows == PROCESSES * INSERTS, "{rows} rows instead of {}", PROCESSES * INSERTS);
    let state: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    ensure!(state == "ok", "the database is damaged: {state}");
    Ok(())
}

/// What each process does: every row is a transaction of its own.
fn insert(database: &Path, process: &str) -> anyhow::Result<()> {
    let connection = open(database)?;
    for number in 0..INSERTS {
        connection
            .execute("INSERT INTO rows VALUES (?1, ?2)", (process, number))
            .with_context(|| format!("process {process}, row {number}"))?;
    }
    Ok(())
}
