// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the standard library gives a program: threads, channels, maps, files, processes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, Once, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Outcome, failed};

thread_local! {
    static OWN: std::cell::Cell<u64> = const { std::cell::Cell::new(1) };
}

pub(crate) fn threads() -> Outcome {
    let (counter, sum) = (AtomicU64::new(0), Mutex::new(0_u64));
    let (barrier, table, once) = (Barrier::new(8), RwLock::new(BTreeMap::new()), Once::new());
    thread::scope(|scope| {
        for number in 0..8_u64 {
            let (counter, sum, barrier, table, once) = (&counter, &sum, &barrier, &table, &once);
            scope.spawn(move || {
                once.call_once(|| println!("once"));
                for step in 0..5000 {
                    counter.fetch_add(1, Ordering::Relaxed);
                    *sum.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) += step * number;
                    OWN.set(OWN.get().wrapping_mul(31).wrapping_add(number));
                }
                barrier.wait();
                table.write().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(number, OWN.get());
            });
        }
    });
    println!("{} {:?}", counter.load(Ordering::Relaxed), sum.into_inner());
    println!("{:?}", table.into_inner());

    let pair = Arc::new((Mutex::new(0_u32), Condvar::new()));
    let waiting: Vec<_> = (1..=4)
        .map(|number| {
            let pair = Arc::clone(&pair);
            thread::Builder::new().name(format!("waits for {number}")).stack_size(64 << 10).spawn(move || {
                let (turn, changed) = &*pair;
                let turn = turn.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                let mut turn = changed
                    .wait_while(turn, |turn| *turn != number)
                    .unwrap_or_else(|poisoned| poisoned.into_inner());
                *turn += 1;
                changed.notify_all();
                thread::current().name().map(str::to_owned)
            })
        })
        .collect::<Result<_, _>>()?;
    *pair.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = 1;
    pair.1.notify_all();
    for thread in waiting {
        println!("{:?}", thread.join().map_err(|_| failed("a thread panicked"))?);
    }
    let start = Instant::now();
    thread::sleep(Duration::from_millis(20));
    println!("slept {}", start.elapsed() >= Duration::from_millis(20));
    let panicked = thread::spawn(|| std::panic::panic_any(7_u32)).join();
    println!("a panic of {:?} was caught", panicked.err().and_then(|panic| panic.downcast::<u32>().ok()));
    Ok(())
}

pub(crate) fn channels() -> Outcome {
    let (sender, receiver) = mpsc::channel();
    for number in 0..4_u64 {
        let sender = sender.clone();
        thread::spawn(move || (0..2500_u64).try_for_each(|step| sender.send(number * 10_000 + step)));
    }
    drop(sender);
    let mut all: Vec<u64> = receiver.iter().collect();
    all.sort_unstable();
    println!("{} messages, sum {}", all.len(), all.iter().sum::<u64>());

    let (sender, receiver) = mpsc::sync_channel::<Vec<u8>>(2);
    let producer = thread::spawn(move || (0..50_u8).try_for_each(|byte| sender.send(vec![byte; 1000])));
    let bytes: u64 = receiver.iter().flatten().map(u64::from).sum();
    println!("bounded: {bytes}, {:?}", producer.join().map_err(|_| failed("a thread panicked"))?);
    let (sender, receiver) = mpsc::channel::<()>();
    println!("{:?}", receiver.recv_timeout(Duration::from_millis(10)));
    drop(sender);
    println!("{:?}", receiver.try_recv());
    Ok(())
}

