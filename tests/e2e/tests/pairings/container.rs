//! One container and its task, as a client of containerd's API drives them.

use crate::bed::{Bed, LIMIT, News, until};
use gantry_proto_containerd::any::{PROCESS, SPEC, json, unpack};
use gantry_proto_containerd::containerd::v1::types::{Process, Status as State};
use gantry_proto_containerd::events;
use gantry_proto_containerd::prost_types::Any;
use gantry_proto_containerd::services::containers::v1 as records;
use gantry_proto_containerd::services::tasks::v1 as pb;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json as value};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tonic::Status;

/// What a container is made of, beyond its program.
#[derive(Default, Clone)]
pub struct Make {
    pub terminal: bool,
    /// Bytes; 0 = no limit.
    pub memory: i64,
    pub annotations: BTreeMap<String, String>,
}

pub struct Container {
    pub bed: Arc<Bed>,
    pub id: String,
    pub dir: PathBuf,
    terminal: bool,
}

impl Container {
    /// The record of one that runs `script` in a shell.
    pub async fn make(bed: &Arc<Bed>, word: &str, script: &str) -> Self {
        Self::with(bed, word, script, Make::default()).await
    }

    pub async fn with(bed: &Arc<Bed>, word: &str, script: &str, make: Make) -> Self {
        let id = bed.id(word);
        let terminal = make.terminal;
        let container = records::Container {
            id: id.clone(),
            runtime: Some(records::container::Runtime {
                name: bed.runtime.into(),
                options: None,
            }),
            spec: Some(json(SPEC, spec(bed, &id, script, make).to_string())),
            ..records::Container::default()
        };
        let request = records::CreateContainerRequest {
            container: Some(container),
        };
        bed.caller().containers().create(request).await.expect("a record");
        Self {
            bed: bed.clone(),
            dir: bed.dir(&id),
            id,
            terminal,
        }
    }

    /// Made and started, without stdio.
    pub async fn run(bed: &Arc<Bed>, word: &str, script: &str) -> Self {
        let container = Self::make(bed, word, script).await;
        container.create(&Stdio::default()).await.expect("a task");
        container.start(None).await.expect("it starts");
        container
    }

    pub async fn create(&self, stdio: &Stdio) -> Result<u32, Status> {
        let request = pb::CreateTaskRequest {
            container_id: self.id.clone(),
            rootfs: vec![self.bed.rootfs()],
            stdin: stdio.stdin.clone(),
            stdout: stdio.stdout.clone(),
            stderr: stdio.stderr.clone(),
            terminal: self.terminal,
            ..pb::CreateTaskRequest::default()
        };
        let made = self.bed.caller().tasks().create(request).await?;
        Ok(made.into_inner().pid)
    }

    pub async fn start(&self, exec: Option<&str>) -> Result<u32, Status> {
        let request = pb::StartRequest {
            container_id: self.id.clone(),
            exec_id: exec.unwrap_or_default().into(),
        };
        Ok(self.bed.caller().tasks().start(request).await?.into_inner().pid)
    }

    /// Its exit code, once it has ended.
    pub async fn wait(&self, exec: Option<&str>) -> u32 {
        let request = pb::WaitRequest {
            container_id: self.id.clone(),
            exec_id: exec.unwrap_or_default().into(),
        };
        let mut tasks = self.bed.caller().tasks();
        let waited = tokio::time::timeout(LIMIT, tasks.wait(request)).await;
        let ended = waited.expect("it ends").expect("it is waited for").into_inner();
        ended.exit_status
    }

    pub async fn process(&self, exec: Option<&str>) -> Result<Process, Status> {
        let request = pb::GetRequest {
            container_id: self.id.clone(),
            exec_id: exec.unwrap_or_default().into(),
        };
        let got = self.bed.caller().tasks().get(request).await?;
        Ok(got.into_inner().process.expect("a process"))
    }

    pub async fn is(&self, state: State) {
        until(&format!("{} is {state:?}", self.id), || async {
            self.process(None).await.ok().filter(|found| found.status() == state)
        })
        .await;
    }

    pub async fn kill(&self, exec: Option<&str>, signal: u32, all: bool) -> Result<(), Status> {
        let request = pb::KillRequest {
            container_id: self.id.clone(),
            exec_id: exec.unwrap_or_default().into(),
            signal,
            all,
        };
        self.bed.caller().tasks().kill(request).await.map(drop)
    }

