//! A process of this boot, told from any other that ever bore its pid.

use crate::error::{Result, TaskError};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Duration;

/// Which process: a pid alone would be anyone's after a while, or after a reboot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMark {
    pub pid: u32,
    /// Field 22 of `/proc/<pid>/stat`: ticks since boot. 0 = not known, which matches nothing.
    pub start_time: u64,
    pub boot_id: String,
}

impl ProcessMark {
    /// The mark of a living process.
    pub fn of(pid: u32) -> Option<Self> {
        let start_time = start_time(pid)?;
        Some(Self {
            pid,
            start_time,
            boot_id: boot_id().to_owned(),
        })
    }

    /// Whether that very process is there (a zombie counts).
    pub fn is_alive(&self) -> bool {
        self.boot_id == boot_id() && self.start_time != 0 && start_time(self.pid) == Some(self.start_time)
    }

    /// A descriptor of that very process; `None` if it is gone, of another boot or not known well enough.
    pub fn open(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Looked at after the descriptor is held, so that the pid cannot change hands in between.
        self.is_alive().then_some(fd)
    }

    /// Sends SIGKILL. `false` if the process was not there.
    pub fn kill(&self) -> Result<bool> {
        let Some(fd) = self.open() else { return Ok(false) };
        match pidfd_send_signal(&fd, Signal::KILL) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(errno) => Err(TaskError::Signal {
                pid: self.pid,
                source: errno.into(),
            }),
        }
    }

    /// Blocks until the process has ended; `false` when it has not after `wait`.
    pub fn wait_gone(&self, wait: Duration) -> bool {
        let Some(fd) = self.open() else { return true };
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        let timeout = rustix::event::Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => false,
            Ok(_) => true,
            Err(_) => !self.is_alive(),
        }
    }
}

/// This boot's id; empty where the kernel does not tell (then no mark matches).
pub fn boot_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    })
}

/// When a process began, in ticks since boot.
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_start_time(&stat)
}

/// The command's name may hold spaces and brackets, so fields are counted from its last closing bracket.
fn parse_start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Pids in a `cgroup.procs` file.
pub(crate) fn parse_pids(text: &str) -> impl Iterator<Item = u32> + '_ {
    text.lines().filter_map(|line| line.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_hostile_name_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(parse_start_time(stat), Some(4242));
    }

    #[test]
    fn only_the_marked_process_is_killed() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let mark = ProcessMark::of(child.id()).unwrap();
        let stranger = ProcessMark {
            start_time: mark.start_time + 1,
            ..mark.clone()
        };
        let other_boot = ProcessMark {
            boot_id: "another".into(),
            ..mark.clone()
        };
        assert!(!stranger.kill().unwrap() && !other_boot.kill().unwrap());
        assert!(mark.is_alive() && !mark.wait_gone(Duration::from_millis(1)));
        assert!(mark.kill().unwrap());
        assert!(mark.wait_gone(Duration::from_secs(5)));
        child.wait().unwrap();
        assert!(!mark.is_alive() && !mark.kill().unwrap());
    }
}
