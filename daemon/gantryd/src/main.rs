//! gantryd: the daemon. Flags and files become settings, the rooms are opened and wired, the gRPC socket is served, signals
//! are obeyed. It has no use case of its own.
//!
//! The one flow, in `main`: allocator, flags, settings, log, then [`serve::run`]: locks, engine, socket, readiness, and the end.

mod cgroups;
mod config;
mod driver;
mod error;
#[cfg(feature = "failpoints")]
mod failpoints;
mod libc_unsafe;
mod limits;
mod lock;
mod logging;
mod notify;
mod serve;
mod socket;
mod store_command;
mod wiring;

use config::{CommandLine, Deed};
use error::{Error, Result};
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use tracing::{info, warn};

/// Threads for what blocks: store, files, mounts. More work than that waits.
const BLOCKING_THREADS: usize = 96;
/// Idle ones go soon, so that an idle daemon is small.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
const STACK: usize = 1 << 20;

fn main() {
    libc_unsafe::tune();
    let code = match start() {
        Ok(()) => 0,
        Err(error) => {
            // Nobody may be reading; the exit code says it too.
            let _ = writeln!(std::io::stderr(), "gantryd: {error}");
            1
        }
    };
    libc_unsafe::leave(code)
}

fn start() -> Result<()> {
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    if Path::new(&called).file_name().is_some_and(|name| name == "containerd") {
        return Err(Error::CalledContainerd);
    }
    let line = config::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    match &line.flags.command {
        Some(Deed::Store(deed)) => store_command::run(deed),
        None => daemon(&line),
    }
}

fn daemon(line: &CommandLine) -> Result<()> {
    let settings = config::load(line)?;
    if line.flags.validate {
        let mut stdout = std::io::stdout();
        for warning in &settings.warnings {
            let _ = writeln!(std::io::stderr(), "warning: {warning}");
        }
        return writeln!(stdout, "configuration OK").map_err(|source| Error::System {
            deed: "write to standard output",
            source,
        });
    }
    let lines = logging::start(&settings)?;
    for warning in &settings.warnings {
        warn!("{warning}");
    }
    // What whoever starts us happens to have must not decide what containers and layers look like.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    #[cfg(feature = "failpoints")]
    failpoints::arm()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(KEEP_ALIVE)
        .thread_stack_size(STACK)
        .thread_name("gantryd")
        .enable_all()
        .build()
        .map_err(|source| Error::System {
            deed: "start the runtime",
            source,
        })?;
    let outcome = runtime.block_on(serve::run(settings));
    if outcome.is_ok() {
        info!("gantryd has ended");
    }
    lines.flush();
    // Work that still runs ends with the process: its intents are recorded.
    runtime.shutdown_background();
    outcome
}
