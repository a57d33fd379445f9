//! The task API as every shim speaks it, with nothing of ours in it: stdio as strings, options, resources and metrics as they come.
//!
//! A shim that is busy is waited for; one that is stuck is not: while a long call is out, it is asked whether it is there at all.

use super::{Shim, lock, name};
use crate::error::{Result, TaskError};
use crate::process::ProcessMark;
use crate::words::{Deleted, ForeignExec, ForeignTask, ProcessInfo, ProcessState, moment, mount, to_any};
use gantry_core::ExecId;
use gantry_core::meta::Any;
use gantry_proto_shim::{TaskVersion, api, protobuf};
use protobuf::well_known_types::empty::Empty;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use ttrpc::context::Context;

/// How long a shim may take to end after its task is deleted; it is not waited for beyond that.
const FAREWELL: Duration = Duration::from_secs(3);
/// So many connections in a row that end as soon are as good as none.
const SHORT_LINKS: u32 = 10;
const SHORT: Duration = Duration::from_secs(1);

impl Shim {
    /// The first words with a shim: who it is, and which version of the task service it has. One that promised more than
    /// it serves is spoken to in the older one.
    pub async fn greet(&self) -> Result<Option<ProcessMark>> {
        let answer = self.greet_once().await;
        let answer = match answer {
            Err(TaskError::Refused { .. }) if self.link().version == TaskVersion::V3 => {
                let older = self.link().speaking(TaskVersion::V2, self.inner.namespace.as_str());
                *lock(&self.inner.link) = older;
                self.greet_once().await
            }
            answer => answer,
        }?;
        Ok((answer.shim_pid != 0)
            .then(|| ProcessMark::of(answer.shim_pid))
            .flatten())
    }

    async fn greet_once(&self) -> Result<api::ConnectResponse> {
        let mut request = api::ConnectRequest::new();
        request.id = self.key().to_owned();
        let client = self.link().task;
        self.brief("connect to the shim of", client.connect(Context::default(), &request))
            .await
    }

    /// 2 or 3: the version of the task service that is spoken.
    pub fn version(&self) -> u32 {
        match self.link().version {
            TaskVersion::V2 => 2,
            TaskVersion::V3 => 3,
        }
    }

    /// Makes the task; answers the pid of the process that waits for [`Shim::run`].
    pub async fn create_task(&self, task: ForeignTask) -> Result<u32> {
        let mut request = api::CreateTaskRequest::new();
        request.id = self.key().to_owned();
        request.bundle = self.inner.bundle.path().to_string_lossy().into_owned();
        request.rootfs = task.rootfs.into_iter().map(mount).collect();
        request.terminal = task.stdio.terminal;
        request.stdin = task.stdio.stdin;
        request.stdout = task.stdio.stdout;
        request.stderr = task.stdio.stderr;
        request.checkpoint = task.checkpoint;
        request.options = task.options.map(to_any).into();
        let client = self.link().task;
        let made = self
            .patient("create", client.create(Context::default(), &request))
            .await?;
        Ok(made.pid)
    }

    pub async fn add_exec(&self, exec: &ExecId, new: ForeignExec) -> Result<()> {
        let mut request = api::ExecProcessRequest::new();
        request.id = self.key().to_owned();
        request.exec_id = exec.as_str().to_owned();
        request.terminal = new.stdio.terminal;
        request.stdin = new.stdio.stdin;
        request.stdout = new.stdio.stdout;
        request.stderr = new.stdio.stderr;
        request.spec = new.spec.map(to_any).into();
        let client = self.link().task;
        self.patient("exec in", client.exec(Context::default(), &request))
            .await?;
        Ok(())
    }

    /// Runs the task's program, or an exec's. Answers its pid.
    pub async fn run(&self, exec: Option<&ExecId>) -> Result<u32> {
        let mut request = api::StartRequest::new();
        request.id = self.key().to_owned();
        request.exec_id = name(exec);
        let client = self.link().task;
        let started = self
            .patient("start", client.start(Context::default(), &request))
            .await?;
        Ok(started.pid)
    }

    /// Forgets an ended process.
    pub async fn remove(&self, exec: Option<&ExecId>) -> Result<Deleted> {
        let mut request = api::DeleteRequest::new();
        request.id = self.key().to_owned();
        request.exec_id = name(exec);
        let client = self.link().task;
        let gone = self
            .patient("delete", client.delete(Context::default(), &request))
            .await?;
        Ok(Deleted::from_wire(&gone))
    }

