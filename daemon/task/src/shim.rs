//! The handle of one shim: its verbs, each with a deadline.

mod link;
mod seam;

use crate::bundle::Bundle;
use crate::error::{Result, TaskError};
use crate::foreign::log::Pipe;
use crate::process::ProcessMark;
use crate::shims::Deadlines;
use crate::stats::Stats;
use crate::words::{CreateTask, ExecSpec, Exit, TaskState, moment};
use gantry_core::{ContainerId, ExecId, Namespace};
use gantry_proto_shim::{api, extras};
use gantry_shim_protocol::Bootstrap;
use link::Link;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::task::AbortHandle;
use ttrpc::context::Context;

const RELINK_PAUSE: Duration = Duration::from_millis(20);

/// Cheap to clone; calls may overlap. Dropping it ends the connection, never the shim.
#[derive(Clone)]
pub struct Shim {
    inner: Arc<Inner>,
}

struct Inner {
    namespace: Namespace,
    id: ContainerId,
    bundle: Bundle,
    bootstrap: Bootstrap,
    deadlines: Deadlines,
    link: Mutex<Link>,
    attach: Mutex<Option<PathBuf>>,
    /// Reads what the shim has to say of itself.
    log: Mutex<Option<AbortHandle>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(reader) = lock(&self.log).take() {
            reader.abort();
        }
    }
}

impl std::fmt::Debug for Shim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Shim({}/{} at {})",
            self.inner.namespace, self.inner.id, self.inner.bootstrap.address
        )
    }
}

