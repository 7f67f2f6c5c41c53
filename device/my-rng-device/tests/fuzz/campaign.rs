// SPDX-License-Identifier: MIT OR Apache-2.0
//! One campaign: the corpus, then random inputs, with what was spent on them.

use std::path::PathBuf;
use std::time::Instant;

use super::random::Random;

/// Most that the process may grow in bytes after it has warmed up. The allocator's own ups and downs are some mebibytes.
const GROWTH_MAX: usize = 16 << 20;
/// After so many inputs everything that is kept has its size.
const WARM: u64 = 20_000;

/// Somebody who attacks a device.
pub(crate) trait Attack {
    /// Plays a file of the corpus.
    fn play(&mut self, text: &str);
    /// Makes one input.
    fn input(&mut self, random: &mut Random);
    /// Sees whether everything is as it should be.
    fn check(&mut self);
    /// What the attack has brought about, to see that it is one.
    fn effects(&self) -> Effects;
    /// Memory that who is attacked uses, in bytes.
    fn resident(&self) -> usize {
        resident(std::process::id())
    }
    /// Ends who is attacked.
    fn end(self)
    where
        Self: Sized,
    {
    }
}

/// What the device and its server have counted, by name.
pub(crate) type Effects = Vec<(&'static str, u64)>;

pub(crate) struct Campaign {
    name: &'static str,
    inputs: u64,
    seed: u32,
}

impl Campaign {
    /// A campaign whose length and seed can be set from outside.
    pub(crate) fn new(name: &'static str, default: u64) -> Self {
        let number = |name| std::env::var(name).ok().map(|text: String| text.parse().expect("a number"));
        let inputs = number("FUZZ_INPUTS").unwrap_or(default);
        let seed = number("FUZZ_SEED").unwrap_or(1);
        Self { name, inputs, seed: seed.try_into().expect("a seed of 32 bits") }
    }

    /// `wanted`: what the attack must have brought about, else it tests nothing.
    pub(crate) fn run<A: Attack>(&self, attacker: impl Fn() -> A, wanted: &[&str]) {
        let mut attack = attacker();
        let corpus = self.corpus();
        for (file, text) in &corpus {
            eprintln!("{}: {file}", self.name);
            attack.play(text);
            attack.check();
        }
        let mut random = Random::new(self.seed);
        let start = Instant::now();
        let mut warm = attack.resident();
        let mut progress = Progress { name: self.name, seed: self.seed, done: 0 };
        for done in 0..self.inputs {
            progress.done = done;
            if done == WARM {
                warm = attack.resident();
            }
            attack.input(&mut random);
            if done % 8192 == 0 {
                attack.check();
            }
        }
        attack.check();
        let (seconds, end) = (start.elapsed().as_secs_f64(), attack.resident());
        println!(
            "{}: seed {}, {} files of the corpus, {} inputs in {seconds:.1} s, {:.0} a second, {} KiB resident after \
             {WARM} inputs, {} KiB at the end",
            self.name,
            self.seed,
            corpus.len(),
            self.inputs,
            self.inputs as f64 / seconds,
            warm >> 10,
            end >> 10,
        );
        let effects = attack.effects();
        println!("{}: {effects:?}", self.name);
        for wanted in wanted {
            assert!(effects.iter().any(|(name, count)| name == wanted && *count > 0), "no {wanted} at all");
        }
        if self.inputs > WARM {
            assert!(end <= warm + GROWTH_MAX, "grew from {warm} to {end} bytes");
        }
        attack.end();
    }

    /// Names and texts of the corpus, sorted.
    fn corpus(&self) -> Vec<(String, String)> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(self.name);
        let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let mut corpus: Vec<_> = files
            .map(|path| {
                let text = std::fs::read_to_string(&path).unwrap();
                (path.file_name().unwrap().to_string_lossy().into_owned(), text)
            })
            .collect();
        corpus.sort();
        assert!(!corpus.is_empty(), "the corpus is gone");
        corpus
    }
}

/// Says where it was when something fails.
struct Progress {
    name: &'static str,
    seed: u32,
    done: u64,
}

impl Drop for Progress {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: failed with seed {} at input {}", self.name, self.seed, self.done);
        }
    }
}

/// Memory of a process that is in use, in bytes.
pub(crate) fn resident(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}