    /// What the shim says of a process.
    pub async fn look(&self, exec: Option<&ExecId>, limit: Duration) -> Result<ProcessState> {
        let mut request = api::StateRequest::new();
        request.id = self.key().to_owned();
        request.exec_id = name(exec);
        let client = self.link().task;
        let call = client.state(Context::default(), &request);
        let state = self.call("ask the state of", limit, false, call).await?;
        Ok(ProcessState::from_wire(state))
    }

    pub async fn processes(&self) -> Result<Vec<ProcessInfo>> {
        let mut request = api::PidsRequest::new();
        request.id = self.key().to_owned();
        let client = self.link().task;
        let listed = self
            .brief("list processes of", client.pids(Context::default(), &request))
            .await?;
        Ok(listed.processes.into_iter().map(ProcessInfo::from_wire).collect())
    }

    /// Writes a checkpoint into a directory.
    pub async fn checkpoint(&self, path: &str, options: Option<Any>) -> Result<()> {
        let mut request = api::CheckpointTaskRequest::new();
        request.id = self.key().to_owned();
        request.path = path.to_owned();
        request.options = options.map(to_any).into();
        let client = self.link().task;
        self.patient("checkpoint", client.checkpoint(Context::default(), &request))
            .await?;
        Ok(())
    }

    pub async fn update_with(&self, resources: Option<Any>, annotations: BTreeMap<String, String>) -> Result<()> {
        let mut request = api::UpdateTaskRequest::new();
        request.id = self.key().to_owned();
        request.resources = resources.map(to_any).into();
        request.annotations = annotations.into_iter().collect();
        let client = self.link().task;
        self.brief("update", client.update(Context::default(), &request))
            .await?;
        Ok(())
    }

    /// What the task uses, in its shim's words.
    pub async fn metrics(&self, limit: Duration) -> Result<Option<Any>> {
        let mut request = api::StatsRequest::new();
        request.id = self.key().to_owned();
        let client = self.link().task;
        let call = client.stats(Context::default(), &request);
        let stats = self.call("sample", limit, false, call).await?;
        Ok(stats.stats.into_option().map(crate::words::from_any))
    }

    /// Waits for the end of a process, however long that takes; ends with an error when the shim is gone.
    pub async fn ended(&self, exec: Option<&ExecId>) -> Result<crate::Exit> {
        let ended = self.wait_wire(exec).await?;
        let at = ended.exited_at.as_ref().map_or_else(std::time::SystemTime::now, moment);
        Ok(crate::Exit::new(ended.exit_status, at))
    }

    /// Whether anybody is there who answers, whatever the answer: a shim that is busy with a task still says what it does not know.
    pub async fn answers(&self, limit: Duration) -> bool {
        let client = self.link().extras;
        let empty = Empty::new();
        let answer = timeout(limit, client.info(Context::default(), &empty)).await;
        matches!(answer, Ok(Ok(_) | Err(ttrpc::Error::RpcStatus(_))))
    }

    /// Returns when the shim cannot be reached any more: the connection is closed, and there is no other to be had that lasts.
    pub async fn gone(&self) {
        let mut short = 0;
        while short < SHORT_LINKS {
            let begun = Instant::now();
            self.link().closed().await;
            if self.relink().await.is_err() {
                return;
            }
            short = if begun.elapsed() < SHORT { short + 1 } else { 0 };
        }
    }

    /// Tells the shim to end, unless it holds other tasks, and gives it a moment for it. One in which the task was a guest is let be.
    pub async fn retire(&self) {
        if self.inner.bundle.is_guest() {
            return;
        }
        let mut request = api::ShutdownRequest::new();
        request.id = self.key().to_owned();
        let link = self.link();
        let call = link.task.shutdown(Context::default(), &request);
        // Whatever it says: the task is deleted, and an idle shim ends by itself.
        let _ = self.call("shut down", FAREWELL, false, call).await;
    }

    /// A call in which hooks and runtimes run. It may take long, as long as the shim is there.
    async fn patient<T>(&self, deed: &'static str, call: impl Future<Output = ttrpc::Result<T>>) -> Result<T> {
        let (begun, limits) = (Instant::now(), self.inner.deadlines);
        let link = self.link();
        tokio::pin!(call);
        loop {
            tokio::select! {
                biased;
                answer = &mut call => return answer.map_err(|error| TaskError::from_call(deed, self.key(), false, error)),
                () = link.closed() => return Err(self.lost(deed)),
                () = sleep(limits.call) => {}
            }
            if begun.elapsed() >= limits.work || !self.answers(limits.call).await {
                return Err(TaskError::Late {
                    deed,
                    id: self.key().to_owned(),
                    after: begun.elapsed(),
                });
            }
        }
    }
}
