//! gantryd: the daemon. Flags and files become settings, the rooms are opened and wired, the gRPC socket is served, signals
//! are obeyed. It has no use case of its own.
//!
//! Called by the name `containerd` it takes that program's command line, places and configuration ([`called`]).
//!
//! The one flow, in `main`: allocator, flags, settings, log, then [`serve::run`]: locks, engine, socket, readiness, and the end.

mod called;
mod cgroups;
mod config;
mod docker;
mod driver;
mod error;
#[cfg(feature = "failpoints")]
mod failpoints;
mod inherited_unsafe;
mod libc_unsafe;
mod limits;
mod lock;
mod logging;
mod notify;
mod oci_hook;
mod publish;
mod serve;
mod socket;
mod store_command;
mod wiring;

use config::{CommandLine, Deed, Settings};
use error::{Error, Result};
use std::io::Write;
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
        Err((name, error)) => {
            // Nobody may be reading; the exit code says it too.
            let _ = writeln!(std::io::stderr(), "{name}: {error}");
            1
        }
    };
    libc_unsafe::leave(code)
}

fn start() -> std::result::Result<(), (&'static str, Error)> {
    let called = std::env::args_os().next().unwrap_or_default();
    if called::is(&called) {
        return called_containerd().map_err(|error| ("containerd", error));
    }
    let line = config::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let outcome = match &line.flags.command {
        Some(Deed::Store(deed)) => store_command::run(deed),
        Some(Deed::Publish(deed)) => publish::run(deed, line.address()),
        None if line.flags.validate => validate(&line),
        None => config::load(&line).and_then(daemon),
    };
    outcome.map_err(|error| ("gantryd", error))
}

fn called_containerd() -> Result<()> {
    match called::parse(std::env::args_os()) {
        called::Asked::Serve { flags, file } => daemon(config::load_containerd(flags, file.as_deref())?),
        called::Asked::Print(text) => print(&text),
        called::Asked::Dump { file } => print(&config::dump(file.as_deref())?),
        called::Asked::Hook { words } => oci_hook::run(&words),
        called::Asked::Publish { deed, address } => publish::run(&deed, address),
        called::Asked::Refuse { text, error, code } => {
            // Nobody may be reading; the exit code says it too.
            let _ = write!(std::io::stdout(), "{text}");
            let _ = writeln!(std::io::stderr(), "containerd: {error}");
            libc_unsafe::leave(code)
        }
    }
}

fn print(text: &str) -> Result<()> {
    write!(std::io::stdout(), "{text}").map_err(|source| Error::System {
        deed: "write to standard output",
        source,
    })
}

fn validate(line: &CommandLine) -> Result<()> {
    for warning in &config::load(line)?.warnings {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    print("configuration OK\n")
}

fn daemon(settings: Settings) -> Result<()> {
    libc_unsafe::prepend_to_path(&settings.opt().join("bin"));
    limits::score_for_oom(settings.tuning.oom_score)?;
    if let Some(path) = &settings.tuning.cgroup {
        cgroups::enter(path)?;
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
