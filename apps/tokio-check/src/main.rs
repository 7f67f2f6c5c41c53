// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs on tokio do, each thing with a line that is the same on every kernel: tasks on several threads, TCP, UDP, Unix sockets,
//! timers, signals, child processes, files.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

/// Nothing here takes as long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "multi_thread", worker_threads = 3)]
async fn main() -> anyhow::Result<()> {
    timeout(PATIENCE, all()).await.context("it hangs")?
}

async fn all() -> anyhow::Result<()> {
    tasks().await?;
    tcp().await?;
    shutdown_and_reset().await?;
    udp().await?;
    unix().await?;
    timers().await?;
    signals().await?;
    children().await?;
    files().await
}

/// Many tasks that pass a number on.
async fn tasks() -> anyhow::Result<()> {
    let (first, mut last) = mpsc::channel(4);
    let mut sender = first;
    for _ in 0..500 {
        let (next, mut receiver) = mpsc::channel::<u64>(4);
        let out = std::mem::replace(&mut sender, next);
        tokio::spawn(async move {
            while let Some(number) = receiver.recv().await {
                if out.send(number + 1).await.is_err() {
                    break;
                }
            }
        });
    }
    tokio::spawn(async move {
        for number in 0..20 {
            if sender.send(number).await.is_err() {
                break;
            }
        }
    });
    let mut sum = 0;
    while let Some(number) = last.recv().await {
        sum += number;
    }
    println!("tasks: {sum}");
    Ok(())
}

/// A server that echoes, and fifty clients at a time.
async fn tcp() -> anyhow::Result<()> {
    const CLIENTS: u32 = 50;
    let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let sent: Vec<u8> = (0..100_000_u32).map(|at| (at ^ number) as u8).collect();
            let (mut from, mut to) = stream.split();
            let mut back = Vec::new();
            let (written, read) = tokio::join!(
                async {
                    to.write_all(&sent).await?;
                    to.shutdown().await
                },
                from.read_to_end(&mut back)
            );
            written?;
            read?;
            ensure!(back == sent, "client {number} got something else back");
            Ok(back.len())
        });
    }
    let mut bytes = 0;
    while let Some(client) = clients.join_next().await {
        bytes += client??;
    }
    println!("TCP: {CLIENTS} clients, {bytes} bytes came back");
    Ok(())
}

async fn shutdown_and_reset() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let client = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await?;
        // What is unread when it is closed becomes a reset.
        stream.readable().await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        anyhow::Ok(byte)
    });
    let (mut stream, _) = listener.accept().await?;
    stream.write_all(b"unread").await?;
    println!("TCP: the client read {:?}", client.await??);
    let error = loop {
        match stream.write(b"more").await {
            Ok(_) => sleep(Duration::from_millis(10)).await,
            Err(error) => break error.kind(),
        }
    };
    let is_expected = matches!(error, std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe);
    drop(listener);
    let refused = TcpStream::connect(address).await.map(drop).map_err(|error| error.kind());
    println!("TCP: reset {is_expected}, and nobody listens: {refused:?}");
    Ok(())
}

async fn udp() -> anyhow::Result<()> {
    let (one, other) = (UdpSocket::bind("127.0.0.1:0").await?, UdpSocket::bind("127.0.0.1:0").await?);
    let address = other.local_addr()?;
    one.connect(address).await?;
    let mut sum = 0;
    for number in 0..200_u32 {
        one.send(&number.to_le_bytes()).await?;
        let mut bytes = [0; 4];
        let (length, from) = other.recv_from(&mut bytes).await?;
        ensure!(length == 4 && from == one.local_addr()?, "{length} bytes from {from}");
        other.send_to(&(u32::from_le_bytes(bytes) * 2).to_le_bytes(), from).await?;
        one.recv(&mut bytes).await?;
        sum += u32::from_le_bytes(bytes);
    }
    let nothing = timeout(Duration::from_millis(20), one.recv(&mut [0; 4])).await.is_err();
    println!("UDP: {sum}, then nothing: {nothing}");
    Ok(())
}

