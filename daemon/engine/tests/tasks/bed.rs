//! An engine on a root of its own, with containers of busybox as clients of the containerd API describe them.

use futures::StreamExt;
use gantry_core::meta::{Any, Container, Happening, RuntimeChoice};
use gantry_core::{ContainerId, ExecId, Labels, Mount, Namespace};
use gantry_engine::{Config, Engine, Envelopes, NewExec, NewTask, Parts, ProcessStatus, Stdio, Tasks};
use gantry_image::{ImageService, ImageSettings};
use gantry_proto_shim::ttrpc::{self, r#async::TtrpcContext};
use gantry_proto_shim::{Events, api, create_events};
use gantry_snapshots_native::Native;
use gantry_store::{BlobStore, Collector, Sharing, SnapshotStore, Store, StoreOptions};
use gantry_task::{Deadlines, Shims, ShimsConfig};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

static COUNT: AtomicU32 = AtomicU32::new(0);
pub const RUNC: &str = "io.containerd.runc.v2";
pub const LONG: Duration = Duration::from_secs(30);

pub fn ours() -> String {
    let here = std::env::current_exe().unwrap();
    let program = here.ancestors().nth(2).unwrap().join("containerd-shim-gantry-v1");
    assert!(
        program.exists(),
        "build it first: cargo build --release -p containerd-shim-gantry-v1"
    );
    program.to_string_lossy().into_owned()
}

pub fn patient() -> Deadlines {
    Deadlines::default()
}

/// For shims that are made to hang.
pub fn hasty() -> Deadlines {
    Deadlines {
        call: Duration::from_secs(3),
        reconnect: Duration::from_secs(3),
        ..Deadlines::default()
    }
}

/// What a restart leaves as it is.
pub struct Ground {
    pub dir: tempfile::TempDir,
    store: Arc<Store>,
    prefix: String,
    pub ns: Namespace,
}

impl Ground {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("gantry-tasks-").tempdir().unwrap();
        let rootfs = dir.path().join("image");
        for name in ["bin", "dev", "proc", "sys", "tmp"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
        for name in ["sh", "cat", "echo", "sleep", "true"] {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(name)).unwrap();
        }
        fs::create_dir_all(dir.path().join("x")).unwrap();
        swallow_events(&dir.path().join("x/g.sock.ttrpc"));
        Self {
            store: Store::open(&dir.path().join("store"), &StoreOptions::default()).unwrap(),
            prefix: format!("k{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)),
            ns: Namespace::new("clients").unwrap(),
            dir,
        }
    }

    /// A program that stands for a shim.
    pub fn program(&self, name: &str, script: &str) -> String {
        let path = self.dir.path().join(name);
        // By a child: a file that this process has written may be open yet in another test's child, and is not run then.
        let made = std::process::Command::new("sh")
            .args(["-ec", "printf %s \"$1\" > \"$0\"; chmod 755 \"$0\""])
            .arg(&path)
            .arg(script)
            .status();
        assert!(made.unwrap().success());
        path.to_string_lossy().into_owned()
    }

    pub async fn engine(&self, deadlines: Deadlines) -> Engine {
        let root = self.dir.path();
        let store = self.store.clone();
        let blobs = BlobStore::open(store.clone(), &root.join("content"), Sharing::Shared).unwrap();
        let native = Native::open(&root.join("native")).unwrap();
        let snapshots = SnapshotStore::new(store.clone(), vec![Arc::new(native)], Sharing::Shared);
        let settings = ImageSettings {
            snapshotter: "native".to_owned(),
            ..ImageSettings::default()
        };
        let images = ImageService::new(Arc::new(blobs.clone()), Arc::new(snapshots.clone()), settings).unwrap();
        let shims = Shims::new(ShimsConfig {
            exec_root: root.join("x"),
            shim: ours().into(),
            grpc_address: root.join("x/g.sock").to_string_lossy().into_owned(),
            debug: false,
            deadlines,
        });
        let parts = Parts {
            config: config(root),
            collector: Arc::new(Collector::new(store.clone(), blobs, snapshots.clone())),
            store,
            snapshots,
            images,
            shims,
        };
        Engine::open(parts).await.unwrap()
    }

    pub fn id(&self, name: &str) -> ContainerId {
        ContainerId::new(format!("{}-{name}", self.prefix)).unwrap()
    }

    pub fn bundle(&self, id: &ContainerId) -> PathBuf {
        self.dir.path().join("x").join(self.ns.as_str()).join(id.as_str())
    }

    pub fn spec(&self, id: &ContainerId, script: &str, annotations: Value) -> Value {
        json!({
            "ociVersion": "1.0.2",
            "process": process(&["/bin/sh", "-c", script]),
            "root": {"path": "rootfs"},
            "annotations": annotations,
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}
            ],
            "linux": {
                "cgroupsPath": format!("/gantry-tasks-test-{id}/{id}"),
                "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
                "resources": {"memory": {"limit": 67108864}}
            }
        })
    }

    pub async fn container(&self, engine: &Engine, runtime: &str, id: &ContainerId, spec: &Value) {
        let container = Container {
            id: id.clone(),
            labels: Labels::new(),
            image: String::new(),
            runtime: RuntimeChoice {
                name: runtime.to_owned(),
                options: None,
            },
            spec: Some(Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".to_owned(),
                value: serde_json::to_vec(spec).unwrap(),
            }),
            snapshotter: String::new(),
            snapshot_key: String::new(),
            created_at: SystemTime::now(),
            updated_at: SystemTime::now(),
            extensions: BTreeMap::new(),
            sandbox: String::new(),
        };
        engine.meta().create_container(&self.ns, container).await.unwrap();
    }

    pub fn task(&self) -> NewTask {
        let options = vec!["rbind".to_owned(), "rw".to_owned()];
        NewTask {
            rootfs: vec![Mount {
                kind: "bind".into(),
                source: self.dir.path().join("image").to_string_lossy().into_owned(),
                target: String::new(),
                options,
            }],
            ..NewTask::default()
        }
    }

    /// A container that runs this script, under this runtime.
    pub async fn running(&self, engine: &Engine, runtime: &str, name: &str, script: &str) -> ContainerId {
        let id = self.id(name);
        self.container(engine, runtime, &id, &self.spec(&id, script, json!({})))
            .await;
        self.run(engine, &id).await;
        id
    }

    pub async fn run(&self, engine: &Engine, id: &ContainerId) -> u32 {
        let tasks = engine.tasks();
        tasks.create(&self.ns, id, self.task()).await.unwrap();
        tasks.start(&self.ns, id, None).await.unwrap()
    }

    pub async fn end(&self, engine: &Engine, id: &ContainerId) {
        let tasks = engine.tasks();
        tasks.kill(&self.ns, id, None, 9, true).await.unwrap();
        within(LONG, tasks.wait(&self.ns, id, None)).await.unwrap();
        tasks.delete(&self.ns, id).await.unwrap();
        self.nothing_is_left(id);
    }

    pub fn shim_pid(&self, id: &ContainerId) -> i32 {
        let mark: Value = serde_json::from_slice(&fs::read(self.bundle(id).join("shim.mark")).unwrap()).unwrap();
        i32::try_from(mark["pid"].as_i64().unwrap()).unwrap()
    }

    pub fn signal_shim(&self, id: &ContainerId, signal: nix::sys::signal::Signal) -> i32 {
        let pid = self.shim_pid(id);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
        if signal == nix::sys::signal::Signal::SIGSTOP {
            poll("the shim does not stop", || is_stopped(pid));
        }
        pid
    }

    /// No bundle, mount, cgroup or process of it.
    pub fn nothing_is_left(&self, id: &ContainerId) {
        assert!(!self.bundle(id).exists(), "bundle left");
        let work = self.dir.path().join("tasks").join(self.ns.as_str()).join(id.as_str());
        assert!(!work.exists(), "work directory left");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(id.as_str()), "mount left");
        poll("its processes are left", || processes(id).is_empty());
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let parent = hierarchy.path().join(format!("gantry-tasks-test-{id}"));
            assert!(!parent.join(id.as_str()).exists(), "cgroup left: {}", parent.display());
            let _ = fs::remove_dir(parent);
        }
    }
}