pub(crate) fn maps() -> Outcome {
    let mut words: HashMap<String, usize> = HashMap::new();
    for number in 0..100_000_u64 {
        let word = format!("word{}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 50);
        *words.entry(word).or_default() += 1;
    }
    let mut counts: Vec<_> = words.values().collect();
    counts.sort_unstable();
    println!(
        "{} words, {} in all, {:?} at most",
        words.len(),
        counts.iter().copied().sum::<usize>(),
        counts.last()
    );
    // Two maps are seeded from the kernel's random numbers: their orders differ.
    let orders: HashSet<Vec<u32>> =
        (0..4).map(|_| (0..64).collect::<HashSet<u32>>().into_iter().collect()).collect();
    println!("{} orders", orders.len().min(2));
    let tree: BTreeMap<u64, String> = (0..20_000).map(|key| (key * 7919 % 20_011, key.to_string())).collect();
    println!("{:?} {:?}", tree.first_key_value(), tree.range(10_000..).next());
    let mut large: Vec<u64> =
        (0..1_000_000_u64).map(|i| i.wrapping_mul(6_364_136_223_846_793_005) >> 20).collect();
    large.sort_unstable();
    println!("{:?} {:?} {}", large.first(), large.last(), (0.1_f64 + 0.2).sqrt());
    Ok(())
}

pub(crate) fn files() -> Outcome {
    let folder = std::env::temp_dir().join(format!("exo-tests-{}", std::process::id()));
    fs::create_dir_all(folder.join("a/b"))?;
    let path = folder.join("a/file");
    fs::write(&path, "first\nsecond\nthird\n")?;
    let mut file = fs::File::options().read(true).append(true).open(&path)?;
    writeln!(file, "fourth")?;
    file.seek(SeekFrom::Start(6))?;
    println!("{:?}", BufReader::new(&file).lines().collect::<Result<Vec<_>, _>>()?);
    file.set_len(5)?;
    println!("{:?} {}", fs::read_to_string(&path)?, file.metadata()?.len());
    fs::copy(&path, folder.join("copy"))?;
    fs::rename(folder.join("copy"), folder.join("a/b/moved"))?;
    std::os::unix::fs::symlink("file", folder.join("a/link"))?;
    fs::hard_link(&path, folder.join("a/hard"))?;
    let mut names: Vec<_> = fs::read_dir(folder.join("a"))?
        .map(|entry| {
            entry.map(|entry| (entry.file_name(), entry.file_type().is_ok_and(|kind| kind.is_symlink())))
        })
        .collect::<Result<_, _>>()?;
    names.sort();
    println!("{names:?} {:?}", fs::read_link(folder.join("a/link"))?);
    for wrong in ["nothing", "a", "a/file/x"] {
        println!(
            "{wrong}: {:?}",
            fs::write(folder.join(wrong).join("x/y"), "").err().map(|error| error.kind())
        );
    }
    println!("{:?}", fs::remove_dir(folder.join("a")).err().map(|error| error.kind()));
    println!("{:?}", fs::File::create_new(&path).err().map(|error| error.kind() == ErrorKind::AlreadyExists));
    let large: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    fs::write(folder.join("large"), &large)?;
    println!("{}", fs::read(folder.join("large"))? == large);
    let mut permissions = fs::metadata(&path)?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions)?;
    println!("{}", fs::metadata(&path)?.permissions().readonly());
    fs::remove_dir_all(&folder)?;
    println!("{}", folder.exists());
    Ok(())
}

pub(crate) fn processes() -> Outcome {
    let output = Command::new("/bin/sh").args(["-c", "echo out; echo err >&2; exit 3"]).output()?;
    println!("{:?} {:?} {:?}", output.status.code(), output.stdout, output.stderr);
    let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().ok_or_else(|| failed("no stdin"))?;
    let writer = thread::spawn(move || stdin.write_all(&[b'x'; 300_000]));
    let mut text = Vec::new();
    child.stdout.take().ok_or_else(|| failed("no stdout"))?.read_to_end(&mut text)?;
    println!(
        "{} {:?} {:?}",
        text.len(),
        writer.join().map_err(|_| failed("a thread panicked"))?,
        child.wait()?.code()
    );
    let mut child = Command::new("/bin/sleep").arg("100").spawn()?;
    child.kill()?;
    println!("{:?}", child.wait()?);
    println!("{:?}", Command::new("/no/such/program").spawn().err().map(|error| error.kind()));
    let output = Command::new("/bin/env").env_clear().env("A", "b").current_dir("/tmp").output()?;
    println!("{:?}", String::from_utf8_lossy(&output.stdout));
    let (mut one, mut other) = UnixStream::pair()?;
    let writer = thread::spawn(move || one.write_all(&[b'y'; 200_000]));
    let mut text = Vec::new();
    other.read_to_end(&mut text)?;
    println!("{} {:?}", text.len(), writer.join().map_err(|_| failed("a thread panicked"))?);
    println!("{:?}", other.write_all(b"z").err().map(|error| error.kind()));
    let children: Vec<_> = (0..20).map(|_| Command::new("/bin/true").spawn()).collect::<Result<_, _>>()?;
    let ended =
        children.into_iter().filter_map(|mut child| child.wait().ok()).filter(|status| status.success());
    println!("{} children", ended.count());
    Ok(())
}
