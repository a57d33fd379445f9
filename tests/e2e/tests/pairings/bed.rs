//! A daemon, a runtime, and what both need to run containers.

use gantry_e2e::client::{Caller, Connection};
use gantry_e2e::peers::Containerd;
use gantry_e2e::{House, HouseOptions, busybox_tar};
use gantry_proto_containerd::any::pack;
use gantry_proto_containerd::prost_types::Any;
use gantry_proto_containerd::services::events::v1::{PublishRequest, SubscribeRequest};
use gantry_proto_containerd::types::Mount;
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tonic::Status;

pub const LIMIT: Duration = Duration::from_secs(20);

enum Daemon {
    Gantryd(Box<House>),
    Containerd(Containerd),
}

/// Something a daemon told.
#[derive(Debug, Clone)]
pub struct News {
    pub topic: String,
    pub event: Any,
}

pub struct Bed {
    pub runtime: &'static str,
    pub ours: bool,
    pub namespace: String,
    /// Where the daemon keeps bundles of this namespace.
    bundles: PathBuf,
    /// The directory of rootfs and pipes.
    dir: TempDir,
    /// None once it is closed.
    daemon: Mutex<Option<Daemon>>,
    caller: Mutex<Caller>,
    news: Arc<Mutex<Vec<News>>>,
    ids: Mutex<BTreeSet<String>>,
    next: AtomicU32,
}

impl Bed {
    pub async fn make(ours: bool, runtime: &'static str) -> Self {
        let dir = tempfile::Builder::new().prefix("gantry-pairing-").tempdir();
        let dir = dir.expect("a directory");
        let rootfs = dir.path().join("rootfs");
        tar::Archive::new(busybox_tar())
            .unpack(&rootfs)
            .expect("a root filesystem");
        let daemon = if ours {
            let bare = HouseOptions {
                bare: true,
                ..HouseOptions::default()
            };
            Daemon::Gantryd(Box::new(House::with(bare)))
        } else {
            Daemon::Containerd(Containerd::start(dir.path()))
        };
        let short = runtime.split('.').nth(2).expect("io.containerd.name.version");
        let namespace = format!("pair-{}-{ours}-{short}", std::process::id());
        let caller = Connection::dial(&daemon.socket()).await.of(&namespace);
        let bundles = match &daemon {
            Daemon::Gantryd(house) => house.exec_root().join(&namespace),
            Daemon::Containerd(_) => {
                let state = dir.path().join("state/io.containerd.runtime.v2.task");
                state.join(&namespace)
            }
        };
        let bed = Self {
            runtime,
            ours,
            namespace,
            bundles,
            dir,
            daemon: Mutex::new(Some(daemon)),
            caller: Mutex::new(caller),
            news: Arc::default(),
            ids: Mutex::default(),
            next: AtomicU32::new(1),
        };
        bed.listen().await;
        bed
    }

    pub fn name(&self) -> String {
        format!(
            "{} with {}",
            if self.ours { "gantryd" } else { "containerd" },
            self.runtime
        )
    }

    pub fn caller(&self) -> Caller {
        self.caller.lock().expect("not poisoned").clone()
    }

    /// An id that was not used yet.
    pub fn id(&self, word: &str) -> String {
        let id = format!("{word}-{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.ids.lock().expect("not poisoned").insert(id.clone());
        id
    }

    /// A directory of a container's own.
    pub fn dir(&self, id: &str) -> PathBuf {
        let dir = self.dir.path().join("io").join(id);
        std::fs::create_dir_all(&dir).expect("a directory");
        dir
    }

    pub fn rootfs(&self) -> Mount {
        Mount {
            r#type: "bind".into(),
            source: self.dir.path().join("rootfs").display().to_string(),
            target: String::new(),
            options: vec!["rbind".into(), "ro".into()],
        }
    }

    async fn listen(&self) {
        let request = SubscribeRequest {
            filters: vec![format!("namespace=={}", self.namespace)],
        };
        let (mut events, news) = (self.caller().events(), self.news.clone());
        let before = self.news().len();
        tokio::spawn(async move {
            // containerd's server says nothing until there is something to tell.
            let Ok(stream) = events.subscribe(request).await else {
                return;
            };
            let mut stream = stream.into_inner();
            // Until the daemon is gone.
            while let Ok(Some(envelope)) = stream.message().await {
                news.lock().expect("not poisoned").push(News {
                    topic: envelope.topic,
                    event: envelope.event.unwrap_or_default(),
                });
            }
        });
        until("what is published is told", || async {
            let request = PublishRequest {
                topic: "/pairing/heard".into(),
                event: Some(pack(&())),
            };
            let published = self.caller().events().publish(request).await;
            published.expect("it is published");
            tokio::time::sleep(Duration::from_millis(10)).await;
            (self.news().len() > before).then_some(())
        })
        .await;
    }

    /// What was told so far of tasks.
    pub fn news(&self) -> Vec<News> {
        self.news.lock().expect("not poisoned").clone()
    }

    /// SIGKILL for the daemon.
    pub fn kill_daemon(&self) {
        match self.daemon.lock().expect("not poisoned").as_mut() {
            Some(Daemon::Gantryd(house)) => house.kill_daemon(),
            Some(Daemon::Containerd(peer)) => peer.kill(),
            None => panic!("the daemon is closed"),
        }
    }

    pub async fn start_daemon(&self) {
        let socket = {
            let mut daemon = self.daemon.lock().expect("not poisoned");
            let daemon = daemon.as_mut().expect("not closed");
            match daemon {
                Daemon::Gantryd(house) => house.start(),
                Daemon::Containerd(peer) => peer.up(),
            }
            daemon.socket()
        };
        let caller = Connection::dial(&socket).await.of(&self.namespace);
        *self.caller.lock().expect("not poisoned") = caller;
        self.listen().await;
    }

    /// Where the daemon keeps a task's bundle.
    pub fn bundle(&self, id: &str) -> PathBuf {
        self.bundles.join(id)
    }

    /// Ends the daemon; answers what is left of the containers. After a failure everything is swept away instead.
    pub async fn close(&self, failed: bool) -> Vec<String> {
        let daemon = self.daemon.lock().expect("not poisoned").take();
        if failed {
            match &daemon {
                Some(Daemon::Containerd(peer)) => eprintln!("--- containerd's log ---\n{}", peer.log()),
                Some(Daemon::Gantryd(house)) => eprintln!("--- gantryd's log ---\n{}", house.log()),
                None => {}
            }
        }
        let address = daemon.as_ref().map(Daemon::socket);
        let mut left = self.leftovers(address.as_deref());
        let deadline = Instant::now() + LIMIT;
        while !failed && !left.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
            left = self.leftovers(address.as_deref());
        }
        if failed || !left.is_empty() {
            self.sweep();
        }
        self.forget_parents();
        if let Some(Daemon::Gantryd(mut house)) = daemon {
            house.forgive = failed || !left.is_empty();
            tokio::task::block_in_place(move || drop(house));
        }
        left
    }