impl Shim {
    pub(crate) async fn connect(
        namespace: Namespace,
        id: ContainerId,
        bundle: Bundle,
        bootstrap: Bootstrap,
        deadlines: Deadlines,
        limit: Duration,
    ) -> Result<Self> {
        let link = Mutex::new(Link::open(id.as_str(), namespace.as_str(), &bootstrap, limit).await?);
        let inner = Inner {
            namespace,
            id,
            bundle,
            bootstrap,
            deadlines,
            link,
            attach: Mutex::new(None),
            log: Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Reads its log for as long as this handle lives.
    pub(crate) fn keep_log(&self, pipe: Pipe) {
        *lock(&self.inner.log) = pipe.follow(self);
    }

    pub fn namespace(&self) -> &Namespace {
        &self.inner.namespace
    }

    pub fn id(&self) -> &ContainerId {
        &self.inner.id
    }

    pub fn bundle(&self) -> &Bundle {
        &self.inner.bundle
    }

    /// Makes the container: its process exists and waits for [`Shim::start`]. The mark is what tells the process from others later.
    pub async fn create(&self, task: CreateTask) -> Result<ProcessMark> {
        fail::fail_point!("task::create");
        let bundle = self.inner.bundle.path().to_string_lossy().into_owned();
        let request = task.into_wire(self.key(), &bundle)?;
        let client = self.link().task;
        let made = self
            .starting("create", client.create(Context::default(), &request))
            .await?;
        fail::fail_point!("task::created");
        Ok(ProcessMark::of(made.pid).unwrap_or(ProcessMark {
            pid: made.pid,
            ..ProcessMark::default()
        }))
    }

    /// Adds a process; it runs when started.
    pub async fn exec(&self, exec: &ExecId, spec: ExecSpec) -> Result<()> {
        fail::fail_point!("task::exec");
        let request = spec.into_wire(self.key(), exec.as_str());
        let client = self.link().task;
        self.starting("exec in", client.exec(Context::default(), &request))
            .await?;
        Ok(())
    }

    /// Runs the user's program, or that of an exec. Answers its pid.
    pub async fn start(&self, exec: Option<&ExecId>) -> Result<u32> {
        fail::fail_point!("task::start");
        let mut request = api::StartRequest::new();
        request.id = self.key().to_owned();
        request.exec_id = name(exec);
        let client = self.link().task;
        let started = self
            .starting("start", client.start(Context::default(), &request))
            .await?;
        fail::fail_point!("task::started");
        Ok(started.pid)
    }

    /// Sends a signal to a process, or to all of the container's.
    pub async fn kill(&self, exec: Option<&ExecId>, signal: u32, all: bool) -> Result<()> {
        fail::fail_point!("task::kill");
        let mut request = api::KillRequest::new();
        request.id = self.key().to_owned();
        request.exec_id = name(exec);
        request.signal = signal;
        request.all = all;
        let client = self.link().task;
        self.brief("kill", client.kill(Context::default(), &request)).await?;
        Ok(())
    }

    pub async fn state(&self, exec: Option<&ExecId>) -> Result<TaskState> {
        self.state_within(exec, self.inner.deadlines.call).await
    }

    pub(crate) async fn state_within(&self, exec: Option<&ExecId>, limit: Duration) -> Result<TaskState> {
        let mut request = api::StateRequest::new();
        request.id = self.key().to_owned();
        request.exec_id = name(exec);
        let client = self.link().task;
        let state = self
            .call(
                "ask the state of",
                limit,
                false,
                client.state(Context::default(), &request),
            )
            .await?;
        Ok(TaskState::from_wire(&state))
    }

    /// Pids of the container's processes, as this host sees them.
    pub async fn pids(&self) -> Result<Vec<u32>> {
        let mut request = api::PidsRequest::new();
        request.id = self.key().to_owned();
        let client = self.link().task;
        let pids = self
            .brief("list processes of", client.pids(Context::default(), &request))
            .await?;
        Ok(pids.processes.iter().map(|process| process.pid).collect())
    }

    pub async fn pause(&self) -> Result<()> {
        let mut request = api::PauseRequest::new();
        request.id = self.key().to_owned();
        let client = self.link().task;
        self.brief("pause", client.pause(Context::default(), &request)).await?;
        Ok(())
    }

    pub async fn resume(&self) -> Result<()> {
        let mut request = api::ResumeRequest::new();
        request.id = self.key().to_owned();
        let client = self.link().task;
        self.brief("resume", client.resume(Context::default(), &request))
            .await?;
        Ok(())
    }

    /// Sets the size of a terminal.
    pub async fn resize(&self, exec: Option<&ExecId>, height: u16, width: u16) -> Result<()> {
        let mut request = api::ResizePtyRequest::new();
        request.id = self.key().to_owned();
        request.exec_id = name(exec);
        (request.height, request.width) = (height.into(), width.into());
        let client = self.link().task;
        self.brief(
            "resize the terminal of",
            client.resize_pty(Context::default(), &request),
        )
        .await?;
        Ok(())
    }

    /// Ends a process's stdin.
    pub async fn close_stdin(&self, exec: Option<&ExecId>) -> Result<()> {
        let mut request = api::CloseIORequest::new();
        request.id = self.key().to_owned();
        request.exec_id = name(exec);
        request.stdin = true;
        let client = self.link().task;
        self.brief("close stdin of", client.close_io(Context::default(), &request))
            .await?;
        Ok(())
    }

    /// Sets limits; `resources` is the JSON of OCI's linux resources.
    pub async fn update(&self, resources: Vec<u8>) -> Result<()> {
        let mut request = api::UpdateTaskRequest::new();
        request.id = self.key().to_owned();
        request.resources = Some(gantry_proto_shim::any(gantry_proto_shim::RESOURCES_TYPE, resources)).into();
        let client = self.link().task;
        self.brief("update", client.update(Context::default(), &request))
            .await?;
        Ok(())
    }

    /// Waits for the end of a process, however long that takes; ends with an error when the shim is gone. Its record is durable by then.
    pub async fn wait(&self, exec: Option<&ExecId>) -> Result<Exit> {
        let ended = self.wait_wire(exec).await?;
        let at = ended.exited_at.as_ref().map_or_else(SystemTime::now, moment);
        let oom = self.was_oom(exec).await;
        Ok(Exit {
            status: ended.exit_status,
            at,
            oom,
        })
    }

    async fn wait_wire(&self, exec: Option<&ExecId>) -> Result<api::WaitResponse> {
        let mut request = api::WaitRequest::new();
        request.id = self.key().to_owned();
        request.exec_id = name(exec);
        loop {
            let link = self.link();
            let answer = tokio::select! {
                biased;
                answer = link.task.wait(Context::default(), &request) => {
                    answer.map_err(|error| TaskError::from_call("wait for", self.key(), false, error))
                }
                () = link.closed() => Err(self.lost("wait for")),
            };
            match answer {
                Err(error) if error.is_lost() && self.relink().await.is_ok() => {}
                answer => return answer,
            }
        }
    }

    async fn was_oom(&self, exec: Option<&ExecId>) -> bool {
        let exec = name(exec);
        let exits = self.exits().await.unwrap_or_default();
        exits
            .iter()
            .any(|(of, exit)| of.as_deref().unwrap_or_default() == exec && exit.oom)
    }

    /// Every end the shim knows of: the task's own under `None`, and its execs'.
    pub async fn exits(&self) -> Result<Vec<(Option<String>, Exit)>> {
        let mut request = extras::ContainerRequest::new();
        request.id = self.key().to_owned();
        let client = self.link().extras;
        let known = self
            .brief("ask the exits of", client.exits(Context::default(), &request))
            .await?;
        let exit = |exit: extras::ProcessExit| {
            let at = exit.exited_at.as_ref().map_or_else(SystemTime::now, moment);
            let exec = (!exit.exec_id.is_empty()).then_some(exit.exec_id);
            (
                exec,
                Exit {
                    status: exit.status,
                    at,
                    oom: exit.oom_killed,
                },
            )
        };
        Ok(known.exits.into_iter().map(exit).collect())
    }

    /// Forgets an ended process: an exec, or the task with all that it had in the kernel.
    pub async fn delete(&self, exec: Option<&ExecId>) -> Result<Exit> {
        fail::fail_point!("task::delete");
        let mut request = api::DeleteRequest::new();
        request.id = self.key().to_owned();
        request.exec_id = name(exec);
        let client = self.link().task;
        let work = self.inner.deadlines.work;
        let gone = self
            .call("delete", work, false, client.delete(Context::default(), &request))
            .await?;
        fail::fail_point!("task::deleted");
        let at = gone.exited_at.as_ref().map_or_else(SystemTime::now, moment);
        Ok(Exit {
            status: gone.exit_status,
            at,
            oom: false,
        })
    }

    /// What the container uses, as its shim reads it.
    pub async fn stats(&self) -> Result<Stats> {
        let mut request = api::StatsRequest::new();
        request.id = self.key().to_owned();
        let client = self.link().task;
        let stats = self.brief("sample", client.stats(Context::default(), &request)).await?;
        let any = stats.stats.into_option().unwrap_or_default();
        Stats::from_any(&any).map_err(|message| TaskError::Answer {
            deed: "sample",
            id: self.key().to_owned(),
            message,
        })
    }

    /// Where clients attach to the container's processes.
    pub async fn attach_socket(&self) -> Result<PathBuf> {
        if let Some(known) = lock(&self.inner.attach).clone() {
            return Ok(known);
        }
        let client = self.link().extras;
        let empty = gantry_proto_shim::protobuf::well_known_types::empty::Empty::new();
        let endpoint = self
            .brief("ask the attach socket of", client.endpoint(Context::default(), &empty))
            .await?;
        let path = PathBuf::from(endpoint.attach_socket);
        *lock(&self.inner.attach) = Some(path.clone());
        Ok(path)
    }

    /// The attached clients of a process.
    pub async fn attach_state(&self, exec: Option<&ExecId>) -> Result<crate::attach::AttachState> {
        let mut request = extras::ProcessRequest::new();
        request.id = self.key().to_owned();
        request.exec_id = name(exec);
        let client = self.link().extras;
        let state = self
            .brief("ask the clients of", client.attach_state(Context::default(), &request))
            .await?;
        Ok(crate::attach::AttachState::from_wire(state))
    }

    /// Where the log is, and how many bytes of output a full disk has cost.
    pub async fn log_state(&self) -> Result<(PathBuf, u64)> {
        let request = self.container_request();
        let client = self.link().extras;
        let state = self
            .brief("ask the log of", client.log_state(Context::default(), &request))
            .await?;
        Ok((PathBuf::from(state.path), state.lost))
    }

    /// Closes the log file and opens it again by its name.
    pub async fn reopen_log(&self) -> Result<()> {
        let request = self.container_request();
        let client = self.link().extras;
        self.brief("reopen the log of", client.reopen_log(Context::default(), &request))
            .await?;
        Ok(())
    }

    /// Names of the descriptors that the shim keeps for the daemon.
    pub async fn descriptors(&self) -> Result<Vec<String>> {
        let client = self.link().extras;
        let empty = gantry_proto_shim::protobuf::well_known_types::empty::Empty::new();
        let kept = self
            .brief("list descriptors of", client.descriptors(Context::default(), &empty))
            .await?;
        Ok(kept.names)
    }

    /// Has the shim close kept descriptors. Unknown names are fine.
    pub async fn drop_descriptors(&self, names: Vec<String>) -> Result<()> {
        let mut request = extras::DropDescriptorsRequest::new();
        request.names = names;
        let client = self.link().extras;
        self.brief(
            "drop descriptors of",
            client.drop_descriptors(Context::default(), &request),
        )
        .await?;
        Ok(())
    }

    /// Tells the shim to end once it holds no container and its clients have drained. That it is gone already is fine.
    pub async fn shutdown(&self) -> Result<()> {
        fail::fail_point!("task::shutdown");
        let mut request = api::ShutdownRequest::new();
        request.id = self.key().to_owned();
        let client = self.link().task;
        match self
            .brief("shut down", client.shutdown(Context::default(), &request))
            .await
        {
            Err(error) if error.is_lost() => Ok(()),
            done => done.map(|_| ()),
        }
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.inner.deadlines.call
    }

    fn key(&self) -> &str {
        self.inner.id.as_str()
    }

    fn container_request(&self) -> extras::ContainerRequest {
        let mut request = extras::ContainerRequest::new();
        request.id = self.key().to_owned();
        request
    }

    fn link(&self) -> Link {
        lock(&self.inner.link).clone()
    }

    /// Connects again after a broken connection; an error means that the shim is not there any more.
    async fn relink(&self) -> Result<()> {
        let (namespace, version) = (self.inner.namespace.as_str(), self.link().version);
        let limit = self.inner.deadlines.reconnect;
        // One that accepts and hangs up at once is not asked as fast as it can.
        tokio::time::sleep(RELINK_PAUSE).await;
        let link = Link::open(self.key(), namespace, &self.inner.bootstrap, limit).await?;
        *lock(&self.inner.link) = link.speaking(version, namespace);
        Ok(())
    }

    async fn brief<T>(&self, deed: &'static str, call: impl Future<Output = ttrpc::Result<T>>) -> Result<T> {
        self.call(deed, self.inner.deadlines.call, false, call).await
    }

    async fn starting<T>(&self, deed: &'static str, call: impl Future<Output = ttrpc::Result<T>>) -> Result<T> {
        self.call(deed, self.inner.deadlines.work, true, call).await
    }

    /// The deadline is kept on this side only: a shim told of it would break off half way.
    async fn call<T>(
        &self,
        deed: &'static str,
        after: Duration,
        starting: bool,
        call: impl Future<Output = ttrpc::Result<T>>,
    ) -> Result<T> {
        let link = self.link();
        tokio::select! {
            biased;
            answer = call => answer.map_err(|error| TaskError::from_call(deed, self.key(), starting, error)),
            () = link.closed() => Err(self.lost(deed)),
            () = tokio::time::sleep(after) => Err(TaskError::Late {
                deed,
                id: self.key().to_owned(),
                after,
            }),
        }
    }

    fn lost(&self, deed: &'static str) -> TaskError {
        TaskError::Lost {
            deed,
            id: self.key().to_owned(),
            cause: "the shim closed it".to_owned(),
        }
    }
}

fn name(exec: Option<&ExecId>) -> String {
    exec.map(|exec| exec.as_str().to_owned()).unwrap_or_default()
}

/// What these locks hold is replaced whole, so that a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
