//! gantry beside Debian's dockerd, each on roots of its own, by the same commands.
//!
//! It measures what a user waits for: whole commands, from outside, the two engines in turn so that the machine's moods
//! meet both. Medians and ratios are printed; nothing is judged here.

mod ctr;
mod engine;
mod measure;
mod memory;
mod network;
mod ps;
mod report;
mod rootfs;

use anyhow::{Context, Result, bail};
use engine::Engine;
use report::Report;
use std::path::{Path, PathBuf};
use std::process::Command;

const HELP: &str = "gantry-bench [--runs N] [--containers N] [--alone] [--ctr] [--network] [--ps [--running N]]

  --runs N         samples of each command (20)
  --containers N   containers for memory and restart (100), or for --ps (500)
  --alone          do not look for dockerd
  --ctr            only containerd's tool, ctr
  --network        only networks: starts on the default bridge, streams between containers and through a published port
  --ps             only `docker ps` and `docker ps -a`
  --running N      how many of the containers of --ps run (a fifth); the others are created";

struct Options {
    runs: usize,
    containers: Option<usize>,
    alone: bool,
    ctr: bool,
    network: bool,
    ps: bool,
    running: Option<usize>,
}

fn options() -> Result<Options> {
    let mut options = Options {
        runs: 20,
        containers: None,
        alone: false,
        ctr: false,
        network: false,
        ps: false,
        running: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || -> Result<usize> {
            let text = args.next().with_context(|| format!("{arg} needs a number"))?;
            text.parse().with_context(|| format!("{arg} {text}"))
        };
        match arg.as_str() {
            "--runs" => options.runs = number()?.max(1),
            "--containers" => options.containers = Some(number()?.max(1)),
            "--alone" => options.alone = true,
            "--ctr" => options.ctr = true,
            "--network" => options.network = true,
            "--ps" => options.ps = true,
            "--running" => options.running = Some(number()?),
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
    let places = match options.network || options.ps {
        true => vec![network::Place::new("gantry")?, network::Place::new("dockerd")?],
        false => Vec::new(),
    };
    let netns = |index: usize| places.get(index).map(network::Place::path);
    let mut engines = vec![Engine::gantry(&root.0, netns(0).as_deref())?];
    if !options.alone {
        match Engine::dockerd(&root.0, netns(1).as_deref()) {
            Some(dockerd) => engines.push(dockerd),
            None => eprintln!("no dockerd here: gantry alone"),
        }
    }
    for engine in &mut engines {
        engine.start()?;
        engine.must(&["import", &tar, rootfs::IMAGE])?;
    }
    let measured = measured(&options, &mut engines, &places, &root.0);
    let ended: Vec<Result<()>> = engines.into_iter().map(Engine::end).collect();
    measured?;
    ended.into_iter().collect()
}

fn measured(options: &Options, engines: &mut [Engine], places: &[network::Place], root: &Path) -> Result<()> {
    let mut report = Report::new(engines.iter().map(|engine| engine.name).collect());
    if options.network {
        return network::run(engines, places, options.runs, &mut report);
    }
    if options.ps {
        let containers = options.containers.unwrap_or(500);
        let running = options.running.unwrap_or(containers / 5).min(containers);
        return ps::run(engines, options.runs, (containers, running), &mut report);
    }
    if !options.ctr {
        let containers = options.containers.unwrap_or(100);
        let measured = measure::all(engines, options.runs, containers, &mut report);
        report.print();
        measured?;
    }
    ctr::run(engines, root, options.runs)
}
