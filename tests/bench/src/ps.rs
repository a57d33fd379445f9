//! `docker ps` with many containers: one client, the `docker` that is installed, and one version of the API for both engines. Some
//! of the containers run, the others were created; the answer of the API is measured too, for the start of the client is the same for both.

use crate::engine::Engine;
use crate::measure::millis;
use crate::report::{Report, Unit};
use crate::rootfs::IMAGE;
use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Times as fast as the peer, at least.
const GOAL: f64 = 2.0;
const AT_ONCE: usize = 4;

/// With so many containers, of which so many run.
pub fn run(engines: &[Engine], runs: usize, (containers, running): (usize, usize), report: &mut Report) -> Result<()> {
    for engine in engines {
        fill(engine, containers, running)?;
    }
    let mut goals = Vec::new();
    for (all, listed) in [(false, running), (true, containers)] {
        let (args, path): (&[&str], _) = match all {
            false => (&["ps"], "/v1.41/containers/json"),
            true => (&["ps", "-a"], "/v1.41/containers/json?all=1"),
        };
        for engine in engines {
            let lines = engine.docker(args)?.lines().count();
            ensure!(lines == listed + 1, "{} shows {lines} lines", engine.name);
        }
        let what = format!("docker {} ({listed} of {containers} shown)", args.join(" "));
        let better = each(engines, runs, &what, report, |engine| engine.docker_unread(args))?;
        goals.push((what, better));
        each(engines, runs, &format!("GET {path}"), report, |engine| {
            let answer = get(engine.docker_socket(), path)?;
            let names = answer.matches("\"Names\":").count();
            ensure!(names == listed, "{} lists {names}", engine.name);
            Ok(())
        })?;
    }
    report.print();
    for (what, better) in goals {
        if let Some(better) = better {
            let word = if better >= GOAL { "reached" } else { "missed" };
            println!("goal, {GOAL} times as fast: {word} by {what}, {better:.1} times");
        }
    }
    Ok(())
}

/// Samples of each engine in turn; the first warms up and is not counted.
fn each(
    engines: &[Engine],
    runs: usize,
    what: &str,
    report: &mut Report,
    ask: impl Fn(&Engine) -> Result<()>,
) -> Result<Option<f64>> {
    let mut samples = vec![Vec::new(); engines.len()];
    for run in 0..=runs {
        for (engine, samples) in engines.iter().zip(&mut samples) {
            let start = Instant::now();
            ask(engine)?;
            if run > 0 {
                samples.push(millis(start.elapsed()));
            }
        }
    }
    Ok(report.add(what, Unit::Millis, &samples))
}

/// On the default bridge, each with a published port, a label and a name.
fn fill(engine: &Engine, containers: usize, running: usize) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= containers {
                return Ok(());
            }
            let (name, port) = (format!("bench-{at}"), format!("{}:80", 20000 + at));
            let verb: &[&str] = if at < running { &["run", "-d"] } else { &["create"] };
            let mut args = verb.to_vec();
            args.extend(["--name", &name, "-p", &port, "--label", "org.example.bench=yes", IMAGE]);
            args.extend(["sleep", "1000000"]);
            engine.docker(&args)?;
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })
}

/// One answer of the API, on a connection of its own.
fn get(socket: &Path, path: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(
        answer.starts_with("HTTP/1.1 200 "),
        "GET {path}: {}",
        answer.lines().next().unwrap_or_default()
    );
    Ok(answer)
}
