//! The stops of the fault tests: `GANTRY_FAILPOINT` names the one at which the daemon kills itself, `GANTRY_FAILPOINT_SLOW` one at which
//! it waits each time (a second, or as many as `GANTRY_FAILPOINT_SECONDS` says), `GANTRY_FAILPOINT_LOG` a file to which the name of every
//! stop passed is appended.

use crate::error::{Error, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// For long enough that who else is on the way comes to the same place.
const SLOW: u64 = 1;

/// Every stop of every room.
fn all() -> impl Iterator<Item = &'static str> {
    [
        gantry_engine::FAILPOINTS,
        gantry_image::FAILPOINTS,
        gantry_network::FAILPOINTS,
        gantry_store::FAILPOINTS,
        gantry_task::FAILPOINTS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The stop that the variable names, if it is set.
fn named(variable: &'static str) -> Result<Option<String>> {
    let name = std::env::var(variable).unwrap_or_default();
    if !name.is_empty() && !all().any(|stop| stop == name) {
        return Err(Error::bad(variable, format!("no stop is called {name:?}")));
    }
    Ok((!name.is_empty()).then_some(name))
}

/// How long a slow stop takes.
fn slowness() -> Result<Duration> {
    const VARIABLE: &str = "GANTRY_FAILPOINT_SECONDS";
    let seconds = match std::env::var(VARIABLE) {
        Ok(text) => text
            .parse()
            .map_err(|_| Error::bad(VARIABLE, format!("{text:?} is no number of seconds")))?,
        Err(_) => SLOW,
    };
    Ok(Duration::from_secs(seconds))
}

pub fn arm() -> Result<()> {
    let deadly = named("GANTRY_FAILPOINT")?;
    let (slow, slowness) = (named("GANTRY_FAILPOINT_SLOW")?, slowness()?);
    let log = match std::env::var_os("GANTRY_FAILPOINT_LOG") {
        Some(path) => Some(
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .map_err(Error::path("open", path))?,
        ),
        None => None,
    };
    let log: Arc<Mutex<Option<File>>> = Arc::new(Mutex::new(log));
    for name in all() {
        let is = |chosen: &Option<String>| chosen.as_deref() == Some(name);
        let (log, dies, waits) = (log.clone(), is(&deadly), is(&slow));
        let reached = move || {
            pass(name, &log, dies);
            if waits {
                std::thread::sleep(slowness);
            }
        };
        fail::cfg_callback(name, reached).map_err(|source| Error::System {
            deed: "arm a failpoint",
            source: std::io::Error::other(source),
        })?;
    }
    Ok(())
}

fn pass(name: &str, log: &Mutex<Option<File>>, dies: bool) {
    if let Some(file) = log.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        // One write, so that lines of several threads do not mix.
        let _ = file.write_all(format!("{name}\n").as_bytes());
    }
    if dies {
        let _ = kill(Pid::this(), Signal::SIGKILL);
    }
}
