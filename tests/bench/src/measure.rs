//! What is measured, each engine in its turn.

use crate::engine::Engine;
use crate::memory;
use crate::report::{Report, Unit};
use crate::rootfs::IMAGE;
use anyhow::{Result, ensure};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many commands at once when starts are counted, and how many in all for one sample.
const AT_ONCE: usize = 8;
const BURST: usize = 24;

pub fn all(engines: &mut [Engine], runs: usize, containers: usize, report: &mut Report) -> Result<()> {
    for (what, network) in [
        ("run --rm true, network none", "none"),
        ("run --rm true, network host", "host"),
    ] {
        let args = ["run", "--rm", "--network", network, IMAGE, "true"];
        commands(engines, runs, what, &args, report)?;
    }
    for engine in &mut *engines {
        engine.must(&[
            "run",
            "-d",
            "--name",
            "held",
            "--network",
            "none",
            IMAGE,
            "sleep",
            "1000000",
        ])?;
    }
    commands(engines, runs, "exec true", &["exec", "held", "true"], report)?;
    for engine in &mut *engines {
        engine.clear()?;
    }
    parallel(engines, runs.div_ceil(5), report)?;
    crowd(engines, containers, report)
}

/// Milliseconds of one whole command.
fn commands(engines: &[Engine], runs: usize, what: &str, args: &[&str], report: &mut Report) -> Result<()> {
    let mut samples = vec![Vec::new(); engines.len()];
    // The first of each warms caches and is not counted.
    for run in 0..=runs {
        for (engine, samples) in engines.iter().zip(&mut samples) {
            let start = Instant::now();
            engine.must(args)?;
            if run > 0 {
                samples.push(millis(start.elapsed()));
            }
        }
    }
    report.add(what, Unit::Millis, &samples);
    Ok(())
}

/// Starts in a second, several at once.
fn parallel(engines: &[Engine], runs: usize, report: &mut Report) -> Result<()> {
    let mut samples = vec![Vec::new(); engines.len()];
    for _ in 0..runs.max(1) {
        for (engine, samples) in engines.iter().zip(&mut samples) {
            samples.push(burst(engine)?);
        }
    }
    report.add(
        &format!("starts in a second, {AT_ONCE} at once"),
        Unit::PerSecond,
        &samples,
    );
    Ok(())
}

fn burst(engine: &Engine) -> Result<f64> {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let work = || -> Result<()> {
        while next.fetch_add(1, Ordering::Relaxed) < BURST {
            engine.must(&["run", "--rm", "--network", "none", IMAGE, "true"])?;
        }
        Ok(())
    };
    let ended: Vec<Result<()>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker does not panic"))
            .collect()
    });
    ended.into_iter().collect::<Result<()>>()?;
    Ok(BURST as f64 / start.elapsed().as_secs_f64())
}

/// Memory at many containers, and how soon a killed daemon knows them again.
fn crowd(engines: &mut [Engine], containers: usize, report: &mut Report) -> Result<()> {
    let (mut shim, mut daemon, mut back) = (Vec::new(), Vec::new(), Vec::new());
    for engine in engines {
        for _ in 0..containers {
            engine.must(&["run", "-d", "--network", "none", IMAGE, "sleep", "1000000"])?;
        }
        let memory = memory::of(&engine.root);
        shim.push(vec![memory.shim as f64 / 1024.0]);
        daemon.push(vec![memory.daemon as f64 / 1024.0]);
        engine.kill()?;
        back.push(vec![millis(engine.start()?)]);
        let listed = engine.must(&["ps", "-q"])?.lines().count();
        ensure!(
            listed == containers,
            "{} lists {listed} of {containers} containers after its restart",
            engine.name
        );
        engine.clear()?;
    }
    report.add(
        &format!("PSS of a shim at {containers} containers"),
        Unit::Mebibytes,
        &shim,
    );
    report.add(
        &format!("PSS of the daemon at {containers} containers"),
        Unit::Mebibytes,
        &daemon,
    );
    report.add(
        &format!("kill -9 to `ps` with {containers} containers"),
        Unit::Millis,
        &back,
    );
    Ok(())
}

pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
