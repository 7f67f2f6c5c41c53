// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting programs: shown with `-v`, killed on Ctrl-C and with this process, their last words kept for the error.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::fcntl::OFlag;

use crate::interrupt::{self, Ending, Registration};
use crate::sandbox;
use crate::silence::{self, Patient};
use crate::ui::{self, Step};

/// Lines of output that an error repeats.
const LAST_WORDS: usize = 30;
/// How long what a program has started may be there without a word when the program itself has ended, and how long at all.
const SILENT_AFTER_END: Duration = Duration::from_secs(5);
const THERE_AFTER_END: Duration = Duration::from_secs(60);
/// How often the reader of a silent program looks whether that has ended.
const GLANCE: Duration = Duration::from_millis(200);

/// A child that is killed when dropped, when the user stops the run, and by the kernel should this process die.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    name: String,
    waited: bool,
    registration: Registration,
}

impl Running {
    /// Starts `command`.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let name = program_name(command);
        if ui::verbose() {
            eprintln!("{} {}", ui::paint("2", "+"), ui::paint("2", &shown(command)));
        }
        interrupt::check()?;
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        // What runs in a sandbox must be gone before its files are cleaned up, and only the sandbox can wait for it.
        let ending = if sandbox::is_entered_by(command) { Ending::KillsItsOwn } else { Ending::Kill };
        let registration = Registration::new(child.id(), ending);
        Ok(Self { child, name, waited: false, registration })
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let status = self.child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        self.waited = true;
        interrupt::check()?;
        Ok(status)
    }

    /// Waits for the end, which comes within `time`: otherwise it is ended, and that is an error.
    pub(crate) fn wait_at_most(&mut self, time: Duration) -> anyhow::Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                interrupt::check()?;
                return Ok(status);
            }
            if start.elapsed() > time {
                self.kill();
                bail!("{} did not end within {}", self.name, ui::humane(time));
            }
            std::thread::sleep(GLANCE.min(time));
        }
    }

    /// The process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The status, if it has ended.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let status = self.child.try_wait().with_context(|| format!("cannot wait for {}", self.name))?;
        self.waited = status.is_some();
        Ok(status)
    }

    /// The pipes, for those that were asked for.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Ends the child at once, and all that runs in its sandbox.
    pub(crate) fn kill(&mut self) {
        if !self.waited {
            self.registration.end();
            // An error means that it has ended already.
            let _ = self.child.wait();
            self.waited = true;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a program to its end. Its output goes to `step` line by line, or to stderr with `-v`; should it fail, the
/// last lines of it are in the error.
pub(crate) fn run(command: &mut Command, step: &Step) -> anyhow::Result<()> {
    run_lines(command, |line| step.message(line))
}

/// The same with each line of output handed to `each`.
pub(crate) fn run_lines(command: &mut Command, each: impl FnMut(&str)) -> anyhow::Result<()> {
    run_lines_from(command, Stdio::null(), each)
}

/// The same with `input` as its stdin.
pub(crate) fn run_lines_from(
    command: &mut Command,
    input: Stdio,
    each: impl FnMut(&str),
) -> anyhow::Result<()> {
    run_patiently(command, input, None, each)
}

/// The same for a program that runs others, such as `cargo test`. Of those, who says nothing for `patience` is ended, so that the next one gets
/// its turn, and so is who is still there when the program has ended. The error then tells who it was, and what each of its threads waited for.
pub(crate) fn run_lines_of_others(
    command: &mut Command,
    patience: Duration,
    each: impl FnMut(&str),
) -> anyhow::Result<()> {
    run_patiently(command, Stdio::null(), Some(patience), each)
}

fn run_patiently(
    command: &mut Command,
    input: Stdio,
    patience: Option<Duration>,
    mut each: impl FnMut(&str),
) -> anyhow::Result<()> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")?;
    command.stdin(input);
    command.stdout(writer.try_clone().context("cannot make a pipe")?).stderr(writer);
    let line_shown = shown(command);
    let mut running = Running::start(command)?;
    // The command keeps its ends of the pipes open; the loop below ends when the last writer has gone.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut last: VecDeque<String> = VecDeque::new();
    let mut hanging = String::new();
    let (mut silent_since, mut silences, mut ended_at) = (Instant::now(), 0, None);
    let mut lines = LossyLines::new(Patient::new(File::from(reader), GLANCE));
    loop {
        let line = match lines.read() {
            Ok(Some(line)) => Some(line),
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::TimedOut => None,
            Err(error) => return Err(error).context("cannot read the output"),
        };
        // A part of a line is a word, too.
        if line.is_some() || lines.has_grown() {
            (silent_since, silences) = (Instant::now(), 0);
        }
        if let Some(line) = line {
            if ui::verbose() {
                eprintln!("  {line}");
            }
            each(&line);
            if last.len() == LAST_WORDS {
                last.pop_front();
            }
            last.push_back(line);
        }
        if ended_at.is_none() && running.ended()?.is_some() {
            ended_at = Some(Instant::now());
        }
        let is_patient = match (ended_at, patience) {
            (Some(end), _) => end.elapsed() < THERE_AFTER_END && silent_since.elapsed() < SILENT_AFTER_END,
            (None, Some(patience)) => silent_since.elapsed() < patience,
            (None, None) => true,
        };
        if is_patient {
            continue;
        }
        let ended = silence::end_writers(lines.stream.get_ref().pipe(), running.pid());
        hanging += if ended.is_empty() { "somebody who cannot be seen holds its output\n" } else { &ended };
        (silent_since, silences) = (Instant::now(), silences + 1);
        // Nobody could be found, or somebody waits in the kernel where no signal reaches.
        if ended.is_empty() || silences == 3 {
            running.kill();
            break;
        }
        ended_at = ended_at.map(|_| Instant::now());
    }
    let status = running.wait()?;
    if status.success() && hanging.is_empty() {
        return Ok(());
    }
    let mut error = String::new();
    if !hanging.is_empty() {
        error += &format!(
            "`{line_shown}` left or started programs that hung and were ended:\n{}\n",
            indent(&hanging)
        );
    }
    if !status.success() {
        let last: Vec<String> = last.into();
        error += &format!(
            "`{line_shown}` failed ({status}); the end of its output:\n{}",
            indent(&last.join("\n"))
        );
    }
    bail!("{}", error.trim_end())
}

/// Runs a program to its end with each line of its stdout and stderr handed over apart. How it ended is for the caller to judge.
pub(crate) fn run_apart(
    command: &mut Command,
    stdout: impl FnMut(&str),
    stderr: impl FnMut(&str) + Send,
) -> anyhow::Result<ExitStatus> {
    run_apart_from(command, Stdio::null(), stdout, stderr)
}

/// The same with `input` as its stdin.
pub(crate) fn run_apart_from(
    command: &mut Command,
    input: Stdio,
    mut stdout: impl FnMut(&str),
    mut stderr: impl FnMut(&str) + Send,
) -> anyhow::Result<ExitStatus> {
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(command)?;
    let errors = running.child().stderr.take().context("no stderr")?;
    let output = running.child().stdout.take().context("no stdout")?;
    let each = |line: String, to: &mut dyn FnMut(&str)| {
        if ui::verbose() {
            eprintln!("  {line}");
        }
        to(&line);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| LossyLines::new(errors).for_each(|line| each(line, &mut stderr)));
        LossyLines::new(output).for_each(|line| each(line, &mut stdout));
    });
    running.wait()
}

