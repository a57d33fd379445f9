//! `cargo xtask`: the project's errands. It leans on nothing that must be installed first.
//!
//! One flow for each: see what the machine lacks and install it, build, do the errand, look that nothing is left.

mod bench;
mod demo;
mod leftovers;
mod lint;
mod prepare;
mod sh;
mod test;

use anyhow::{Result, bail};
use std::process::ExitCode;

const HELP: &str = "cargo xtask COMMAND

  demo [--keep]    build, start a daemon in a temporary root, run containers, kill the daemon under one of them, clean up;
                   --keep leaves the daemon running and says how to talk to it
  test [ARGS]      install what the tests need and run them all, as root; ARGS go to `cargo test`
  bench [ARGS]     gantry beside the peers found installed: medians and ratios
  lint             formatting, and clippy with warnings denied
  help             this text

The target directory is CARGO_TARGET_DIR where that is set.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match errand(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn errand(args: &[String]) -> Result<()> {
    let (command, rest) = args
        .split_first()
        .map_or(("help", args), |(first, rest)| (first.as_str(), rest));
    match (command, rest) {
        ("demo", []) => demo::run(false),
        ("demo", [flag]) if flag == "--keep" => demo::run(true),
        ("test", rest) => test::run(rest),
        ("bench", rest) => bench::run(rest),
        ("lint", []) => lint::run(),
        ("vm", _) => bail!("tests that need another kernel are not built yet"),
        ("help" | "--help" | "-h", _) => {
            println!("{HELP}");
            Ok(())
        }
        _ => bail!("no such errand: {}\n{HELP}", args.join(" ")),
    }
}
