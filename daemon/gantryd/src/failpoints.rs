//! The stops of the fault tests: `GANTRY_FAILPOINT` names the one at which the daemon kills itself, `GANTRY_FAILPOINT_LOG` a file to
//! which the name of every stop passed is appended.

use crate::error::{Error, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

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

pub fn arm() -> Result<()> {
    let deadly = std::env::var("GANTRY_FAILPOINT").unwrap_or_default();
    if !deadly.is_empty() && !all().any(|name| name == deadly) {
        return Err(Error::bad("GANTRY_FAILPOINT", format!("no stop is called {deadly:?}")));
    }
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
        let (log, dies) = (log.clone(), name == deadly);
        let reached = move || pass(name, &log, dies);
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
