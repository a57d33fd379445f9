//! Black boxes: the real programs over real sockets and real containers.
//!
//! A test makes a [`House`]: a `gantryd` of its own on roots of its own, and a [`Gantry`] command that talks to it. When the
//! house goes, everything in it is removed through the front door, the daemon is stopped, and the test fails if a mount, a
//! process, a cgroup, a network namespace or a file of it is left.

pub mod client;
pub mod erofs;
pub mod etcd;
mod house;
mod image;
mod leak;
pub mod loops;
pub mod netns;
pub mod peers;
mod programs;
pub mod pty;
mod run;
pub mod talk;

pub use etcd::Etcd;
pub use house::{House, HouseOptions};
pub use image::busybox_tar;
pub use netns::Netns;
pub use programs::{program, target_dir};
pub use pty::Terminal;
pub use run::{Gantry, Output};

use sha2::{Digest, Sha256};
use std::net::TcpListener;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What may take a while on a loaded machine, and is not itself the promise, is given this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What prints, in a container, the weight that its own cgroup has among block devices.
pub const BLOCK_WEIGHT: &str = "cat /sys/fs/cgroup/blkio/blkio.bfq.weight 2>/dev/null || \
     cat /sys/fs/cgroup/blkio/blkio.weight 2>/dev/null || grep -o '[0-9]*$' /sys/fs/cgroup/io.bfq.weight";

/// Waits for a command's end; kills it and fails when it does not come within [`PATIENCE`].
#[track_caller]
pub fn ended(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status;
        }
        if Instant::now() >= deadline {
            child.kill().expect("a child can be killed");
            panic!("the command does not end by itself");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// `sha256:` and the digest of these bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A loopback port that nobody is given by chance: below the ephemeral ones.
pub fn port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let seed = std::process::id() * 37 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(20_000 + seed % 10_000).expect("below 30000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Asks until it is so; fails after the limit with what was waited for.
pub fn eventually(what: &str, limit: Duration, mut test: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !test() {
        assert!(Instant::now() < deadline, "waited {limit:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