/// Runs a program and returns its stdout; stderr is in the error should it fail.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let line_shown = shown(command);
    let mut running = Running::start(command)?;
    let mut stderr = running.child().stderr.take().context("no stderr")?;
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        // A program that closes its stderr early has nothing more to say.
        let _ = stderr.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let mut text = Vec::new();
    running
        .child()
        .stdout
        .take()
        .context("no stdout")?
        .read_to_end(&mut text)
        .context("cannot read the output")?;
    let status = running.wait()?;
    let errors = errors.join().unwrap_or_default();
    if !status.success() {
        bail!("`{line_shown}` failed ({status}):\n{}", indent(errors.trim_end()));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The lines of a byte stream, whatever bytes they have.
struct LossyLines<R> {
    stream: BufReader<R>,
    /// The part of the next line that was read.
    line: Vec<u8>,
    /// How long that was when it was asked for last.
    seen: usize,
}

impl<R: Read> LossyLines<R> {
    fn new(stream: R) -> Self {
        Self { stream: BufReader::new(stream), line: Vec::new(), seen: 0 }
    }

    /// Whether more of the next line has come since this was asked last.
    fn has_grown(&mut self) -> bool {
        std::mem::replace(&mut self.seen, self.line.len()) < self.line.len()
    }

    /// The next line, or nothing at the end. After an error that time mends, it can be asked again.
    fn read(&mut self) -> io::Result<Option<String>> {
        if self.stream.read_until(b'\n', &mut self.line)? == 0 && self.line.is_empty() {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        Ok(Some(line))
    }
}

impl<R: Read> Iterator for LossyLines<R> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.read().ok().flatten()
    }
}

