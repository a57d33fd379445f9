//! Network namespaces of the tests' own: one for a daemon, one for its neighbour on the wire, and those of containers.

use crate::run::collect;
use crate::{Output, eventually};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A network namespace that is open; one that was made here is removed with this.
pub struct Netns {
    file: File,
    made: Option<String>,
}

impl Netns {
    /// A new one, its loopback up.
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("gt{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        host_ip(&["netns", "add", &name]);
        let mut netns = Self::open(&Path::new("/run/netns").join(&name));
        netns.made = Some(name);
        netns.ip("link set lo up");
        netns
    }

    /// One that is there: a container's `SandboxKey`, or a process's.
    pub fn open(path: &Path) -> Self {
        let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { file, made: None }
    }

    pub fn path(&self) -> Option<PathBuf> {
        self.made.as_ref().map(|name| Path::new("/run/netns").join(name))
    }

    /// Runs the work in it, on a thread of its own.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET).expect("a network namespace can be entered");
                work()
            });
            match inside.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Makes the command's process begin in it.
    pub fn put(&self, command: &mut Command) {
        let file = self.file.try_clone().expect("a descriptor");
        // SAFETY: setns is a system call; nothing is allocated between fork and exec.
        unsafe {
            command.pre_exec(move || setns(file.as_fd(), CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from));
        }
    }

    /// Runs a program in it, its arguments split at blanks.
    pub fn run(&self, line: &str) -> Output {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).stdin(Stdio::null());
        self.put(&mut command);
        collect(command.output().unwrap_or_else(|error| panic!("{line}: {error}")))
    }

    /// The same; fails unless it succeeds.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.code, 0, "{line}: {}", output.stderr);
        output.stdout
    }

    #[track_caller]
    pub fn ip(&self, line: &str) -> String {
        self.ok(&format!("ip {line}"))
    }

    /// Feeds a program in it.
    #[track_caller]
    pub fn feed(&self, line: &str, input: &str) -> String {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words);
        self.put(&mut command);
        String::from_utf8_lossy(&crate::image::pipe(command, input.as_bytes())).into_owned()
    }

    /// A setting under `/proc/sys/net`.
    pub fn set(&self, name: &str, value: &str) {
        let path = Path::new("/proc/sys/net").join(name);
        let done = self.enter(|| std::fs::write(&path, value));
        done.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Names of the links in it.
    pub fn links(&self) -> Vec<String> {
        let text = self.ip("-o link show");
        let names = text.lines().filter_map(|line| line.split(": ").nth(1));
        let mut names: Vec<String> = names
            .map(|name| name.split('@').next().unwrap_or(name).to_owned())
            .collect();
        names.sort();
        names
    }

    /// A cable of two ends: `name` here, `their` there, both up.
    pub fn cable(&self, name: &str, other: &Self, their: &str) {
        let path = other.path().expect("a namespace that has a name");
        let there = path.file_name().expect("a name").to_string_lossy();
        self.ip(&format!("link add {name} type veth peer name {their} netns {there}"));
        self.ip(&format!("link set {name} up"));
        other.ip(&format!("link set {their} up"));
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Some(name) = &self.made {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

fn host_ip(args: &[&str]) {
    let output = Command::new("ip")
        .args(args)
        .output()
        .expect("ip, of Debian's iproute2");
    assert!(
        output.status.success(),
        "ip {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Addresses of the house on the wire to its neighbour, the neighbour's own, and those of the Internet behind it.
pub const HOUSE4: &str = "192.0.2.1";
pub const HOUSE6: &str = "2001:db8:1::1";
pub const NEIGHBOUR4: &str = "192.0.2.2";
pub const NEIGHBOUR6: &str = "2001:db8:1::2";
pub const INTERNET4: &str = "198.51.100.1";
pub const INTERNET6: &str = "2001:db8:2::1";
/// The wire's end in the house.
pub const WIRE: &str = "out0";

/// Another host, on a wire to the namespace of a house, which it is the way into the Internet for.
pub fn neighbour(house: &Netns) -> Netns {
    let other = Netns::new();
    house.cable(WIRE, &other, WIRE);
    house.ip(&format!("addr add {HOUSE4}/24 dev {WIRE}"));
    house.ip(&format!("addr add {HOUSE6}/64 dev {WIRE} nodad"));
    house.ip(&format!("route add default via {NEIGHBOUR4}"));
    house.ip(&format!("-6 route add default via {NEIGHBOUR6}"));
    other.ip(&format!("addr add {NEIGHBOUR4}/24 dev {WIRE}"));
    other.ip(&format!("addr add {NEIGHBOUR6}/64 dev {WIRE} nodad"));
    other.ip(&format!("addr add {INTERNET4}/32 dev lo"));
    other.ip(&format!("addr add {INTERNET6}/128 dev lo"));
    eventually("the wire carries", Duration::from_secs(20), || {
        house.run(&format!("busybox ping -c 1 -W 1 {NEIGHBOUR4}")).code == 0
            && house.run(&format!("busybox ping -c 1 -W 1 {NEIGHBOUR6}")).code == 0
    });
    other
}