    fn leftovers(&self, address: Option<&Path>) -> Vec<String> {
        let text = self.dir.path().display().to_string();
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let bundles = self.bundles.display().to_string();
        let mounts = table
            .lines()
            .filter(|line| line.contains(&text) || line.contains(&bundles));
        let mut left: Vec<String> = mounts.map(|line| format!("mount: {line}")).collect();
        left.extend(self.processes().iter().map(|pid| format!("process: {pid}")));
        left.extend(self.groups().iter().map(|path| format!("cgroup: {}", path.display())));
        let runc = Path::new("/run/containerd/runc").join(&self.namespace);
        left.extend(below(&runc).iter().map(|path| format!("state: {}", path.display())));
        left.extend(
            below(&self.bundles)
                .iter()
                .map(|path| format!("bundle: {}", path.display())),
        );
        for id in self.ids.lock().expect("not poisoned").iter() {
            let path = address.expect("the daemon runs").join(&self.namespace).join(id);
            let name = hex::encode(Sha256::digest(path.as_os_str().as_encoded_bytes()));
            let socket = Path::new("/run/containerd/s").join(name);
            if socket.exists() {
                left.push(format!("socket: {}", socket.display()));
            }
        }
        left
    }

    /// Shims of this namespace, and what runs in its cgroups.
    fn processes(&self) -> Vec<i32> {
        let mut found: Vec<i32> = std::fs::read_dir("/proc")
            .expect("proc is there")
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line);
                line.contains("containerd-shim") && line.split('\0').any(|word| word == self.namespace)
            })
            .collect();
        for group in self.groups() {
            let procs = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            found.extend(procs.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
        found
    }

    /// Containers' cgroups in every hierarchy; that of the namespace stays, as its runtimes leave it.
    fn groups(&self) -> Vec<PathBuf> {
        let parents = self.parents().into_iter();
        let found = parents.flat_map(|parent| below(&parent));
        found.filter(|path| path.is_dir()).collect()
    }

    fn parents(&self) -> Vec<PathBuf> {
        let base = PathBuf::from("/sys/fs/cgroup");
        let hierarchies = below(&base).into_iter().chain([base]);
        let groups = hierarchies.map(|hierarchy| hierarchy.join(&self.namespace));
        groups.filter(|group| group.is_dir()).collect()
    }

    fn forget_parents(&self) {
        for parent in self.parents() {
            // Not empty after a failure, which was told.
            let _ = std::fs::remove_dir(parent);
        }
        let _ = std::fs::remove_dir_all(Path::new("/run/containerd/runc").join(&self.namespace));
    }

    fn sweep(&self) {
        for pid in self.processes() {
            let _ = nix::sys::signal::kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(300));
        for group in self.groups() {
            let _ = std::fs::remove_dir(group);
        }
        let text = self.dir.path().display().to_string();
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let targets = table.lines().rev().filter_map(|line| line.split(' ').nth(4));
        for target in targets.filter(|target| target.contains(&text)) {
            let _ = nix::mount::umount2(target, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

impl Daemon {
    fn socket(&self) -> PathBuf {
        match self {
            Self::Gantryd(house) => house.socket(),
            Self::Containerd(peer) => peer.socket.clone(),
        }
    }
}

fn below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Asks until there is an answer; fails after the limit.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {LIMIT:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The same for a call that must come back in time.
#[track_caller]
pub fn code(answer: Result<impl Sized, Status>) -> tonic::Code {
    answer.err().map_or(tonic::Code::Ok, |status| status.code())
}