/// Each line two spaces further in.
pub(crate) fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect::<String>().trim_end().to_owned()
}

fn program_name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
}

/// The command as one could type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut words: Vec<String> = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), quoted(value?))))
        .collect();
    let arguments: Vec<&OsStr> = command.get_args().collect();
    // What runs in the tool tree is shown as it is called there, not with the program that enters it.
    match arguments.iter().position(|word| *word == "--") {
        Some(at) if sandbox::is_entered_by(command) => {
            words.extend(arguments.iter().skip(at + 1).map(|word| quoted(word)))
        }
        _ => {
            words.push(quoted(command.get_program()));
            words.extend(arguments.iter().map(|word| quoted(word)));
        }
    }
    words.join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_shown_with_its_last_words() {
        let error =
            run_lines(Command::new("sh").args(["-c", "echo one; echo two >&2; exit 3"]), |_| {}).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("sh -c 'echo one; echo two >&2; exit 3'"), "{text}");
        assert!(text.contains("exit status: 3") && text.contains("  one\n  two"), "{text}");
    }

    #[test]
    fn who_hangs_is_named_and_ended_and_what_comes_next_runs() {
        let mut said = Vec::new();
        let line = "echo one; sleep 1000; echo two; sleep 1001 & exit 3";
        let error =
            run_lines_of_others(Command::new("sh").args(["-c", line]), Duration::from_millis(300), |line| {
                said.push(line.to_owned())
            })
            .unwrap_err();
        let text = format!("{error:#}");
        // The shell says between them that it was killed.
        assert_eq!([said.first(), said.last()], [Some(&"one".to_owned()), Some(&"two".to_owned())]);
        let named = ["sleep 1000", "sleep 1001"].map(|command| text.contains(&format!(": {command}\n")));
        assert!(named == [true, true] && text.contains("  thread sleep (S) in "), "{text}");
        let patient = run_lines_of_others(
            Command::new("sh").args(["-c", "sleep 0.2; echo one; sleep 0.2"]),
            Duration::from_secs(100),
            |_| {},
        );
        assert!(patient.is_ok(), "{patient:?}");
    }

    #[test]
    fn output_is_stdout_alone() {
        assert_eq!(output(Command::new("sh").args(["-c", "echo out; echo err >&2"])).unwrap(), "out\n");
    }

    #[test]
    fn two_streams_are_kept_apart() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = run_apart(
            Command::new("sh").args(["-c", "echo one; echo two >&2; echo three; exit 3"]),
            |line| out.push(line.to_owned()),
            |line| err.push(line.to_owned()),
        )
        .unwrap();
        assert_eq!(
            (status.code(), out, err),
            (Some(3), vec!["one".to_owned(), "three".to_owned()], vec!["two".to_owned()])
        );
    }

    #[test]
    fn shown_commands_can_be_typed() {
        assert_eq!(shown(Command::new("echo").args(["a b", "it's", "plain"])), r"echo 'a b' 'it'\''s' plain");
    }

    #[test]
    fn a_dropped_child_is_killed() {
        let running = Running::start(Command::new("sleep").arg("1000")).unwrap();
        let pid = running.child.id();
        drop(running);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