impl Drop for Ground {
    /// Leaves nothing, whether or not the test went well.
    fn drop(&mut self) {
        // The frozen do not die.
        for container in glob(&format!("gantry-tasks-test-{}-", self.prefix)) {
            let _ = fs::write(container.join("freezer.state"), "THAWED");
            let _ = fs::write(container.join("cgroup.freeze"), "0");
        }
        for (pid, _) in all_processes().filter(|(_, text)| text.contains(&format!("{}-", self.prefix))) {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for point in mounts.lines().filter_map(|line| line.split(' ').nth(4)) {
            if point.starts_with(&*self.dir.path().to_string_lossy()) {
                let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
            }
        }
        let prefix = format!("gantry-tasks-test-{}-", self.prefix);
        // A cgroup goes once its last process has been reaped.
        for _ in 0..1000 {
            let left = parents(&prefix);
            if left.is_empty() {
                return;
            }
            for dir in glob(&prefix).into_iter().chain(left) {
                let _ = fs::remove_dir(dir);
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// Cgroups of containers of this test.
fn glob(prefix: &str) -> Vec<PathBuf> {
    let inside = parents(prefix).into_iter().flat_map(entries);
    inside.filter(|path| path.is_dir()).collect()
}

/// What holds those.
fn parents(prefix: &str) -> Vec<PathBuf> {
    let all = entries("/sys/fs/cgroup".into()).into_iter().flat_map(entries);
    let own = all.filter(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    });
    own.collect()
}

fn entries(dir: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn config(root: &Path) -> Config {
    Config {
        data_root: root.to_owned(),
        exec_root: root.join("x"),
        snapshotter: "native".to_owned(),
        cgroup_parent: "/gantry-tasks-test".to_owned(),
        default_runtime: String::new(),
        runtimes: BTreeMap::new(),
        log: gantry_core::container::LogConfig::default(),
        default_ulimits: Vec::new(),
        hook_spec: None,
        seccomp_profile: String::new(),
        no_new_privileges: false,
        shm_size: 64 << 20,
        init: false,
        init_path: None,
        ipc_mode: String::new(),
        cgroupns_mode: String::new(),
        cpu_rt_period: 0,
        cpu_rt_runtime: 0,
        labels: Vec::new(),
        insecure_registries: Vec::new(),
        live_restore: true,
        debug: false,
        network: gantry_engine::NetworkConfig::default(),
        id: String::new(),
        version: "test".to_owned(),
        git_commit: String::new(),
    }
}

pub fn process(args: &[&str]) -> Value {
    let caps = json!(["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID"]);
    json!({
        "args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, "terminal": false,
        "capabilities": {"bounding": caps, "effective": caps, "permitted": caps}
    })
}

/// Shims want somebody to tell their events to, and keep what nobody took.
struct Swallow;

#[async_trait::async_trait]
impl Events for Swallow {
    async fn forward(&self, _: &TtrpcContext, _: api::ForwardRequest) -> ttrpc::Result<api::Empty> {
        Ok(api::Empty::new())
    }
}

fn swallow_events(path: &Path) {
    let address = format!("unix://{}", path.display());
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let server = ttrpc::r#async::Server::new().bind(&address).unwrap();
            let mut server = server.register_service(create_events(Arc::new(Swallow)));
            server.start().await.unwrap();
            ready.send(()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    is_ready.recv().unwrap();
}

fn all_processes() -> impl Iterator<Item = (i32, String)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        // Who is dead but not yet buried by its parent does nothing any more.
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        if stat.rsplit_once(')')?.1.trim_start().starts_with('Z') {
            return None;
        }
        let text = fs::read(entry.path().join("cmdline")).ok()?;
        let cgroup = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        Some((pid, format!("{} {cgroup}", String::from_utf8_lossy(&text))))
    })
}

pub fn processes(id: &ContainerId) -> Vec<i32> {
    let own = all_processes().filter(|(_, text)| text.contains(id.as_str()));
    own.map(|(pid, _)| pid).collect()
}

/// Every thread of it.
fn is_stopped(pid: i32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let mut states = threads.map(|thread| fs::read_to_string(thread.path().join("stat")).unwrap_or_default());
    states.all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
}

/// There, and not dead.
pub fn is_alive(pid: i32) -> bool {
    all_processes().any(|(other, _)| other == pid)
}

pub fn poll(what: &str, mut test: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !test() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, work).await.expect("it takes too long")
}

pub async fn status(tasks: &Tasks, ns: &Namespace, id: &ContainerId) -> Option<ProcessStatus> {
    let all = tasks.list(ns).await.unwrap();
    all.into_iter()
        .find(|process| process.container == *id)
        .map(|process| process.status)
}

pub fn exec(args: &[&str], stdio: Stdio) -> NewExec {
    NewExec {
        stdio,
        spec: Some(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
            value: serde_json::to_vec(&process(args)).unwrap(),
        }),
    }
}

pub fn exec_id(text: &str) -> ExecId {
    ExecId::new(text).unwrap()
}

/// Named pipes, and what comes out of them.
pub struct Pipes {
    pub stdio: Stdio,
    stdout: std::thread::JoinHandle<String>,
}

pub fn pipes(dir: &Path, name: &str) -> Pipes {
    let path = |stream: &str| dir.join(format!("{name}.{stream}"));
    for stream in ["stdout", "stderr"] {
        nix::unistd::mkfifo(&path(stream), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let (out, err) = (path("stdout"), path("stderr"));
    std::thread::spawn(move || fs::read(err));
    let stdout = std::thread::spawn(move || {
        let mut text = String::new();
        fs::File::open(out).unwrap().read_to_string(&mut text).unwrap();
        text
    });
    Pipes {
        stdio: Stdio {
            stdout: path("stdout").to_string_lossy().into_owned(),
            stderr: path("stderr").to_string_lossy().into_owned(),
            ..Stdio::default()
        },
        stdout,
    }
}

impl Pipes {
    pub async fn text(self) -> String {
        tokio::task::spawn_blocking(|| self.stdout.join().unwrap())
            .await
            .unwrap()
    }
}

/// Topics of the events of a task that have come by now, and their exit status.
pub async fn told(events: &mut Envelopes, id: &ContainerId) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    while let Ok(Some(envelope)) = tokio::time::timeout(Duration::from_millis(300), events.next()).await {
        let envelope = envelope.unwrap();
        match envelope.event {
            Happening::TaskExit { container, status, .. } | Happening::TaskDelete { container, status, .. }
                if container == id.as_str() =>
            {
                found.push((envelope.topic, status));
            }
            _ => {}
        }
    }
    found
}
