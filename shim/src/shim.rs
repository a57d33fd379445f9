//! What a shim holds: containers, their processes, helper children, kept descriptors.

use crate::{
    cgroup::Cgroups,
    child::{Stderr, byname::Program, mounts::Mount},
    durable,
    events::Events,
    failure::{Failure, Result},
    foreign::Foreign,
    io::{hub::Hub, lock, log::Log, stdin::Stdin},
};
use gantry_proto_shim::Envelope;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    io::unix::AsyncFd,
    sync::{Notify, oneshot, watch},
};

/// Exits of processes nobody asked about yet.
const MAX_EARLY: usize = 256;

/// Who we are.
pub struct Config {
    pub bundle: PathBuf,
    pub task_socket: PathBuf,
    pub attach_socket: PathBuf,
    pub namespace: String,
    /// Where events go; empty: nowhere.
    pub events_address: String,
    /// The gRPC socket of whoever drives.
    pub address: String,
    /// What the shim was born with, and its children are given back.
    pub oom_score_adj: String,
}

impl Config {
    /// Where compiled system call filters are kept: beside the directory of the sockets, if gantryd made a place for them.
    pub fn filters(&self) -> PathBuf {
        let sockets = self.task_socket.parent().and_then(Path::parent);
        sockets.unwrap_or(Path::new("/run")).join(gantry_shim_protocol::FILTERS)
    }
}

/// The shim.
pub struct Shim {
    pub config: Config,
    pub boot_id: String,
    pub events: Events,
    inner: Mutex<Inner>,
    busy: AtomicUsize,
    pub shutdown: AtomicBool,
    /// The sandbox that it is has been stopped: nothing more is made in it.
    pub closed: AtomicBool,
    /// Something happened that may let the shim end.
    pub change: Arc<Notify>,
    trim: Notify,
}

#[derive(Default)]
struct Inner {
    containers: HashMap<String, Arc<Container>>,
    children: HashMap<u32, oneshot::Sender<i32>>,
    processes: HashMap<u32, Arc<Process>>,
    early: VecDeque<Reaped>,
    kept: BTreeMap<String, OwnedFd>,
}

/// A process that ended: pid, wait status, when.
#[derive(Clone, Copy, Debug)]
pub struct Reaped {
    pub pid: u32,
    pub status: i32,
    pub at: SystemTime,
    pub seen: Instant,
}

/// Keeps the shim alive while something is still to be done.
pub struct Busy(Arc<Shim>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
        self.0.change.notify_one();
    }
}

/// The OCI runtime of a container.
#[derive(Clone, Debug)]
pub enum Runtime {
    Builtin,
    Program(Program),
}

/// One container.
pub struct Container {
    pub id: String,
    pub bundle: PathBuf,
    /// Where exit records go.
    pub state_dir: PathBuf,
    pub runtime: Runtime,
    /// The other shim that has it; then `runtime` says nothing.
    pub foreign: Option<Arc<Foreign>>,
    /// The root is mounted where the shim stands.
    pub in_host: bool,
    /// gantryd drives: output always goes to the log and to attached clients.
    pub driven: bool,
    pub drain: Duration,
    /// Who owns the container's ends of its pipes: user, group.
    pub io_owner: (u32, u32),
    /// Memory kills in its run that were told.
    pub memory_kills: watch::Sender<u64>,
    /// What the first start is to go on from, until it has.
    pub restore: Mutex<Option<Restore>>,
    pub init: Arc<Process>,
    pub execs: Mutex<HashMap<String, Arc<Process>>>,
    pub cgroups: Mutex<Cgroups>,
    pub cgroup_path: Mutex<String>,
    pub log: Option<Arc<Mutex<Log>>>,
    pub paused: AtomicBool,
    /// The spec has hooks to run after the start.
    pub poststart: AtomicBool,
    /// The same for hooks to run after the end.
    pub poststop: AtomicBool,
    pub deleting: AtomicBool,
    /// The helper child at work for this container.
    pub helper: Mutex<Option<u32>>,
}

/// A checkpoint that a container begins from.
#[derive(Clone, Debug)]
pub struct Restore {
    pub image: PathBuf,
    pub work: Option<PathBuf>,
    pub rootfs: Vec<Mount>,
}

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// An exec that is registered only.
    Added,
    Creating,
    Created,
    Starting,
    Running,
    Stopped,
}

/// How a process ended.
#[derive(Clone, Debug)]
pub struct Exited {
    pub status: u32,
    pub at: SystemTime,
    pub oom_killed: bool,
    /// Memory kills that the container's run saw; 0 of an exec.
    pub memory_kills: u64,
}

impl Exited {
    /// An end by no memory kill, now.
    pub fn now(status: u32) -> Self {
        Self {
            status,
            at: SystemTime::now(),
            oom_killed: false,
            memory_kills: 0,
        }
    }
}

/// The three strings of the task API.
#[derive(Clone, Debug, Default)]
pub struct StdioNames {
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
}