    pub async fn delete(&self) -> Result<pb::DeleteResponse, Status> {
        let request = pb::DeleteTaskRequest {
            container_id: self.id.clone(),
        };
        Ok(self.bed.caller().tasks().delete(request).await?.into_inner())
    }

    pub async fn delete_exec(&self, exec: &str) -> Result<pb::DeleteResponse, Status> {
        let request = pb::DeleteProcessRequest {
            container_id: self.id.clone(),
            exec_id: exec.into(),
        };
        Ok(self.bed.caller().tasks().delete_process(request).await?.into_inner())
    }

    /// Adds a process; [`Container::start`] runs it.
    pub async fn exec(&self, exec: &str, script: &str, stdio: &Stdio, terminal: bool) -> Result<(), Status> {
        let request = pb::ExecProcessRequest {
            container_id: self.id.clone(),
            exec_id: exec.into(),
            stdin: stdio.stdin.clone(),
            stdout: stdio.stdout.clone(),
            stderr: stdio.stderr.clone(),
            terminal,
            spec: Some(json(PROCESS, process(script, terminal).to_string())),
        };
        self.bed.caller().tasks().exec(request).await.map(drop)
    }

    pub async fn resize(&self, exec: Option<&str>, width: u32, height: u32) -> Result<(), Status> {
        let request = pb::ResizePtyRequest {
            container_id: self.id.clone(),
            exec_id: exec.unwrap_or_default().into(),
            width,
            height,
        };
        self.bed.caller().tasks().resize_pty(request).await.map(drop)
    }

    pub async fn close_stdin(&self, exec: Option<&str>) -> Result<(), Status> {
        let request = pb::CloseIoRequest {
            container_id: self.id.clone(),
            exec_id: exec.unwrap_or_default().into(),
            stdin: true,
        };
        self.bed.caller().tasks().close_io(request).await.map(drop)
    }

    /// Kills what may run and forgets the task and the record.
    pub async fn end(self) {
        // One that has ended, or has no task, is as good.
        let _ = self.kill(None, 9, true).await;
        until("the task can be deleted", || async {
            let gone = self.delete().await;
            gone.map_or_else(
                |status| (status.code() == tonic::Code::NotFound).then_some(()),
                |_| Some(()),
            )
        })
        .await;
        self.forget().await;
    }

    /// Deletes the record.
    pub async fn forget(&self) {
        let request = records::DeleteContainerRequest { id: self.id.clone() };
        let deleted = self.bed.caller().containers().delete(request).await;
        deleted.expect("the record is deleted");
    }

    /// What was told of this container so far.
    pub fn told(&self) -> Vec<Told> {
        let news = self.bed.news();
        let told = news.iter().filter_map(|one| Told::of(one, &self.id));
        told.collect()
    }

    /// Waits until the task's deletion was told.
    pub async fn told_to_the_end(&self) -> Vec<Told> {
        until("the deletion is told", || async {
            let told = self.told();
            let ended = told.iter().any(|one| one.what == "delete" && one.id.is_empty());
            ended.then_some(told)
        })
        .await
    }
}

/// An event of a container's, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The last word of the topic.
    pub what: String,
    /// The exec's id; empty for the task's own.
    pub id: String,
    /// Exit status, where there is one.
    pub status: u32,
}

impl Told {
    fn of(news: &News, container: &str) -> Option<Self> {
        let what = news.topic.strip_prefix("/tasks/")?.to_owned();
        let event = &news.event;
        let (of, id, status) = match what.as_str() {
            "create" => (read::<events::TaskCreate>(event).container_id, String::new(), 0),
            "start" => (read::<events::TaskStart>(event).container_id, String::new(), 0),
            "oom" => (read::<events::TaskOom>(event).container_id, String::new(), 0),
            "paused" => (read::<events::TaskPaused>(event).container_id, String::new(), 0),
            "resumed" => (read::<events::TaskResumed>(event).container_id, String::new(), 0),
            "exec-added" => {
                let added = read::<events::TaskExecAdded>(event);
                (added.container_id, added.exec_id, 0)
            }
            "exec-started" => {
                let started = read::<events::TaskExecStarted>(event);
                (started.container_id, started.exec_id, 0)
            }
            "exit" => {
                let exit = read::<events::TaskExit>(event);
                (exit.container_id, exit.id, exit.exit_status)
            }
            "delete" => {
                let delete = read::<events::TaskDelete>(event);
                (delete.container_id, delete.id, delete.exit_status)
            }
            _ => return None,
        };
        let id = if id == of { String::new() } else { id };
        (of == container).then_some(Self { what, id, status })
    }
}