async fn unix() -> anyhow::Result<()> {
    let path = format!("/tmp/tokio-check-{}", std::process::id());
    let listener = UnixListener::bind(&path)?;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        let user = stream.peer_cred()?.pid().map(u32::try_from);
        let mut lines = BufReader::new(stream).lines();
        let mut heard = Vec::new();
        while let Some(line) = lines.next_line().await? {
            heard.push(line);
        }
        anyhow::Ok((heard, user == Some(Ok(std::process::id()))))
    });
    let mut stream = UnixStream::connect(&path).await?;
    stream.write_all(b"one\ntwo\n").await?;
    stream.shutdown().await?;
    let (heard, is_own) = server.await??;
    tokio::fs::remove_file(&path).await?;
    println!("Unix: {heard:?}, from this process: {is_own}");
    Ok(())
}

async fn timers() -> anyhow::Result<()> {
    let started = Instant::now();
    let mut ticks = interval(Duration::from_millis(10));
    for _ in 0..6 {
        ticks.tick().await;
    }
    let in_time = started.elapsed() >= Duration::from_millis(50);
    let mut sleepers = JoinSet::new();
    for number in (0..8_u64).rev() {
        sleepers.spawn(async move {
            sleep(Duration::from_millis(200 * number)).await;
            number
        });
    }
    let mut order = Vec::new();
    while let Some(number) = sleepers.join_next().await {
        order.push(number?);
    }
    let (never, receiver) = oneshot::channel::<()>();
    let ran_out = timeout(Duration::from_millis(5), receiver).await.is_err();
    drop(never);
    println!("timers: six ticks not too early {in_time}, in order {order:?}, one ran out {ran_out}");
    Ok(())
}

async fn signals() -> anyhow::Result<()> {
    let (mut user, mut window) = (signal(SignalKind::user_defined1())?, signal(SignalKind::window_change())?);
    for name in ["USR1", "WINCH", "USR1"] {
        let own = std::process::id().to_string();
        let status = Command::new("kill").args(["-s", name, &own]).status().await?;
        ensure!(status.success(), "kill ended with {status}");
        tokio::select! {
            _ = user.recv() => println!("signal: USR1"),
            _ = window.recv() => println!("signal: WINCH"),
        }
    }
    Ok(())
}

async fn children() -> anyhow::Result<()> {
    let mut shells = JoinSet::new();
    for number in 0..8 {
        shells.spawn(async move {
            let line = format!("cat; echo to stderr >&2; exit {number}");
            let mut child = Command::new("sh")
                .args(["-c", &line])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            let mut input = child.stdin.take().context("no stdin")?;
            tokio::spawn(async move { input.write_all(&[b'x'; 100_000]).await });
            let output = child.wait_with_output().await?;
            anyhow::Ok((output.status.code(), output.stdout.len(), output.stderr.len()))
        });
    }
    let mut ended = Vec::new();
    while let Some(shell) = shells.join_next().await {
        ended.push(shell??);
    }
    ended.sort_unstable();
    println!("children: {ended:?}");
    let mut child = Command::new("sleep").arg("1000").kill_on_drop(true).spawn()?;
    let waited = timeout(Duration::from_millis(20), child.wait()).await.is_err();
    child.kill().await?;
    let missing = Command::new("/no/such/program").spawn().map(drop).map_err(|error| error.kind());
    println!("children: one still ran {waited}, and was killed; {missing:?}");
    Ok(())
}

async fn files() -> anyhow::Result<()> {
    let folder = format!("/tmp/tokio-check-{}-files", std::process::id());
    tokio::fs::create_dir(&folder).await?;
    let mut writers = JoinSet::new();
    for number in 0..16_usize {
        let path = format!("{folder}/{number:02}");
        writers.spawn(async move {
            tokio::fs::write(&path, vec![b'f'; number * 1000]).await?;
            let mut file = tokio::fs::OpenOptions::new().append(true).open(&path).await?;
            file.write_all(b"end").await?;
            file.sync_all().await?;
            anyhow::Ok(tokio::fs::metadata(&path).await?.len())
        });
    }
    let mut bytes = 0;
    while let Some(length) = writers.join_next().await {
        bytes += length??;
    }
    let (mut entries, mut names) = (tokio::fs::read_dir(&folder).await?, Vec::new());
    while let Some(entry) = entries.next_entry().await? {
        names.push(entry.file_name());
    }
    names.sort();
    tokio::fs::remove_dir_all(&folder).await?;
    println!("files: {} with {bytes} bytes, from {:?} to {:?}", names.len(), names.first(), names.last());
    Ok(())
}