/// One process: a container's first, or an exec.
pub struct Process {
    pub container: String,
    pub exec: Option<String>,
    pub terminal: bool,
    pub names: StdioNames,
    pub hub: Arc<Hub>,
    pub stdin: Arc<Stdin>,
    pub life: Mutex<Life>,
    pub exit: watch::Sender<Option<Exited>>,
    pub console: Mutex<Option<Arc<AsyncFd<OwnedFd>>>>,
    /// The OCI process of an exec that has not started.
    pub spec: Mutex<Vec<u8>>,
    /// The news of its end, while that of its start has not been told.
    pub pending: Mutex<Vec<Envelope>>,
    /// Where the built-in runtime says whether the program began, and what was said meanwhile.
    pub status_pipe: Mutex<Option<(OwnedFd, Stderr)>>,
    /// The shim that has the process, if another does.
    pub foreign: Option<Arc<Foreign>>,
    /// Our end of an exec's stdin, until it is started there.
    pub input: Mutex<Option<Arc<AsyncFd<OwnedFd>>>>,
}

/// The changing part of a process.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    pub phase: Phase,
    pub pid: u32,
    pub start_time: u64,
    /// Memory kills in the container when this process began.
    pub oom_before: u64,
    /// Its start has been told (or will not be), so its end may be.
    pub announced: bool,
    /// Its end is being seen to.
    pub ending: bool,
    /// It has been waited for: its pid is free.
    pub reaped: bool,
}

impl Shim {
    pub fn new(config: Config) -> Arc<Self> {
        let change = Arc::new(Notify::new());
        let events = Events::new(
            &config.events_address,
            &config.namespace,
            &config.bundle,
            change.clone(),
        );
        Arc::new(Self {
            config,
            events,
            boot_id: durable::boot_id(),
            inner: Mutex::default(),
            busy: AtomicUsize::new(0),
            shutdown: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            change,
            trim: Notify::new(),
        })
    }

    /// Keeps the shim alive until the guard goes.
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// Nothing left to do, and nothing wanted.
    pub fn may_end(&self) -> bool {
        let empty = lock(&self.inner).containers.is_empty() && self.busy.load(Ordering::Relaxed) == 0;
        let dismissed = self.shutdown.load(Ordering::Relaxed);
        let wanted = !dismissed && self.config.bundle.exists();
        empty && !wanted && self.events.may_end(dismissed)
    }

    pub fn has_containers(&self) -> bool {
        !lock(&self.inner).containers.is_empty()
    }

    pub fn container(&self, id: &str) -> Result<Arc<Container>> {
        lock(&self.inner)
            .containers
            .get(id)
            .cloned()
            .ok_or_else(|| Failure::not_found("container", id).with_peer("container not created: not found"))
    }

    pub fn containers(&self) -> Vec<String> {
        lock(&self.inner).containers.keys().cloned().collect()
    }

    /// A container's first process, or one of its execs.
    pub fn process(&self, id: &str, exec: &str) -> Result<Arc<Process>> {
        self.container(id)?.process(exec)
    }

    /// Adds a container; false if the id is taken.
    pub fn add(&self, container: Arc<Container>) -> bool {
        let mut inner = lock(&self.inner);
        if inner.containers.contains_key(&container.id) {
            return false;
        }
        inner.containers.insert(container.id.clone(), container);
        true
    }

    pub fn remove(&self, id: &str) {
        lock(&self.inner).containers.remove(id);
        self.change.notify_one();
        self.tidy_memory();
    }

    /// A helper child was forked; its end is to be told to `sender`.
    pub fn expect_child(&self, pid: u32, sender: oneshot::Sender<i32>) {
        lock(&self.inner).children.insert(pid, sender);
    }

    /// A process was made by a helper that began `since`. If it ended already, its end is returned; an older end of the same pid was
    /// another's (an orphan that the container left us).
    pub fn adopt(&self, pid: u32, process: &Arc<Process>, since: Instant) -> Option<Reaped> {
        let mut inner = lock(&self.inner);
        let is_its = |early: &Reaped| early.pid == pid && early.seen >= since;
        let found = inner.early.iter().rposition(is_its);
        let reaped = found.and_then(|at| inner.early.remove(at));
        match reaped {
            Some(_) => lock(&process.life).reaped = true,
            None => drop(inner.processes.insert(pid, process.clone())),
        }
        reaped
    }

    /// A child of ours ended. Returns the process it was, if it was one.
    pub fn reaped(&self, reaped: Reaped) -> Option<Arc<Process>> {
        let mut inner = lock(&self.inner);
        if let Some(sender) = inner.children.remove(&reaped.pid) {
            let _ = sender.send(reaped.status);
            return None;
        }
        let process = inner.processes.remove(&reaped.pid);
        if let Some(process) = &process {
            // From here on the pid may be anybody's.
            lock(&process.life).reaped = true;
        } else {
            if inner.early.len() >= MAX_EARLY {
                inner.early.pop_front();
            }
            inner.early.push_back(reaped);
        }
        process
    }

