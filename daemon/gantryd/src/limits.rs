//! The daemon's own limit of open files: as high as it may go, while containers keep what the daemon was born with.

use crate::error::{Error, Result};
use gantry_core::container::Ulimit;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Raises the limit and answers the former one, for containers; `None` if nothing was changed.
pub fn raise_open_files() -> Option<Ulimit> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    if soft >= hard {
        return None;
    }
    if let Err(errno) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        warn!(err = %errno, "the limit of open files stays at {soft}");
        return None;
    }
    let number = |limit: u64| i64::try_from(limit).unwrap_or(-1);
    Some(Ulimit {
        name: "nofile".to_owned(),
        soft: number(soft),
        hard: number(hard),
    })
}

/// How likely the kernel ends this daemon when memory is out: -1000 to 1000, and 0 = as it was born. Shims begin with it, too.
pub fn score_for_oom(score: i32) -> Result<()> {
    const FILE: &str = "/proc/self/oom_score_adj";
    match score {
        0 => Ok(()),
        score => std::fs::write(FILE, score.to_string()).map_err(Error::path("write oom_score to", FILE)),
    }
}
