//! gantry beside Debian's dockerd, each on roots of its own, by the same commands.
//!
//! It measures what a user waits for: whole commands, from outside, the two engines in turn so that the machine's moods
//! meet both. Medians and ratios are printed; nothing is judged here.

mod ctr;
mod engine;
mod measure;
mod memory;
mod report;
mod rootfs;

use anyhow::{Context, Result, bail};
use engine::Engine;
use report::Report;
use std::path::{Path, PathBuf};
use std::process::Command;

const HELP: &str = "gantry-bench [--runs N] [--containers N] [--alone] [--ctr]

  --runs N         samples of each command (20)
  --containers N   containers for memory and restart (100)
  --alone          do not look for dockerd
  --ctr            only containerd's tool, ctr";

struct Options {
    runs: usize,
    containers: usize,
    alone: bool,
    ctr: bool,
}

fn options() -> Result<Options> {
    let mut options = Options {
        runs: 20,
        containers: 100,
        alone: false,
        ctr: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || -> Result<usize> {
            let text = args.next().with_context(|| format!("{arg} needs a number"))?;
            text.parse().with_context(|| format!("{arg} {text}"))
        };
        match arg.as_str() {
            "--runs" => options.runs = number()?.max(1),
            "--containers" => options.containers = number()?.max(1),
            "--alone" => options.alone = true,
            "--ctr" => options.ctr = true,
            _ => bail!("unknown argument {arg}\n{HELP}"),
        }
    }
    Ok(options)
}

/// Goes with all that is in it, whatever happens.
struct Root(PathBuf);

impl Drop for Root {
    fn drop(&mut self) {
        // dockerd keeps a namespace mounted below its exec root.
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let below = |target: &&str| Path::new(target).starts_with(&self.0);
        let targets: Vec<&str> = table
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(below)
            .collect();
        for target in targets.iter().rev() {
            let _ = Command::new("umount").arg("-l").arg(target).status();
        }
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("remove {}: {error}", self.0.display());
        }
    }
}

fn main() -> Result<()> {
    let options = options()?;
    let root = Root(std::env::temp_dir().join(format!("gantry-bench-{}", std::process::id())));
    std::fs::create_dir(&root.0).with_context(|| format!("make {}", root.0.display()))?;
    let tar = rootfs::busybox_tar(&root.0)?;
    let mut engines = vec![Engine::gantry(&root.0)?];
    if !options.alone {
        match Engine::dockerd(&root.0) {
            Some(dockerd) => engines.push(dockerd),
            None => eprintln!("no dockerd here: gantry alone"),
        }
    }
    for engine in &mut engines {
        engine.start()?;
        engine.must(&["import", &tar, rootfs::IMAGE])?;
    }
    let mut report = Report::new(engines.iter().map(|engine| engine.name).collect());
    let measured = if options.ctr {
        Ok(())
    } else {
        let measured = measure::all(&mut engines, options.runs, options.containers, &mut report);
        report.print();
        measured
    };
    let measured = measured.and_then(|()| ctr::run(&engines, &root.0, options.runs));
    let ended: Vec<Result<()>> = engines.into_iter().map(Engine::end).collect();
    measured?;
    ended.into_iter().collect()
}