    /// Runs `act` on the kept descriptors.
    pub fn with_kept<T>(&self, act: impl FnOnce(&mut BTreeMap<String, OwnedFd>) -> T) -> T {
        act(&mut lock(&self.inner).kept)
    }

    /// Memory was used that can be given back once things are quiet.
    pub fn tidy_memory(&self) {
        self.trim.notify_one();
    }

    /// Gives memory back, a little after each time it was asked for.
    pub async fn tidy(self: Arc<Self>) {
        loop {
            self.trim.notified().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            crate::sys::trim_memory();
        }
    }

    /// Writes down what went wrong and concerns no caller.
    pub fn note(&self, text: &str) {
        use std::io::Write;
        let path = self.config.bundle.join(gantry_shim_protocol::bundle::SHIM_LOG);
        if let Ok(mut file) = std::fs::File::options().append(true).create(true).open(path) {
            let _ = writeln!(file, "{text}");
        }
    }
}

impl Container {
    /// The runtime's own directory.
    pub fn dir(&self) -> PathBuf {
        self.bundle.join(gantry_shim_protocol::bundle::RUNTIME)
    }

    pub fn process(&self, exec: &str) -> Result<Arc<Process>> {
        if exec.is_empty() {
            return Ok(self.init.clone());
        }
        lock(&self.execs).get(exec).cloned().ok_or_else(|| {
            let words = format!("process does not exist {exec}: not found");
            Failure::not_found("exec", exec).with_peer(words)
        })
    }

    pub fn cgroups(&self) -> Cgroups {
        lock(&self.cgroups).clone()
    }

    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }
}

impl Process {
    pub fn new(
        container: &str,
        exec: Option<&str>,
        terminal: bool,
        names: StdioNames,
        hub: Arc<Hub>,
        stdin: Stdin,
        foreign: Option<Arc<Foreign>>,
    ) -> Arc<Self> {
        let phase = if exec.is_some() { Phase::Added } else { Phase::Creating };
        Arc::new(Self {
            container: container.to_owned(),
            exec: exec.map(str::to_owned),
            terminal,
            names,
            hub,
            stdin: Arc::new(stdin),
            life: Mutex::new(Life {
                phase,
                pid: 0,
                start_time: 0,
                oom_before: 0,
                announced: false,
                ending: false,
                reaped: false,
            }),
            exit: watch::Sender::new(None),
            console: Mutex::default(),
            spec: Mutex::default(),
            pending: Mutex::default(),
            status_pipe: Mutex::default(),
            foreign,
            input: Mutex::default(),
        })
    }

    pub fn life(&self) -> Life {
        *lock(&self.life)
    }

    pub fn set_phase(&self, phase: Phase) {
        lock(&self.life).phase = phase;
    }

    /// Goes from one phase to another; says which it was in instead.
    pub fn step(&self, from: Phase, to: Phase) -> Result<(), Phase> {
        let mut life = lock(&self.life);
        if life.phase != from {
            return Err(life.phase);
        }
        life.phase = to;
        Ok(())
    }

    /// Whoever is first sees to its end.
    pub fn claim_end(&self) -> bool {
        !std::mem::replace(&mut lock(&self.life).ending, true)
    }

    pub fn exited(&self) -> Option<Exited> {
        self.exit.borrow().clone()
    }

    /// Waits for the end.
    pub async fn wait(&self) -> Exited {
        let mut exit = self.exit.subscribe();
        let seen = exit.wait_for(Option::is_some).await;
        seen.ok()
            .and_then(|exit| exit.clone())
            .unwrap_or_else(|| Exited::now(255))
    }

    /// Sends a signal to a process that has not been reaped: its pid is surely its own.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let life = self.life();
        if life.phase == Phase::Stopped || life.reaped || life.pid == 0 {
            return Err(Failure::not_found(
                "process",
                self.exec.as_deref().unwrap_or(&self.container),
            ));
        }
        match &self.foreign {
            Some(foreign) => foreign.signal_soon(self.exec.as_deref(), signal),
            None => crate::cgroup::kill(life.pid, signal),
        }
        Ok(())
    }

    /// The start was told: the end may follow.
    pub fn announce(&self, events: &Events) {
        lock(&self.life).announced = true;
        for envelope in std::mem::take(&mut *lock(&self.pending)) {
            events.send(Some(envelope));
        }
    }

    pub fn resize(&self, height: u16, width: u16) {
        if let Some(foreign) = &self.foreign {
            foreign.resize_soon(self.exec.as_deref(), height, width);
        }
        if let Some(console) = lock(&self.console).as_ref() {
            let _ = crate::sys::set_window_size(console.get_ref(), height, width);
        }
    }

    /// In words.
    pub fn describe(&self) -> String {
        match &self.exec {
            Some(exec) => format!("exec {exec} of container {}", self.container),
            None => format!("container {}", self.container),
        }
    }
}

/// A directory is made, for the eyes of root only.
pub fn make_private_dir(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