fn read<M: gantry_proto_containerd::prost::Message + gantry_proto_containerd::prost::Name + Default>(any: &Any) -> M {
    unpack(any).expect("an event of its topic's type")
}

/// What a task or an exec is given for its stdio, and the client's ends of it.
#[derive(Default)]
pub struct Stdio {
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    held: Mutex<Vec<File>>,
    printed: Arc<Mutex<[Vec<u8>; 2]>>,
    readers: Vec<(PathBuf, std::thread::JoinHandle<()>)>,
}

impl Stdio {
    /// Pipes in a directory, which are read as they fill.
    pub fn pipes(dir: &Path, name: &str, stderr: bool) -> Self {
        let make = |stream: &str| {
            let path = dir.join(format!("{name}-{stream}"));
            mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe");
            path
        };
        let printed: Arc<Mutex<[Vec<u8>; 2]>> = Arc::default();
        let mut stdio = Self::default();
        stdio.stdin = make("stdin").display().to_string();
        let streams: &[&str] = if stderr { &["stdout", "stderr"] } else { &["stdout"] };
        for (at, stream) in streams.iter().enumerate() {
            let (path, sink) = (make(stream), printed.clone());
            let from = path.clone();
            let reader = std::thread::spawn(move || {
                // Waits for the shim's end.
                let mut pipe = File::open(from).expect("the pipe opens");
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                    sink.lock().expect("not poisoned")[at].extend_from_slice(&buffer[..count]);
                }
            });
            let text = path.display().to_string();
            if at == 0 {
                stdio.stdout = text
            } else {
                stdio.stderr = text
            }
            stdio.readers.push((path, reader));
        }
        stdio.printed = printed;
        stdio
    }

    /// Stdout and stderr to one place.
    pub fn both(uri: String) -> Self {
        let mut stdio = Self::default();
        stdio.stdout.clone_from(&uri);
        stdio.stderr = uri;
        stdio
    }

    /// Writes to stdin, and holds it open.
    pub async fn send(&self, text: &str) {
        let opened = until("the shim reads stdin", || async {
            let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            open(self.stdin.as_str(), flags, Mode::empty()).ok().map(File::from)
        })
        .await;
        let mut held = self.held.lock().expect("not poisoned");
        held.push(opened);
        let stdin = held.last_mut().expect("just put there");
        stdin.write_all(text.as_bytes()).expect("stdin takes it");
    }

    /// Closes the client's end of stdin.
    pub fn hang_up(&self) {
        self.held.lock().expect("not poisoned").clear();
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.printed.lock().expect("not poisoned")[0]).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.printed.lock().expect("not poisoned")[1]).into_owned()
    }

    /// Waits until this was printed.
    pub async fn prints(&self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.stdout().contains(text) {
            assert!(
                Instant::now() < deadline,
                "waited in vain for {text:?}, there is {:?}",
                self.stdout()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the shim has closed its ends.
    pub async fn closed(&self) {
        until("the shim closes its pipes", || async {
            self.readers
                .iter()
                .all(|(_, reader)| reader.is_finished())
                .then_some(())
        })
        .await;
    }
}

impl Drop for Stdio {
    fn drop(&mut self) {
        for (path, reader) in self.readers.drain(..) {
            // Frees a reader that nobody ever wrote to.
            let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let writer = open(&path, flags, Mode::empty());
            if !reader.is_finished() {
                std::thread::sleep(Duration::from_millis(20));
            }
            drop(writer);
        }
    }
}

fn process(script: &str, terminal: bool) -> Value {
    let all = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_KILL",
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_SYS_CHROOT",
        "CAP_MKNOD",
    ];
    value!({
        "terminal": terminal,
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/sh", "-c", script],
        "env": ["PATH=/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {"bounding": all, "effective": all, "permitted": all},
        "noNewPrivileges": true,
    })
}

/// Without rlimits: runc dies of those that ask for more than the machine gives.
fn spec(bed: &Bed, id: &str, script: &str, make: Make) -> Value {
    let memory = if make.memory > 0 {
        value!({"limit": make.memory})
    } else {
        value!({})
    };
    value!({
        "ociVersion": "1.0.2",
        "process": process(script, make.terminal),
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "paired",
        "annotations": make.annotations,
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"]},
        ],
        "linux": {
            "cgroupsPath": format!("/{}/{id}", bed.namespace),
            "resources": {"devices": [{"allow": false, "access": "rwm"}], "memory": memory},
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}],
        },
    })
}
