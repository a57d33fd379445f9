//! The verbs by which the engine's own containers live: the task API with our own options and answers.

use super::link::Link;
use super::{Shim, name};
use crate::error::{Result, TaskError};
use crate::process::ProcessMark;
use crate::stats::Stats;
use crate::words::{CreateTask, ExecSpec, Exit, TaskState, moment};
use gantry_core::ExecId;
use gantry_proto_shim::{api, extras};
use std::time::{Duration, SystemTime};
use ttrpc::context::Context;

/// What a shim takes to freeze a container, or to give it up and let it go again.
const FREEZE: Duration = Duration::from_secs(15);

impl Shim {
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
        let limit = self.inner.deadlines.call + FREEZE;
        let frozen = self.call("pause", limit, false, client.pause(Context::default(), &request));
        if let Err(error) = frozen.await {
            // Half frozen is worse than not at all. Whether anybody hears it is another matter.
            if matches!(error, TaskError::Late { .. }) {
                let _ = self.resume().await;
            }
            return Err(error);
        }
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
        let (oom, memory_kills) = self.memory_end(exec).await;
        Ok(Exit {
            oom,
            memory_kills,
            ..Exit::new(ended.exit_status, at)
        })
    }

    pub(super) async fn wait_wire(&self, exec: Option<&ExecId>) -> Result<api::WaitResponse> {
        let mut request = api::WaitRequest::new();
        request.id = self.key().to_owned();
        request.exec_id = name(exec);
        let wait = |link: Link| {
            let request = request.clone();
            async move { link.task.wait(Context::default(), &request).await }
        };
        self.endless("wait for", wait).await
    }

    /// How many memory kills the container's run has seen, once that is more than are known; no more than are known when it is over.
    pub async fn memory_kills(&self, known: u64) -> Result<u64> {
        let mut request = extras::MemoryKillsRequest::new();
        request.id = self.key().to_owned();
        request.known = known;
        let ask = |link: Link| {
            let request = request.clone();
            async move { link.extras.memory_kills(Context::default(), &request).await }
        };
        Ok(self.endless("ask the memory kills of", ask).await?.kills)
    }

    /// Asks what takes as long as the container likes, and again where only the connection was lost.
    async fn endless<T, F>(&self, deed: &'static str, ask: impl Fn(Link) -> F) -> Result<T>
    where
        F: Future<Output = ttrpc::Result<T>>,
    {
        loop {
            let link = self.link();
            let answer = tokio::select! {
                biased;
                answer = ask(link.clone()) => {
                    answer.map_err(|error| TaskError::from_call(deed, self.key(), false, error))
                }
                () = link.closed() => Err(self.lost(deed)),
            };
            match answer {
                Err(error) if error.is_lost() && self.relink().await.is_ok() => {}
                answer => return answer,
            }
        }
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
        Ok(Exit::new(gone.exit_status, at))
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
}
